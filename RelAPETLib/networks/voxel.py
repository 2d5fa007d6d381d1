"""RelA-Diffusion in voxel space: the generator on the whole model grid."""

from __future__ import annotations

import torch
from torch import nn

from ..grid import MNI_GRID
from .generator import build_generator


class VoxelDiffusion(nn.Module):
    """The generator as a diffusion model whose diffusion space is the model grid itself.

    Args:
        generator_arguments: arguments of `build_generator`; none gives the published network.

    Attributes:
        diffusion_shape: (channels, X, Y, Z) of what is diffused: one channel on the model grid.
    """

    def __init__(self, **generator_arguments):
        super().__init__()
        self.diffusion_shape = (1, *MNI_GRID.shape)
        self.generator = build_generator(**generator_arguments)

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """The condition itself: T1w and T2F, [N, 2, X, Y, Z] in [-1, 1]."""
        return condition

    def predict_noise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Noise in x_t [N, 1, X, Y, Z] given an encoded condition, timesteps [N] and tracer labels [N]."""
        return self.generator(torch.cat([x_t, encoded], 1), timesteps, class_labels=labels)

    def decode(self, x0: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The clean image itself, [N, 1, X, Y, Z]."""
        return x0
