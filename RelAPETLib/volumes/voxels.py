"""From a stream of stored values to a float32 image, slab by slab: one copy of the volume is all that is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..host_memory import free_host_bytes
from .geometry import place, split_affine

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .streams import ByteStream

#: A billion voxels is a damaged header, not a head.
MAX_VOXELS = 2**30
#: Stored bytes taken at a time; at least one plane.
_SLAB = 2**22
#: Numbers written out as text take forty times their room while they are read.
_MAX_TEXT = 2**23
_FLOAT32 = 4


def three_axes(sizes: list[int], label: str) -> tuple[int, int, int]:
    """Sizes of a volume's three axes, trailing axes of one dropped. Raises `InputError` where it is no volume."""
    shape = list(sizes)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shown = "x".join(map(str, shape))
    if len(shape) > 3:
        raise InputError(f"{label}: {len(shape)}-D ({shown}); take one 3-D volume out of it")
    if len(shape) < 3 or 1 in shape:
        raise InputError(f"{label}: a 2-D image ({shown}); a 3-D volume is wanted")
    if min(shape) < 1 or float(shape[0]) * shape[1] * shape[2] > MAX_VOXELS:
        raise InputError(f"{label}: a volume of {shown} voxels cannot be; the header is damaged")
    return shape[0], shape[1], shape[2]


def read_voxels(
    stream: ByteStream,
    dtype: np.dtype,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    slope: float = 1.0,
    inter: float = 0.0,
) -> sitk.Image:
    """Float32 image of the values that come next in a stream, the first axis fastest, times `slope` plus `inter`.

    The stream is read to its end, so that its check sum is known to be right.

    Args:
        stream: stands at the first value.
        dtype: of a stored value, with its byte order.
        shape: voxels along the file's three axes.
        affine: 4x4 from voxel indices to RAS millimetres.

    Raises:
        InputError: the affine is singular or sheared, the stream too short or damaged, or the memory too small.
    """
    import SimpleITK as sitk

    geometry = split_affine(affine, shape, stream.label)
    plane = shape[0] * shape[1]
    planes = min(shape[2], max(1, _SLAB // (plane * dtype.itemsize)))
    if stream.left is not None and stream.left < plane * shape[2] * dtype.itemsize:
        raise stream.damaged("it is too short for the voxels that its header promises")
    _check_memory(_FLOAT32 * plane * shape[2], planes * plane * (dtype.itemsize + 16), stream.label)
    try:
        image = sitk.Image(shape, sitk.sitkFloat32)
        for first in range(0, shape[2], planes):
            count = min(planes, shape[2] - first)
            stored = np.frombuffer(stream.read(count * plane * dtype.itemsize), dtype)
            slab = _scaled(stored, slope, inter).reshape(count, shape[1], shape[0])
            image[:, :, first : first + count] = sitk.GetImageFromArray(slab)
    except (MemoryError, RuntimeError) as error:  # SimpleITK's way to say that there is no memory
        raise InputError(f"{stream.label}: not enough memory for {'x'.join(map(str, shape))} voxels") from error
    stream.finish()
    place(image, *geometry)
    return image


def read_weighted_frames(
    stream: ByteStream,
    dtype: np.dtype,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    frames: int,
    weights: Mapping[int, float],
    slope: float,
    inter: float,
) -> sitk.Image:
    """Float32 image of the sum of the next `frames` volumes, each times its weight; the others are passed over.

    Otherwise as `read_voxels`.
    """
    import SimpleITK as sitk

    geometry = split_affine(affine, shape, stream.label)
    count = shape[0] * shape[1] * shape[2]
    if stream.left is not None and stream.left < frames * count * dtype.itemsize:
        raise stream.damaged("it is too short for the voxels that its header promises")
    _check_memory(16 * count, _SLAB * 4, stream.label)
    total = np.zeros(count, np.float64)
    slab = max(1, _SLAB // dtype.itemsize)
    for frame in range(frames):
        for first in range(0, count, slab):
            stored = np.frombuffer(stream.read(min(slab, count - first) * dtype.itemsize), dtype)
            if frame in weights:
                total[first : first + slab] += weights[frame] * (stored * np.float64(slope) + np.float64(inter))
    stream.finish()
    image = sitk.GetImageFromArray(total.astype(np.float32).reshape(shape[::-1]))
    place(image, *geometry)
    return image


def read_text_voxels(stream: ByteStream, shape: tuple[int, int, int], affine: np.ndarray) -> sitk.Image:
    """Float32 image of numbers written out, separated by white space, the first axis fastest; raises as `read_voxels`.

    `stream` stands at the first number; texts beyond 8 MB are refused.
    """
    import SimpleITK as sitk

    geometry = split_affine(affine, shape, stream.label)
    text = stream.peek(_MAX_TEXT)
    if len(text) == _MAX_TEXT:
        raise InputError(f"{stream.label}: its voxels are a long text; save it with binary voxels")
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise stream.damaged("its voxels are written as text and not all are numbers") from error
    if values.size != np.prod(shape):
        raise stream.damaged(f"{values.size} voxels are written as text, its header promises {np.prod(shape)}")
    stream.finish()
    image = sitk.GetImageFromArray(_scaled(values, 1.0, 0.0).reshape(shape[::-1]))
    place(image, *geometry)
    return image


def _scaled(stored: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Float32, rounded once; what float32 cannot hold becomes infinite, which `check_volume` refuses."""
    if (slope, inter) != (1.0, 0.0):
        stored = stored * np.float64(slope) + np.float64(inter)
    return stored.astype(np.float32)


def _check_memory(voxels: int, slab: int, label: str) -> None:
    free = free_host_bytes()
    if voxels + slab > free:
        raise InputError(
            f"{label}: reading it takes {(voxels + slab) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; "
            "close other programs or give a coarser volume"
        )
