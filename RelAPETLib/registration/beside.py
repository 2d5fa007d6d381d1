"""Work of one scan beside that of another, where a process may use two cores."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import SimpleITK as sitk

Item, Result = TypeVar("Item"), TypeVar("Result")
Start = Callable[[Callable[[], Result]], Callable[[], Result]]


@contextlib.contextmanager
def beside() -> Iterator[Start]:
    """Start computations in a thread of their own, one after the other; each gives what waits for its result.

    Where torch has one thread alone, as in a cohort's workers, each is computed at once: the process then keeps to one
    core. Beside others, torch keeps to one thread: two of each would wait for one another. An error is raised where the
    result is wanted, with one thread, too: of two things that are wrong the same is told. Leaving waits for what is
    under way; what has not begun when an error ends the work is left.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield at_once
        return
    pool = ThreadPoolExecutor(1, "relapet-beside")
    try:
        try:
            pool.submit(_keep_to_one_thread).result()
        finally:
            torch.set_num_threads(threads)  # what was set last in any thread is what torch gives a new one
        yield lambda compute: pool.submit(contextvars.copy_context().run, compute).result
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def one_core_less() -> Iterator[None]:
    """Leave a core to what is beside while torch does many small steps here: each would wait for that core's thread.

    Here alone: torch gives a new thread what was set last in any, and one that a caller starts meanwhile would keep,
    and later set again, one thread less for good.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(max(1, threads - 1))
        last = threading.Thread(target=torch.set_num_threads, args=(threads,))
        last.start()
        last.join()
        yield
    finally:
        torch.set_num_threads(threads)


def _keep_to_one_thread() -> None:
    import torch

    torch.get_num_threads()  # a thread that has not asked yet takes what is set last in any
    torch.set_num_threads(1)


def at_once(compute: Callable[[], Result]) -> Callable[[], Result]:
    """Compute here and now, what `beside` does where there is one core."""
    found: Future = Future()
    try:
        found.set_result(compute())
    except Exception as error:  # raised where the result is wanted
        found.set_exception(error)
    return found.result


def shared(aside: Start, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> list[Result]:
    """What a function gives for each of some items, in their order; every second one is computed aside.

    Args:
        aside: starts a computation; see `beside`.
        make: gives the function, each time one that shares no image with the others: see `own`.
    """
    here, there = make(), make()
    others = aside(lambda: [there(item) for item in items[1::2]])
    found: list = [None] * len(items)
    found[::2] = [here(item) for item in items[::2]]
    found[1::2] = others()
    return found


def own(image: sitk.Image) -> sitk.Image:
    """A copy for another thread.

    Two threads must not give one image to ITK's filters, which note on it the region that they ask for.
    """
    copy = sitk.Image(image)  # shares its voxels until one of both changes
    copy.MakeUnique()
    return copy
