"""The network of both paths: a U-Net that sees x_t and the MRI and is told time, tracer and perhaps age, sex, score."""

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


class FlowNetwork(nn.Module):
    """MONAI's U-Net with the tracer as class embedding.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels; the grid is halved from one to the next.
        num_res_blocks: residual blocks a level.
        attending_levels: how many of the coarsest levels attend; the middle does in any case.
        num_head_channels: channels of an attention head; 0 is one head.
        norm_num_groups: groups of the normalisation.
        num_class_embeds: number of class labels.
        clinical: attend to tokens of tracer, age, sex and score, too.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.
        tokens: see `TableTokens`; missing where no clinical values are used.

    Raises:
        ValueError: as `Blocks`, or levels that make no U-Net.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 128, 256, 512),
        num_res_blocks: int = 2,
        attending_levels: int = 2,
        num_head_channels: int = 32,
        norm_num_groups: int = 32,
        num_class_embeds: int = PUBLISHED_LABELS,
        clinical: bool = False,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self._multiple = 2 ** (len(channels) - 1)
        width = channels[-1]
        if clinical:
            self.tokens = TableTokens(width, num_class_embeds)
        self.unet = monai_unet(
            1 + len(SEQUENCES),
            channels,
            num_res_blocks=num_res_blocks,
            attention_levels=tuple(len(channels) - n <= attending_levels for n in range(len(channels))),
            num_head_channels=tuple(num_head_channels or n for n in channels),
            norm_num_groups=norm_num_groups,
            num_class_embeds=num_class_embeds,
            with_conditioning=clinical,
            cross_attention_dim=width if clinical else None,
        )

    def forward(
        self,
        x_t: torch.Tensor,
        mri: torch.Tensor,
        told: torch.Tensor,
        labels: torch.Tensor,
        clinical: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the path makes a clean estimate of, [N, 1, X, Y, Z] float32.

        Args:
            x_t: [N, 1, X, Y, Z], as `Path.seen` has it.
            mri: [N, 2, X, Y, Z] in [-1, 1]: T1w and T2F.
            told: numbers [N] of `Path.told`.
            labels: class labels [N].
            clinical: [N, 3] in the order of `RelAPETLib.clinical.CLINICAL`, NaN where missing; for a network that uses
                them.
        """
        seen = padded(torch.cat([x_t, mri], 1), self._multiple, BACKGROUND)
        tokens = self.tokens(labels, clinical) if hasattr(self, "tokens") else None
        output = self.unet(seen, told.float(), context=tokens, class_labels=labels)
        return central(output, x_t.shape[2:]).float()
