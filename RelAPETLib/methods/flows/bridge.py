"""The diffusion bridge from the PET to the T1w: DDBM (Zhou et al., ICLR 2024) in its variance-preserving form.

It is a variance-preserving diffusion whose end at t = 1 is known to be the T1w. alpha_t and sigma_t are its signal and
noise rates without that knowledge, SNR_t = alpha_t^2 / sigma_t^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...diffusion import along
from ...diffusion.names import HEUN
from ..base import NoiseSource
from .names import SAMPLERS
from .process import Estimate, Path, intervals

#: Exponent of the sampler's times (Karras et al., arXiv 2206.00364, eq. 5).
RHO = 7.0
#: The network is told so many times ln(t) / 4, as a number that a timestep's embedding can tell apart.
TOLD = 1000.0


@dataclass(frozen=True)
class Bridge(Path):
    """x_t = a_t y + b_t x0 + sqrt(c_t) eps; y the T1w (Zhou et al., table 1).

    Attributes:
        beta_d, beta_min: alpha_t = exp(-beta_d t^2 / 4 - beta_min t / 2).
        first: the earliest time that is trained and visited.
        churn: share of a sampler's interval that is gone by a step with noise.
        sigma_data: SD that the preconditioning takes for PET and T1w; it takes no covariance of them.

    Raises:
        ValueError: rates that do not fall, or a number out of its range.
    """

    beta_d: float = 2.0
    beta_min: float = 0.1
    first: float = 1e-4
    churn: float = 0.33
    sigma_data: float = 0.5

    kind: ClassVar[str] = "bridge"
    samplers: ClassVar[tuple[str, ...]] = SAMPLERS[kind]

    def __post_init__(self):
        if self.beta_d < 0 or not self.beta_min > 0:
            raise ValueError("beta_min must be above 0 and beta_d at least 0, so that signal falls from the start")
        if not (0 < self.first < 1 and 0 < self.churn < 1 and self.sigma_data > 0):
            raise ValueError("first and churn must lie between 0 and 1, and sigma_data above 0")

    # -- the forward process -----------------------------------------------------------------------------------------

    def rates(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """alpha_t and sigma_t^2 at times t, float64."""
        log_alpha = -(self.beta_d * t.double().square() / 4 + self.beta_min * t.double() / 2)
        return log_alpha.exp(), -torch.expm1(2 * log_alpha)

    def coefficients(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(a_t, b_t, c_t) at times t, float64: (0, 1, 0) at 0 and (1, 0, 0) at 1."""
        alpha, variance = self.rates(t)
        alpha_end, variance_end = self.rates(torch.ones((), dtype=torch.float64))
        share = ((alpha_end / alpha).square() * (variance / variance_end)).clamp(max=1.0)  # SNR_T / SNR_t
        return share * alpha / alpha_end, (1 - share) * alpha, (1 - share) * variance

    def times(self, uniform: torch.Tensor) -> torch.Tensor:
        """See `Path.times`: evenly from `first` to 1."""
        return self.first + (1 - self.first) * uniform

    def mean(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """a_t y + b_t x0 at times [N]."""
        a, b, _ = self.coefficients(t)
        return along(a, x0) * y + along(b, x0) * x0

    def noised(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """See `Path.noised`."""
        return self.mean(x0, y, t) + along(self.coefficients(t)[2].sqrt(), x0) * eps

    # -- what the network sees and gives -----------------------------------------------------------------------------

    def scalings(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(c_in, c_skip, c_out) at times t, float64 of Zhou et al..

        The clean estimate is c_skip x_t + c_out F(c_in x_t). x_t / c_in and F's target have SD 1 where PET and T1w
        have `sigma_data` and no covariance.
        """
        a, b, c = self.coefficients(t)
        data = self.sigma_data**2
        c_in = ((a.square() + b.square()) * data + c).rsqrt()
        return c_in, b * data * c_in.square(), (a.square() * data**2 + data * c).sqrt() * c_in

    def seen(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `Path.seen`."""
        return along(self.scalings(t)[0], x_t) * x_t

    def told(self, t: torch.Tensor) -> torch.Tensor:
        """See `Path.told`: ln(t) / 4."""
        return TOLD / 4 * t.log()

    def target(self, x0: torch.Tensor, x_t: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `Path.target`.

        Its squared error is the clean estimate's, times the paper's weight 1 / c_out^2.
        """
        _, c_skip, c_out = self.scalings(t)
        return (x0 - along(c_skip, x0) * x_t) / along(c_out, x0)

    def clean(self, x_t: torch.Tensor, output: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `Path.clean`."""
        _, c_skip, c_out = self.scalings(t)
        return along(c_skip, x_t) * x_t + along(c_out, x_t) * output

    # -- the way back ------------------------------------------------------------------------------------------------

    def visited(self, count: int) -> list[float]:
        """The times at which `count` intervals begin: 1 to `first`, spaced as Karras et al. space noise levels."""
        ends = 1.0, self.first ** (1 / RHO)
        return [(ends[0] + n / max(count - 1, 1) * (ends[1] - ends[0])) ** RHO for n in range(count)]

    def posterior(self, t: float, to: float) -> tuple[float, float, float]:
        """Weights of x_t and x0 in the mean of x_to, to < t, and its variance.

        Given x_t, the end of the bridge says nothing more of what lies before t: this is the posterior of the diffusion
        alone (Ho et al., arXiv 2006.11239, eq. 7), and a step by it is the reverse SDE (Zhou et al., theorem 1) solved
        for an estimate that stays the same.
        """
        (alpha, alpha_to), (variance, variance_to) = (
            [float(n) for n in numbers] for numbers in self.rates(torch.tensor([t, to], dtype=torch.float64))
        )
        kept = alpha / alpha_to
        added = variance - kept**2 * variance_to
        return kept * variance_to / variance, alpha_to * added / variance, added * variance_to / variance

    def drifted(self, x_t: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, t: float, to: float) -> torch.Tensor:
        """x_to on the way of the probability flow ODE (Zhou et al., theorem 1) from x_t, for an estimate that stays x0.

        What x_t is off its mean shrinks as the SD does (Zheng et al., ICLR 2025, with no noise).
        """
        both = torch.tensor([t, to], dtype=torch.float64)
        before, after = both[:1].expand(len(x_t)), both[1:].expand(len(x_t))
        c, c_to = self.coefficients(both)[2].tolist()
        return self.mean(x0, y, after) + math.sqrt(c_to / c) * (x_t - self.mean(x0, y, before))

    def walk(self, estimate: Estimate, y: torch.Tensor, noise: NoiseSource, sampler: str, steps: int) -> torch.Tensor:
        """See `Path.walk`. Starts at y.

        ``heun`` is the hybrid sampler of the paper: in each interval a step with noise over the share `churn`, then
        Heun's over the rest. Both are exact for an estimate that stays the same, and Heun's takes the mean of the
        estimates at its ends. ``ancestral`` draws each x_t from its posterior, by one call.
        """
        heun = sampler == HEUN
        parts = intervals(steps, churned=True) if heun else [None] * steps
        path = [*self.visited(len(parts)), 0.0]
        x_t = y
        for number, part in enumerate(parts):
            t, to = path[number], path[number + 1]
            x0 = estimate(x_t, t)
            if to == 0 and not (heun and part.churned):
                return x0
            between = t + self.churn * (to - t) if heun else to
            of_x_t, of_x0, variance = self.posterior(t, between)
            x_t = of_x_t * x_t + of_x0 * x0 + variance**0.5 * noise(number + 1, tuple(y.shape)).to(y)
            if not heun:
                continue
            x0 = estimate(x_t, between)
            if to == 0:
                return x0
            x_to = self.drifted(x_t, x0, y, between, to)
            if part.corrected:
                x_to = self.drifted(x_t, (x0 + estimate(x_to, to)) / 2, y, between, to)
            x_t = x_to
        return x_t
