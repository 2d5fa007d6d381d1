"""DDGAN's chain: a diffusion of few and large steps, and their posterior (Xiao et al., ICLR 2022, section 3 and 4).

x at level n has kept the share sqrt(abar_n) of the clean image; level 0 is the clean image, level T all but noise. The
paper's t is the level that a step leads to: the generator sees x_{t+1} and t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...diffusion import along
from ...errors import InputError
from ...scaling import bounded
from ..base import NoiseSource, Progress

#: Where the continuous time of the variance-preserving SDE begins; it ends at 1.
FIRST_TIME = 1e-3


@dataclass(frozen=True)
class PosteriorChain:
    """The variance-preserving SDE at T + 1 times equally far apart.

    Attributes:
        steps: T.
        beta_min, beta_max: rate of the SDE at time 0 and at time 1; linear in between.

    Raises:
        ValueError: no steps, or rates that are not positive or fall.
    """

    steps: int = 4
    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.beta_min <= self.beta_max:
            raise ValueError("the chain needs one step or more, and rates above 0 that do not fall")

    def kept(self, level: int, since: int = 0) -> float:
        """abar of a level: the share of the clean image's variance in it; exactly 1 at level 0.

        With `since`, the share of the variance at that level: the product of 1 - beta between the two.
        """

        def logarithm(n: int) -> float:
            time = FIRST_TIME + (1 - FIRST_TIME) * n / self.steps
            return -0.5 * time**2 * (self.beta_max - self.beta_min) - time * self.beta_min

        return math.exp(logarithm(level) - logarithm(since))

    def beta(self, level: int) -> float:
        """Variance of the noise in the step that leads to a level, 1 to T."""
        return 1.0 - self.kept(level, level - 1)

    def noised(self, x0: torch.Tensor, levels: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """q(x_n | x0): x at integer levels n [N] of clean images and standard normal noise, both [N, C, X, Y, Z]."""
        shares = torch.tensor([self.kept(level) for level in levels.tolist()], dtype=torch.float64)
        return along(shares.sqrt(), x0) * x0 + along((1 - shares).sqrt(), x0) * eps

    def stepped(self, x_t: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """q(x_{t+1} | x_t): one level further from levels t [N], 0 to T - 1."""
        betas = torch.tensor([self.beta(level + 1) for level in t.tolist()], dtype=torch.float64)
        return along((1 - betas).sqrt(), x_t) * x_t + along(betas.sqrt(), x_t) * eps

    def posterior(
        self, x: torch.Tensor, x0: torch.Tensor, levels: torch.Tensor, before: torch.Tensor, eps: torch.Tensor
    ) -> torch.Tensor:
        """q(x_before | x, x0), by standard normal `eps`; x0 itself where `before` is 0.

        Args:
            x: noisy images [N, C, X, Y, Z] at `levels`.
            x0: clean images or their estimates, like x.
            levels, before: integers [N], before < levels.
        """
        weights = [self.weights(*pair) for pair in zip(levels.tolist(), before.tolist(), strict=True)]
        of_x0, of_x, deviation = (along(column, x) for column in torch.tensor(weights, dtype=torch.float64).unbind(1))
        return of_x0 * x0 + of_x * x + deviation * eps

    def weights(self, level: int, before: int) -> tuple[float, float, float]:
        """Of the clean image, of x and of the noise in q(x_before | x, x0); exactly 1, 0 and 0 where `before` is 0."""
        abar, abar_before, kept = self.kept(level), self.kept(before), self.kept(level, before)
        of_x0 = abar_before**0.5 * (1 - kept) / (1 - abar)
        of_x = kept**0.5 * (1 - abar_before) / (1 - abar)
        return of_x0, of_x, ((1 - abar_before) * (1 - kept) / (1 - abar)) ** 0.5

    def visited(self, steps: int) -> list[int]:
        """The levels that so many network calls see, from T down; fewer than T are spread evenly.

        Raises:
            InputError: none, or more than T.
        """
        if not 1 <= steps <= self.steps:
            raise InputError(f"steps {steps} is out of range; this chain has {self.steps}, use 1 to {self.steps}")
        return [self.steps - n * self.steps // steps for n in range(steps)]

    def sample(
        self,
        predict: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
        like: torch.Tensor,
        latent: int,
        noise: NoiseSource,
        steps: int | None = None,
        clip: tuple[float, float] | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Draw clean images of the shape and on the device of `like` [N, C, X, Y, Z].

        Args:
            predict: called with x_{t+1}, integers t [N] and z [N, latent]; returns the clean estimate.
            latent: numbers of a z.
            noise: index 0 is the start; index i is asked first for the i-th step's z, then for what the step adds; the
                last adds none.
            steps: network calls; None for T.
            clip: bounds on every clean estimate; None leaves it free.
            progress: called as progress(fraction, message) after every step.

        Raises:
            InputError: as `visited`.
        """
        path, shape, count = self.visited(self.steps if steps is None else steps), tuple(like.shape), len(like)
        x = noise(0, shape).to(like)
        for number, level in enumerate(path, start=1):
            before = path[number] if number < len(path) else 0
            levels, befores = (torch.full((count,), n, dtype=torch.long, device=x.device) for n in (level, before))
            x0 = predict(x, levels - 1, noise(number, (count, latent)).to(x)).to(x)
            x0 = x0 if clip is None else bounded(x0, *clip)
            eps = noise(number, shape).to(x) if before else torch.zeros_like(x)
            x = self.posterior(x, x0, levels, befores, eps)
            if progress:
                progress(number / len(path), f"step {number} of {len(path)}")
        return x
