"""Work of one scan beside that of another, where a process may use two cores."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Start = Callable[[Callable[[], Result]], Callable[[], Result]]


@contextlib.contextmanager
def beside() -> Iterator[Start]:
    """Start computations in a thread of their own, one after the other; each gives what waits for its result.

    Where torch has one thread alone, as in a cohort's workers, each is computed when its result is wanted: the process
    then keeps to one core. The results are the same. An error is raised where the result is wanted. Leaving waits for
    what is under way.
    """
    import torch

    if torch.get_num_threads() == 1:
        yield functools.cache
        return
    with ThreadPoolExecutor(1, "relapet-beside") as pool:
        yield lambda compute: pool.submit(compute).result
