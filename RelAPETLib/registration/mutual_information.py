"""Linear registration by mutual information: the metric, one refinement, and what the searches share.

Mattes et al., IEEE TMI 2003;22:120-128. Transforms go from fixed to moving points, LPS millimetres.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

BINS = 32


def mutual_information(mask: sitk.Image, *, sampling: float | None = None) -> sitk.ImageRegistrationMethod:
    """ITK's registration with Mattes' metric over a fixed mask (uint8, > 0 inside), no optimiser set yet.

    `sampling` is the share of the fixed voxels used, on a regular lattice, so two runs use the same ones. One thread:
    several add up the metric and its gradient in the order in which they happen to end, and two runs would differ.
    """
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    if sampling is not None:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(sampling, 42)
    return method


def evaluate(method: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, start) -> float:
    """The metric at a transform, lower being better; infinite when too little overlaps.

    The moving image's gradients, which ITK makes of the whole of it each time, are left out: no value needs them.
    """
    method.MetricUseMovingImageGradientFilterOff()
    method.SetInitialTransform(start, inPlace=False)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # ITK's way to say that no samples overlap
        return float("inf")


def refine(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    start,
    *,
    step: float,
    iterations: int,
    last_step: float | None = None,
) -> tuple | None:
    """Gradient descent from a transform: the one found and its metric, or None when the overlap was lost.

    `step` is the first step's length in voxels of the fixed image. A search may stop where the gradient is small; with
    `last_step` it goes on until the steps are that short, since ITK's default tolerance stopped short by up to 1.3 mm
    at the corners of a FLAIR whose header was wrong.
    """
    method.SetOptimizerAsRegularStepGradientDescent(
        step,
        minStep=last_step or 1e-3,
        numberOfIterations=iterations,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-8 if last_step else 1e-4,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.MetricUseMovingImageGradientFilterOn()
    method.SetInitialTransform(start, inPlace=False)
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError:  # as above; other starts go on
        return None
    transform = found.GetNthTransform(0) if isinstance(found, sitk.CompositeTransform) else found
    return transform.Downcast(), float(method.GetMetricValue())


def on_grid(mask: sitk.Image, reference: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """A label image on another grid, nearest neighbour, 0 outside."""
    return sitk.Resample(mask, reference, transform or sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)


def mask_points(mask: sitk.Image, stride: int = 1) -> np.ndarray:
    """LPS coordinates [N, 3] in mm of every `stride`-th of the voxels > 0."""
    voxels = sitk.GetArrayViewFromImage(mask) > 0
    chosen = np.flatnonzero(voxels)[::stride]
    index = np.stack(np.unravel_index(chosen, voxels.shape)[::-1], axis=-1).astype(float)
    matrix = np.asarray(mask.GetDirection()).reshape(3, 3) * np.asarray(mask.GetSpacing())
    return index @ matrix.T + mask.GetOrigin()


def linear_parts(transform: sitk.Transform) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [3, 3] and offset [3] of a linear transform: point -> matrix @ point + offset."""
    offset = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.stack([np.subtract(transform.TransformPoint(e), offset) for e in np.eye(3).tolist()], axis=1)
    return matrix, offset


def fov_share(points: np.ndarray, transform: sitk.Transform, image: sitk.Image) -> float:
    """Share of `points` [N, 3] that a linear transform takes into the field of view of an image."""
    if not len(points):
        return 0.0
    matrix, offset = linear_parts(transform)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    index = (points @ matrix.T + offset - image.GetOrigin()) @ direction / np.asarray(image.GetSpacing())
    return float(np.mean(np.all((index > -0.5) & (index < np.asarray(image.GetSize()) - 0.5), axis=1)))
