"""What both paths of this folder answer: from a PET at t = 0 to something known at t = 1, in continuous time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch

from ...errors import InputError
from ...scaling import bounded
from ..base import NoiseSource, Progress
from .names import LONGEST

#: Clean estimates [N, 1, X, Y, Z] of x_t like them at one time for all: ``estimate(x_t, t)``.
Estimate = Callable[[torch.Tensor, float], torch.Tensor]


class Path(ABC):
    """x_t = a_t y + b_t x0 + s_t eps of a clean PET x0, the T1w y and standard normal noise eps, at t from 0 to 1.

    Class attributes:
        kind: its name in bundles, which is the choice of ``method=``.
        samplers: names, the path's own first.
    """

    kind: ClassVar[str]
    samplers: ClassVar[tuple[str, ...]]

    @abstractmethod
    def times(self, uniform: torch.Tensor) -> torch.Tensor:
        """Times of a training [N] from numbers [N] between 0 and 1."""

    @abstractmethod
    def noised(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """x_t of clean PET, T1w and noise, all [N, C, X, Y, Z], at times [N]."""

    def seen(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the network sees of x_t [N, C, X, Y, Z] at times [N]."""
        return x_t

    @abstractmethod
    def told(self, t: torch.Tensor) -> torch.Tensor:
        """The numbers [N] by which the network is told times [N]."""

    @abstractmethod
    def target(self, x0: torch.Tensor, x_t: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the network ought to give, like x0."""

    @abstractmethod
    def clean(self, x_t: torch.Tensor, output: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The clean estimate that the network's output at x_t means, all [N, C, X, Y, Z]."""

    @abstractmethod
    def walk(self, estimate: Estimate, y: torch.Tensor, noise: NoiseSource, sampler: str, steps: int) -> torch.Tensor:
        """See `sample`, which checks sampler and steps first."""

    def sample(
        self,
        network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        y: torch.Tensor,
        noise: NoiseSource,
        sampler: str,
        steps: int,
        clip: tuple[float, float] | None = (-1.0, 1.0),
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Draw clean PET like the T1w y [N, 1, X, Y, Z].

        Args:
            network: called with `seen` of x_t and `told` of times [N]; returns its output like x_t.
            noise: index 0 is what a draw starts from, index i what its i-th interval adds, where it adds any.
            sampler: one of `samplers`.
            steps: network calls, 1 to `LONGEST`; exactly so many are made.
            clip: bounds on every clean estimate; None leaves it free.
            progress: called as progress(fraction, message) after every call.

        Raises:
            InputError: another sampler, or steps out of range.
        """
        if sampler not in self.samplers:
            raise InputError(f"unknown sampler '{sampler}' of {self.kind}; use one of {', '.join(self.samplers)}")
        if not 1 <= steps <= LONGEST:
            raise InputError(f"steps {steps} is out of range; use 1 to {LONGEST}")
        calls = 0

        def estimate(x_t: torch.Tensor, t: float) -> torch.Tensor:
            nonlocal calls
            times = torch.full((len(x_t),), t, dtype=torch.float64)
            x0 = self.clean(x_t, network(self.seen(x_t, times), self.told(times).to(x_t)).to(x_t), times)
            calls += 1
            if progress:
                progress(calls / steps, f"step {calls} of {steps}")
            return x0 if clip is None else bounded(x0, *clip)

        return self.walk(estimate, y, noise, sampler, steps)


class Interval(NamedTuple):
    """One interval of a sampler that predicts and corrects.

    Attributes:
        churned: noise is added first, by a network call of its own.
        corrected: the interval is gone over again with an estimate at its end, by a further call.
    """

    churned: bool
    corrected: bool


def intervals(calls: int, churned: bool) -> list[Interval]:
    """The intervals that so many network calls make, from the noisy end on.

    A whole interval takes 2 calls, 3 where noise is added; the last one ends in the clean PET, where there is nothing
    to correct, and takes one less. Where the calls do not make whole intervals, corrections near the clean end are
    left out first, then the last interval's noise.
    """
    whole = 3 if churned else 2
    count = -(-(calls + 1) // whole)
    spare = whole * count - 1 - calls
    without = min(spare, count - 1)
    made = [Interval(churned, n < count - 1 - without) for n in range(count)]
    made[-1] = Interval(churned and spare == without, False)
    return made
