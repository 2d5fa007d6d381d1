"""Moving averages of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of parameters, held beside them, shard by shard if they are sharded.

    Args:
        parameters: those of the network.
        decay: 0 keeps nothing: the average is the parameters themselves. Approached from below over the first updates,
            so that the untrained weights are soon forgotten.
        updates: how many there were, of an average that goes on.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float, updates: int = 0):
        self.parameters, self.decay, self.updates = list(parameters), decay, updates
        self.average = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """average <- decay average + (1 - decay) parameters."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        for average, parameter in zip(self.average, self.parameters, strict=False):
            average.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights inside this context, its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self.average, self.parameters, strict=False):
            own = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(own)
