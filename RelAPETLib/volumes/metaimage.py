"""MetaImage, attached (.mha) and with its voxels in a file of their own (.mhd).

After https://itk.org/Wiki/ITK/MetaIO/Documentation and what ITK reads and writes. Fields that say where the voxels lie,
what they are and how they lie in space must be there; fields of the user's own are passed over.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import warn
from .streams import ByteStream
from .text_headers import data_file, data_path, field_error, integer, missing_field, next_line, numbers
from .voxels import read_text_voxels, read_voxels, three_axes

if TYPE_CHECKING:
    import SimpleITK as sitk

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_SYNONYMS = {
    "Origin": "Offset",
    "Position": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB",
}
_FIELDS = set(_SYNONYMS.values()) | set(
    "ObjectType NDims DimSize ElementType ElementDataFile ElementSpacing DistanceUnits ElementNumberOfChannels".split()
)
_FIELDS.add("AnatomicalOrientation")
_FIELDS |= set("BinaryData CompressedData CompressedDataSize HeaderSize".split())
_FIELDS |= {"ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"}
#: RAS direction of an axis that comes from a side.
_COMES_FROM = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "I": (0, 0, 1), "S": (0, 0, -1)}
_BEGINNINGS = (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType")


def is_metaimage(beginning: bytes) -> bool:
    """Whether a file that begins so is MetaImage."""
    return beginning.lstrip().startswith(_BEGINNINGS)


def read_metaimage(stream: ByteStream, path: Path, name: str) -> sitk.Image:
    """Read what `read_volume` promises from a stream at the header's first byte."""
    fields = _read_header(stream)
    dimensions = integer(stream, "NDims", fields.get("NDims", ""))
    if not 1 <= dimensions <= 10:
        raise field_error(stream, "NDims", str(dimensions), "not a readable image of its kind")
    sizes = fields["DimSize"].split()
    if len(sizes) != dimensions:
        raise field_error(stream, "DimSize", fields["DimSize"], f"{dimensions} whole numbers are wanted")
    if fields.get("ElementNumberOfChannels", "1") != "1" or fields["ElementType"].endswith("_ARRAY"):
        raise InputError(f"{stream.label}: several values a voxel (colour, vector); one grey value is wanted")
    shape = three_axes([integer(stream, "DimSize", size) for size in sizes], stream.label)
    affine = _affine(fields, dimensions, stream)
    _compare_orientation(fields, affine, name)
    if fields["ElementType"] not in _DTYPES:
        wanted = "a type of a known number of bytes is read, e.g. MET_SHORT or MET_FLOAT"  # MET_LONG has 4 or 8
        raise field_error(stream, "ElementType", fields["ElementType"], wanted)
    _check_intensities(fields, stream)
    big = _flag(fields, "ElementByteOrderMSB", stream)
    dtype = np.dtype(_DTYPES[fields["ElementType"]]).newbyteorder(">" if big else "<")
    named = fields["ElementDataFile"]
    local = named.upper() == "LOCAL"
    if named.upper().split()[:1] == ["LIST"]:
        raise field_error(stream, "ElementDataFile", named, "one file with all voxels is wanted")
    found = contextlib.nullcontext(stream) if local else data_file(stream, path, "ElementDataFile", named)
    with found as data:
        return _read_data(fields, data, local, dtype, shape, affine)


def metaimage_voxel_file(stream: ByteStream, path: Path) -> Path | None:
    """The file of its own that holds the voxels of the header at the stream's first byte, if there is one."""
    named = _read_header(stream)["ElementDataFile"]
    return None if named.upper() == "LOCAL" else data_path(stream, path, "ElementDataFile", named)


def _read_header(stream: ByteStream) -> dict[str, str]:
    """Fields up to ElementDataFile, which is the last."""
    fields: dict[str, str] = {}
    if not is_metaimage(stream.peek(64)):
        raise InputError(f"{stream.label}: not a readable image of its kind: no MetaImage header at its beginning")
    while "ElementDataFile" not in fields and (line := next_line(stream)) is not None:
        key, separator, value = line.partition("=" if "=" in line else ":")
        key = _SYNONYMS.get(key.strip(), key.strip())
        if separator and key in _FIELDS and fields.setdefault(key, value.strip()) != value.strip():
            raise InputError(f"{stream.label}: two values of {key} in its header; it is damaged")
    missing = [field for field in ("NDims", "DimSize", "ElementType", "ElementDataFile") if field not in fields]
    if missing:
        raise InputError(f"{stream.label}: not a readable image of its kind: no {missing[0]} in its MetaImage header")
    if fields.get("ObjectType", "Image") != "Image":
        raise field_error(stream, "ObjectType", fields["ObjectType"], "an Image is wanted")
    return fields


def _flag(fields: dict[str, str], field: str, stream: ByteStream, default: str = "False") -> bool:
    value = fields.get(field, default)
    if value.lower() not in ("true", "false", "1", "0"):
        raise field_error(stream, field, value, "True or False is wanted")
    return value.lower() in ("true", "1")


def _affine(fields: dict[str, str], dimensions: int, stream: ByteStream) -> np.ndarray:
    """4x4 from voxel indices to RAS mm; ITK would take 1 mm, no rotation and the origin for what is missing."""
    for field, unknown in (("ElementSpacing", "the size of its voxels is"), ("Offset", "its place is")):
        if field not in fields:
            raise missing_field(stream, field, unknown)
    if "TransformMatrix" not in fields:
        raise missing_field(stream, "TransformMatrix", "its orientation is")
    if fields.get("DistanceUnits", "mm").lower() not in ("mm", "?", "unknown"):
        raise field_error(stream, "DistanceUnits", fields["DistanceUnits"], "save it in mm")
    spacing = np.array(numbers(stream, "ElementSpacing", fields["ElementSpacing"], dimensions))[:3]
    matrix = np.reshape(numbers(stream, "TransformMatrix", fields["TransformMatrix"], dimensions**2), (dimensions, -1))
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3].T * spacing  # a row of the matrix is an axis' direction
    affine[:3, 3] = numbers(stream, "Offset", fields["Offset"], dimensions)[:3]
    if np.isnan(spacing).any() or (spacing == 0).any():
        raise InputError(f"{stream.label}: zero voxel spacing in its header (ElementSpacing); export it again")
    if np.isnan(matrix[:3, :3]).any():
        raise field_error(stream, "TransformMatrix", fields["TransformMatrix"], "numbers are wanted")
    lengths = np.linalg.norm(matrix[:3, :3], axis=1)
    if (lengths > 0).all() and np.abs(lengths - 1).max() > 1e-3:
        raise field_error(stream, "TransformMatrix", fields["TransformMatrix"], "its rows must have length 1")
    return np.diag([-1, -1, 1, 1]) @ affine


def _compare_orientation(fields: dict[str, str], affine: np.ndarray, name: str) -> None:
    """Warn where the letters of AnatomicalOrientation, the sides that the axes come from, say something else."""
    letters = fields.get("AnatomicalOrientation", "???").upper()
    if len(letters) != 3 or not set(letters) <= set(_COMES_FROM):
        return  # unknown, as MetaIO writes it
    stated = np.array([_COMES_FROM[letter] for letter in letters]).T
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if ((axes * stated).sum(axis=0) < 0.5).any():
        warn(f"{name}: its AnatomicalOrientation is {letters}, which its TransformMatrix contradicts; that is used")


def _check_intensities(fields: dict[str, str], stream: ByteStream) -> None:
    """Refuse a slope or an offset of the values: the format has them, ITK passes them over."""
    for field, neutral in (("ElementToIntensityFunctionSlope", 1), ("ElementToIntensityFunctionOffset", 0)):
        if field in fields and numbers(stream, field, fields[field], 1) != [neutral]:
            raise field_error(stream, field, fields[field], "save it with the slope 1 and the offset 0")


def _read_data(
    fields: dict[str, str],
    data: ByteStream,
    local: bool,
    dtype: np.dtype,
    shape: tuple[int, int, int],
    affine: np.ndarray,
) -> sitk.Image:
    if not _flag(fields, "BinaryData", data, "True"):
        return read_text_voxels(data, shape, affine)
    skip = integer(data, "HeaderSize", fields.get("HeaderSize", "0"))
    if skip < -1 or (local and skip > 0):
        raise field_error(data, "HeaderSize", str(skip), "0 or -1 is wanted, or more for a file of its own")
    if _flag(fields, "CompressedData", data):
        data.skip(max(skip, 0))
        size = integer(data, "CompressedDataSize", fields.get("CompressedDataSize", "0"))
        if data.left is not None and not 0 <= size <= data.left:
            raise data.damaged(f"its compressed data are shorter than the {size} bytes its header promises")
        return read_voxels(data.decoded("gzip"), dtype, shape, affine)
    if skip == -1:  # the voxels are the end of the file
        skip = max(0, (data.left or 0) - int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    data.skip(skip)
    return read_voxels(data, dtype, shape, affine)
