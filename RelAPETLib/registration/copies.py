"""Working copies: a scan on the coarser voxels that a registration looks at."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

#: Voxels of the working copies that the linear registrations see.
COARSE_MM = 6.0
FINE_MM = 2.0


def working_copy(image: sitk.Image, spacing: float) -> sitk.Image:
    """A scan resampled to about `spacing` mm in its own axes, float32, with the anti-alias smoothing that needs.

    An axis that is thicker already is left as it is: interpolating between thick slices adds no information and makes
    registration slower.
    """
    old = np.asarray(image.GetSpacing())
    size = np.asarray(image.GetSize())
    count = np.maximum(1, np.ceil(size * old / np.maximum(old, spacing))).astype(int)
    count = np.where(old >= spacing, size, count)
    new = np.where(old >= spacing, old, np.maximum(spacing, old))
    smooth = sitk.Cast(image, sitk.sitkFloat32)
    for axis in range(3):
        # Gaussian of full width about one voxel of either grid; variances subtract.
        variance = (0.5 * new[axis]) ** 2 - (0.5 * old[axis]) ** 2
        if variance > 0 and size[axis] >= 4:
            smooth = sitk.RecursiveGaussian(smooth, float(np.sqrt(variance)), direction=axis)
    first_index = (size - 1) / 2 - (count - 1) / 2 * new / old
    origin = image.TransformContinuousIndexToPhysicalPoint(first_index.tolist())
    return sitk.Resample(
        smooth,
        [int(n) for n in count],
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        new.tolist(),
        image.GetDirection(),
        0.0,
        sitk.sitkFloat32,
    )
