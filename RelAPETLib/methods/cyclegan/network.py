"""CycleGAN's generators: a few strided convolutions, residual blocks on the coarse grid, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.shapes import central, padded
from ...networks.tracer_maps import ToldLayer, TracerMaps
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what they are given; nothing follows the sum (He et al., 2016).

    Args:
        channels: of the volume.
        groups: of the normalisation.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.GroupNorm(groups, channels),
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """A volume [N, C, X, Y, Z] of two places a side or more."""
        return volume + self.layers(volume)


class ResNetTranslator(nn.Module):
    """The generator of Zhu et al., appendix 7.2 (after Johnson et al., 2016), in 3-D, in either direction.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels, each half the size of the one before.
        num_res_blocks: residual blocks on the coarsest.
        norm_num_groups: groups of the normalisation; 0 normalises each channel by itself, as the paper's instance
            normalisation does.
        end_kernel: side of the first and the last convolution, odd.
        num_class_embeds: number of class labels.
        tracer_shift: the tracer shifts the channels behind the first normalisation, and is no constant channels, which
            a normalisation of each channel by itself takes away.
        inputs, outputs: channels of the image that is translated and of its translation.

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
        channels: Sequence[int] = (64, 128, 256),
        num_res_blocks: int = 9,
        norm_num_groups: int = 0,
        end_kernel: int = 7,
        num_class_embeds: int = PUBLISHED_LABELS,
        tracer_shift: bool = False,
        inputs: int = len(SEQUENCES),
        outputs: int = 1,
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        self.tracer_maps = None if tracer_shift else TracerMaps(num_class_embeds)
        self._multiple = 2 ** (len(channels) - 1)

        def after(convolution: nn.Module, width: int) -> nn.Sequential:
            return nn.Sequential(convolution, nn.GroupNorm(norm_num_groups or width, width), nn.ReLU())

        def end(before: int, width: int) -> nn.Conv3d:
            return nn.Conv3d(before, width, end_kernel, 1, end_kernel // 2, padding_mode="reflect")

        steps = list(zip(channels, channels[1:], strict=False))
        if tracer_shift:
            layer = after(end(inputs, channels[0]), channels[0])
            self.first = ToldLayer(*layer, channels[0], num_class_embeds)
        else:
            self.first = after(end(inputs + self.tracer_maps.channels, channels[0]), channels[0])
        self.down = nn.ModuleList(after(nn.Conv3d(fine, coarse, 3, 2, 1), coarse) for fine, coarse in steps)
        self.middle = nn.ModuleList(
            ResidualBlock(channels[-1], norm_num_groups or channels[-1]) for _ in range(num_res_blocks)
        )
        self.up = nn.ModuleList(
            after(nn.ConvTranspose3d(coarse, fine, 3, 2, 1, output_padding=1), fine) for fine, coarse in reversed(steps)
        )
        self.last = end(channels[0], outputs)

    def forward(self, volume: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The translation [N, outputs, X, Y, Z] in [-1, 1] of blocks [N, inputs, X, Y, Z] with tracer labels [N]."""
        seen = padded(volume, self._multiple, BACKGROUND)
        seen = self.first(seen, labels) if self.tracer_maps is None else self.first(self.tracer_maps(seen, labels))
        for layer in (*self.down, *self.middle, *self.up):
            seen = layer(seen)
        return torch.tanh(central(self.last(seen), volume.shape[2:]).float())
