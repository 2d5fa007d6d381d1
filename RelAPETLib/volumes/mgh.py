"""FreeSurfer's MGH and MGZ.

The layout is that of FreeSurfer's wiki (FsTutorial/MghFormat): big-endian, voxels at byte 284, tags behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .streams import ByteStream
from .voxels import read_voxels, three_axes

if TYPE_CHECKING:
    import SimpleITK as sitk

_HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("dims", ">i4", 4),
        ("type", ">i4"),
        ("dof", ">i4"),
        ("good_ras", ">i2"),
        ("delta", ">f4", 3),  # mm between voxels
        ("axes", ">f4", (3, 3)),  # unit RAS directions of the voxel axes, one a row
        ("centre", ">f4", 3),  # RAS mm of the voxel at half of the dimensions
    ]
)
_FIRST_VOXEL = 284
_DTYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def is_mgh(beginning: bytes) -> bool:
    """Whether a file that begins so can be MGH: version 1 and a voxel type of its own."""
    if len(beginning) < _HEADER.itemsize:
        return False
    header = np.frombuffer(beginning[: _HEADER.itemsize], _HEADER)[0]
    return header["version"] == 1 and int(header["type"]) in _DTYPES


def read_mgh(stream: ByteStream) -> sitk.Image:
    """Read what `read_volume` promises from a stream at the file's first byte."""
    label = stream.label
    if not is_mgh(stream.peek(_HEADER.itemsize)):
        raise InputError(f"{label}: not a readable image of its kind: no MGH header at its beginning")
    header = np.frombuffer(stream.read(_HEADER.itemsize), _HEADER)[0]
    sizes = [int(size) for size in header["dims"]]
    shape = three_axes([*sizes[:3], sizes[3] or 1], label)
    if not header["good_ras"]:
        raise InputError(
            f"{label}: goodRASFlag of its header is 0, so its orientation is unknown; export it with its orientation"
        )
    delta = header["delta"].astype(float)
    if not (delta > 0).all():
        raise InputError(f"{label}: zero voxel spacing in its header (delta {delta.tolist()}); export it again")
    affine = np.eye(4)
    affine[:3, :3] = header["axes"].astype(float).T * delta
    affine[:3, 3] = header["centre"] - affine[:3, :3] @ (np.array(shape) / 2)
    stream.skip(_FIRST_VOXEL - stream.position)
    return read_voxels(stream, np.dtype(_DTYPES[int(header["type"])]), shape, affine)
