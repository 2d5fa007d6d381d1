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
    result is wanted, or at once. Leaving waits for what is under way; what has not begun when an error ends the work is
    left.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield at_once
        return
    pool = ThreadPoolExecutor(1, "relapet-beside")
    try:
        pool.submit(_keep_to_one_thread).result()
        torch.set_num_threads(threads)  # what was set last in any thread is what torch gives a new one
        yield lambda compute: pool.submit(contextvars.copy_context().run, compute).result
    finally:
        pool.shutdown(cancel_futures=True)


def _keep_to_one_thread() -> None:
    import torch

    torch.get_num_threads()  # a thread that has not asked yet takes what is set last in any
    torch.set_num_threads(1)


def at_once(compute: Callable[[], Result]) -> Callable[[], Result]:
    """Compute here and now, what `beside` does where there is one core."""
    found = compute()
    return lambda: found
