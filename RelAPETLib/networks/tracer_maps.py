"""The tracer as constant channels, for networks that take no class label of their own."""

from __future__ import annotations

import torch
from torch import nn


class TracerMaps(nn.Module):
    """A few learned numbers a tracer, each a constant channel beside the image's own.

    Args:
        labels: number of class labels.
        channels: numbers a tracer.
    """

    def __init__(self, labels: int, channels: int = 4):
        super().__init__()
        self.class_embedding = nn.Embedding(labels, channels)

    @property
    def channels(self) -> int:
        """How many channels `forward` adds."""
        return self.class_embedding.embedding_dim

    def forward(self, volume: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """A volume [N, C, X, Y, Z], followed by the channels of labels [N]."""
        numbers = self.class_embedding(labels).to(volume)[..., None, None, None]
        return torch.cat([volume, numbers.expand(-1, -1, *volume.shape[2:])], 1)
