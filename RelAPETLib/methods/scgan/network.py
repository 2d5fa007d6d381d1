"""SC-GAN's generator: a U-Net of strided convolutions with self-attention at two depths and on what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.self_attention import SelfAttention
from ...networks.shapes import central, padded
from ...networks.tracer_maps import TracerMaps
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES

#: Levels of the decoder, from the coarsest, that drop out; the coarsest itself does not.
_DROPPING = 3
#: Places a side that the attention on the PET looks at: the cheap form, since every voxel looks.
_LOOKED_AT = 8


class AttentiveUNet(nn.Module):
    """The U-Net of Lan et al. (MRM 2021): every level halves the grid, and comes back beside its mirror.

    The spectral normalisation of its convolutions is for training; a bundle has the weights that it ends with.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels, each half the size of the one before.
        kernels: sides of the levels' convolutions, one a level; the way back has the same.
        encoder_attention, decoder_attention: how often the grid is halved where the encoder and the decoder attend;
            0 for nowhere.
        norm_num_groups: groups of the normalisation; 0 normalises each channel by itself, which is what the paper's
            batch normalisation does at its batch of one image.
        dropout: share of the channels that is dropped in three of the decoder's coarse levels, in training.
        num_class_embeds: number of class labels.

    Attributes:
        blocks: see `Blocks`. A level of odd sides is padded, and cut again on the way back.

    Raises:
        ValueError: as `Blocks`, groups that do not divide the channels, or lists that do not fit each other.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512),
        kernels: Sequence[int] = (5, 5, 5, 5, 3, 3, 3, 2),
        encoder_attention: int = 5,
        decoder_attention: int = 3,
        norm_num_groups: int = 0,
        dropout: float = 0.5,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self.tracer_maps = TracerMaps(num_class_embeds)
        widths = [len(SEQUENCES) + self.tracer_maps.channels, *channels]
        last = len(channels) - 1

        def norm(width: int) -> nn.Module:
            return nn.GroupNorm(norm_num_groups or width, width)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, kernel in zip(range(last + 1), kernels, strict=True):
            # Neither the first level nor the coarsest is normalised: one place has no spread.
            parts = [nn.LeakyReLU(0.2)] if level else []
            parts.append(nn.Conv3d(widths[level], widths[level + 1], kernel, 2, (kernel - 1) // 2))
            if 0 < level < last:
                parts.append(norm(widths[level + 1]))
            if level + 1 == encoder_attention:
                parts.append(SelfAttention(widths[level + 1]))
            self.down.append(nn.Sequential(*parts))
        for level in range(last, -1, -1):
            kernel = kernels[level]
            before = channels[level] * (1 if level == last else 2)
            after = channels[level - 1] if level else 1
            parts = [nn.LeakyReLU(0.2)]
            parts.append(nn.ConvTranspose3d(before, after, kernel, 2, (kernel - 1) // 2, output_padding=kernel % 2))
            if level:
                parts.append(norm(after))
            if dropout and level and last - _DROPPING <= level < last:
                parts.append(nn.Dropout3d(dropout))
            if level and level == decoder_attention:
                parts.append(SelfAttention(after))
            self.up.append(nn.Sequential(*parts))
        self.attention = SelfAttention(1, most=_LOOKED_AT)

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] in [-1, 1] of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N]."""
        seen = self.tracer_maps(padded(mri, 2, BACKGROUND), labels)
        levels = []
        for down in self.down:
            seen = down(padded(seen, 2, 0.0))
            levels.append(seen)
        seen = self.up[0](levels.pop())
        for up in self.up[1:]:
            mirror = levels.pop()
            seen = up(torch.cat([central(seen, mirror.shape[2:]), mirror], 1))
        return torch.tanh(self.attention(central(seen, mri.shape[2:])).float())
