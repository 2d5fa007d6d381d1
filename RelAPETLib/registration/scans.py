"""Preparing a raw scan for registration: head mask, bias field, small working copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volumes import canonical

#: Percentile of the head's intensities above which a working copy is clipped: a few bright vessels or fat voxels
#: would otherwise leave the brain only a few bins of a joint histogram.
CLIP_PERCENTILE = 99.5


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


def clipped(image: sitk.Image, mask: sitk.Image | None = None) -> sitk.Image:
    """Intensities clipped to [0, the `CLIP_PERCENTILE` of the mask's voxels] (of all non-zero ones without a mask)."""
    values = sitk.GetArrayViewFromImage(image)
    chosen = values[sitk.GetArrayViewFromImage(mask) > 0] if mask is not None else values[values > 0]
    top = float(np.percentile(chosen, CLIP_PERCENTILE)) if chosen.size else 1.0
    return sitk.Clamp(image, image.GetPixelID(), 0.0, top)


def head_mask(image: sitk.Image, skull_stripped: bool = False, name: str = "volume") -> sitk.Image:
    """Head (or brain, when skull-stripped) of a scan: above Otsu's threshold, largest piece, holes filled; uint8.

    Raises:
        InputError: nothing stands out from the background.
    """
    if skull_stripped:
        raw = sitk.Cast(image != 0, sitk.sitkUInt8)
    else:
        raw = sitk.OtsuThreshold(image, 0, 1, 200)
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(raw), sortByObjectSize=True)
    mask = sitk.BinaryFillhole(sitk.Cast(pieces == 1, sitk.sitkUInt8))
    if not np.any(sitk.GetArrayViewFromImage(mask)):
        raise InputError(f"{name}: no head stands out from the background; check that it is a brain scan")
    return mask


def centroid(mask: sitk.Image) -> np.ndarray:
    """Centre of mass in LPS millimetres of the voxels > 0."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0).mean(axis=0)[::-1]
    return np.asarray(mask.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def is_skull_stripped(image: sitk.Image) -> bool:
    """Whether a scan shows a brain without scalp: a large exact-zero background that starts right at the brain.

    A raw scan's air is noise, or zeros (scanners and defacing mask it) around a rim of dark skull inside bright scalp.
    Going outwards from the centre, a stripped brain ends once; a head shows brain, skull and scalp. The test asks for
    at least 40 % exact zeros, and for a border of the non-zero region that is nowhere near as bright as scalp fat is.
    """
    values = sitk.GetArrayViewFromImage(image)
    zero_share = float(np.mean(values == 0))
    if zero_share < 0.4:
        return False
    small = working_copy(image, 3.0)
    support = sitk.Cast(sitk.Resample(sitk.Cast(image != 0, sitk.sitkFloat32), small) > 0.5, sitk.sitkUInt8)
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            head_mask(support, skull_stripped=True), insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
    )
    array = sitk.GetArrayViewFromImage(small)
    volume = float(np.sum(distance > 0)) * float(np.prod(small.GetSpacing())) / 1e6
    if not 0.5 <= volume <= 2.2:
        return False
    core = np.percentile(array[distance > 20], 50) if np.any(distance > 20) else np.inf
    # A head's outermost 3 to 9 mm holds scalp fat, brighter than brain in a T1w; a brain's holds cortex and fluid.
    rim = np.percentile(array[(distance > 3) & (distance < 9)], 90) if np.any(distance > 3) else np.inf
    return bool(rim < 1.25 * core)


def correct_bias(image: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """N4 bias correction (Tustison et al., IEEE TMI 2010;29:1310-1320), fitted on about 4 mm voxels inside the mask.

    The smooth field found there is evaluated on the scan's own voxels, so the scan is not interpolated. Float32.
    """
    shrink = [max(1, int(round(4.0 / s))) for s in image.GetSpacing()]
    shrink = [min(f, max(1, n // 8)) for f, n in zip(shrink, image.GetSize(), strict=True)]
    image = sitk.Cast(image, sitk.sitkFloat32)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([50, 50, 30])
    # N4 takes logarithms: shift what resampled or phase-corrected scans have below zero.
    low = float(sitk.GetArrayViewFromImage(image).min())
    shifted = image - low if low < 0 else image
    corrector.Execute(sitk.Shrink(shifted, shrink), sitk.Shrink(mask, shrink))
    field = sitk.Exp(sitk.Cast(corrector.GetLogBiasFieldAsImage(image), sitk.sitkFloat32))
    return sitk.Cast(shifted / field, sitk.sitkFloat32)


@dataclass(frozen=True)
class Scan:
    """A scan made ready for registration: bias-corrected (float32, own grid, >= 0), its head mask and its centre.

    Attributes:
        image: the corrected scan.
        head: uint8 mask of head, or brain when skull-stripped.
        skull_stripped: whether it came without scalp.
    """

    image: sitk.Image
    head: sitk.Image
    skull_stripped: bool


def prepare(image: sitk.Image, name: str) -> Scan:
    """Reorder an image to R, A, S axes (no interpolation), find its head and correct its bias field.

    Raises:
        InputError: no head stands out from the background; `name` says whose volume it is.
    """
    image = canonical(sitk.Cast(image, sitk.sitkFloat32))
    stripped = is_skull_stripped(image)
    head = head_mask(image, stripped, name)
    return Scan(correct_bias(image, head), head, stripped)


def as_scan(image: sitk.Image, name: str) -> Scan:
    """A scan taken as it is, without bias correction: a PET. Raises `InputError` as `prepare` does."""
    image = canonical(sitk.Cast(image, sitk.sitkFloat32))
    return Scan(image, head_mask(image, False, name), False)
