"""Slices of a series that are lacking: files that are not whole, and numbers that do not begin at 1 or have gaps."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...absent import what_stands_in, why_missing
from ...errors import InputError
from ...notices import printable, warn
from .frames import Frame

#: Endings that say DICOM.
ENDINGS = (".dcm", ".ima")
_CHUNK = 2**20


def check_left_out(left_out: Iterable[Path], slices: Iterable[Path]) -> None:
    """Refuse a file that is no DICOM where it was to be a slice of this folder.

    That is any file that ends in .dcm or .ima, and one whose ending is a slice's (names of slices often have none, or
    end in a number) where the file is empty, all zeros, a pointer, or a link to a file that is not here.

    Args:
        left_out: files of the folder, or links, in which no DICOM was found.
        slices: files of the folder in which it was.

    Raises:
        InputError: names the first such file and says how many more there are.
    """
    endings = {_ending(path) for path in slices} or {""}
    found = []
    for path in left_out:
        why = why_no_dicom(path)
        if why is None and path.suffix.lower() in ENDINGS:
            why = "not a DICOM file, or a damaged one"
        if why is not None and (path.suffix.lower() in ENDINGS or _ending(path) in endings):
            found.append((path, why))
    if found:
        path, why = found[0]
        more = f" (and {len(found) - 1} more files of this folder)" if len(found) > 1 else ""
        raise InputError(f"{printable(path)}: {why}, so a slice may be missing; copy it again or take it out{more}")


def why_no_dicom(path: Path) -> str | None:
    """What is wrong with a file in which no DICOM was found; None for a whole file of another kind."""
    if not path.exists():
        return why_missing(path)
    if path.stat().st_size == 0:
        return "the file is empty"
    with path.open("rb") as stream:
        beginning = stream.read(_CHUNK)
        if words := what_stands_in(beginning[:400]):
            return words
        while not beginning.strip(b"\0"):
            beginning = stream.read(_CHUNK)
            if not beginning:
                return "the file holds nothing but zeros"
    return None


def _ending(path: Path) -> str:
    """Ending of a name in lower case; empty for none and for numbers, as in MR.1.2.840.113619."""
    suffix = path.suffix.lower()
    return "" if re.fullmatch(r"\.\d+", suffix) else suffix


def warn_of_numbers(frames: list[Frame], name: str) -> None:
    """Warn where InstanceNumber says that slices are lacking at an end of the series.

    What lacks in the middle shows in the positions, which are refused where they are uneven. So numbers that grow or
    fall with the position may have gaps. Several echoes or time points that share one numbering, slice by slice or
    block by block, have steps or gaps that are regular.

    Args:
        frames: of one volume, in order along the slice normal.
        name: what the warning calls the volume.
    """
    numbers = [one.instance for one in frames]
    if len({one.path for one in frames}) < len(frames) or None in numbers or len(set(numbers)) < len(numbers):
        return  # one file of many frames, or numbers that number nothing
    steps, counted = np.diff(numbers), np.sort(numbers)
    step = math.gcd(*np.diff(counted).tolist())
    ahead = (int(counted[0]) - 1) // step
    if 0 < ahead < len(numbers):  # from as many on, it is the numbering of what came before in the series
        warn(
            f"{name}: InstanceNumber of its DICOM slices begins at {counted[0]}; check whether {ahead} "
            f"slice{'s are' if ahead > 1 else ' is'} missing at an end"
        )
    if (steps > 0).all() or (steps < 0).all():
        return
    gaps = np.flatnonzero(np.diff(counted) > step)
    between = (np.diff(counted)[gaps] // step - 1).tolist()
    runs = {int(end - begin) for begin, end in itertools.pairwise([-1, *gaps, len(counted) - 1])}
    if between and not (len(runs) == 1 and all(lacking % min(runs) == 0 for lacking in between)):
        warn(
            f"{name}: InstanceNumber of its DICOM slices has gaps, of {sum(between)} numbers in all; check whether "
            "slices are missing at an end"
        )
