"""Learning rates over a run."""

from __future__ import annotations

import math


def learning_rate_share(step: int, steps: int, warm_up: int, kind: str) -> float:
    """Share of the configured learning rate at a step counted from 0: a linear rise, then constant or a cosine to 0."""
    share = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    return share * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))) if kind == "cosine" else share
