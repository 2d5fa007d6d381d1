"""NIfTI-1 and NIfTI-2, single files and pairs.

nibabel gives the headers' layout; what their fields mean is decided here, because nibabel mends a header in silence
and ITK chooses between sform and qform by rules of its own.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import printable, warn
from .geometry import corner_distance
from .streams import ByteStream, open_file, open_stream
from .voxels import read_voxels, read_weighted_frames, three_axes
from .writing import DESCRIBED, MARK

if TYPE_CHECKING:
    import SimpleITK as sitk

#: sform, qform and pixdim of one scan may differ by rounding; more than this at a corner and one of them is stale.
FORMS_TOLERANCE_MM = 0.5
#: A quaternion's squared norm may pass 1 by this; headers hold rounded numbers (nibabel #626: 6 digits).
_NORM_TOLERANCE = 1e-3
_SIZES = {348: 1, 540: 2}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres; anything else is read as millimetres
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_SEVERAL = {32: "complex64", 128: "RGB", 1792: "complex128", 2048: "complex256", 2304: "RGBA"}


def is_nifti(beginning: bytes) -> bool:
    """Whether a file that begins so is NIfTI, or the Analyze 7.5 that it grew out of."""
    return _version(beginning) is not None


def count_frames(stream: ByteStream) -> int:
    """Length of the fourth axis by the header that comes next; 1 where there is none, or more than four axes."""
    sizes = _sizes(_read_header(stream), stream.label)
    return sizes[3] if len(sizes) == 4 else 1


def description(stream: ByteStream) -> str:
    """What the header that comes next has in ``descrip``."""
    return _description(_read_header(stream))


def _description(header: np.void) -> str:
    return bytes(header["descrip"]).decode("latin-1").strip("\0 ")


def read_nifti(stream: ByteStream, path: Path, name: str, weights: Mapping[int, float] | None = None) -> sitk.Image:
    """Read what `read_volume` promises, or `read_frames` if there are weights, from a stream at the header."""
    label = stream.label
    header = _read_header(stream)
    magic = bytes(header["magic"])
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise InputError(f"{label}: an Analyze 7.5 image, which holds no orientation; convert it to NIfTI")
    sizes = _sizes(header, label)
    frames = sizes.pop() if weights is not None and len(sizes) == 4 else 1
    shape = three_axes(sizes, label)
    dtype = _dtype(header, label, name)
    affine = _affine(header, shape, label, name)
    slope, inter = _scaling(header, label, name)
    offset = _vox_offset(header, stream)
    with contextlib.ExitStack() as stack:
        if magic.startswith(b"n+"):
            offset -= stream.position
        else:
            stream.finish()
            data = _companion(path, "img", label)
            stream = open_stream(stack.enter_context(open_file(data, printable(data))), printable(data))
        stream.skip(offset)
        if weights is None:
            image = read_voxels(stream, dtype, shape, affine, slope, inter)
        else:
            image = read_weighted_frames(stream, dtype, shape, affine, frames, weights, slope, inter)
    if _description(header).startswith(DESCRIBED):
        image.SetMetaData(MARK, "1")
    return image


def nifti_voxel_file(stream: ByteStream, path: Path) -> Path | None:
    """The .img of the header at the stream's first byte, if it belongs to a pair."""
    attached = bytes(_read_header(stream)["magic"]).startswith(b"n+")
    return None if attached else _companion(path, "img", stream.label)


def header_file(path: Path, label: str) -> Path:
    """The .hdr of a pair, given either of the two."""
    return path if ".hdr" in [suffix.lower() for suffix in path.suffixes[-2:]] else _companion(path, "hdr", label)


def _companion(path: Path, ending: str, label: str) -> Path:
    """The other file of a pair, compressed or not. Raises `InputError` that names it where it is not there."""
    gz = path.suffixes[-1].lower() == ".gz"
    stem = path.with_suffix("").with_suffix("") if gz else path.with_suffix("")
    upper = path.suffixes[-2 if gz else -1].isupper()
    ending = ending.upper() if upper else ending
    plain, packed = stem.with_name(f"{stem.name}.{ending}"), stem.with_name(f"{stem.name}.{ending}.gz")
    for known in (os.path.exists, os.path.islink):  # unlike Path's they take a name too long for the disk
        for candidate in (packed, plain) if gz else (plain, packed):
            if known(candidate):
                return candidate
    raise InputError(f"{label}: its other file, {printable(plain.name)}, is not there; the pair belongs together")


def _version(beginning: bytes) -> tuple[int, str] | None:
    """Which NIfTI (1 or 2) and its byte order."""
    for order, name in (("<", "little"), (">", "big")):
        version = _SIZES.get(int.from_bytes(beginning[:4], name))
        if version:
            return version, order
    if beginning[344:348] in (b"n+1\0", b"ni1\0"):  # a wrong sizeof_hdr harms nobody
        return 1, "<" if 1 <= int.from_bytes(beginning[40:42], "little") <= 7 else ">"
    return None


def _read_header(stream: ByteStream) -> np.void:
    from nibabel import nifti1, nifti2

    found = _version(stream.peek(348))
    if found is None:
        raise InputError(f"{stream.label}: not a readable image of its kind: no NIfTI header at its beginning")
    version, order = found
    dtype = (nifti1 if version == 1 else nifti2).header_dtype.newbyteorder(order)
    return np.frombuffer(stream.read(dtype.itemsize), dtype)[0]


def _sizes(header: np.void, label: str) -> list[int]:
    """Lengths of the axes, trailing ones left out down to three."""
    dim = [int(size) for size in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise InputError(f"{label}: dim[0] is {dim[0]}, a number of axes that cannot be; its header is damaged")
    # Some writers leave 0 where 1 is meant; ITK reads it so too.
    sizes = dim[1:4][: dim[0]] + [size or 1 for size in dim[4 : dim[0] + 1]]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _dtype(header: np.void, label: str, name: str) -> np.dtype:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _SEVERAL:
        raise InputError(f"{label}: colour or complex voxels ({_SEVERAL[code]}); one grey value a voxel is wanted")
    if code not in _DTYPES:
        raise InputError(f"{label}: its datatype {code} is none that is read here; save it as int16 or float32")
    dtype = np.dtype(_DTYPES[code]).newbyteorder(header.dtype["dim"].base.byteorder)
    if bits not in (0, dtype.itemsize * 8):
        warn(f"{name}: {bits} bits a voxel by bitpix, {dtype.itemsize * 8} by datatype; the datatype is used")
    return dtype


def _vox_offset(header: np.void, stream: ByteStream) -> int:
    """Byte of the first voxel in its file."""
    offset, least = float(header["vox_offset"]), 0
    if bytes(header["magic"]).startswith(b"n+"):
        least = stream.position + 4  # four bytes say whether extensions follow
        if offset == 0 and stream.peek(1) in (b"\0", b""):  # nibabel #105: it means "right behind the header"
            offset = least
    if not math.isfinite(offset) or offset != int(offset) or offset < least:
        raise InputError(
            f"{stream.label}: its vox_offset is {offset:g}, where no voxels can begin; its header is damaged"
        )
    return int(offset)


def _scaling(header: np.void, label: str, name: str) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 means that there are none."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if math.isnan(slope) and (math.isnan(inter) or inter == 0):
        warn(f"{name}: scl_slope is no number; its voxels are taken as they are stored")
        return 1.0, 0.0
    for field, value in (("scl_slope", slope), ("scl_inter", inter)):
        if not math.isfinite(value):
            raise InputError(f"{label}: its {field} is {value}, so what its voxels mean is unknown; export it again")
    return slope, inter


def _affine(header: np.void, shape: tuple[int, int, int], label: str, name: str) -> np.ndarray:
    """Voxel indices to RAS millimetres: sform if its code > 0, else qform if its code > 0."""
    pixdim = np.array(header["pixdim"][1:4], dtype=float)
    if not np.isfinite(pixdim).all() or (pixdim == 0).any():
        raise InputError(f"{label}: zero voxel spacing in its header (pixdim {pixdim.tolist()}); export it again")
    mm = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    scale = np.diag([mm, mm, mm, 1.0])
    sform = scale @ np.vstack([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]]).astype(float)
    qform = _qform(header, pixdim)
    if header["qform_code"] <= 0:
        qform = None
    elif qform is None and header["sform_code"] <= 0:
        raise InputError(f"{label}: its qform is no rotation or its pixdim is negative; export it again")
    elif qform is None:
        warn(f"{name}: the qform is no rotation or pixdim is negative; the sform is used")
    else:
        qform = scale @ qform
    if header["sform_code"] > 0:
        return _sform_or_qform(sform, qform, np.abs(pixdim) * mm, shape, label, name)
    if qform is None:
        raise InputError(
            f"{label}: neither sform nor qform is set, so its orientation is unknown; export it with its orientation"
        )
    return qform


def _sform_or_qform(
    sform: np.ndarray, qform: np.ndarray | None, pixdim: np.ndarray, shape: tuple[int, int, int], label: str, name: str
) -> np.ndarray:
    """The sform, unless it is plainly not this scan's; `qform` is None where it is not to be had."""
    spacing = np.linalg.norm(sform[:3, :3], axis=0) if np.isfinite(sform).all() else np.full(3, np.nan)
    empty = bool(np.isnan(spacing).any()) or abs(np.linalg.det(sform[:3, :3])) < 1e-9
    agrees = not empty and bool((np.abs(spacing - pixdim) * shape <= FORMS_TOLERANCE_MM).all())
    # What a library writes that knows no better (ITK #3514).
    untouched = np.array_equal(sform[:3, :3], np.eye(3)) and not agrees
    sizes = f"{_mm(spacing)} by the sform, {_mm(pixdim)} by pixdim"
    if qform is None:
        if untouched:
            raise InputError(f"{label}: its sform is the unit matrix, but its voxels are {sizes}; export it again")
        if not empty and not agrees:
            warn(f"{name}: voxels of {sizes}; the sform is used")
        return sform
    if empty or untouched:
        what = "is the unit matrix against pixdim" if untouched else "is zero, singular or not finite"
        warn(f"{name}: the sform {what}; the qform is used ({_mm(pixdim)})")
        return qform
    difference = corner_distance(sform, qform, shape)
    if not difference <= FORMS_TOLERANCE_MM:  # NaN too
        tail = "" if agrees else f" ({sizes})"
        warn(f"{name}: sform and qform put a corner of the volume {difference:.1f} mm apart{tail}; the sform is used")
    return sform


def _mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing) + " mm"


def _qform(header: np.void, pixdim: np.ndarray) -> np.ndarray | None:
    """4x4 of the quaternion and pixdim, in the header's units; None where they are none."""
    from nibabel.quaternions import quat2mat

    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest >= -_NORM_TOLERANCE or (pixdim < 0).any():
        return None
    # quat2mat divides by the norm, so what rounding added is gone.
    rotation = quat2mat([math.sqrt(max(rest, 0.0)), b, c, d])
    qfac = -1.0 if header["pixdim"][0] < 0 else 1.0
    qform = np.eye(4)
    qform[:3, :3] = rotation * pixdim * [1, 1, qfac]
    qform[:3, 3] = header["qoffset_x"], header["qoffset_y"], header["qoffset_z"]
    return qform
