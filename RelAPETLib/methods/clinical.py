"""Methods that are told age, sex and a score beside the MRI."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..clinical import CLINICAL
from .stepwise import Stepwise

if TYPE_CHECKING:
    import torch


class Person(NamedTuple):
    """What a draw needs to know: the MRI's blocks [N, 2, X, Y, Z], and clinical values [N, 3], NaN where missing."""

    mri: torch.Tensor
    clinical: torch.Tensor

    def expand(self, count: int) -> Person:
        """One person, so often."""
        return Person(*(part.expand(count, *part.shape[1:]) for part in self))


class ToldClinical(Stepwise):
    """A method in steps whose draws take a `Person`."""

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Person:
        """See `Method.encode`; without clinical values all are missing."""
        import torch

        if clinical is None:
            clinical = torch.full((1, len(CLINICAL)), float("nan"))
        return Person(self.network.blocks.of(mri.to(self.device)), clinical.float().to(self.device))
