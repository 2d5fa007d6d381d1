"""JDAM's noise and its way back (Xie et al., Med. Phys. 2023, eq. 1 and 2): a variance-exploding SDE.

The sampler is Song et al.'s (ICLR 2021, predictor-corrector): at every noise level a Langevin step, the corrector, then
the predictor: a step of the reverse diffusion or, for few steps, of ancestral sampling. The paper's own algorithm 2 has
the predictor first.
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
from .names import LONGEST, PREDICTORS, clip_of

#: The smallest t that is trained.
FIRST_TIME = 1e-5


@dataclass(frozen=True)
class VarianceExploding:
    """x_t = x0 + sigma(t) z with sigma(t) = sigma_min (sigma_max / sigma_min)^t for t from 0 to 1.

    Attributes:
        sigma_min, sigma_max: SD of the noise at both ends, for images in [-1, 1].
        calls: network calls of a draw when nobody says, two a step.
        snr: ratio of image to noise that sets the size of Langevin steps.
        predictor: one of `PREDICTORS`.

    Raises:
        ValueError: noise that does not grow, no call, or another predictor.
    """

    sigma_min: float = 0.01
    sigma_max: float = 348.0
    calls: int = LONGEST
    snr: float = 0.075
    predictor: str = "reverse"

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max or not 1 <= self.calls <= LONGEST or self.snr <= 0:
            raise ValueError(f"sigma_min must be below sigma_max, snr above 0, and calls 1 to {LONGEST}")
        if self.predictor not in PREDICTORS:
            raise ValueError(f"predictor {self.predictor!r} is not one of {PREDICTORS}")

    @property
    def clip(self) -> tuple[float, float] | None:
        """See `clip_of`."""
        return clip_of(self.predictor)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        """SD of the noise at times t of any shape."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def levels(self, count: int) -> list[float]:
        """So many SDs, a geometric row from `sigma_min` to `sigma_max`; one alone is `sigma_max`."""
        ratio = self.sigma_max / self.sigma_min
        return [self.sigma_max / ratio ** ((count - 1 - n) / max(count - 1, 1)) for n in range(count)]

    def noised(self, x0: torch.Tensor, sigma: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """x_t of clean PET x0 and noise z, both [N, C, X, Y, Z], at SDs [N]."""
        return x0 + along(sigma, x0) * z

    def clean(self, x_t: torch.Tensor, sigma: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
        """The expected clean PET by Tweedie's formula, from x_t and its score [N, C, X, Y, Z] at SDs [N]."""
        return x_t + along(sigma, x_t).square() * score

    def sample(
        self,
        score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        shape: tuple[int, ...],
        noise: NoiseSource,
        calls: int | None = None,
        device: torch.device | str = "cpu",
        clip: tuple[float, float] | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Draw PET of a shape [N, C, X, Y, Z] from noise of SD `sigma_max`.

        Args:
            score: called with x_t and SDs [N]; returns the gradient of the log density.
            noise: index 0 is the start, index i what follows the i-th network call; the last call only denoises.
            calls: of the network, two a step; of an odd number the first step has no corrector. None for `calls`.
            clip: bounds on every clean estimate, whose score is then taken; None leaves it free, as the paper does.
            progress: called as progress(fraction, message) after every call.

        Raises:
            InputError: calls out of range.
        """
        calls = self.calls if calls is None else calls
        if not 1 <= calls <= LONGEST:
            raise InputError(f"steps {calls} is out of range; use 1 to {LONGEST}")
        levels, done = self.levels((calls + 1) // 2), 0
        x_t = self.sigma_max * noise(0, shape).to(device)
        for place in range(len(levels) - 1, -1, -1):
            sigma = torch.full((shape[0],), levels[place], device=device)
            for correcting in (True, False):
                if correcting and calls % 2 and not done and place == len(levels) - 1:
                    continue
                gradient, done = score(x_t, sigma).to(x_t), done + 1
                if clip is not None:
                    gradient = (bounded(self.clean(x_t, sigma, gradient), *clip) - x_t) / levels[place] ** 2
                if correcting:
                    x_t = self._corrected(x_t, gradient, levels[place], noise(done, shape).to(x_t))
                else:
                    before = levels[place - 1] if place else 0.0
                    spread = levels[place] ** 2 - before**2
                    x_t = x_t + spread * gradient
                    if place:
                        share = before / levels[place] if self.predictor == "ancestral" else 1.0
                        x_t = x_t + share * math.sqrt(spread) * noise(done, shape).to(x_t)
                if progress:
                    progress(done / calls, f"step {done} of {calls}")
        return x_t

    def _corrected(self, x_t: torch.Tensor, gradient: torch.Tensor, sigma: float, z: torch.Tensor) -> torch.Tensor:
        """x_t after a Langevin step of the size 2 (snr |z| / |gradient|)^2, for each sample by itself.

        The size is bounded by 2 snr^2 (1 + sigma^2): the score of images in [-1, 1], whose variance is at most 1, is no
        smaller on average (Cramer and Rao), but that of a network that has learned nothing yet can be.
        """
        ratio = z.flatten(1).norm(dim=1) / gradient.flatten(1).norm(dim=1)
        size = 2 * self.snr**2 * along(ratio.square().nan_to_num(torch.inf).clamp(max=1 + sigma**2), x_t)
        return x_t + size * gradient + (2 * size).sqrt() * z
