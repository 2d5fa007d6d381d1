"""Reading DICOM: a folder with one series of slices, or one enhanced multi-frame image.

The geometry comes from each picture's own position and orientation (DICOM PS3.3, C.7.6.2 and C.7.6.16), not from file
names, instance numbers or defaults. Messages and warnings name elements, never a name, identifier, date or
description out of the files.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...notices import warn
from ..geometry import image_from_array
from .frames import read_frames
from .header import shown
from .origin import Origin, same_person, same_study
from .pixels import read_stored
from .series import Series, dicom_candidates, find_series, make_series

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "Origin",
    "Series",
    "find_series",
    "origin_of",
    "read_dicom_file",
    "read_dicom_folder",
    "same_person",
    "same_study",
]


def read_dicom_folder(folder: Path, name: str = "DICOM series") -> sitk.Image:
    """The one series in a folder as a float32 volume, rescale slope and intercept applied picture by picture.

    Hidden files, a DICOMDIR and files that are no DICOM are left aside; folders inside are not searched. Read are
    single-frame slices and enhanced multi-frame files, plain or compressed (RLE, JPEG, JPEG-LS, JPEG 2000).

    Args:
        folder: a folder.
        name: what a warning calls the volume, e.g. ``"T1w"``.

    Raises:
        InputError: no series or several; slices of several people; colour or mosaic images; a slice without position,
            orientation or spacing, of another orientation or size, twice or missing; damaged pixels or an unknown
            compression; more voxels than there is memory for.

    Warns:
        objects without a picture were left out; every slice has a series UID of its own; SpacingBetweenSlices is far
        from the positions; a T1w or T2-FLAIR was taken with a contrast agent.
    """
    return _read(find_series(folder, name), folder, name)


def read_dicom_file(path: Path, name: str = "DICOM image") -> sitk.Image:
    """One enhanced multi-frame file as a float32 volume; raises and warns as `read_dicom_folder` does."""
    frames = read_frames(path)
    if frames is None:
        raise InputError(f"{shown(path)}: not a DICOM file, or a damaged one")
    if len(frames) < 2:
        raise InputError(
            f"{shown(path)}: a single DICOM file with one picture or none; give the folder that holds its series"
        )
    return _read(make_series(frames, path, name), path, name)


def origin_of(path: Path) -> Origin | None:
    """Whose scan a DICOM folder or file is, by the first picture in it; None if there is none."""
    candidates = dicom_candidates(path) if path.is_dir() else [path]
    for candidate in candidates:
        found = read_frames(candidate)
        if found:
            return found[0].origin
    return None


def _read(series: Series, source: Path, name: str) -> sitk.Image:
    if series.origin.contrast and name.startswith(("T1w", "T2")):
        warn(f"{name}: taken with a contrast agent, as its DICOM header says; the model was trained on scans without")
    columns, rows, slices = series.shape
    volume = np.empty((slices, rows, columns), np.float32)
    place = {(one.path, one.index): number for number, one in enumerate(series.frames)}
    for path, frames in itertools.groupby(sorted(series.frames, key=lambda one: str(one.path)), lambda one: one.path):
        frames = list(frames)
        stored = read_stored(path, frames[0].format)
        for one in frames:
            with np.errstate(over="ignore", invalid="ignore"):
                volume[place[path, one.index]] = stored[one.index] * one.slope + one.intercept
    if not np.isfinite(volume).all():
        raise InputError(f"{shown(source)}: its DICOM values are too large after RescaleSlope; export the series again")
    return image_from_array(volume.transpose(2, 1, 0), series.affine, str(source))
