"""Work of one scan beside that of another, where a process may use two cores."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Start = Callable[[Callable[[], Result]], Callable[[], Result]]


@contextlib.contextmanager
def beside() -> Iterator[Start]:
    """Start computations in a thread of their own, one after the other; each gives what waits for its result.

    Where torch has one thread alone, as in a cohort's workers, each is computed at once: the process then keeps to one
    core. Beside others, torch keeps to one thread: two of each would wait for one another. An error is raised where the
    result is wanted, or at once. Leaving, for whatever reason, waits for what is under way.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield at_once
        return
    try:
        with ThreadPoolExecutor(1, "relapet-beside", torch.set_num_threads, (1,)) as pool:
            yield lambda compute: pool.submit(contextvars.copy_context().run, compute).result
    finally:
        torch.set_num_threads(threads)  # torch gives a new thread what was last set in any


def at_once(compute: Callable[[], Result]) -> Callable[[], Result]:
    """Compute here and now, what `beside` does where there is one core."""
    found = compute()
    return lambda: found
