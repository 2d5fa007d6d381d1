"""SC-GAN's discriminator: patches of PET beside MRI and tracer, with self-attention."""

from __future__ import annotations

import torch
from torch import nn

from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.networks.self_attention import SelfAttention
from RelAPETLib.networks.tracer_maps import TracerMaps

_KERNEL = 5


class AttentivePatches(nn.Module):
    """Strided convolutions of 5 voxels a side, the last but one followed by self-attention, and one that judges.

    Each image is normalised by itself, so that neither the batch it comes in nor the mode changes what is said of it.

    Args:
        labels: number of class labels.
        channels: width of the first layer; every further one has twice as many, up to eight times.
        layers: that halve the grid.
    """

    def __init__(self, labels: int, channels: int = 64, layers: int = 4):
        super().__init__()
        self.tracer_maps = TracerMaps(labels)
        width = 1 + len(SEQUENCES) + self.tracer_maps.channels
        self.layers = nn.ModuleList()
        for layer in range(layers):
            before, width = width, channels * 2 ** min(layer, 3)
            parts = [nn.Conv3d(before, width, _KERNEL, 2, _KERNEL // 2)]
            if layer:
                parts.append(nn.GroupNorm(width, width))
            parts.append(nn.LeakyReLU(0.2))
            if layer == layers - 2:
                parts.append(SelfAttention(width))
            self.layers.append(nn.Sequential(*parts))
        self.judge = nn.Conv3d(width, 1, _KERNEL, 1, _KERNEL // 2)

    def forward(self, pet: torch.Tensor, mri: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        """Maps of every layer, the patches' logits [N, 1, x, y, z] last.

        Args:
            pet: [N, 1, X, Y, Z] in [-1, 1], measured or synthetic.
            mri: [N, 2, X, Y, Z] in [-1, 1].
            labels: [N].
        """
        maps = [self.tracer_maps(torch.cat([pet, mri], 1), labels)]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return [*maps[1:], self.judge(maps[-1])]
