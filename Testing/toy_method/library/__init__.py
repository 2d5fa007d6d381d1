"""A toy: every voxel of a coarse grid becomes PET by itself, drawn at once with a little noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...grid import MNI_GRID
from ...scaling import bounded
from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..schema import closed

if TYPE_CHECKING:
    import torch

__all__ = ["Toy"]

#: Standard deviation of the noise, in the [-1, 1] of the PET.
NOISE = 0.01


class Toy(Method):
    """See `RelAPETLib.methods.base.Method`."""

    name = "toy"
    title = "Toy"
    schema = closed({"factor": {"enum": [1, 2, 4, 5, 10, 20]}})

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module):
        self.settings, self.network = settings, network

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Toy:
        """See `Method.build`."""
        from .network import ToyNetwork

        return cls(settings, ToyNetwork())

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """It draws at once."""
        return Defaults()

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """Means of blocks of the MRI."""
        from torch.nn import functional

        return functional.avg_pool3d(mri.to(self.device), self.settings["factor"])

    def draw(
        self,
        encoded: torch.Tensor,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch
        from torch.nn import functional

        labels = integers(label, count, self.device)
        with torch.inference_mode():
            pet = self.network(encoded.expand(count, *encoded.shape[1:]), labels)
            pet = pet + NOISE * noise(0, tuple(pet.shape)).to(pet.device)
            whole = functional.interpolate(pet, size=MNI_GRID.shape, mode="trilinear", align_corners=False)
            return bounded(whole, -1, 1)
