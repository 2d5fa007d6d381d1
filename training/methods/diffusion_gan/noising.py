"""The noise on what Diffusion-GAN's discriminator sees, and how much of it (Wang et al., ICLR 2023, section 3).

y = sqrt(abar_t) x + sqrt(1 - abar_t) sigma e, where t is 0 (the clean image) to T, and T grows while the discriminator
is too sure of real images. The betas run from the same first to the same last one over every T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from RelAPETLib.diffusion import NoiseSchedule

from .config import DRAWS

#: First and last beta of the chain, whatever its length.
BETAS = (1e-4, 0.02)
#: How often t is 0.
CLEAN_SHARE = 0.5


@lru_cache(maxsize=8)
def schedule(timesteps: int) -> NoiseSchedule:
    """The chain of so many timesteps."""
    return NoiseSchedule("linear", *BETAS, timesteps)


def noised(x: torch.Tensor, t: torch.Tensor, eps: torch.Tensor, timesteps: int, sigma: float) -> torch.Tensor:
    """y of images x [N, 1, X, Y, Z] with noise eps like them, at integers t [N] from 0 to T; differentiable in x."""
    # The library counts timesteps from 0 and calls the clean image -1.
    rates = torch.tensor([schedule(timesteps).rates(n - 1) for n in t.tolist()], dtype=torch.float64).to(x)
    kept, noise = rates.reshape(len(x), 2, 1, 1, 1, 1).unbind(1)
    return kept * x + noise * sigma * eps


def drawn_timesteps(seed: int, streams: Sequence[int], timesteps: int, how: str) -> torch.Tensor:
    """t [N] for places of the run, a stream each: 0 for half of them, else 1 to T as `how` says, one of `DRAWS`.

    Raises:
        ValueError: another way to draw.
    """
    if how not in DRAWS:
        raise ValueError(f"unknown way to draw timesteps {how!r}; use one of {', '.join(DRAWS)}")
    weights = np.arange(1, timesteps + 1, dtype=np.float64) if how == "priority" else np.ones(timesteps)
    reached = np.cumsum(weights) / weights.sum()
    found = []
    for stream in streams:
        clean, place = np.random.default_rng([seed, stream, 1]).random(2)
        found.append(0 if clean < CLEAN_SHARE else 1 + int(np.searchsorted(reached, place, side="right")))
    return torch.tensor(found)


@dataclass
class AdaptiveNoise:
    """p, the place of T between its bounds, and what it is to be adjusted by.

    Attributes:
        p: 0 to 1.
        signs: sum of the signs of the discriminator's logits of real images since the last adjustment, over all ranks.
        judged: number of those logits.
        adjusted_at: step of the last adjustment.
        images: over which p goes from 0 to 1 if it always rises; 0 while the run's length is not known: p stays.
    """

    p: float = 0.0
    signs: float = 0.0
    judged: float = 0.0
    adjusted_at: int = 0
    images: int = 0

    def timesteps(self, least: int, most: int) -> int:
        """T at present."""
        return round(least + self.p * (most - least))

    def saw(self, signs: float, judged: float) -> None:
        """Take note of logits of real images: the sum of their signs, and how many there were."""
        self.signs, self.judged = self.signs + signs, self.judged + judged

    def adjust(self, step: int, every: int, target: float, batch: int) -> None:
        """At every so many steps of `batch` images: p moves up where the mean sign lies above `target`, else down.

        A step may ask several times, once a micro-batch; p then changes once, before the first.
        """
        if step % every or step == self.adjusted_at or not self.judged:
            return
        stride = every * batch / self.images if self.images else 0.0
        towards = float(np.sign(self.signs / self.judged - target))
        self.p = min(max(self.p + towards * stride, 0.0), 1.0)
        self.signs, self.judged, self.adjusted_at = 0.0, 0.0, step

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the keyword arguments."""
        return asdict(self)
