"""ResDM's network: a U-Net that sees x_t and the MRI, and attends to tokens of tracer, age, sex and score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.monai_unet import monai_unet
from ...networks.shapes import central, padded
from ...networks.table_tokens import TableTokens
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES


class ResidualDiffusion(nn.Module):
    """f(x_t, y, t) of eq. 3: the clean estimate. MONAI's U-Net with cross-attention at the bottleneck, and tanh.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels; the grid is halved from one to the next.
        num_res_blocks: residual blocks a level.
        norm_num_groups: groups of the normalisation; with groups of one channel no shift, and so no time, would be
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
        norm_num_groups: int = 8,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self._multiple = 2 ** (len(channels) - 1)
        width = channels[-1]
        self.tokens = TableTokens(width, num_class_embeds)
        self.unet = monai_unet(
            1 + len(SEQUENCES),
            channels,
            num_res_blocks=num_res_blocks,
            norm_num_groups=norm_num_groups,
            # The middle attends to the tokens, too.
            with_conditioning=True,
            cross_attention_dim=width,
        )

    def forward(
        self,
        x_t: torch.Tensor,
        mri: torch.Tensor,
        timesteps: torch.Tensor,
        labels: torch.Tensor,
        clinical: torch.Tensor,
    ) -> torch.Tensor:
        """Clean estimate [N, 1, X, Y, Z] in [-1, 1].

        Args:
            x_t: [N, 1, X, Y, Z].
            mri: [N, 2, X, Y, Z] in [-1, 1]: y, which is the T1w, and T2F.
            timesteps: integers [N] from 0.
            labels: class labels [N].
            clinical: [N, 3] in the order of `CLINICAL`, NaN where missing.
        """
        seen = padded(torch.cat([x_t, mri], 1), self._multiple, BACKGROUND)
        output = self.unet(seen, timesteps, context=self.tokens(labels, clinical))
        return torch.tanh(central(output, x_t.shape[2:]).float())
