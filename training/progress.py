"""Long loops outside the optimiser steps say how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
#: Seconds between two lines; shorter loops say nothing.
EVERY_SECONDS = 20.0


def counted(
    items: Sequence[T], what: str, say: Callable[[str], None], every: float = EVERY_SECONDS, clock=time.monotonic
) -> Iterator[T]:
    """The items one after the other, with a line like ``coding PET: 120 of 3120, 0:03:10 left`` every so often.

    Args:
        what: is being done, for the line.
        say: gets the lines.
        every: seconds between two lines.
        clock: gives seconds.
    """
    from .reports import clock as as_clock

    started = told = clock()
    for done, item in enumerate(items, 1):
        yield item
        now = clock()
        if now - told >= every and done < len(items):
            told = now
            left = (now - started) / done * (len(items) - done)
            say(f"{what}: {done} of {len(items)}, {as_clock(left)} left")
