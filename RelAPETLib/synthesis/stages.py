"""The stages of a synthesis: what share of the whole each takes, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[float, str], None]
#: Shares of the whole that each stage takes on the progress bar, about as long as they last with a raw pair on a CPU.
_SHARES = {"read": 0.03, "model": 0.02, "preprocess": 0.55, "sample": 0.25, "compare": 0.1, "return": 0.05}


class Clock:
    """Seconds by stage."""

    def __init__(self, seconds: dict[str, float] | None = None):
        self.seconds, self._last = dict(seconds or {}), time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def parts(progress: Progress | None) -> Callable[[str], Progress]:
    """By stage, a progress callback that fills its share of the whole.

    The whole never falls, though stages overlap: a model is judged while the scans are registered.
    """
    starts, total, reached = {}, 0.0, 0.0
    for stage, share in _SHARES.items():
        starts[stage] = total
        total += share

    def part(stage: str) -> Progress:
        def report(fraction: float, message: str) -> None:
            nonlocal reached
            reached = max(reached, min(1.0, starts[stage] + _SHARES[stage] * min(max(fraction, 0.0), 1.0)))
            if progress:
                progress(reached, message)

        return report

    return part


def part_of(progress: Progress | None, number: int, count: int, tracer: str, together: bool = False) -> Progress | None:
    """Progress of one of several tracers, which share what is left when the case is prepared, or drawn `together`."""
    if progress is None or count == 1:
        return progress
    common = ("read", "model", "preprocess", "sample") if together else ("read", "model", "preprocess")
    prepared = sum(_SHARES[stage] for stage in common)

    def report(fraction: float, message: str) -> None:
        own = max(0.0, (fraction - prepared) / (1 - prepared))
        progress(prepared + (1 - prepared) * (number + own) / count, f"{tracer}: {message}")

    return report
