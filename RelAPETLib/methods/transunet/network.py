"""TransUNet's network: residual convolutions, a vision transformer at the coarsest level, and an upsampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.shapes import central, padded, padded_shape
from ...networks.tracer_maps import TracerMaps
from ...networks.transformer import Transformer
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES

#: Residual blocks of a level; each takes time even where it takes no memory.
MOST_BLOCKS = 32


def _convolution(before: int, after: int, size: int, groups: int, stride: int = 1) -> nn.Sequential:
    """A normalised convolution."""
    return nn.Sequential(nn.Conv3d(before, after, size, stride, size // 2, bias=False), nn.GroupNorm(groups, after))


class Bottleneck(nn.Module):
    """A residual block of ResNet-50: narrow within, by convolutions of 1, 3 and 1 voxels a side.

    Args:
        before, after: channels.
        within: channels of the middle convolution.
        groups: of the normalisation.
        stride: 2 halves the grid.
    """

    def __init__(self, before: int, after: int, within: int, groups: int, stride: int = 1):
        super().__init__()
        self.convolutions = nn.Sequential(
            _convolution(before, within, 1, groups),
            nn.ReLU(),
            _convolution(within, within, 3, groups, stride),
            nn.ReLU(),
            _convolution(within, after, 1, groups),
        )
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(before, after, 1, groups, stride)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Features [N, after, ...] of features [N, before, X, Y, Z]."""
        return functional.relu(self.shortcut(volume) + self.convolutions(volume))


class UpBlock(nn.Module):
    """A step of the cascaded upsampler: twice the grid, beside the encoder's features, then two convolutions.

    Args:
        before, skipped, after: channels of what comes up, of the encoder's features (0: none), and of the result.
        groups: of the normalisation.
    """

    def __init__(self, before: int, skipped: int, after: int, groups: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            _convolution(before + skipped, after, 3, groups),
            nn.ReLU(),
            _convolution(after, after, 3, groups),
            nn.ReLU(),
        )

    def forward(self, volume: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Features [N, after, 2 X, 2 Y, 2 Z] of features [N, before, X, Y, Z] and the encoder's of twice the grid."""
        volume = functional.interpolate(volume, scale_factor=2, mode="trilinear", align_corners=False)
        return self.convolutions(volume if skip is None else torch.cat([volume, skip], 1))


class TransUNetNetwork(nn.Module):
    """The network of Chen et al., figure 1, in 3-D, with the PET as its one output.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the encoder's levels; the first is a convolution, the others are residual blocks, and each
            halves the grid.
        residual_blocks: residual blocks of each level after the first.
        bottleneck: by how much a residual block is narrower within.
        hidden_size, num_layers, num_heads, mlp_size, dropout: of `Transformer`.
        decoder_channels: widths of the upsampler's steps, from the coarsest, as many as levels.
        norm_num_groups: groups of all normalisations of convolutions; must divide all their widths.
        num_class_embeds: number of class labels.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks` and `Transformer`, lists of other lengths, too many blocks, or groups that do not divide
            the widths.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 256, 512, 1024),
        residual_blocks: Sequence[int] = (3, 4, 9),
        bottleneck: int = 4,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_size: int = 3072,
        dropout: float = 0.1,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        norm_num_groups: int = 16,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        if not len(channels) == len(decoder_channels) == len(residual_blocks) + 1:
            raise ValueError("channels, decoder_channels and residual_blocks say different numbers of levels")
        if max(residual_blocks, default=0) > MOST_BLOCKS:
            raise ValueError(f"residual_blocks {list(residual_blocks)}: at most {MOST_BLOCKS} a level")
        self.blocks = Blocks(factor, crop)
        self.tracer_maps = TracerMaps(num_class_embeds)
        groups = norm_num_groups
        self._multiple = 2 ** len(channels)
        self.stem = nn.Sequential(
            _convolution(len(SEQUENCES) + self.tracer_maps.channels, channels[0], 7, groups, 2), nn.ReLU()
        )
        self.levels = nn.ModuleList()
        for level, (before, after, count) in enumerate(zip(channels, channels[1:], residual_blocks, strict=False)):
            # As in ResNet-50, the second level is reached by pooling, the others by a stride.
            parts = [] if level else [nn.MaxPool3d(3, 2, 1)]
            for block in range(count):
                stride = 2 if level and block == 0 else 1
                parts.append(Bottleneck(after if block else before, after, after // bottleneck, groups, stride))
            self.levels.append(nn.Sequential(*parts))
        shape = [n // self._multiple for n in padded_shape(self.blocks.shape, self._multiple)]
        self.embedding = nn.Conv3d(channels[-1], hidden_size, 1)
        self.transformer = Transformer(
            shape, hidden_size, layers=num_layers, heads=num_heads, mlp=mlp_size, dropout=dropout
        )
        widths = [2 * decoder_channels[0], *decoder_channels]
        self.widen = nn.Sequential(_convolution(hidden_size, widths[0], 3, groups), nn.ReLU())
        skipped = [*reversed(channels[:-1]), 0]
        self.up = nn.ModuleList(
            UpBlock(before, skip, after, groups)
            for before, skip, after in zip(widths, skipped, decoder_channels, strict=False)
        )
        self.head = nn.Conv3d(decoder_channels[-1], 1, 3, padding=1)

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] in [-1, 1] of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N]."""
        seen = self.stem(self.tracer_maps(padded(mri, self._multiple, BACKGROUND), labels))
        skips = []
        for level in self.levels:
            skips.append(seen)
            seen = level(seen)
        seen = self.widen(self.transformer(self.embedding(seen)))
        for up in self.up:
            seen = up(seen, skips.pop() if skips else None)
        return torch.tanh(central(self.head(seen), mri.shape[2:]).float())
