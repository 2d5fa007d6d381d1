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
#: A background of one exact value fills most of the corners and at least this share of the volume.
CORNER_SHARE = 0.1
#: Percentiles are those of every voxel of so many along each axis.
STEP = 2


def without_strays(values: np.ndarray, name: str, empty: np.ndarray | None = None) -> np.ndarray:
    """An MRI's intensities from 0 on, without padding and spikes; the very array where there are neither.

    Where hardly any voxel is negative, these are no signal and become 0. Else the signal begins below zero, and all is
    lifted by its lowest value, but for the lowest of all and a thousandth more. A background of one exact value is not
    lifted with it and becomes 0: that of a stripped brain whose intensities were made z-scores is 0, the brain's mean.
    A voxel far above the others is clipped.

    Args:
        values: of any shape.
        name: what the warning calls the MRI.
        empty: which of them are background; None: found in a volume by `empty_voxels`.

    Warns:
        RelAPETWarning: voxels far above the others were clipped.
    """
    steps = tuple(slice(None, None, STEP if values.ndim > 1 else None) for _ in range(values.ndim))
    few = values[steps]
    if float(values.min()) < 0:
        empty = empty_voxels(values) if empty is None and values.ndim == 3 else empty
        floor = _floor(values, few, None if empty is None else empty[steps])
        values = np.maximum(values, floor) - floor
        if empty is not None and floor < 0:
            values[empty] = 0
        few = values[steps]
    positive = few[few > 0]
    if not positive.size:
        return values
    bright = float(np.percentile(positive, 100 - FEW))
    spikes = int(np.count_nonzero(values > STRAY * bright))
    if not spikes:
        return values
    warn(f"{name}: {spikes} voxel{'s' if spikes > 1 else ''} far above all others, clipped; look for spikes in it")
    return np.minimum(values, BRIGHT * bright)


def empty_voxels(values: np.ndarray, where: np.ndarray | None = None) -> np.ndarray | None:
    """The background of a volume with values below zero whose background is one exact value, but not the lowest.

    It fills most of the volume, or most of its corners and `CORNER_SHARE` of it. A voxel of that value that is
    enclosed by others is signal.

    Args:
        values: [Z, Y, X], or in any other order.
        where: which voxels are asked for, boolean; None: all.

    Returns:
        Boolean, of the shape of ``values[where]``; None for a volume without such a background.
    """
    if values.min() >= 0:
        return None
    few = values[(slice(None, None, STEP),) * 3]
    corners = values[tuple(slice(None, None, max(1, size - 1)) for size in values.shape)]
    for places, least in ((few, 0.5), (corners, CORNER_SHARE)):
        value = np.sort(places, axis=None)[places.size // 2]
        if value > values.min() and np.mean(places == value) > 0.5 and np.mean(few == value) > least:
            other = sitk.GetImageFromArray((values != value).astype(np.uint8))
            empty = sitk.GetArrayFromImage(sitk.BinaryFillhole(other)) == 0
            return empty if where is None else empty[where]
    return None


def image_without_strays(image: sitk.Image, name: str) -> sitk.Image:
    """`without_strays` of a float32 image."""
    values = sitk.GetArrayViewFromImage(image)
    found = without_strays(values, name)
    if found is values:
        return image
    made = sitk.GetImageFromArray(found.astype(np.float32, copy=False))
    made.CopyInformation(image)
    return made


def _floor(values: np.ndarray, few: np.ndarray, empty: np.ndarray | None) -> float:
    """Where the signal begins: 0, or less. What is `empty` of the `few` is none."""
    lowest = float(values.min())
    if np.count_nonzero((few < 0) & (few > lowest)) < SIGNED_SHARE * few.size:
        return 0.0
    signal = few > lowest if empty is None else (few > lowest) & ~empty
    return min(0.0, float(np.percentile(few[signal], FEW)))
