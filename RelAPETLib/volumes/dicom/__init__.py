"""Reading DICOM: a folder with one series of slices, or one enhanced multi-frame image.

The geometry comes from each picture's own position and orientation (DICOM PS3.3, C.7.6.2 and C.7.6.16), not from file
names, instance numbers or defaults. Messages and warnings name elements, never a name, identifier, date or
description out of the files.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...notices import printable
from ..contrast import warn_of_contrast
from ..geometry import image_from_array
from .frames import Frame, read_frames
from .header import read_header
from .lacking import why_no_dicom
from .origin import Origin, same_person, same_study
from .pixels import stored_numbers
from .series import Series, dicom_candidates, find_series, make_series

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "Origin",
    "Series",
    "dicom_says_synthetic",
    "dicom_units",
    "find_series",
    "is_dicom",
    "origin_of",
    "read_dicom_file",
    "read_dicom_folder",
    "same_person",
    "same_study",
]


def read_dicom_folder(folder: Path, name: str = "DICOM series") -> sitk.Image:
    """The one series in a folder as a float32 volume, rescale slope and intercept applied picture by picture.

    Hidden files, a DICOMDIR and files that are no DICOM are left aside; folders inside are not searched. Files that
    were to be slices are not: those that end in .dcm or .ima, and empty ones and the like under a slice's ending. Read
    are single-frame slices and enhanced multi-frame files, plain or compressed (RLE, JPEG, JPEG-LS, JPEG 2000).

    Args:
        folder: a folder.
        name: what a warning calls the volume, e.g. ``"T1w"``.

    Raises:
        InputError: no series or several; slices of several people; colour or mosaic images; a slice without position,
            orientation or spacing, of another orientation or size, twice or missing; a file that was to be a slice and
            is empty, cut, all zeros, a pointer or a link to nothing; damaged pixels or an unknown compression; more
            voxels than there is memory for.

    Warns:
        objects without a picture were left out; every slice has a series UID of its own; SpacingBetweenSlices is far
        from the positions; InstanceNumber says that slices lack at an end; a T1w or T2-FLAIR was taken with a contrast
        agent.
    """
    return _read(find_series(folder, name), folder, name)


def read_dicom_file(path: Path, name: str = "DICOM image") -> sitk.Image:
    """One enhanced multi-frame file as a float32 volume; raises and warns as `read_dicom_folder` does."""
    frames = read_frames(path)
    if frames is None:
        raise InputError(f"{printable(path)}: {why_no_dicom(path) or 'not a DICOM file, or a damaged one'}")
    if not frames:
        raise InputError(f"{printable(path)}: a DICOM object without a picture (report, raw data or the like)")
    if len(frames) == 1:
        raise InputError(f"{printable(path)}: a single DICOM picture; give the folder that holds its series")
    return _read(make_series(frames, path, name), path, name)


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM: many have no ending to their names."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def origin_of(path: Path) -> Origin | None:
    """Whose scan a DICOM folder or file is, by the first picture in it; None if there is none."""
    first = _first_frame(path)
    return first.origin if first else None


def dicom_units(path: Path) -> str | None:
    """Unit of the values of a DICOM folder or file, by the first picture in it; None where nothing is said.

    Returns:
        As the header writes it, ``BQML`` or ``GML``; ``unitless``, BIDS's word, for NONE.

    Raises:
        InputError: as `read_dicom_folder` does for that picture.
    """
    first = _first_frame(path)
    return "unitless" if first and first.units == "NONE" else first and first.units


def dicom_says_synthetic(path: Path) -> bool:
    """Whether the first object with pixels of a DICOM folder or file says that it is synthetic.

    Nothing but its header counts, so that a parametric map, which is not read, says so too.

    Raises:
        InputError: a DICOM file that cannot be parsed.
    """
    for one in dicom_candidates(path) if path.is_dir() else [path]:
        header = read_header(one, ["SyntheticData", "Rows"]) if one.exists() else None
        if header is not None and header.raw("Rows"):
            return header.text("SyntheticData") == "YES"
    return False


def _first_frame(path: Path) -> Frame | None:
    candidates = dicom_candidates(path) if path.is_dir() else [path]
    return next((found[0] for one in candidates if one.exists() and (found := read_frames(one))), None)


def _read(series: Series, source: Path, name: str) -> sitk.Image:
    if series.origin.contrast:
        warn_of_contrast(name, "DICOM header")
    columns, rows, slices = series.shape
    volume = np.empty((slices, rows, columns), np.float32)
    wanted = defaultdict(list)
    for number, one in enumerate(series.frames):
        wanted[one.path].append((number, one))
    for path, stored in stored_numbers({one.path: one.format for one in series.frames}):
        for number, one in wanted[path]:
            with np.errstate(over="ignore", invalid="ignore"):
                volume[number] = stored[one.index] * one.slope + one.intercept
    if not np.isfinite(volume).all():
        raise InputError(f"{printable(source)}: its values are too large after RescaleSlope; export the series again")
    return image_from_array(volume.transpose(2, 1, 0), series.affine, str(source))
