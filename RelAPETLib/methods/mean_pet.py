"""The tracers' mean PET in a network, for methods that see it or give differences from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..tracers import PUBLISHED_LABELS
from .base import MEAN_PET


class MeanPetNetwork(nn.Module):
    """A network with a use of the tracers' mean PET, one of `MEAN_PET`.

    ``none``: it has no mean PET; ``input``: it also sees the tracer's; ``residual``: it sees that, and what it gives is
    the PET minus it, divided by `residual_scale`.

    Args:
        use: of `MEAN_PET`.
        residual_scale: SD of the differences in training.
        shape: (C, X, Y, Z) of a mean PET, on the network's own grid.
        labels: number of class labels; None is `PUBLISHED_LABELS`.

    Attributes:
        mean_pet: [labels, C, X, Y, Z] in [-1, 1], a buffer, so that it lies in the weights; zeros until training sets
            it. Missing for ``none``.

    Raises:
        ValueError: an unknown use.
    """

    def __init__(self, use: str, residual_scale: float, shape: Sequence[int], labels: int | None = None):
        super().__init__()
        if use not in MEAN_PET:
            raise ValueError(f"mean_pet {use!r} is not one of {MEAN_PET}")
        self._sees_mean, self._residual_scale = use != "none", residual_scale if use == "residual" else None
        if self._sees_mean:
            self.register_buffer("mean_pet", torch.zeros(PUBLISHED_LABELS if labels is None else labels, *shape))

    def with_mean(self, channels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Channels [N, K, X, Y, Z], followed by the mean PET of the tracers of labels [N] where it is seen."""
        return torch.cat([channels, self.mean_pet[labels]], 1) if self._sees_mean else channels

    def from_residual(self, values: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """PET of what the network gives [N, C, X, Y, Z]: the same unless that is a difference from the mean PET.

        Args:
            labels: [N]; may be None where no differences are given.
        """
        return values if self._residual_scale is None else self._residual_scale * values + self.mean_pet[labels]
