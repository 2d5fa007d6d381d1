"""ResDM's chain from a PET to a noisy T1w and back (Ou et al., IJCAI 2024, eq. 1 to 3).

The chain of ResShift (Yue et al., NeurIPS 2023), with shifts that grow linearly as in the authors' settings. The
paper's eq. 1 leaves the variance open; it is ResShift's, kappa^2 eta_t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...errors import InputError
from ...scaling import bounded
from ..base import NoiseSource, Progress


@dataclass(frozen=True)
class ResidualShift:
    """x_t = x0 + eta_t (y - x0) + kappa sqrt(eta_t) eps at t = 0 .. steps - 1.

    Attributes:
        steps: T, length of the chain.
        first, last: eta at t = 0 and at t = T - 1; linear in between.
        kappa: SD of the noise where eta is 1, in the [-1, 1] of the images.

    Raises:
        ValueError: a chain that does not go from the PET to the T1w.
    """

    steps: int = 15
    first: float = 0.04
    last: float = 0.999
    kappa: float = 0.1

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.first <= self.last <= 1 or self.kappa < 0:
            raise ValueError("the shifts must grow within 0 and 1, over one step or more, with kappa 0 or more")

    def eta(self, t: int) -> float:
        """Share of the way to the T1w at t; 0 before the first step, where the PET is clean."""
        if t < 0:
            return 0.0
        return self.last if self.steps == 1 else self.first + (self.last - self.first) * t / (self.steps - 1)

    def noised(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """x_t of clean PET x0, T1w y and noise eps, all [N, C, X, Y, Z], at integers t [N] (eq. 1)."""
        etas = torch.tensor([self.eta(n) for n in range(self.steps)], dtype=torch.float64)
        eta = etas[t.cpu()].to(x0).reshape(-1, *(1 for _ in x0.shape[1:]))
        return x0 + eta * (y - x0) + self.kappa * eta.sqrt() * eps

    def coefficients(self, t: int, before: int) -> tuple[float, float]:
        """Weights of x_t and of the clean estimate in the mean of x_before, before < t (eq. 3)."""
        kept = self.eta(before) / self.eta(t)
        return kept, 1.0 - kept

    def variance(self, t: int, before: int) -> float:
        """Variance of x_before given x_t and x0; 0 for the clean PET (before = -1)."""
        return self.kappa**2 * self.eta(before) / self.eta(t) * (self.eta(t) - self.eta(before))

    def visited(self, steps: int) -> list[int]:
        """The t that so many network calls visit, from the noisiest on; fewer than T are spread evenly.

        Raises:
            InputError: none, or more than T.
        """
        if not 1 <= steps <= self.steps:
            raise InputError(f"steps {steps} is out of range; this chain has {self.steps}, use 1 to {self.steps}")
        return [self.steps - 1 - n * self.steps // steps for n in range(steps)]

    def sample(
        self,
        predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        y: torch.Tensor,
        noise: NoiseSource,
        steps: int | None = None,
        clip: tuple[float, float] | None = (-1.0, 1.0),
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Draw clean PET like the T1w y [N, 1, X, Y, Z].

        Args:
            predict: called with x_t and integers t [N]; returns the clean estimate.
            noise: index 0 is what is added to the T1w at the start, index i what the i-th step adds; the last adds
                none.
            steps: network calls; None for T.
            clip: bounds on every clean estimate; None leaves it free.
            progress: called as progress(fraction, message) after every step.

        Raises:
            InputError: as `visited`.
        """
        path = self.visited(self.steps if steps is None else steps)
        x_t = y + self.kappa * self.eta(path[0]) ** 0.5 * noise(0, tuple(y.shape)).to(y)
        for number, t in enumerate(path, start=1):
            before = path[number] if number < len(path) else -1
            x0 = predict(x_t, torch.full((len(y),), t, dtype=torch.long, device=y.device)).to(x_t)
            x0 = x0 if clip is None else bounded(x0, *clip)
            of_x_t, of_x0 = self.coefficients(t, before)
            x_t = of_x_t * x_t + of_x0 * x0
            if before >= 0:
                x_t = x_t + self.variance(t, before) ** 0.5 * noise(number, tuple(y.shape)).to(x_t)
            if progress:
                progress(number / len(path), f"step {number} of {len(path)}")
        return x_t
