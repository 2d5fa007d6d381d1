"""What SC-GAN adds to a GAN's losses: the error inside the brain, the discriminator's maps, and small kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from RelAPETLib.networks.blocks import BACKGROUND

#: Maps that differ by less count as alike.
ALIKE = 2e-4


def inside_rmse(made: torch.Tensor, pet: torch.Tensor) -> torch.Tensor:
    """Root mean squared error of each PET [N, 1, X, Y, Z] where the measured one is no background; mean over images."""
    mask = (pet > BACKGROUND).flatten(1)
    # A norm, whose gradient is 0 and not infinite where there is no error.
    errors = torch.linalg.vector_norm((made - pet).flatten(1) * mask, dim=1)
    return (errors / mask.sum(1).clamp(min=1).sqrt()).mean()


def matching(judged: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of the discriminator's maps, over layers; nothing for an image where it is tiny.

    Args:
        judged: maps [N, C, x, y, z] of synthetic PET.
        real: those of measured PET; no gradient reaches what made them.
    """
    each = [(a - b.detach()).abs().flatten(1).mean(1) for a, b in zip(judged, real, strict=True)]
    mean = torch.stack(each).mean(0)
    return torch.where(mean < ALIKE, 0.0, mean).mean()


def kernel_norms(network: nn.Module) -> torch.Tensor:
    """Half the sum of squares of all convolutions' kernels."""
    return sum(p.square().sum() for p in network.parameters() if p.ndim == 5) / 2
