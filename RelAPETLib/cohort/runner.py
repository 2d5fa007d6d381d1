"""Many visits by processes of this machine, one thread each; `dask_runner` has those of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .pool import one_thread, run_tasks
from .request import Request, forget_model
from .visit_run import Outcome, run_visit
from .visits import Visit

#: What to tell of a visit whose process died, twice, the second time alone.
DIED = "its process died, most likely because memory ran out; try fewer --jobs"


def run_local(
    request: Request, visits: Sequence[Visit], jobs: int, progress: Callable[[float, str], None] | None = None
) -> Iterator[list[Outcome]]:
    """Run visits, `jobs` at a time; with one job in this process.

    Yields:
        The outcomes of a visit as each ends. Nothing that is wrong with one visit stops the others.
    """
    if jobs <= 1:
        with one_thread():
            for number, visit in enumerate(visits):
                yield run_visit(request, visit, _share(progress, number, len(visits), visit))
        forget_model()
        return
    for task, outcomes, cause in run_tasks(run_visit, [(request, visit) for visit in visits], jobs):
        yield list(outcomes) if not cause else died(request, task[1])


def died(request: Request, visit: Visit, reason: str = DIED) -> list[Outcome]:
    """Outcomes of a visit whose process cannot tell them any more; what it had not done yet gets a record of that."""
    return run_visit(replace(request, redo=False), replace(visit, problem=reason))


def _share(progress, number: int, count: int, visit: Visit):
    if progress is None:
        return None
    return lambda fraction, message: progress((number + fraction) / count, f"{visit.name}: {message}")
