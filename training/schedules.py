"""Learning rates over a run."""

from __future__ import annotations

import math

#: What learning rates do after their rise.
COURSES = ("constant", "cosine", "linear")


def learning_rate_share(step: int, steps: int, warm_up: int, kind: str) -> float:
    """Share of the configured learning rate at a step counted from 0: a linear rise, then one of `COURSES`.

    ``linear`` is that of Pix2Pix, CycleGAN and ResViT: constant for the first half of the run, then straight to 0.
    """
    share, gone = min(1.0, (step + 1) / warm_up) if warm_up else 1.0, min(step / steps, 1)
    if kind == "cosine":
        return share * 0.5 * (1 + math.cos(math.pi * gone))
    return share * min(1.0, 2 * (1 - gone)) if kind == "linear" else share


#: A validation that cannot work is seen after so many steps, not after hours.
FIRST_VALIDATION = 10


def total_steps(steps: int, epochs: int, images: int, batch: int, done: int = 0, used: int = 0) -> int:
    """Optimiser steps of a run: as many as asked for, or with 0 as many as its epochs make.

    Args:
        done: steps before this batch, perhaps of another.
        used: images in them.
    """
    return steps or done + math.ceil(max(epochs * images - used, 0) / batch)


def validations(steps: int, every: int) -> int:
    """How many there are in a run, as `validates_at` says."""
    first = min(FIRST_VALIDATION, every)
    return steps // every + (first < every and first <= steps) + bool(steps % every and steps != first)


def validates_at(step: int, steps: int, every: int) -> bool:
    """Whether there is a validation after a step counted from 1: early once, then every so often, and at the end."""
    return step % every == 0 or step in (min(FIRST_VALIDATION, every), steps)
