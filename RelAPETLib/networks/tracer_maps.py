"""The tracer, for networks that take no class label of their own: as constant channels, or shifting a first layer's."""

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


class ToldLayer(nn.Module):
    """A convolution, its normalisation and its activation, between which the tracer shifts the channels.

    Where each channel is normalised by itself, what constant channels add before is taken away again; this is not.

    Args:
        convolution, norm, activation: the layer.
        channels: that the convolution gives.
        labels: number of class labels.
    """

    def __init__(self, convolution: nn.Module, norm: nn.Module, activation: nn.Module, channels: int, labels: int):
        super().__init__()
        self.convolution, self.norm, self.activation = convolution, norm, activation
        self.class_embedding = nn.Embedding(labels, channels)

    def forward(self, volume: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Features [N, channels, X, Y, Z] of a volume [N, C, X, Y, Z] with labels [N]."""
        seen = self.norm(self.convolution(volume))
        return self.activation(seen + self.class_embedding(labels).to(seen)[..., None, None, None])
