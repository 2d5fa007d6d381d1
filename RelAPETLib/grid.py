"""The grid the models work on, and the only switch between images and tensors.

A `SimpleITK.Image` has LPS coordinates and arrays indexed [z, y, x]; a network's tensor is [N, C, X, Y, Z] with axes
towards R, A, S, as nibabel shows a RAS image. `image_to_array` and `array_to_image` are the one place where that
transposition and sign happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch


@dataclass(frozen=True)
class ModelGrid:
    """An axis-aligned grid with axes to R, A, S.

    Attributes:
        shape: voxels along x, y, z.
        spacing: mm along x, y, z.
        origin: RAS coordinates in mm of the centre of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix from voxel indices to RAS millimetres (nibabel's convention)."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def reference_image(self) -> sitk.Image:
        """An empty 8-bit image with this geometry, e.g. as the reference of a resampling."""
        import SimpleITK as sitk

        image = sitk.Image([int(n) for n in self.shape], sitk.sitkUInt8)
        self._set_geometry(image)
        return image

    def _set_geometry(self, image: sitk.Image) -> None:
        x, y, z = self.origin
        image.SetOrigin((-x, -y, z))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        image.SetSpacing([float(s) for s in self.spacing])

    def matches(self, image: sitk.Image, tolerance_mm: float = 0.01) -> bool:
        """Whether a 3-D image lies on this grid: same shape and corners within the tolerance."""
        if image.GetDimension() != 3 or tuple(image.GetSize()) != tuple(self.shape):
            return False
        reference = self.reference_image()
        last = [n - 1 for n in self.shape]
        corners = [(i, j, k) for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])]
        distances = [
            np.linalg.norm(
                np.subtract(image.TransformIndexToPhysicalPoint(c), reference.TransformIndexToPhysicalPoint(c))
            )
            for c in corners
        ]
        return max(distances) <= tolerance_mm


#: The published model's grid: ICBM 152 / MNI space, 1 mm, x -79..80, y -106..73, z -72..87 mm.
MNI_GRID = ModelGrid(shape=(160, 180, 160), spacing=(1.0, 1.0, 1.0), origin=(-79.0, -106.0, -72.0))


def image_to_array(image: sitk.Image, grid: ModelGrid = MNI_GRID) -> np.ndarray:
    """Voxels of an image that lies on `grid`, as an array [X, Y, Z] with axes to R, A, S.

    Raises:
        InputError: the image does not lie on the grid.
    """
    import SimpleITK as sitk

    if not grid.matches(image):
        raise InputError(
            f"the image ({'x'.join(map(str, image.GetSize()))} voxels, spacing "
            f"{tuple(round(s, 3) for s in image.GetSpacing())}) is not on the model grid "
            f"({'x'.join(map(str, grid.shape))} voxels, {grid.spacing} mm, RAS origin {grid.origin}); resample it first"
        )
    return _turned(sitk.GetArrayViewFromImage(image))


def array_to_image(array: np.ndarray, grid: ModelGrid = MNI_GRID) -> sitk.Image:
    """Image on `grid` from an array [X, Y, Z] with axes to R, A, S; the array's type is kept.

    Raises:
        InputError: the array's shape is not the grid's.
    """
    import SimpleITK as sitk

    if tuple(array.shape) != tuple(grid.shape):
        raise InputError(f"an array of shape {tuple(array.shape)} does not fit the grid's {tuple(grid.shape)}")
    image = sitk.GetImageFromArray(_turned(np.asarray(array)))
    grid._set_geometry(image)
    return image


def _turned(array: np.ndarray) -> np.ndarray:
    """A copy of an array [X, Y, Z] as [Z, Y, X], and back.

    Plane by plane, which the processor's cache holds: in half the time of a copy of the whole.
    """
    turned = np.empty_like(array.transpose(2, 1, 0), order="C", subok=False)
    for y in range(array.shape[1]):
        turned[:, y, :] = array[:, y, :].T
    return turned


def block_grid(factor: int) -> ModelGrid:
    """The grid of the centres of the model grid's blocks of `factor` voxels a side, which divides its shape."""
    return ModelGrid(
        shape=tuple(n // factor for n in MNI_GRID.shape),
        spacing=tuple(s * factor for s in MNI_GRID.spacing),
        origin=tuple(o + s * (factor - 1) / 2 for o, s in zip(MNI_GRID.origin, MNI_GRID.spacing, strict=True)),
    )


def block_means(array: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of `factor` voxels a side of an array [X, Y, Z] that they fill, float32.

    The array itself for a factor of 1.
    """
    if factor == 1:
        return array
    x, y, z = (n // factor for n in array.shape)
    return array.reshape(x, factor, y, factor, z, factor).mean((1, 3, 5), dtype=np.float32)


def image_to_tensor(image: sitk.Image, grid: ModelGrid = MNI_GRID) -> torch.Tensor:
    """Float32 tensor [1, 1, X, Y, Z] of an image on `grid`. Raises `InputError` as `image_to_array` does."""
    import torch

    return torch.from_numpy(image_to_array(image, grid).astype(np.float32))[None, None]
