"""Dropout whose choice follows from an image's position in the run, as everything random in a training does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..stream import DROPOUT, random_of

#: Layers that drop whole channels, and those that drop single numbers.
_WHOLE, _SINGLE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), nn.Dropout


class PlacedDropout(nn.Module):
    """Channels of an image, or single numbers, are dropped in training; which ones, its position in the run says.

    Args:
        share: of the channels or numbers.
        seed: of the run.
        layer: number among the network's layers that drop.
        whole: drop channels; False drops single numbers.

    Attributes:
        positions: of the batch's images; set before every forward pass of a training.
    """

    def __init__(self, share: float, seed: int, layer: int, whole: bool = True):
        super().__init__()
        self.share, self.seed, self.layer, self.whole = share, seed, layer, whole
        self.positions: Sequence[int] = ()

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Features [N, C, ...] without what is dropped, the rest larger by as much."""
        if not self.training or not self.share:
            return volume
        shape = volume.shape[1:2] if self.whole else volume.shape[1:]
        streams = [random_of(self.seed, place, DROPOUT, self.layer) for place in self.positions]
        kept = np.stack([stream.random(shape, np.float32) >= self.share for stream in streams])
        factors = torch.from_numpy(kept).to(volume) / (1 - self.share)
        return volume * factors.reshape(*factors.shape, *(1 for _ in range(volume.ndim - factors.ndim)))


def place_dropouts(network: nn.Module, seed: int) -> None:
    """Put a `PlacedDropout` in the place of every dropout of a network; its weights keep their names."""
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, (*_WHOLE, _SINGLE))
    ]
    for layer, (parent, name, child) in enumerate(found):
        setattr(parent, name, PlacedDropout(child.p, seed, layer, isinstance(child, _WHOLE)))


def set_positions(network: nn.Module, positions: Sequence[int]) -> None:
    """Say which images the network's next batch holds."""
    for module in network.modules():
        if isinstance(module, PlacedDropout):
            module.positions = positions
