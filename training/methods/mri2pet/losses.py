"""The Laplacian pyramid loss of MRI2PET (Theodorou et al., eq. 2 and 3)."""

from __future__ import annotations

import torch
from torch.nn import functional

#: Band-pass levels of the paper.
LEVELS = 5


def laplacian_pyramid(volume: torch.Tensor, levels: int = LEVELS) -> list[torch.Tensor]:
    """Band-pass levels of volumes [N, C, X, Y, Z], the finest first, each half as large as the one before.

    A level is what averages over blocks of 2 x 2 x 2 voxels, interpolated back, do not have. The paper's are made slice
    by slice with bilinear interpolation; these are made in three dimensions, with trilinear one. Odd sides end with
    thinner blocks. The rest of low frequencies is no level: a constant has none.
    """
    bands = []
    for _ in range(levels):
        coarse = functional.avg_pool3d(volume, [min(2, n) for n in volume.shape[2:]], ceil_mode=True)
        blurred = functional.interpolate(coarse, size=volume.shape[2:], mode="trilinear", align_corners=False)
        bands.append(volume - blurred)
        volume = coarse
    return bands


def laplacian(estimate: torch.Tensor, pet: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """L_Lap [] of clean estimates and PET [N, 1, X, Y, Z]: mean squared errors of the levels, summed (eq. 2)."""
    pairs = zip(laplacian_pyramid(estimate, levels), laplacian_pyramid(pet, levels), strict=True)
    return torch.stack([functional.mse_loss(made, measured) for made, measured in pairs]).sum()
