"""A U-Net from MRI to PET, on the model grid or on blocks of its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import Blocks
from ...networks.generator import build_generator
from ...tracers import PUBLISHED_LABELS
from ..base import MEAN_PET, SEQUENCES


class RegressionUNet(nn.Module):
    """The generator of RelA-Diffusion without noise: PET from MRI and tracer, told the same timestep always.

    Args:
        factor, crop: of `Blocks`.
        mean_pet: ``none``; ``input``: the U-Net also sees the tracer's mean PET (buffer `mean_pet`); ``residual``: it
            sees that, and gives the PET's difference from it, divided by `residual_scale`.
        residual_scale: SD of those differences in training.
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
        residual_scale: float = 1.0,
        **generator_arguments,
    ):
        super().__init__()
        if mean_pet not in MEAN_PET:
            raise ValueError(f"mean_pet {mean_pet!r} is not one of {MEAN_PET}")
        self.blocks, self.shown = Blocks(factor, crop), mean_pet
        self._scale = residual_scale if mean_pet == "residual" else None
        channels = len(SEQUENCES) + (mean_pet != "none")
        self.generator = build_generator(in_channels=channels, **generator_arguments)
        if mean_pet != "none":
            labels = generator_arguments.get("num_class_embeds", PUBLISHED_LABELS)
            self.register_buffer("mean_pet", torch.zeros(labels, 1, *self.blocks.shape))

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z], about -1 to 1, of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N]."""
        mean = self.mean_pet[labels] if self.shown != "none" else None
        seen = mri if mean is None else torch.cat([mri, mean], 1)
        output = self.generator(seen, torch.zeros(len(mri), device=mri.device), class_labels=labels)
        return output if self._scale is None else mean + self._scale * output
