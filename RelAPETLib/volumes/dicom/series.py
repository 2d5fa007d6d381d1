"""From the pictures of a folder or file to one volume: which belong together, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...absent import is_listed
from ...errors import InputError
from ...host_memory import free_host_bytes
from ...notices import printable, warn
from ..endings import name_without_ending
from .frames import NATIVE, Frame, read_frames
from .lacking import ENDINGS, check_left_out, warn_of_numbers, why_no_dicom
from .origin import Origin

#: Slices closer than this lie at the same place.
_SAME_PLACE_MM = 1e-3
#: Distances between neighbours may differ by this share of their median; scanners round positions.
_SPACING_TOLERANCE = 0.05
#: Direction cosines may differ by this between slices of one volume.
_COSINE_TOLERANCE = 1e-3
#: SpacingBetweenSlices may differ from the positions' distance by this share before it is said.
_BETWEEN_TOLERANCE = 0.1
#: A billion voxels is a damaged header, not a head.
_MAX_VOXELS = 2**30
#: No codec shrinks a scan this far.
_MAX_RATIO = 1000
#: So many series are listed in a message.
_LISTED = 4
#: So many volumes of other formats.
_SHOWN = 3


@dataclass(frozen=True)
class Series:
    """A DICOM series whose slices make a volume.

    Attributes:
        files: one path a slice, in order along the slice normal; the same one for all frames of a multi-frame file.
        affine: 4x4 from (column, row, slice) to RAS millimetres.
        shape: columns, rows, slices.
        frames: the slices in that order.
        origin: whose scan it is.
    """

    files: list[Path]
    affine: np.ndarray
    shape: tuple[int, int, int]
    frames: list[Frame]
    origin: Origin


def find_series(folder: Path, name: str = "DICOM series") -> Series:
    """The one series in a folder, from its headers alone.

    Raises and warns as `read_dicom_folder` does, but for the pixels.
    """
    frames, without_image, broken, left_out = [], 0, [], []
    for path in dicom_candidates(folder):
        try:
            found = read_frames(path) if path.exists() else None
        except InputError as error:
            broken.append(error)
            continue
        if found is None:
            left_out.append(path)
        frames += found or []
        without_image += found == []
    if broken:
        more = f" (and {len(broken) - 1} more files of this folder)" if len(broken) > 1 else ""
        raise InputError(f"{broken[0]}{more}") from broken[0]
    named = any(path.suffix.lower() in ENDINGS for path in left_out)
    if frames or without_image or named or all(map(why_no_dicom, left_out)):  # else an empty file among others' files
        check_left_out(left_out, {one.path for one in frames})
    if without_image and not frames:
        raise InputError(
            f"{printable(folder)}: no DICOM images in this folder, only objects without a picture (reports, raw data "
            "or the like); give the folder that holds the series' files"
        )
    if not frames:
        raise InputError(f"{printable(folder)}: no DICOM images in this folder; {_instead(folder)}")
    series = make_series(frames, folder, name)
    if without_image:
        warn(
            f"{name}: {without_image} DICOM object{'s' * (without_image > 1)} without a picture of its own "
            "(presentation state, report, segmentation or the like) left out"
        )
    return series


def _instead(folder: Path) -> str:
    """What to give in place of a folder without DICOM: volumes of other formats that lie in it, if there are any."""
    volumes = sorted(path for path in folder.iterdir() if name_without_ending(path) and is_listed(path))
    if not volumes:
        return "give the folder that holds the series' files"
    more = f" and {len(volumes) - _SHOWN} more" if len(volumes) > _SHOWN else ""
    return f"give one of these files: {', '.join(map(printable, volumes[:_SHOWN]))}{more}"


def dicom_candidates(folder: Path) -> Iterable[Path]:
    """The files of a folder that may be DICOM: hidden ones, a DICOMDIR and folders are left aside.

    Links to files that are not here are among them: each may be a slice that was not fetched.
    """
    for path in sorted(folder.iterdir()):
        if is_listed(path) and not path.name.startswith(".") and path.name.upper() != "DICOMDIR":
            yield path


def make_series(frames: list[Frame], source: Path, name: str) -> Series:
    """One volume of these pictures; `source` is the folder or file in messages, `name` what a warning calls it."""
    _check_one_series(frames, source, name)
    _check_one_person(frames, source)
    frames, step = _in_order(frames, source)
    first = frames[0]
    shape = (*first.size, len(frames))
    _check_size(frames, shape, source)
    distance = float(np.linalg.norm(step))
    if first.between and abs(first.between - distance) > _BETWEEN_TOLERANCE * distance:
        warn(
            f"{name}: SpacingBetweenSlices says {first.between:.2f} mm, the slices' positions {distance:.2f} mm; the "
            "positions are used (are slices missing?)"
        )
    warn_of_numbers(frames, name)
    affine = np.eye(4)  # LPS
    affine[:3, :3] = np.column_stack([first.row * first.spacing[0], first.column * first.spacing[1], step])
    affine[:3, 3] = first.position
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Series([one.path for one in frames], to_ras @ affine, shape, frames, first.origin)


def _check_one_series(frames: list[Frame], source: Path, name: str) -> None:
    series = defaultdict(list)
    for one in frames:
        series[one.series].append(one)
    if len(series) == 1:
        return
    if _is_one_scan(frames, series):
        warn(f"{name}: every slice has a SeriesInstanceUID of its own; read as one volume, since they lie in a row")
        return
    groups = sorted(
        series.values(), key=lambda group: (-1 if group[0].number is None else group[0].number, group[0].path)
    )
    listed = "; ".join(
        f"no. {'?' if group[0].number is None else group[0].number} ({group[0].modality}, {len(group)} of "
        f"{'x'.join(map(str, group[0].size))} pixels)"
        for group in groups[:_LISTED]
    )
    if len(groups) > _LISTED:
        listed += f"; and {len(groups) - _LISTED} more"
    raise InputError(
        f"{printable(source)}: {len(series)} DICOM series, {listed}; put the wanted one into a folder of its own"
    )


def _is_one_scan(frames: list[Frame], series: dict[str, list[Frame]]) -> bool:
    """Whether slices with a series UID each belong together all the same: an export that made the UIDs anew."""
    if len(series) != len(frames) or len(frames) < 3:
        return False
    first = frames[0]
    return all(
        (one.number, one.modality, one.size, one.spacing, one.origin) ==
        (first.number, first.modality, first.size, first.spacing, first.origin)
        and _same_plane(one, first)
        for one in frames
    )  # fmt: skip


def _check_one_person(frames: list[Frame], source: Path) -> None:
    for keyword, values in (
        ("PatientID", {one.origin.patient for one in frames}),
        ("PatientBirthDate", {one.origin.birth for one in frames}),
    ):
        if len(values - {""}) > 1:
            raise InputError(
                f"{printable(source)}: its DICOM images differ in {keyword}; give one series of one person"
            )


def _same_plane(one: Frame, other: Frame) -> bool:
    return np.abs([*(one.row - other.row), *(one.column - other.column)]).max() <= _COSINE_TOLERANCE


def _in_order(frames: list[Frame], source: Path) -> tuple[list[Frame], np.ndarray]:
    """Pictures along their normal and the LPS step from one to the next, in mm."""
    first, where = frames[0], printable(source)
    if len(frames) < 2:
        raise InputError(f"{where}: a single DICOM image; a 3-D volume is wanted")
    for one in frames[1:]:
        if not _same_plane(one, first):
            raise InputError(f"{where}: its DICOM images lie in different planes (a localizer?); give one volume")
        if one.size != first.size or not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            raise InputError(f"{where}: its DICOM images differ in size or pixel spacing; give one volume")
    places = np.array([one.position @ first.normal for one in frames])
    order = np.argsort(places, kind="stable")
    ordered, gaps = [frames[index] for index in order], np.diff(places[order])
    doubled = int((gaps < _SAME_PLACE_MM).sum())
    if doubled:
        raise InputError(
            f"{where}: {doubled} of {len(frames)} DICOM images lie where another one does "
            f"({_why_doubled(ordered, gaps)}); leave one volume in it, or convert it to NIfTI and take one volume"
        )
    spacing = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - spacing) > _SPACING_TOLERANCE * spacing)
    if uneven.size:
        raise InputError(
            f"{where}: slices {uneven[0] + 1} and {uneven[0] + 2} of {len(frames)} are {gaps[uneven[0]]:.2f} mm "
            f"apart, most others {spacing:.2f} mm; slices are missing, copy the series again"
        )
    return ordered, (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)


def _why_doubled(ordered: list[Frame], gaps: np.ndarray) -> str:
    """What pictures at the same place differ in, by the names of DICOM's elements."""
    differing: dict[str, None] = {}
    for index in np.flatnonzero(gaps < _SAME_PLACE_MM):
        one, other = ordered[index].kinds, ordered[index + 1].kinds
        differing |= {keyword: None for keyword in one | other if one.get(keyword) != other.get(keyword)}
    if not differing:
        return "copies, echoes or time points"
    names = list(differing)
    return f"they differ in {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"


def _check_size(frames: list[Frame], shape: tuple[int, int, int], source: Path) -> None:
    """Refuse more voxels than can be or than there is memory for, before it is taken."""
    shown_shape, voxels = "x".join(map(str, shape)), float(np.prod(shape, dtype=float))
    layouts = {one.path: one.format for one in frames}
    stored = sum(layout.size for layout in layouts.values())
    packed = all(layout.syntax not in NATIVE for layout in layouts.values())
    if voxels > _MAX_VOXELS or (packed and stored > _MAX_RATIO * sum(path.stat().st_size for path in layouts)):
        raise InputError(
            f"{printable(source)}: a volume of {shown_shape} voxels cannot be; its DICOM headers are damaged"
        )
    # The volume as float32, its copy as an image, and the stored numbers of one file with the bytes they come from.
    needed = 8 * voxels + 3 * max(layout.size for layout in layouts.values())
    free = free_host_bytes()
    if needed > free:
        raise InputError(
            f"{printable(source)}: a volume of {shown_shape} voxels needs {needed / 1e9:.1f} GB of memory and "
            f"{free / 1e9:.1f} GB are free; resample it or use a machine with more"
        )
