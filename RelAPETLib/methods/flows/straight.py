"""Rectified flow (Liu et al., ICLR 2023): a straight path from the PET to noise, and Euler's or Heun's steps back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...diffusion import along
from ...diffusion.names import HEUN
from ..base import NoiseSource
from .names import SAMPLERS
from .process import Estimate, Path, intervals

#: Times are told to the network as if there were so many steps, as MONAI does.
TOLD = 1000.0


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """x_t = (1 - t) x0 + t x1 with x1 = eps; the network learns v = x1 - x0 (eq. 1 of the paper).

    Attributes:
        shift: r of t -> r t / (1 + (r - 1) t), by which MAISI-v2 works at noisier times on larger volumes, in training
            and sampling; 1 leaves times as they are.

    Raises:
        ValueError: a shift that is not above 0.
    """

    shift: float = 1.0

    kind: ClassVar[str] = "rectified_flow"
    samplers: ClassVar[tuple[str, ...]] = SAMPLERS[kind]

    def __post_init__(self):
        if not self.shift > 0:
            raise ValueError(f"shift {self.shift} must be above 0")

    def times(self, uniform: torch.Tensor) -> torch.Tensor:
        """See `Path.times`."""
        return self.shift * uniform / (1 + (self.shift - 1) * uniform)

    def noised(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """See `Path.noised`; y has no part in it."""
        return along(1 - t, x0) * x0 + along(t, x0) * eps

    def told(self, t: torch.Tensor) -> torch.Tensor:
        """See `Path.told`."""
        return TOLD * t

    def target(self, x0: torch.Tensor, x_t: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `Path.target`: v."""
        return eps - x0

    def clean(self, x_t: torch.Tensor, output: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `Path.clean`: x_t - t v."""
        return x_t - along(t, x_t) * output

    def visited(self, count: int) -> list[float]:
        """The times at which `count` intervals begin, from 1 on."""
        return [float(t) for t in self.times(1 - torch.arange(count, dtype=torch.float64) / count)]

    def walk(self, estimate: Estimate, y: torch.Tensor, noise: NoiseSource, sampler: str, steps: int) -> torch.Tensor:
        """See `Path.walk`. Every step goes along v = (x_t - x0) / t of the clean estimate.

        Euler takes one call a step. Heun goes along the mean of v at both ends of a step: second order.
        """
        corrected = [one.corrected for one in intervals(steps, churned=False)] if sampler == HEUN else [False] * steps
        path = [*self.visited(len(corrected)), 0.0]
        x_t = noise(0, tuple(y.shape)).to(y)
        for number, correct in enumerate(corrected):
            t, to = path[number], path[number + 1]
            v = (x_t - estimate(x_t, t)) / t
            x_to = x_t + (to - t) * v
            if correct:
                x_to = x_t + (to - t) * (v + (x_to - estimate(x_to, to)) / to) / 2
            x_t = x_to
        return x_t
