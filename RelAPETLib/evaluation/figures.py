"""Figures of one synthetic PET against the measured: over the whole grid, inside the brain, or as published code does.

But for the last, they are three-dimensional with data range 1 (`comparison`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..scaling import to_network

#: What is measured, and its heading in tables: whether more or less is better.
METRICS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓"}
#: The same with what the paper's tables do not have.
ALL_METRICS = {**METRICS, "nrmse": "NRMSE ↓"}
#: Metrics of which more is better; of the others less is.
RISING = frozenset({"psnr", "ssim"})
#: Where and how volumes are compared, by the name that asks for it.
REGIONS = {"both": ("whole_grid", "brain"), "full_grid": ("whole_grid",), "release": ("release",)}


@dataclass(frozen=True)
class Row:
    """Figures of one volume in one region.

    Attributes:
        method: whose volume.
        subject, case, tracer: which one.
        region: ``whole_grid``, ``brain``, or ``release`` for the published implementation's way.
        psnr: dB; NaN where the two are identical.
        ssim, mae: as in `comparison`.
        seconds: it took to draw; NaN for the baseline.
        nrmse: as in `comparison`; NaN where nobody asked.
        session: empty without one.
    """

    method: str
    subject: str
    case: str
    tracer: str
    region: str
    psnr: float
    ssim: float
    mae: float
    seconds: float
    nrmse: float = float("nan")
    session: str = ""


def figures_of(
    made: np.ndarray,
    measured: np.ndarray,
    mask: np.ndarray,
    window: tuple[float, float] | None,
    regions: Sequence[str],
    *,
    relative: bool = False,
) -> dict[str, dict[str, float]]:
    """PSNR (dB; NaN where the volumes are identical), SSIM and MAE by region.

    Args:
        made, measured: [160, 180, 160] on the model grid, SUVR or relative.
        mask: the brain, true or above 0.
        window: SUVR range that both are scaled by; None: each by its own minimum and maximum.
        regions: some value of `REGIONS`.
        relative: `made` is in [0, 1] already and not scaled; counts in ``release`` alone.
    """
    if tuple(regions) == REGIONS["release"]:
        ours = made * 2 - 1 if relative else to_network(made, window)
        found = {"release": release_figures(ours, to_network(measured, window))}
    else:
        from ..comparison import compare
        from ..grid import array_to_image

        brain = array_to_image(np.asarray(mask).astype(np.uint8))
        images = (array_to_image(volume.astype(np.float32)) for volume in (made, measured))
        _, found = compare(*images, brain, window=window)
    return {
        region: {
            "psnr": float("nan") if found[region]["psnr"] is None else found[region]["psnr"],
            "ssim": found[region]["ssim"],
            "mae": found[region]["mae"],
        }
        for region in regions
    }


def image_figures(
    made: np.ndarray, measured: np.ndarray, inside: np.ndarray, window: tuple[float, float] | None
) -> dict[str, dict[str, float]]:
    """PSNR (dB; NaN where the volumes are identical), SSIM, MAE and NRMSE over the whole grid and in the brain.

    Args:
        made, measured: [X, Y, Z] on one grid, SUVR or relative; counted as 0 outside the brain.
        inside: the brain, where both show it.
        window: SUVR range that both are scaled by to [0, 1] and clipped to; None: each by its own minimum and maximum.

    Raises:
        InputError: `inside` is empty, or a volume is constant that is to be scaled by its own range.
    """
    from ..comparison import figures, minmax, window_to_unit

    pair = [np.where(inside, volume, 0).astype(np.float32) for volume in (made, measured)]
    pair = [minmax(volume) if window is None else window_to_unit(volume, window) for volume in pair]
    found = figures(*pair, inside)
    return {
        region: {name: float("nan") if value is None else value for name, value in values.items()}
        for region, values in found.items()
    }


def release_figures(made: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """PSNR, SSIM and MAE as the published implementation has them (torchmetrics 1.2.0 without a data range).

    SSIM is two-dimensional with the slices of x as channels. PSNR's data range is that of the measured volume, SSIM's
    the larger of both volumes' ranges. Neither volume is scaled or clipped.

    Args:
        made, measured: [X, Y, Z] in [-1, 1].
    """
    import torch
    from monai.metrics.regression import compute_ssim_and_cs

    x, y = (torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)) for volume in (made, measured))
    reach, widest = float(np.ptp(measured)), max(float(np.ptp(made)), float(np.ptp(measured)))
    error = float((x.double() - y.double()).square().mean())
    ssim, _ = compute_ssim_and_cs(
        x[None], y[None], spatial_dims=2, kernel_size=[11, 11], kernel_sigma=[1.5, 1.5], data_range=widest
    )
    psnr = 20 * np.log10(reach) - 10 * np.log10(error) if error else None
    return {"psnr": psnr, "ssim": float(ssim.mean()), "mae": float((x - y).abs().mean())}
