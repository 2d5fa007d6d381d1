"""Displacement fields: padding, inversion, Jacobian. A field gives each of its points p a shift u: p -> p + u."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

#: Fields are continued beyond the model grid by this much (mm), at the edge's displacement: the inverse needs it, and a
#: field on 2 mm voxels ends before the 1 mm grid does.
MARGIN_MM = 24.0


def extended(field: sitk.Image, margin_mm: float = MARGIN_MM) -> sitk.Image:
    """A field continued beyond its edges by about `margin_mm` with the nearest edge voxel's value; float64."""
    count = [int(np.ceil(margin_mm / s)) for s in field.GetSpacing()]
    array = sitk.GetArrayFromImage(field).astype(np.float64)
    padded = np.pad(array, [(n, n) for n in count[::-1]] + [(0, 0)], mode="edge")
    image = sitk.GetImageFromArray(padded, isVector=True)
    image.SetSpacing(field.GetSpacing())
    image.SetDirection(field.GetDirection())
    image.SetOrigin(field.TransformContinuousIndexToPhysicalPoint([-float(n) for n in count]))
    return image


def inverse(field: sitk.Image, iterations: int = 30) -> sitk.Image:
    """Inverse of a field, on its own grid, by fixed-point iteration (Chen et al., Med Phys 2008;35:81-88).

    v(q) = -u(q + v(q)); it converges where the displacement's gradient is below 1: pass an extended, fold-free field.
    """
    return sitk.IterativeInverseDisplacementField(field, iterations, 0.01)


def jacobian(field: sitk.Image) -> np.ndarray:
    """Determinant of the Jacobian of p -> p + u, array [z, y, x]; <= 0 where the mapping folds.

    ITK's own filter leaves the image's direction out, and the model grid's x and y run against LPS.
    """
    to_voxels = np.linalg.inv(np.reshape(field.GetDirection(), (3, 3)) * field.GetSpacing())
    voxels = sitk.GetArrayFromImage(field).astype(np.float64) @ to_voxels.T
    rows = [np.stack(np.gradient(voxels[..., axis])[::-1], axis=-1) for axis in range(3)]
    return np.linalg.det(np.stack(rows, axis=-2) + np.eye(3))


def as_transform(field: sitk.Image) -> sitk.DisplacementFieldTransform:
    """A transform from a field; the field itself is left untouched (ITK would empty it)."""
    return sitk.DisplacementFieldTransform(sitk.Image(sitk.Cast(field, sitk.sitkVectorFloat64)))
