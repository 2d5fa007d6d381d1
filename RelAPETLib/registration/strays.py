"""Voxels of an MRI that are no signal: padding below zero, spikes. One of them may decide the scale of all others."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..notices import warn

#: From this share of negative voxels on, beside the lowest value, they are signal (z-scored and phase-corrected scans).
#: Edges of padding that was interpolated are fewer.
SIGNED_SHARE = 0.02
#: Per cent of the voxels at either end that decide nothing.
FEW = 0.1
#: Times the intensity above which only `FEW` lie. The brightest voxel of 12 real scans, raw T1w and T2-FLAIR of 6
#: people, lies at 1.2 to 2.2, within the brain at 1.1 to 2.0. One above `STRAY` is a spike, and becomes `BRIGHT`.
STRAY, BRIGHT = 4.0, 2.0
#: Percentiles are those of every voxel of so many along each axis.
STEP = 2


def without_strays(values: np.ndarray, name: str) -> np.ndarray:
    """An MRI's intensities from 0 on, without padding and spikes; the very array where there are neither.

    Where hardly any voxel is negative, these are no signal and become 0. Else the signal begins below zero, and all is
    lifted by its lowest value, but for the lowest of all and a thousandth more. A voxel far above the others is
    clipped.

    Args:
        values: of any shape.
        name: what the warning calls the MRI.

    Warns:
        RelAPETWarning: voxels far above the others were clipped.
    """
    few = values[tuple(slice(None, None, STEP) for _ in range(values.ndim))] if values.ndim > 1 else values
    if float(values.min()) < 0:
        floor = _floor(values, few)
        values, few = (np.maximum(some, floor) - floor for some in (values, few))
    positive = few[few > 0]
    if not positive.size:
        return values
    bright = float(np.percentile(positive, 100 - FEW))
    spikes = int(np.count_nonzero(values > STRAY * bright))
    if not spikes:
        return values
    warn(f"{name}: {spikes} voxel{'s' if spikes > 1 else ''} far above all others, clipped; look for spikes in it")
    return np.minimum(values, BRIGHT * bright)


def image_without_strays(image: sitk.Image, name: str) -> sitk.Image:
    """`without_strays` of a float32 image."""
    values = sitk.GetArrayViewFromImage(image)
    found = without_strays(values, name)
    if found is values:
        return image
    made = sitk.GetImageFromArray(found.astype(np.float32, copy=False))
    made.CopyInformation(image)
    return made


def _floor(values: np.ndarray, few: np.ndarray) -> float:
    """Where the signal begins: 0, or less."""
    lowest = float(values.min())
    if np.count_nonzero((few < 0) & (few > lowest)) < SIGNED_SHARE * few.size:
        return 0.0
    return min(0.0, float(np.percentile(few[few > lowest], FEW)))
