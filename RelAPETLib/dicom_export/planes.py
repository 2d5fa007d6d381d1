"""A volume as a stack of DICOM image planes. Axes are permuted and flipped, never resampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..volumes import corner_distance, image_affine
from ..volumes.geometry import SAME_GRID_MM

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Directions of columns, rows and slices in the pictures radiologists are used to, by the nearest axis that the slices
#: are stacked along. All right-handed: slices follow their normal.
_CONVENTION = {"R": ("P", "I", "R"), "A": ("L", "I", "P"), "S": ("L", "P", "S")}


@dataclass(frozen=True)
class Planes:
    """A stack of image planes.

    Attributes:
        pixels: [slices, rows, columns].
        affine: 4x4 from (column, row, slice) to RAS millimetres.
    """

    pixels: np.ndarray
    affine: np.ndarray

    @property
    def _lps(self) -> np.ndarray:
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine + 0.0

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between columns, rows and slices."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def pixel_spacing(self) -> list[float]:
        """DICOM's PixelSpacing: between rows, then between columns."""
        return [self.spacing[1], self.spacing[0]]

    @property
    def orientation(self) -> list[float]:
        """DICOM's ImageOrientationPatient: LPS direction of growing column index, then of growing row index."""
        return [*(self._lps[:3, 0] / self.spacing[0]), *(self._lps[:3, 1] / self.spacing[1])]

    def position(self, index: int) -> list[float]:
        """DICOM's ImagePositionPatient of one slice: LPS millimetres of the centre of its first pixel."""
        return list(self._lps[:3, 3] + index * self._lps[:3, 2])


def own_planes(image: sitk.Image) -> Planes:
    """Planes as the volume is stacked (along its third axis), turned and flipped to the usual view of such planes."""
    import nibabel as nib

    stacked_along = nib.aff2axcodes(image_affine(image))[2]
    axis = next(axis for axis in _CONVENTION if stacked_along in (axis, {"R": "L", "A": "P", "S": "I"}[axis]))
    return _turned(image, nib.orientations.axcodes2ornt(_CONVENTION[axis]))


def axial_planes(image: sitk.Image) -> Planes:
    """Nearest to axial, patient right on the left and anterior at the top, from foot to head."""
    import nibabel as nib

    return _turned(image, nib.orientations.axcodes2ornt(_CONVENTION["S"]))


def planes_on(image: sitk.Image, affine: np.ndarray, shape: tuple[int, ...]) -> Planes | None:
    """Planes on another grid (4x4 to RAS mm; columns, rows, slices), or None if the image has other voxel centres."""
    import nibabel as nib

    array, own = _array(image), image_affine(image)
    turn = nib.io_orientation(np.linalg.inv(affine) @ own)
    turned = nib.apply_orientation(array, turn)
    moved = own @ nib.orientations.inv_ornt_aff(turn, array.shape)
    if turned.shape != tuple(shape) or corner_distance(moved, affine, shape) > SAME_GRID_MM:
        return None
    return Planes(np.ascontiguousarray(turned.transpose(2, 1, 0)), moved)


def _array(image: sitk.Image) -> np.ndarray:
    """[X, Y, Z]"""
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)


def _turned(image: sitk.Image, wanted: np.ndarray) -> Planes:
    import nibabel as nib

    array, affine = _array(image), image_affine(image)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    pixels = nib.apply_orientation(array, turn).transpose(2, 1, 0)
    return Planes(np.ascontiguousarray(pixels), affine @ nib.orientations.inv_ornt_aff(turn, array.shape))
