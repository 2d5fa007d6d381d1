"""Whether a volume can be a brain scan at all; whether it is one, preprocessing finds out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import printable
from .geometry import ABSURD_MM

if TYPE_CHECKING:
    import SimpleITK as sitk

#: No adult brain fits into less, even with the field of view clipped at the vertex or the neck.
MIN_EXTENT_MM = 80.0
#: More than a metre is a header in other units than it says.
MAX_EXTENT_MM = 1000.0
#: Fewer slices than this are no volume to register.
MIN_VOXELS = 10


def check_volume(image: sitk.Image, name: str) -> None:
    """Refuse a volume that cannot be a head scan.

    Args:
        image: any image.
        name: what the message calls it, e.g. ``"T1w scan.nii.gz"``.

    Raises:
        InputError: not 3-D, several values a voxel, NaN or infinite voxels, constant, fewer than 10 voxels along an
            axis, a field of view below 80 mm or above 1000 mm along an axis, no rotation as direction, or no place.
    """
    import SimpleITK as sitk

    name = printable(name)
    check_kind(image, name)
    _check_finite(image, name)
    direction = np.reshape(image.GetDirection(), (3, 3))
    if not np.allclose(direction @ direction.T, np.eye(3), atol=1e-3):
        raise InputError(f"{name}: its axes are not at right angles; resample it onto an orthogonal grid")
    _check_extent(image, name)
    voxels = sitk.GetArrayViewFromImage(image)
    bad = voxels.size - int(np.isfinite(voxels).sum())
    if bad:
        raise InputError(f"{name}: {bad} of {voxels.size} voxels are NaN or infinite; replace them, e.g. by 0")
    lowest = voxels.min()
    if lowest == voxels.max():
        raise InputError(f"{name}: every voxel is {lowest:g}; there is no picture in it")


def check_kind(image: sitk.Image, name: str) -> None:
    """Raise `InputError` for what is no 3-D image of one grey value a voxel, which ITK would not turn into float32."""
    import SimpleITK as sitk

    if image.GetDimension() != 3 or 1 in image.GetSize():
        raise InputError(f"{name}: {_describe(image)} is not a 3-D volume")
    kind = image.GetPixelID()
    if image.GetNumberOfComponentsPerPixel() != 1 or kind in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{name}: several values a voxel (colour, vector or complex); one grey value is wanted")
    if kind in (sitk.sitkLabelUInt8, sitk.sitkLabelUInt16, sitk.sitkLabelUInt32, sitk.sitkLabelUInt64):
        raise InputError(f"{name}: a label map; one grey value a voxel is wanted")


def _check_finite(image: sitk.Image, name: str) -> None:
    """Files are held to it as they are read (`geometry.split_affine`); an image in memory may have any numbers."""
    for word, numbers in (("spacing", image.GetSpacing()), ("origin", image.GetOrigin())):
        if not all(abs(number) <= ABSURD_MM for number in numbers):  # NaN too
            shown = ", ".join(f"{number:g}" for number in numbers)
            raise InputError(f"{name}: its {word} is ({shown}) mm, which cannot be")


def _check_extent(image: sitk.Image, name: str) -> None:
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    if size.min() < MIN_VOXELS:
        raise InputError(
            f"{name}: {_describe(image)} has fewer than {MIN_VOXELS} slices along an axis; a 3-D scan is wanted"
        )
    extent = size * spacing
    shown = " x ".join(f"{mm:.3g}" for mm in extent)
    if extent.min() < MIN_EXTENT_MM:
        raise InputError(
            f"{name}: a field of view of {shown} mm is too small for a head (at least {MIN_EXTENT_MM:g} mm a side)"
        )
    if extent.max() > MAX_EXTENT_MM:
        raise InputError(f"{name}: a field of view of {shown} mm is too large for a head; are its units millimetres?")


def _describe(image: sitk.Image) -> str:
    return "x".join(map(str, image.GetSize())) + " voxels"
