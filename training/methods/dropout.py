"""Dropout whose choice follows from an image's position in the run, as everything random in a training does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

#: Sets these numbers apart from others that follow from seed and position.
_STREAM = 3


class PlacedDropout(nn.Module):
    """Whole channels of an image are dropped in training; which ones, its position in the run says.

    Args:
        share: of the channels.
        seed: of the run.
        layer: number among the network's layers that drop.

    Attributes:
        positions: of the batch's images; set before every forward pass of a training.
    """

    def __init__(self, share: float, seed: int, layer: int):
        super().__init__()
        self.share, self.seed, self.layer = share, seed, layer
        self.positions: Sequence[int] = ()

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """A volume [N, C, X, Y, Z] without the dropped channels, the others larger by as much."""
        if not self.training:
            return volume
        streams = [np.random.default_rng([self.seed, place, _STREAM, self.layer]) for place in self.positions]
        kept = np.stack([stream.random(volume.shape[1]) >= self.share for stream in streams])
        factors = torch.from_numpy(kept).to(volume) / (1 - self.share)
        return volume * factors[..., None, None, None]


def place_dropouts(network: nn.Module, seed: int) -> None:
    """Put a `PlacedDropout` in the place of every ``Dropout3d`` of a network; its weights keep their names."""
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout3d)
    ]
    for layer, (parent, name, child) in enumerate(found):
        setattr(parent, name, PlacedDropout(child.p, seed, layer))


def set_positions(network: nn.Module, positions: Sequence[int]) -> None:
    """Say which images the network's next batch holds."""
    for module in network.modules():
        if isinstance(module, PlacedDropout):
            module.positions = positions
