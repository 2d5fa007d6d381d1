"""Comparing a synthetic PET with a measured one: difference maps, PSNR, SSIM and MAE.

All metrics are three-dimensional, with data range 1, on volumes mapped to [0, 1]: SUVR by the tracer's window (clipped
to it), relative PET by its own minimum and maximum. They are given over the whole grid and inside the brain mask; the
whole grid holds much empty background, which flatters every figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .grid import MNI_GRID, ModelGrid, array_to_image, image_to_array

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

#: Voxels of SSIM's Gaussian window, its standard deviation and constants: Wang et al., IEEE TIP 2004;13:600-612.
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def _inside(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return array
    selected = array[np.asarray(mask) > 0]
    if selected.size == 0:
        raise InputError("the brain mask is empty, so nothing can be compared inside it")
    return selected


def _check_pair(synthetic: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if synthetic.shape != reference.shape or synthetic.ndim != 3:
        raise InputError(f"volumes of shapes {synthetic.shape} and {reference.shape} cannot be compared voxel by voxel")
    return synthetic.astype(np.float64), reference.astype(np.float64)


def psnr(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two volumes [X, Y, Z] with data range 1: -10 log10(mean squared error).

    Infinite for identical volumes. Raises `InputError` on unequal shapes or an empty mask.
    """
    synthetic, reference = _check_pair(synthetic, reference)
    error = float(np.mean(_inside((synthetic - reference) ** 2, mask)))
    return float(-10 * np.log10(error)) if error > 0 else float("inf")


def mae(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute error of two volumes [X, Y, Z]. Raises `InputError` on unequal shapes or an empty mask."""
    synthetic, reference = _check_pair(synthetic, reference)
    return float(np.mean(_inside(np.abs(synthetic - reference), mask)))


def nrmse(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean square error over the reference's root mean square, of two volumes [X, Y, Z]: 0 for identical ones.

    scikit-image's ``normalized_root_mse`` with its default, "euclidean". NaN where the reference is 0 everywhere.
    Raises `InputError` on unequal shapes or an empty mask.
    """
    synthetic, reference = _check_pair(synthetic, reference)
    size = float(np.mean(_inside(reference**2, mask)))
    error = float(np.mean(_inside((synthetic - reference) ** 2, mask)))
    return float(np.sqrt(error / size)) if size > 0 else float("nan")


def ssim_map(synthetic: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity of every voxel of two volumes [X, Y, Z] in [0, 1], the same shape, float32.

    Three-dimensional, with a Gaussian window of 11 voxels, sigma 1.5, K1 0.01, K2 0.03 and sample moments, as MONAI and
    scikit-image have it. Both volumes are padded with background (0) by half a window, so that every voxel has a value.
    The window is separable: three matrix products a moment, where MONAI's has 11^3 taps. Raises `InputError` on unequal
    shapes.
    """
    import torch

    x, y = (torch.from_numpy(volume.astype(np.float32)) for volume in _check_pair(synthetic, reference))
    lines = [torch.from_numpy(_window(size)) for size in x.shape]
    with torch.inference_mode():
        mean_x, mean_y = (_windowed(volume, lines) for volume in (x, y))
        variances = _windowed(x * x, lines) - mean_x**2 + _windowed(y * y, lines) - mean_y**2
        covariance = _windowed(x * y, lines) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + SSIM_K1**2) / (mean_x**2 + mean_y**2 + SSIM_K1**2)
        return (luminance * (2 * covariance + SSIM_K2**2) / (variances + SSIM_K2**2)).numpy()


def _window(size: int) -> np.ndarray:
    """Matrix [size, size] that smooths a line by SSIM's window, with 0 beyond its ends; float32."""
    offsets = np.subtract.outer(np.arange(size), np.arange(size))
    reach = SSIM_WINDOW // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SSIM_SIGMA) ** 2).sum()
    return np.where(np.abs(offsets) <= reach, np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2) / weights, 0).astype(
        np.float32
    )


def _windowed(volume: torch.Tensor, lines: list[torch.Tensor]) -> torch.Tensor:
    """A volume [X, Y, Z] smoothed along each axis by matrices of `_window`."""
    along_x, along_y, along_z = lines
    smooth = along_y @ (volume @ along_z)
    return (along_x @ smooth.flatten(1)).view(volume.shape)


def ssim(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean of `ssim_map` over the whole grid, or inside a mask (where windows still see voxels outside it)."""
    return float(np.mean(_inside(ssim_map(synthetic, reference), mask), dtype=np.float64))


def window_to_unit(array: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """SUVR to [0, 1] by a window (low, high); values outside it are clipped."""
    low, high = window
    return np.clip((array - low) / (high - low), 0.0, 1.0)


def minmax(array: np.ndarray) -> np.ndarray:
    """A volume scaled so that its minimum is 0 and its maximum 1. Raises `InputError` when it is constant."""
    low, high = float(array.min()), float(array.max())
    if not high > low:
        raise InputError("a constant volume cannot be scaled to [0, 1]")
    return (array - low) / (high - low)


def figures(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, whole: np.ndarray | None = None
) -> dict[str, dict[str, float | None]]:
    """PSNR (dB; None for identical volumes), SSIM, MAE and NRMSE of two volumes [X, Y, Z] in [0, 1].

    Returns:
        Figures by ``whole_grid``, which is where `whole` is true, everywhere without it, and ``brain``, where `inside`
        is.
    """
    similarity, found = ssim_map(synthetic, reference), {}
    for name, where in (("whole_grid", whole), ("brain", inside)):
        level = psnr(synthetic, reference, where)
        found[name] = {
            "psnr": level if np.isfinite(level) else None,
            "ssim": float(np.mean(_inside(similarity, where), dtype=np.float64)),
            "mae": mae(synthetic, reference, where),
            "nrmse": nrmse(synthetic, reference, where),
        }
    return found


def compare(
    synthetic: sitk.Image,
    reference: sitk.Image,
    mask: sitk.Image,
    *,
    window: tuple[float, float] | None,
    grid: ModelGrid = MNI_GRID,
    view: sitk.Image | None = None,
) -> tuple[sitk.Image, dict]:
    """Difference map and metrics of a synthetic PET against a reference, all on the model grid.

    Args:
        synthetic: SUVR, or relative uptake when `window` is None; 0 outside the mask.
        reference: SUVR (for a relative model any unit proportional to uptake); 0 outside the mask.
        mask: brain mask, > 0 inside.
        window: the tracer's SUVR window, which maps both to [0, 1]; None for a relative model, where both are min-max
            scaled, so that a difference of overall level cannot show.
        view: above 0 in the reference's field of view; None: everywhere. The brain outside it is compared with nothing:
            it counts in no figure, and SSIM's windows see background there, in both volumes.

    Returns:
        The difference synthetic minus reference (float32; SUVR, not clipped, or relative), 0 outside the mask and the
        view, and ``{"scaling": ..., "data_range": 1.0, "whole_grid": {psnr, ssim, mae}, "brain": {...}}``, PSNR in dB
        (None when the two are identical).

    Raises:
        InputError: an image is not on the grid, is constant, or the view shows nothing inside the mask.
    """
    made, measured = (image_to_array(image, grid).astype(np.float32) for image in (synthetic, reference))
    inside, whole = image_to_array(mask, grid) > 0, None
    unseen = np.zeros_like(inside) if view is None else inside & (image_to_array(view, grid) <= 0)
    if unseen.any():
        inside, whole = inside & ~unseen, ~unseen
        made, measured = (np.where(whole, volume, 0) for volume in (made, measured))
    if window is None:
        made, measured = minmax(made), minmax(measured)
        unit_made, unit_measured = made, measured
    else:
        unit_made, unit_measured = window_to_unit(made, window), window_to_unit(measured, window)
    metrics = {
        "scaling": "minmax" if window is None else f"SUVR window {window[0]:g} to {window[1]:g}",
        "data_range": 1.0,
    }
    for name, found in figures(unit_made, unit_measured, inside, whole).items():
        metrics[name] = {figure: found[figure] for figure in ("psnr", "ssim", "mae")}
    return array_to_image(np.where(inside, made - measured, 0).astype(np.float32), grid), metrics
