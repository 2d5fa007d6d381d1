"""Running tasks in worker processes that may die: one thread each, gone when their parent goes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for


def run_tasks(function: Callable, tasks: Iterable[tuple], workers: int) -> Iterator[tuple[tuple, tuple, str]]:
    """Call ``function(*task)`` for every task, at most `workers` at a time; with one worker in this process.

    When a worker dies (memory), the tasks that were running then are tried once more, each alone in a process; only
    the one that dies again has failed.

    Yields:
        (task, result, cause): as they finish; `cause` says that its process died, and then result is ("", 0.0).
    """
    tasks = list(tasks)
    if workers <= 1:
        for task in tasks:
            yield task, function(*task), ""
        return
    while tasks:
        suspects: list[tuple] = []
        with _pool(min(workers, len(tasks))) as pool:
            running: dict = {}
            try:
                while (tasks or running) and not suspects:
                    while tasks and len(running) < workers:
                        future = pool.submit(function, *tasks[0])
                        running[future] = tasks.pop(0)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task = running[future]
                        result = future.result()
                        del running[future]
                        yield task, result, ""
            except BrokenProcessPool:
                suspects = list(running.values())
        for task in suspects:
            yield _run_in_own_process(function, task)


def _run_in_own_process(function: Callable, task: tuple) -> tuple[tuple, tuple, str]:
    with _pool(1) as pool:
        try:
            return task, pool.submit(function, *task).result(), ""
        except BrokenProcessPool as error:
            return task, ("", 0.0), type(error).__name__


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes, which an interrupt ends: nobody wants what is running then, and it may take minutes."""
    # Forking a process that has threads of torch or ITK can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            yield pool
        except BaseException:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    """In a worker: one thread, and an end when the parent ends."""
    single_threaded()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once and without a word; files are written whole
    parent = multiprocessing.parent_process()

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """`single_threaded` for a while, in a process that may do other work afterwards."""
    import SimpleITK as sitk
    import torch

    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    single_threaded()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


def single_threaded() -> None:
    """Make this process compute with one thread, so that as many run well as there are cores."""
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
