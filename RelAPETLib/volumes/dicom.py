"""Reading a folder that holds one DICOM series of single-frame slices, with GDCM as SimpleITK carries it.

The geometry comes from each slice's ImagePositionPatient and ImageOrientationPatient (DICOM PS3.3, C.7.6.2), not from
file names or instance numbers. Messages never quote a name, identifier, date or description from the files.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .geometry import image_from_array

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Little-endian transfer syntaxes whose pixels are stored as they are.
_PLAIN = (b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0")
#: Slices closer than this lie at the same place.
_SAME_PLACE_MM = 1e-3
#: Distances between neighbours may differ by this share of their median; scanners round positions.
_SPACING_TOLERANCE = 0.05
#: Direction cosines may differ by this between slices of one volume.
_COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Slice:
    path: Path
    series: str
    number: str
    modality: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    position: np.ndarray  # LPS mm of the centre of the first pixel
    row: np.ndarray  # unit LPS direction along which the column index grows
    column: np.ndarray  # unit LPS direction along which the row index grows

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row, self.column)


@dataclass(frozen=True)
class Series:
    """A DICOM series whose slices make a volume.

    Attributes:
        files: one path a slice, in order along the slice normal.
        affine: 4x4 from (column, row, slice) to RAS millimetres.
        shape: columns, rows, slices.
    """

    files: list[Path]
    affine: np.ndarray
    shape: tuple[int, int, int]


def find_series(folder: Path) -> Series:
    """The one series in a folder, from its headers alone; raises as `read_dicom_folder` does."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    slices = [found for file in files if file.name.upper() != "DICOMDIR" and (found := _read_header(file))]
    if not slices:
        raise InputError(f"{folder}: no DICOM images in this folder; give the folder that holds the series' files")
    _check_one_series(slices, folder)
    slices, step = _in_order(slices, folder)
    first = slices[0]
    affine = np.eye(4)  # LPS
    affine[:3, :3] = np.column_stack([first.row * first.spacing[0], first.column * first.spacing[1], step])
    affine[:3, 3] = first.position
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Series([one.path for one in slices], to_ras @ affine, (*first.size, len(slices)))


def read_dicom_folder(folder: Path) -> sitk.Image:
    """The one series in a folder as a float32 volume, rescale slope and intercept applied slice by slice.

    Hidden files, a DICOMDIR and files that are no DICOM are left aside; folders inside are not searched. Compressed
    files are read where GDCM can (RLE, JPEG, JPEG-LS, JPEG 2000).

    Raises:
        InputError: no series or several; colour, multi-frame or mosaic images; a slice without position, of another
            orientation or size, twice or missing; damaged pixels or an unknown compression.
    """
    series = find_series(folder)
    array = np.stack([_read_pixels(path) for path in series.files], axis=-1)  # [X, Y, Z]
    return image_from_array(array, series.affine, str(folder))


def _reader(path: Path) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader


def _read_header(path: Path) -> _Slice | None:
    """What places a slice; None for a file that is no DICOM."""
    with path.open("rb") as stream:
        is_dicom = stream.read(132)[128:] == b"DICM"
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if is_dicom:
            raise InputError(
                f"{path}: a damaged DICOM file or one without an image; take it out of the folder"
            ) from error
        return None

    def tag(key: str) -> str:
        return reader.GetMetaData(key).strip("\0 ") if reader.HasMetaDataKey(key) else ""

    if int(tag("0028|0008") or 1) > 1 or "MOSAIC" in tag("0008|0008").upper():
        raise InputError(f"{path}: a multi-frame or mosaic DICOM file; convert the series to NIfTI, e.g. with dcm2niix")
    if reader.GetNumberOfComponents() != 1 or tag("0028|0004") not in ("MONOCHROME2", ""):
        raise InputError(f"{path}: not a plain grey DICOM image; one grey value a voxel is wanted")
    position, orientation = np.array(_numbers(tag("0020|0032"))), np.array(_numbers(tag("0020|0037")))
    placed = position.size == 3 and orientation.size == 6 and np.isfinite([*position, *orientation]).all()
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1) if placed else np.zeros(2)
    if not lengths.all():
        raise InputError(f"{path}: a DICOM image without position or orientation in the patient; it cannot be placed")
    return _Slice(
        path=path,
        series=tag("0020|000e"),
        number=tag("0020|0011") or "?",
        modality=tag("0008|0060") or "?",
        size=tuple(reader.GetSize()[:2]),
        spacing=tuple(reader.GetSpacing()[:2]),
        position=position,
        row=orientation[:3] / lengths[0],
        column=orientation[3:] / lengths[1],
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split("\\")] if text else []
    except ValueError:
        return []


def _check_one_series(slices: list[_Slice], folder: Path) -> None:
    series = defaultdict(list)
    for one in slices:
        series[one.series].append(one)
    if len(series) > 1:
        listed = "; ".join(
            f"no. {group[0].number} ({group[0].modality}, {len(group)} of {'x'.join(map(str, group[0].size))} pixels)"
            for group in sorted(series.values(), key=lambda group: group[0].number)
        )
        raise InputError(f"{folder}: {len(series)} DICOM series, {listed}; put the wanted one into a folder of its own")


def _in_order(slices: list[_Slice], folder: Path) -> tuple[list[_Slice], np.ndarray]:
    """Slices along their normal and the LPS step from one to the next, in mm."""
    first = slices[0]
    if len(slices) < 2:
        raise InputError(f"{folder}: a single DICOM image; a 3-D volume is wanted")
    for one in slices[1:]:
        if np.abs([*(one.row - first.row), *(one.column - first.column)]).max() > _COSINE_TOLERANCE:
            raise InputError(f"{folder}: its DICOM images lie in different planes (a localizer?); give one volume")
        if one.size != first.size or not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            raise InputError(f"{folder}: its DICOM images differ in size or pixel spacing; give one volume")
    places = np.array([one.position @ first.normal for one in slices])
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    doubled = int((gaps < _SAME_PLACE_MM).sum())
    if doubled:
        raise InputError(
            f"{folder}: {doubled} of {len(slices)} DICOM images lie where another one does (copies, echoes or time "
            "points); leave one volume in the folder"
        )
    spacing = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - spacing) > _SPACING_TOLERANCE * spacing)
    if uneven.size:
        raise InputError(
            f"{folder}: slices {uneven[0] + 1} and {uneven[0] + 2} of {len(slices)} are {gaps[uneven[0]]:.2f} mm "
            f"apart, most others {spacing:.2f} mm; slices are missing, copy the series again"
        )
    ordered = [slices[index] for index in order]
    return ordered, (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)


def _read_pixels(path: Path) -> np.ndarray:
    """Rescaled voxels [X, Y] of one slice, float32."""
    import SimpleITK as sitk

    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        _check_whole(path, int(np.prod(reader.GetSize())) * int(reader.GetMetaData("0028|0100")) // 8)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"{path}: its DICOM pixels are damaged or their compression is not known; copy it again or decompress it"
        ) from error
    return sitk.GetArrayFromImage(image)[0].T


def _check_whole(path: Path, wanted: int) -> None:
    """Refuse plain pixels that end early: GDCM before SimpleITK 2.5.4 makes up the rest."""
    content = path.read_bytes()
    beginning = content[:1024]
    syntax = beginning.find(b"\x02\x00\x10\x00UI")  # TransferSyntaxUID of the file meta information
    if not beginning[syntax + 8 :].startswith(_PLAIN):
        return
    # An icon's pixels may come first: then this looks at more than it should and refuses less.
    pixels = content.find(b"\xe0\x7f\x10\x00")
    if len(content) - pixels - 8 < wanted:
        raise InputError(f"{path}: its DICOM pixels are damaged (the file ends early); copy it again")
