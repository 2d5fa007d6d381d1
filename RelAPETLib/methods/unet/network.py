"""A U-Net from MRI to PET, on the model grid or on blocks of its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...networks.blocks import Blocks
from ...networks.generator import build_generator
from ..base import SEQUENCES
from ..expected_pet import coarse_shape
from ..mean_pet import MeanPetNetwork


class RegressionUNet(MeanPetNetwork):
    """The generator of RelA-Diffusion without noise: PET from MRI and tracer, told the same timestep always.

    Args:
        factor, crop: of `Blocks`.
        mean_pet, residual_scale: `use` and `residual_scale` of `MeanPetNetwork`.
        generator_arguments: of `build_generator`, but for the number of input channels.

    Raises:
        ValueError: as `Blocks`, or an unknown use of the mean PET.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        mean_pet: str = "none",
        residual_scale: float | Sequence[float] = 1.0,
        **generator_arguments,
    ):
        blocks = Blocks(factor, crop)
        labels, coarse = generator_arguments.get("num_class_embeds"), coarse_shape(blocks.shape, factor)
        super().__init__(mean_pet, residual_scale, (1, *blocks.shape), labels, coarse)
        self.blocks = blocks
        channels = len(SEQUENCES) + (mean_pet != "none")
        self.generator = build_generator(in_channels=channels, **generator_arguments)

    def forward(self, mri: torch.Tensor, labels: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z], about -1 to 1, of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N].

        `shift` is what the regression must forget of training people, see `ExpectedPet.forward`.
        """
        expected = self.expected(mri, shift)
        seen = self.with_mean(mri, labels, expected)
        output = self.generator(seen, torch.zeros(len(mri), device=mri.device), class_labels=labels)
        return self.from_residual(output, labels, expected)
