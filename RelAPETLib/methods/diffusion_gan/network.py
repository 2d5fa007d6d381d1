"""Diffusion-GAN's generator here: MONAI's U-Net from MRI to PET, told the tracer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.monai_unet import monai_unet
from ...networks.shapes import central, padded
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES


class TranslatingUNet(nn.Module):
    """A U-Net of residual blocks that the tracer's embedding shifts, and tanh; no noise, and the same time always.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels; the grid is halved from one to the next.
        num_res_blocks: residual blocks a level.
        norm_num_groups: groups of the normalisation; with groups of one channel no shift, and so no tracer, would be
            seen.
        num_class_embeds: number of class labels.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks`, or levels that make no U-Net.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_blocks: int = 1,
        norm_num_groups: int = 16,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self._multiple = 2 ** (len(channels) - 1)
        self.unet = monai_unet(
            len(SEQUENCES),
            channels,
            num_res_blocks=num_res_blocks,
            norm_num_groups=norm_num_groups,
            num_class_embeds=num_class_embeds,
        )

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] in [-1, 1] of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N]."""
        seen = padded(mri, self._multiple, BACKGROUND)
        output = self.unet(seen, torch.zeros(len(mri), device=mri.device), class_labels=labels)
        return torch.tanh(central(output, mri.shape[2:]).float())
