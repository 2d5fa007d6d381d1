"""Between an image's geometry (LPS origin, spacing, direction) and an affine (voxel indices to RAS millimetres)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

_FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back

#: A corner of the volume may move this far when the axes are made exactly orthogonal: headers hold rounded numbers.
SHEAR_TOLERANCE_MM = 0.5
#: Grids of one size whose corners lie nearer to each other than this are the same, written by two programs.
SAME_GRID_MM = 0.1
#: Ten kilometres are a damaged header.
ABSURD_MM = 1e7


def image_affine(image: sitk.Image) -> np.ndarray:
    """4x4 matrix from voxel indices (x, y, z) to RAS millimetres, nibabel's convention."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return _FLIP_XY @ affine + 0.0  # + 0.0 turns -0.0 into 0.0


def image_from_array(array: np.ndarray, affine: np.ndarray, name: str = "volume") -> sitk.Image:
    """Image from an array [X, Y, Z] and its affine to RAS millimetres, as nibabel gives them.

    The array's type is kept. Axes that are orthogonal but for rounding (no corner moves by more than 0.5 mm) are made
    exactly so, since ITK wants a rotation.

    Raises:
        InputError: the affine is not finite, singular or sheared, or the array is not 3-D; `name` says whose it is.
    """
    import SimpleITK as sitk

    if np.ndim(array) != 3:
        raise InputError(f"{name}: {np.ndim(array)}-D array; a volume has three dimensions")
    geometry = split_affine(affine, np.shape(array), name)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.transpose(array, (2, 1, 0))))
    place(image, *geometry)
    return image


def place(image: sitk.Image, origin: np.ndarray, spacing: np.ndarray, direction: np.ndarray) -> None:
    """Give an image the geometry that `split_affine` found."""
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())


def canonical(image: sitk.Image) -> sitk.Image:
    """The same volume with its array axes permuted and flipped to point to R, A, S as nearly as they can.

    Lossless: voxels keep their values and their places in the world; the rotation of an oblique scan stays in the
    direction matrix. `image_affine` of the result then has its largest entries on a positive diagonal, and
    `sitk.GetArrayFromImage(result).transpose(2, 1, 0)` is what nibabel's `as_closest_canonical` shows.
    """
    import SimpleITK as sitk

    return sitk.DICOMOrient(image, "RAS")


def corner_distance(affine_a: np.ndarray, affine_b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between where two affines put a corner voxel of a volume of that shape [X, Y, Z]."""
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in shape[:3]))]).T
    return float(np.linalg.norm(((affine_a - affine_b) @ corners)[:3], axis=0).max())


def split_affine(affine: np.ndarray, shape: tuple[int, ...], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LPS origin, spacing and orthogonal direction [3, 3] of a 4x4 affine to RAS mm, for a volume of a shape [X, Y, Z].

    Raises `InputError` as `image_from_array` does.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"{name}: its affine has NaN or infinite entries; export the volume again")
    if np.abs(affine).max() > ABSURD_MM:
        raise InputError(f"{name}: its affine has an entry of {np.abs(affine).max():.3g} mm; its header is damaged")
    affine = _FLIP_XY @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing < 1 / ABSURD_MM).any():
        raise InputError(f"{name}: zero voxel spacing along an axis; export the volume again")
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < 1e-3:
        raise InputError(f"{name}: its affine is singular (two axes point the same way); export the volume again")
    left, _, right = np.linalg.svd(axes)
    direction = left @ right  # the nearest orthogonal matrix; a reflection stays one
    orthogonal = affine.copy()
    orthogonal[:3, :3] = direction * spacing
    moved = corner_distance(affine, orthogonal, shape)
    if moved > SHEAR_TOLERANCE_MM:
        raise InputError(
            f"{name}: its affine is sheared (axes not at right angles; a corner is off by {moved:.1f} mm); "
            "resample the volume onto an orthogonal grid"
        )
    return affine[:3, 3], spacing, direction
