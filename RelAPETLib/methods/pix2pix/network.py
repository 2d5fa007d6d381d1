"""Pix2Pix's generator: a U-Net of strided convolutions of 4 voxels a side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.shapes import central, padded
from ...networks.tracer_maps import TracerMaps
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES

#: Levels of the decoder, from the coarsest, that drop out; the coarsest itself does not.
_DROPPING = 3
#: But none whose grid is finer than 1 / 2**3; of eight levels the authors' code has drop out those of 1/16 and coarser.
_FINEST_DROPPING = 3


class Pix2PixUNet(nn.Module):
    """The U-Net of Isola et al., section 6.1.1, in 3-D: every level halves the grid, and comes back beside its mirror.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels, each half the size of the one before.
        norm_num_groups: groups of the normalisation; 0 normalises each channel by itself, which is what the paper's
            batch normalisation does at its batch of one image.
        dropout: share of single numbers that is dropped in training, in the three levels of the decoder behind the
            coarsest, where their grid has an eighth of the image's sides or less; with fewer than five levels, in none.
        num_class_embeds: number of class labels.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks`, or groups that do not divide the channels.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 128, 256, 512, 512),
        norm_num_groups: int = 0,
        dropout: float = 0.5,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self.tracer_maps = TracerMaps(num_class_embeds)
        self._multiple = 2 ** len(channels)
        widths = [len(SEQUENCES) + self.tracer_maps.channels, *channels]
        last = len(channels) - 1

        def norm(width: int) -> nn.Module:
            return nn.GroupNorm(norm_num_groups or width, width)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            # Neither the first level nor the coarsest is normalised: one place has no spread.
            parts = [nn.LeakyReLU(0.2)] if level else []
            parts.append(nn.Conv3d(before, after, 4, 2, 1))
            self.down.append(nn.Sequential(*parts, *([norm(after)] if 0 < level < last else [])))
        for level in range(last, -1, -1):
            before = channels[level] * (1 if level == last else 2)
            after = channels[level - 1] if level else 1
            parts = [nn.ReLU(), nn.ConvTranspose3d(before, after, 4, 2, 1)]
            if level:
                parts.append(norm(after))
            if dropout and max(last - _DROPPING, _FINEST_DROPPING) <= level < last:
                parts.append(nn.Dropout(dropout))
            self.up.append(nn.Sequential(*parts))

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] in [-1, 1] of T1w and T2F blocks [N, 2, X, Y, Z] and tracer labels [N]."""
        seen = self.tracer_maps(padded(mri, self._multiple, BACKGROUND), labels)
        levels = []
        for down in self.down:
            seen = down(seen)
            levels.append(seen)
        seen = self.up[0](levels.pop())
        for up in self.up[1:]:
            seen = up(torch.cat([seen, levels.pop()], 1))
        return torch.tanh(central(seen, mri.shape[2:]).float())
