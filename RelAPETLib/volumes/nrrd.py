"""NRRD, attached (.nrrd) and with its voxels in a file of their own (.nhdr).

After the definition of the format, https://teem.sourceforge.net/nrrd/format.html. Fields, types, spaces and encodings
are closed lists.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import printable, warn
from .streams import ByteStream
from .text_headers import data_file, data_path, field_error, integer, missing_field, next_line, numbers
from .voxels import read_text_voxels, read_voxels, three_axes
from .writing import MARK

if TYPE_CHECKING:
    import SimpleITK as sitk

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_ENCODINGS = {"raw": None, "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_TEXT = ("ascii", "text", "txt")
#: Which of a space's axes point away from R, A, S.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_SYNONYMS = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "blocksize": "block size",
    "sampleunits": "sample units",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centerings": "centers",
    "oldmin": "old min",
    "oldmax": "old max",
}
_FIELDS = set(_SYNONYMS.values()) | set(
    "type dimension sizes endian encoding space spacings thicknesses kinds labels units content number min max".split()
)
_FIELDS |= {"space dimension", "space directions", "space origin", "space units", "measurement frame"}
_MAX_SKIPPED_LINES = 10_000


def is_nrrd(beginning: bytes) -> bool:
    """Whether a file that begins so is NRRD."""
    return beginning.startswith(b"NRRD000")


def read_nrrd(stream: ByteStream, path: Path, name: str) -> sitk.Image:
    """Read what `read_volume` promises from a stream at the header's first byte."""
    fields = _read_header(stream)
    sizes = _sizes(fields, stream)
    kept, affine = _affine(fields, sizes, stream, name)
    shape = three_axes([sizes[axis] for axis in kept], stream.label)
    type_name = _wanted(fields, "type", stream)
    dtype = _DTYPES.get(" ".join(type_name.lower().split()))
    if dtype is None:
        raise field_error(stream, "type", type_name, "one number a voxel, of 1 to 8 bytes, is read")
    named = fields.get("data file", "")
    found = data_file(stream, path, "data file", named) if "data file" in fields else contextlib.nullcontext(stream)
    with found as data:
        image = _read_data(fields, data, np.dtype(dtype), shape, affine)
    if MARK in _own_keys(fields):
        image.SetMetaData(MARK, "1")
    return image


def own_keys(stream: ByteStream) -> dict[str, str]:
    """The ``key:=value`` pairs of the header at the stream's first byte, which are no fields of the format."""
    return _own_keys(_read_header(stream))


def _own_keys(fields: dict[str, str]) -> dict[str, str]:
    return {key.removesuffix(":="): value for key, value in fields.items() if key.endswith(":=")}


def nrrd_voxel_file(stream: ByteStream, path: Path) -> Path | None:
    """The file of its own that holds the voxels of the header at the stream's first byte, if there is one."""
    fields = _read_header(stream)
    return data_path(stream, path, "data file", fields["data file"]) if "data file" in fields else None


def _read_header(stream: ByteStream) -> dict[str, str]:
    magic = next_line(stream) if is_nrrd(stream.peek(8)) else None
    if magic is None or not re.fullmatch(r"NRRD000[1-9]", magic):
        raise InputError(f"{stream.label}: not a readable image of its kind: no NRRD header at its beginning")
    fields: dict[str, str] = {}
    while line := next_line(stream):  # an empty line ends the header, in a .nhdr also the end of the file
        key, separator, value = line.partition(":")
        if line.startswith("#"):
            continue
        if value.startswith("="):  # a key of the user's own, which is none of the fields
            fields.setdefault(f"{key}:=", value[1:])
            continue
        key = " ".join(key.lower().split())
        key = _SYNONYMS.get(key, key)
        if not separator or key not in _FIELDS:
            raise InputError(
                f"{stream.label}: {printable(line, 60)!r} in its header is no field of NRRD; it is damaged"
            )
        if key in fields:
            raise InputError(f"{stream.label}: two fields '{key}' in its header; it is damaged")
        fields[key] = value.strip()
    return fields


def _wanted(fields: dict[str, str], field: str, stream: ByteStream) -> str:
    if field not in fields:
        raise InputError(f"{stream.label}: not a readable image of its kind: no field '{field}' in its NRRD header")
    return fields[field]


def _sizes(fields: dict[str, str], stream: ByteStream) -> list[int]:
    dimension = integer(stream, "dimension", _wanted(fields, "dimension", stream))
    if not 1 <= dimension <= 16:
        raise field_error(stream, "dimension", str(dimension), "1 to 16 axes can be")
    parts = _wanted(fields, "sizes", stream).split()
    if len(parts) != dimension:
        raise field_error(stream, "sizes", fields["sizes"], f"{dimension} whole numbers are wanted")
    return [integer(stream, "sizes", part) for part in parts]


def _affine(fields: dict[str, str], sizes: list[int], stream: ByteStream, name: str) -> tuple[list[int], np.ndarray]:
    """Which axes lie in space, or are longer than 1 though they do not; 4x4 from the first three to RAS mm."""
    if len(sizes) < 3:
        three_axes(sizes, stream.label)
    if "space" not in fields:
        raise InputError(
            f"{stream.label}: no patient space in its header, so its orientation is unknown; export it with one"
        )
    signs = _SPACES.get(fields["space"].lower())
    if signs is None:
        space = printable(fields["space"], 60)
        raise InputError(
            f"{stream.label}: its space is {space}; save it as left-posterior-superior, so that it is plain"
        )
    vectors = _directions(fields, sizes, stream)
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] != 1]
    if others and others[0] < max(spatial, default=-1):
        raise InputError(f"{stream.label}: several values a voxel (colour, vector); one grey value is wanted")
    if len(spatial) != 3:
        raise field_error(stream, "space directions", fields["space directions"], "three vectors are wanted")
    if "space origin" not in fields:
        raise missing_field(stream, "space origin", "its place is")
    _check_units(fields, stream)
    origin = numbers(stream, "space origin", re.sub(r"[()]", " ", fields["space origin"]), 3)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([vectors[axis] for axis in spatial])
    affine[:3, 3] = origin
    _compare_spacings(fields, affine, spatial, sizes, stream, name)
    return spatial + others, np.diag([*signs, 1]) @ affine


def _directions(fields: dict[str, str], sizes: list[int], stream: ByteStream) -> list[list[float] | None]:
    """One vector an axis; None for an axis that does not lie in space."""
    if "space directions" not in fields:
        raise missing_field(stream, "space directions", "its orientation is")
    text = fields["space directions"]
    parts = re.findall(r"\([^()]*\)|[^()\s]+", text)
    if len(parts) != len(sizes):
        raise field_error(stream, "space directions", text, f"{len(sizes)} vectors are wanted, one an axis")
    vectors: list[list[float] | None] = []
    for part in parts:
        vector = None if part.lower() in ("none", "nan") else numbers(stream, "space directions", part.strip("()"), 3)
        vectors.append(None if vector is None or np.isnan(vector).all() else vector)
    return vectors


def _check_units(fields: dict[str, str], stream: ByteStream) -> None:
    """Refuse other units than mm, which ITK would take for mm."""
    for unit in re.findall(r'"([^"]*)"', fields.get("space units", "")):
        if unit.strip().lower() not in ("mm", "millimeter", "millimeters", "millimetre", "millimetres", ""):
            raise field_error(stream, "space units", fields["space units"], "save it in mm")


def _compare_spacings(
    fields: dict[str, str], affine: np.ndarray, spatial: list[int], sizes: list[int], stream: ByteStream, name: str
) -> None:
    """Warn where spacings, which a header with directions should not have, say something else than they."""
    if "spacings" not in fields:
        return
    given = np.array(numbers(stream, "spacings", fields["spacings"], len(sizes)))[spatial]
    found = np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(given - found) * np.array(sizes)[spatial] > 0.5).any():
        warn(f"{name}: spacings of {given.tolist()} mm but space directions of {found.tolist()} mm; these are used")


def _read_data(
    fields: dict[str, str], data: ByteStream, dtype: np.dtype, shape: tuple[int, int, int], affine: np.ndarray
) -> sitk.Image:
    encoding = _wanted(fields, "encoding", data).lower()
    lines, skip = (integer(data, field, fields.get(field, "0")) for field in ("line skip", "byte skip"))
    if not 0 <= lines <= _MAX_SKIPPED_LINES:
        raise field_error(data, "line skip", str(lines), f"0 to {_MAX_SKIPPED_LINES} is wanted")
    for _ in range(lines):
        data.readline(2**20)
    if encoding in _TEXT:
        return read_text_voxels(data, shape, affine)
    if encoding not in _ENCODINGS:
        raise field_error(data, "encoding", encoding, "raw, gzip, bzip2 or ascii is read")
    if dtype.itemsize > 1:
        endian = fields.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise missing_field(data, "endian (little or big)", "the order of its bytes is")
        dtype = dtype.newbyteorder(endian[0].replace("l", "<").replace("b", ">"))
    data = data.decoded(_ENCODINGS[encoding])
    if skip == -1 and encoding == "raw":  # the voxels are the end of the file
        skip = max(0, (data.left or 0) - int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    if skip < 0:
        raise field_error(data, "byte skip", str(skip), "0 or more is wanted, or -1 where the encoding is raw")
    data.skip(skip)
    return read_voxels(data, dtype, shape, affine)
