"""A measured PET as one volume: its frames are averaged where it is dynamic.

Frame times are BIDS's (PET extension): ``FrameTimesStart`` and ``InjectionStart`` in seconds from time zero,
``FrameDuration`` in seconds. A window is in minutes after injection, e.g. 80-100 for 18F-AV1451. A static PET is held
to it, too, where its sidecar says when it was taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import warn
from ..tracers import TRACERS, get_tracer
from .checking import check_volume
from .reading import count_frames, read_frames, read_volume
from .sidecar import sidecar_path

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Frame times are whole seconds; a frame may stick out of a window, overlap or stand off the next by this much.
TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True)
class PetScan:
    """One PET of a case.

    Attributes:
        tracer: short name.
        path: the image, 3-D or 4-D.
        sidecar: its JSON, merged by the BIDS inheritance principle; empty without one.
        sidecar_paths: the files it came from, the nearest last.
    """

    tracer: str
    path: Path
    sidecar: dict = field(default_factory=dict)
    sidecar_paths: tuple[Path, ...] = ()

    @property
    def sidecar_name(self) -> str:
        """What messages call the sidecar: the nearest file, or where it would stand."""
        return str(self.sidecar_paths[-1] if self.sidecar_paths else sidecar_path(self.path) or self.path)


@dataclass(frozen=True)
class Frames:
    """Which frames of a dynamic PET are averaged: those inside a window, or all.

    Attributes:
        minutes: begin and end after injection; None for all frames.
    """

    minutes: tuple[float, float] | None = None

    def __str__(self) -> str:
        return "all" if self.minutes is None else "{:g}-{:g} min".format(*self.minutes)


def parse_frames(words: Sequence[str]) -> dict[str, Frames]:
    """Frames by tracer from ``TAU=80-100``, ``80-100`` (every tracer) or ``all``.

    Raises:
        InputError: another spelling, an empty window, or an unknown tracer.
    """
    frames: dict[str, Frames] = {}
    for word in words:
        name, _, window = word.rpartition("=")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", window)
        if match is None and window != "all":
            raise InputError(f"--frames {word}: give minutes after injection as TAU=80-100, or 'all'")
        minutes = None if match is None else (float(match[1]), float(match[2]))
        if minutes and minutes[0] >= minutes[1]:
            raise InputError(f"--frames {word}: the window is empty")
        for tracer in [get_tracer(name).name] if name else TRACERS:
            if name or tracer not in frames:
                frames[tracer] = Frames(minutes)
    return frames


def read_pet(scan: PetScan, frames: dict[str, Frames]) -> tuple[sitk.Image, dict | None]:
    """A PET as one 3-D volume in its own unit, and which frames it was averaged from.

    Returns:
        The volume, and facts as `choose_frames` gives them; None for a static PET that no window was named for, or of
        which nothing says when it was taken.

    Raises:
        InputError: unreadable, no head scan, NaN voxels; dynamic without frames named, a field of the sidecar missing,
            or no frame in the window; static and not of the window.

    Warns:
        RelAPETWarning: whether a static PET is of the window cannot be told.
    """
    count = count_frames(scan.path)
    if count == 1:
        facts = check_static(scan, frames.get(scan.tracer, Frames()))
        image = read_volume(scan.path, name=f"PET {scan.tracer}")
    else:
        if scan.tracer not in frames:
            raise InputError(
                f"{scan.path}: a dynamic PET of {count} frames; name those to average, --frames {scan.tracer}=80-100"
            )
        chosen, weights, facts = choose_frames(scan, frames[scan.tracer], count)
        image = read_frames(scan.path, dict(zip(chosen, weights, strict=True)), name=f"PET {scan.tracer}")
    check_volume(image, str(scan.path))
    return image, facts


def check_static(scan: PetScan, frames: Frames) -> dict | None:
    """Facts on a static PET that is of a window, by its sidecar; None without a window, or where nothing can be told.

    Raises:
        InputError: it begins or ends elsewhere.

    Warns:
        RelAPETWarning: its sidecar does not say from when to when it is.
    """
    if frames.minutes is None:
        return None
    times = _static_seconds(scan)
    if times is None:
        fields = "FrameTimesStart, FrameDuration and InjectionStart"
        warn(f"PET {scan.tracer}: a static PET whose sidecar does not hold {fields}; whether it is of {frames} after "
             "injection, as --frames says, cannot be checked")  # fmt: skip
        return None
    if any(abs(found - 60 * edge) > TOLERANCE_SECONDS for found, edge in zip(times, frames.minutes, strict=True)):
        begin, end = (seconds / 60 for seconds in times)
        raise InputError(
            f"{scan.path}: a static PET from {begin:g} to {end:g} min after injection by {scan.sidecar_name}, and not "
            f"of {frames}, as --frames says"
        )
    return {"window": str(frames), "frames": [0], "seconds_after_injection": list(times)}


def _static_seconds(scan: PetScan) -> tuple[float, float] | None:
    """Begin and end of a static PET in seconds after injection; None where the sidecar does not hold them.

    Of a PET that was averaged before, the sidecar may still hold all frames.
    """
    found = [scan.sidecar.get(name) for name in ("FrameTimesStart", "FrameDuration", "InjectionStart")]
    try:
        starts, durations, injection = (np.asarray(value, dtype=float) for value in found)  # None becomes NaN
    except (TypeError, ValueError):
        return None
    starts, durations = np.atleast_1d(starts), np.atleast_1d(durations)
    if starts.shape != durations.shape or starts.ndim > 1 or injection.ndim or not starts.size:
        return None
    begin, end = float(starts.min() - injection), float((starts + durations).max() - injection)
    return (begin, end) if np.isfinite([begin, end]).all() and begin < end else None


def needed(scan: PetScan, name: str):
    """A field of the sidecar. Raises `InputError` naming field and file when it is not there."""
    if scan.sidecar.get(name) is None:
        raise InputError(f"{scan.sidecar_name}: no field '{name}', which {scan.path.name} needs")
    return scan.sidecar[name]


def _numbers(scan: PetScan, name: str, count: int) -> np.ndarray:
    values = needed(scan, name)
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        numbers = np.zeros(())
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{scan.sidecar_name}: '{name}' must hold {count} numbers, one a frame")
    return numbers


def choose_frames(scan: PetScan, frames: Frames, count: int) -> tuple[list[int], np.ndarray, dict]:
    """Frames inside the window, their weights (durations, summing to 1), and facts for the record.

    Raises:
        InputError: a field is missing or wrong, not decay-corrected, or the frames do not fill the window one after the
            other.
    """
    starts, durations = _numbers(scan, "FrameTimesStart", count), _numbers(scan, "FrameDuration", count)
    if (durations <= 0).any():
        raise InputError(f"{scan.sidecar_name}: 'FrameDuration' holds a frame of no length; they weight the average")
    if needed(scan, "ImageDecayCorrected") is not True:
        raise InputError(f"{scan.sidecar_name}: 'ImageDecayCorrected' is not true; such frames cannot be averaged")
    injection = needed(scan, "InjectionStart")
    if isinstance(injection, bool) or not isinstance(injection, (int, float)):
        raise InputError(f"{scan.sidecar_name}: 'InjectionStart' must be a number of seconds")
    begin, end = starts - injection, starts - injection + durations
    inside = np.ones(count, bool) if frames.minutes is None else _inside(scan, frames, begin, end)
    chosen = np.flatnonzero(inside)
    weights = durations[chosen] / durations[chosen].sum()
    facts = {
        "window": str(frames),
        "frames": [int(i) for i in chosen],
        "seconds_after_injection": [float(begin[chosen].min()), float(end[chosen].max())],
    }
    return [int(i) for i in chosen], weights, facts


def _inside(scan: PetScan, frames: Frames, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which frames lie in a window, from their seconds after injection.

    Raises:
        InputError: they do not follow one another from the window's begin to its end.
    """
    low, high = (60 * minutes for minutes in frames.minutes)
    inside = (begin >= low - TOLERANCE_SECONDS) & (end <= high + TOLERANCE_SECONDS)
    order = np.flatnonzero(inside)[np.argsort(begin[inside], kind="stable")]
    open_seconds = np.append(begin[order], high) - np.append(low, end[order])  # below 0 where frames overlap
    worst = int(np.abs(open_seconds).argmax())
    if abs(open_seconds[worst]) <= TOLERANCE_SECONDS:
        return inside
    edges = f"{begin.min() / 60:g} to {end.max() / 60:g} min"
    why = ""
    if 0 < worst < len(order):
        seconds = open_seconds[worst]
        how = f"overlap by {-seconds:g} s" if seconds < 0 else f"leave {seconds:g} s open"
        why = f"; frames {order[worst - 1]} and {order[worst]}, counted from 0, {how}"
    raise InputError(
        f"{scan.path}: {len(order)} whole frames lie in {frames}, and do not fill it{why}; "
        f"its {len(begin)} frames are from {edges} after injection"
    )
