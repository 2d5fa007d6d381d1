"""The tracers' mean PET in a network, for methods that see it or give differences from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..tracers import PUBLISHED_LABELS
from .base import MEAN_PET
from .expected_pet import ExpectedPet


class MeanPetNetwork(nn.Module):
    """A network with a use of the tracers' mean PET, one of `MEAN_PET`.

    ``none``: it has no mean PET; ``input``: it also sees the tracer's; ``residual``: it sees that, and what it gives is
    the PET minus it, divided by `residual_scale`; ``regression``: as ``residual``, with the PET that a regression
    expects of the person's MRI (`ExpectedPet`) in place of the tracer's mean.

    Args:
        use: of `MEAN_PET`.
        residual_scale: SD of the differences in training: one for all tracers, or one for each class label.
        shape: (C, X, Y, Z) of a mean PET, on the network's own grid.
        labels: number of class labels; None is `PUBLISHED_LABELS`.
        coarse: (X, Y, Z) of the blocks of ``regression``; without them it is not offered.

    Attributes:
        mean_pet: [labels, C, X, Y, Z] in [-1, 1], a buffer, so that it lies in the weights; zeros until training sets
            it. Missing for ``none``.
        expectation: the regression; None for other uses.

    Raises:
        ValueError: an unknown use, or one that is not offered; not one scale for each label.
    """

    def __init__(
        self,
        use: str,
        residual_scale: float | Sequence[float],
        shape: Sequence[int],
        labels: int | None = None,
        coarse: Sequence[int] | None = None,
    ):
        super().__init__()
        if use not in MEAN_PET:
            raise ValueError(f"mean_pet {use!r} is not one of {MEAN_PET}")
        if use == "regression" and coarse is None:
            raise ValueError("mean_pet 'regression' is for networks of voxels")
        labels = PUBLISHED_LABELS if labels is None else labels
        self._sees_mean = use != "none"
        self._gives_differences = use in ("residual", "regression")
        if self._gives_differences:
            scales = torch.as_tensor(residual_scale, dtype=torch.float32).reshape(-1)
            if len(scales) not in (1, labels):
                raise ValueError(f"residual_scale: {len(scales)} of them for {labels} labels")
            self.register_buffer("_scales", scales.expand(labels).clone(), persistent=False)
        if self._sees_mean:
            self.register_buffer("mean_pet", torch.zeros(labels, *shape))
        self.expectation = ExpectedPet(shape[1:], coarse, labels) if use == "regression" else None

    def expected(self, mri: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor | None:
        """PET [N, labels, X, Y, Z] that the regression expects of MRI [N, 2, X, Y, Z]; None without one.

        `shift`: see `ExpectedPet.forward`.
        """
        return None if self.expectation is None else self.expectation(mri, self.mean_pet, shift)

    def mean_of(self, labels: torch.Tensor, expected: torch.Tensor | None = None) -> torch.Tensor:
        """Mean PET [N, C, X, Y, Z] of the tracers of labels [N], or what is `expected` of these people."""
        if self.expectation is None:
            return self.mean_pet[labels]
        return expected[torch.arange(len(labels), device=labels.device), labels][:, None]

    def with_mean(
        self, channels: torch.Tensor, labels: torch.Tensor, expected: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Channels [N, K, X, Y, Z], followed by `mean_of` the tracers of labels [N] where it is seen."""
        return torch.cat([channels, self.mean_of(labels, expected)], 1) if self._sees_mean else channels

    def from_residual(
        self, values: torch.Tensor, labels: torch.Tensor | None, expected: torch.Tensor | None = None
    ) -> torch.Tensor:
        """PET of what the network gives [N, C, X, Y, Z]: the same unless that is a difference from the mean PET.

        Args:
            labels: [N]; may be None where no differences are given.
            expected: of `expected`, for ``regression``.
        """
        if not self._gives_differences:
            return values
        return self.scale_of(labels) * values + self.mean_of(labels, expected)

    def scale_of(self, labels: torch.Tensor) -> torch.Tensor | float:
        """SD [N, 1, 1, 1, 1] of the differences of the tracers of labels [N]; 1 where none are given."""
        return self._scales[labels][:, None, None, None, None] if self._gives_differences else 1.0
