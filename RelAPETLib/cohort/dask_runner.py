"""Many visits by Dask: processes of this machine, a scheduler that runs somewhere, or jobs of Slurm.

The workers call what every runner calls, and the records decide what is done: a worker that dies, a scheduler that is
started anew or a client that was killed cost what was running, no more. The number of workers is fixed and kept up;
dask-jobqueue's adaptive mode drops workers (dask-jobqueue issues 611 and 701).

Workers say what they are by their resources, ``CPU=1`` or ``GPU=1``. PET are drawn by GPU workers where the device is a
GPU. Where there are CPU workers besides and a work folder, these register the MRI, so that no GPU waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import __version__
from ..devices import free_host_memory
from ..errors import InputError, RelAPETError
from .request import Request
from .runner import died
from .visit_run import Outcome, run_visit
from .visits import Visit

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL, SLURM = "local", "slurm"
CPU, GPU = "CPU", "GPU"
#: One and the same since Python 3.11.
TIMEOUTS = (TimeoutError, asyncio.TimeoutError)
#: What Dask raises for a transport whose library or hardware is not there, such as UCX.
_NO_TRANSPORT = (ImportError, RuntimeError, TypeError)
NO_DASK = "--dask needs Dask; install it with: pip install 'relapet[cohort]'"
#: Seconds between looks at what is done and whether workers are missing.
_LOOK = 5.0
#: How often a visit may lose its worker, or the scheduler, before it counts as failed.
_ATTEMPTS = 3
KILLED = "its worker died every time, most likely because memory ran out; give workers more memory"


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        where: ``local``, ``slurm``, or the address of a scheduler, ``tcp://host:8786``.
        count: workers of one thread each; an existing scheduler has its own.
        memory: of a worker, as Dask writes it; None: its configuration's, or 8 GB on Slurm.
        walltime: of a Slurm job, HH:MM:SS; workers end by themselves before it does.
        directives: further options of ``sbatch``, such as ``--partition=long``.
        patience: seconds to wait for the first worker, and for a scheduler that is gone.
        draw: resource that drawing takes, ``CPU`` or ``GPU``; None: as the device says.
    """

    where: str
    count: int = 1
    memory: str | None = None
    walltime: str = "04:00:00"
    directives: tuple[str, ...] = ()
    patience: float = 600.0
    draw: str | None = None

    def pool(self, request: Request) -> str:
        """Which workers draw."""
        return self.draw or (GPU if str(request.options.device).startswith("cuda") else CPU)


def run_dask(
    request: Request, visits: Sequence[Visit], workers: Workers, tell: Callable[[str], None] | None = None
) -> Iterator[list[Outcome]]:
    """Run visits by Dask.

    Args:
        tell: called with what is being waited for.

    Yields:
        The outcomes of a visit as each ends.

    Raises:
        InputError: Dask is not installed, or no worker comes or can work.
    """
    with _pool(request, workers) as pool:
        pool.begin(tell or (lambda message: None))
        yield from _Run(request, pool, list(visits)).outcomes()


def lifetime(walltime: str) -> tuple[int, int]:
    """Seconds after which a worker of a job ends by itself, and by how much that varies; both leave the walltime room.

    Raises:
        InputError: no HH:MM:SS, or less than two minutes.
    """
    parts = walltime.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"walltime '{walltime}' cannot be read; use HH:MM:SS")
    seconds = int(parts[0]) * 3600 + int(parts[1]) * 60 + int(parts[2])
    if seconds < 120:
        raise InputError(f"walltime {walltime} is too short for a worker; use two minutes or more")
    margin = min(max(300, seconds // 10), seconds // 3)
    return seconds - margin - margin // 2, margin // 2


@contextlib.contextmanager
def _pool(request: Request, workers: Workers) -> Iterator[_Pool]:
    try:
        from distributed.comm.addressing import parse_address, parse_host_port
        from distributed.comm.registry import get_backend
    except ImportError as error:
        raise InputError(NO_DASK) from error
    if workers.where not in (LOCAL, SLURM):
        try:
            parse_host_port(workers.where)
            get_backend(parse_address(workers.where)[0])
        except ValueError as error:
            raise InputError(
                f"--dask {workers.where}: neither local nor slurm, nor a scheduler's address such as tcp://HOST:8786"
                f" ({error})"
            ) from error
    with contextlib.ExitStack() as stack:
        pool = _Pool(request, workers, stack)
        yield pool


class _Pool:
    """A client with its workers, which are counted and kept up."""

    def __init__(self, request: Request, workers: Workers, stack: contextlib.ExitStack):
        self.request, self.workers, self.stack = request, workers, stack
        self.draw = workers.pool(request)
        self.cluster = None
        self.client: Client | None = None

    def begin(self, tell: Callable[[str], None]) -> None:
        """Start or find workers, and let the first one try before the others are asked for."""
        needs = {self.draw: 1}
        self.cluster = _cluster(self.workers, needs)
        if self.cluster is not None:
            self.stack.callback(self._close)
            self._ask_for_one()
        self.connect()
        tell("waiting for the first worker")
        self._first_worker()
        tell("a first worker tries whether it can work")
        problem = self._probe(needs)
        if problem:
            raise InputError(f"the first worker cannot work: {problem}")
        if self.cluster is not None:
            self.cluster.scale(self.workers.count)

    def _ask_for_one(self) -> None:
        """A first worker, or what speaks against it: `scale` alone would leave that in Dask's log."""

        async def begun() -> None:
            self.cluster.scale(1)
            await self.cluster

        try:
            self.cluster.sync(begun)
        except (OSError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).rpartition("stderr:")[2].split())  # of a command: its own words
            raise InputError(f"no Dask worker can be started: {said}") from error

    def _close(self) -> None:
        # Dask asserts in the end that no worker failed to begin, as one does whose job Slurm does not take.
        with contextlib.suppress(AssertionError):
            self.cluster.close()

    def connect(self) -> None:
        """A client of the scheduler, waited for as long as patience lasts."""
        from distributed import Client

        if self.client is not None:
            with contextlib.suppress(Exception):
                self.client.close(timeout=2)
        where = self.cluster if self.cluster is not None else self.workers.where
        try:
            self.client = Client(where, timeout=self.workers.patience, set_as_default=False)
        except (OSError, ValueError, *TIMEOUTS, *_NO_TRANSPORT) as error:
            raise InputError(f"no Dask scheduler answers at {self.workers.where} ({error})") from error
        self.stack.callback(self.client.close)

    def _first_worker(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=self.workers.patience)
        except TIMEOUTS as error:
            raise InputError(f"no Dask worker came within {self.workers.patience:g} s{self._script()}") from error

    def _script(self) -> str:
        if self.workers.where != SLURM:
            return "; start one with: dask worker ADDRESS --nthreads 1 --resources CPU=1"
        return "; look at squeue, and at the job: " + " | ".join(self.cluster.job_script().split("\n")).strip(" |")

    def _probe(self, needs: dict[str, int]) -> str:
        future = self.client.submit(
            _try, self.request, __version__, resources=needs, pure=False, retries=1, allow_other_workers=False
        )
        try:
            return future.result(timeout=self.workers.patience)
        except TIMEOUTS:
            if self.cluster is not None:  # whose workers have the resources
                return f"no answer within {self.workers.patience:g} s; try more --worker-memory or --patience"
            named = ", ".join(f"{name}={number}" for name, number in needs.items())
            return f"none has the resources {named}; start workers with --resources {named}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def sizes(self) -> dict[str, int]:
        """How many visits may run at once, by resource."""
        if self.cluster is not None:
            return {self.draw: self.workers.count}
        kinds = [worker["resources"] for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()]
        return {CPU: sum(GPU not in kind and CPU in kind for kind in kinds), GPU: sum(GPU in kind for kind in kinds)}

    def keep_up(self) -> None:
        """Ask again for workers that are gone."""
        if self.cluster is not None:
            self.cluster.scale(self.workers.count)


class _Run:
    """Visits that wait, and those that are with a worker: no more than there are workers, so that a worker that dies
    takes one with it and makes no other suspicious."""

    def __init__(self, request: Request, pool: _Pool, waiting: list[Visit]):
        self.request, self.pool, self.waiting = request, pool, waiting
        self.running: dict[Future, tuple[Visit, str]] = {}
        self.prepared: set[str] = set()
        self.losses: dict[str, int] = {}

    def outcomes(self) -> Iterator[list[Outcome]]:
        from distributed import wait

        try:
            while self.waiting or self.running:
                self._fill()
                if self.running:
                    with contextlib.suppress(*TIMEOUTS, CancelledError), self.pool.client.as_current():
                        wait(list(self.running), timeout=_LOOK, return_when="FIRST_COMPLETED")
                else:  # no worker is there any more
                    time.sleep(_LOOK)
                ended = [future for future in self.running if future.status != "pending"]
                for future in ended:
                    result = self._result(future, *self.running.pop(future))
                    if result is not None:
                        yield result
                self.pool.keep_up()
        finally:
            with contextlib.suppress(Exception):
                self.pool.client.cancel(list(self.running))

    def _fill(self) -> None:
        """Submit what there is room for; a scheduler that does not answer is waited for."""
        from distributed.client import ClosedClientError

        try:
            room = self.pool.sizes()
            for _, kind in self.running.values():
                room[kind] -= 1
            beside = self.pool.draw == GPU and room.get(CPU, 0) > 0  # CPU workers that could register
            for kind in room:
                while room[kind] > 0 and (visit := self._next(kind, beside)) is not None:
                    what, word = (_run, "draw") if kind == self.pool.draw else (_prepare, "register")
                    future = self.pool.client.submit(
                        what, self.request, visit, resources={kind: 1}, retries=2, pure=False,
                        key=f"relapet_{word}-{visit.name}-{time.monotonic_ns()}",
                    )  # fmt: skip
                    self.running[future] = visit, kind
                    self.waiting.remove(visit)
                    room[kind] -= 1
        except (OSError, CancelledError, ClosedClientError, *TIMEOUTS):
            self._begin_anew()

    def _next(self, kind: str, beside: bool) -> Visit | None:
        """The first visit that a worker of a kind can do: draw it, or register it for another to draw."""
        for visit in self.waiting:
            to_register = beside and visit.name not in self.prepared and registers(self.request, visit)
            if to_register != (kind == self.pool.draw):
                return visit
        return None

    def _begin_anew(self) -> None:
        """With another client; whatever was running is asked for again, and is found done where it was."""
        self.waiting = [*(visit for visit, _ in self.running.values()), *self.waiting]
        self.running.clear()
        self.pool.connect()

    def _result(self, future: Future, visit: Visit, kind: str) -> list[Outcome] | None:
        """Outcomes of a visit; None where it is to be tried again, or drawn now that it is registered."""
        if kind != self.pool.draw and future.status in ("finished", "error"):
            self.prepared.add(visit.name)  # what went wrong with it, drawing will tell
            self.waiting.insert(0, visit)
            return None
        if future.status == "finished":
            with contextlib.suppress(OSError, CancelledError, *TIMEOUTS):
                return future.result(timeout=self.pool.workers.patience)
        reason = KILLED
        if future.status == "error":
            from distributed import KilledWorker

            error = future.exception()
            if not isinstance(error, KilledWorker):
                reason = f"internal error ({type(error).__name__}: {error})"
            self.losses[visit.name] = _ATTEMPTS
        self.losses[visit.name] = self.losses.get(visit.name, 0) + 1
        if self.losses[visit.name] > _ATTEMPTS:
            return died(self.request, visit, reason)
        self.waiting.append(visit)
        return None


def _cluster(workers: Workers, needs: dict[str, int]):
    """Dask's cluster of a kind, as yet without workers; None for an address."""
    if workers.where == LOCAL:
        from distributed import LocalCluster

        more = {"memory_limit": workers.memory} if workers.memory else {"memory_limit": 0}
        return LocalCluster(
            n_workers=0, threads_per_worker=1, processes=True, scheduler_kwargs={"dashboard": False}, resources=needs,
            silence_logs=False, **more,
        )  # fmt: skip
    if workers.where != SLURM:
        return None
    try:
        import dask
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError(NO_DASK) from error

    def configured(key: str) -> list[str]:
        """What the site's configuration says, such as `module load`; ours is added to it."""
        return list(dask.config.get(f"jobqueue.slurm.{key}", None) or [])

    most, stagger = lifetime(workers.walltime)
    named = " ".join(f"{name}={number}" for name, number in needs.items())
    try:
        return SLURMCluster(
            cores=1, processes=1, memory=workers.memory or "8GB", walltime=workers.walltime, python=sys.executable,
            scheduler_options={"dashboard": False},
            worker_extra_args=["--lifetime", f"{most}s", "--lifetime-stagger", f"{stagger}s", "--resources", named],
            job_extra_directives=[*configured("job-extra-directives"), *workers.directives, "--requeue"],
            job_script_prologue=[*configured("job-script-prologue"), "export OMP_NUM_THREADS=1"], death_timeout=120,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise InputError(f"Slurm cannot be used by Dask ({error}); look at ~/.config/dask/jobqueue.yaml") from error


def _try(request: Request, version: str) -> str:
    """In a worker: what keeps it from working; empty where nothing does."""
    from .derivatives import DESCRIPTION
    from .request import loaded_model

    if version != __version__:
        return f"it has RelAPET {__version__}, the client {version}"
    for path in (request.source, request.out / DESCRIPTION):
        if not path.exists():
            return f"it does not see {path}; both folders must be shared with the workers"
    if not os.access(request.out, os.W_OK):
        return f"it may not write to {request.out}"
    try:
        loaded_model(request)
    except RelAPETError as error:
        return str(error)
    return ""


def registers(request: Request, visit: Visit) -> bool:
    """Whether a visit's MRI can be registered by another worker than the one that draws."""
    return request.work is not None and visit.t1w is not None and visit.case is None and not visit.pets


def _run(request: Request, visit: Visit) -> list[Outcome]:
    """In a worker that draws."""
    _begin()
    return run_visit(request, visit)


def _prepare(request: Request, visit: Visit) -> None:
    """In a worker that registers: keep the case in the work folder. What goes wrong, drawing will meet again."""
    from .prepared import keep_case

    _begin()
    with contextlib.suppress(RelAPETError, OSError):
        keep_case(replace(request, options=replace(request.options, device="cpu")), visit)
    free_host_memory()


def _begin() -> None:
    import SimpleITK as sitk

    from .pool import single_threaded

    single_threaded()
    sitk.ProcessObject.GlobalWarningDisplayOff()
