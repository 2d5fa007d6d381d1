"""One visit from files to derivatives and records: what every runner calls, in any process, any number of times."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..devices import free_host_memory
from ..errors import BusyError, InputError, OutputError
from ..notices import listening
from ..outputs import STAGING, reserve, write_set
from .derivatives import TRANSFORM, derived_names, sidecar, volume_name
from .origin import Origin, origin, said_of
from .prepared import prepared_case
from .reasons import Reason, reason_of, recordable, recordable_note
from .records import DONE, FAILED, Record, hashes, is_done, judge, record_name, stem
from .request import Request, for_visit, loaded_model
from .visits import Visit

if TYPE_CHECKING:
    from ..outputs import Reserved
    from ..synthesis import Case, Synthesis

SKIPPED = "skipped"
#: How long to wait for another run that is at the same visit, and how often to look, in seconds.
PATIENCE, INTERVAL = 7200.0, 2.0
_MADE = "made"


@dataclass(frozen=True)
class Outcome:
    """What became of a tracer of a visit.

    Attributes:
        visit, tracer: whose; the visit by its name.
        status: ``done``, ``failed`` or ``skipped`` (done before).
        reason: one line, of a failure, as it is recorded.
        notes: what the user should know, one line each.
        recorded: a record of it lies in the output.
        told: the reason with the paths of the inputs, for the terminal alone; empty where it has none.
        anew: why a result that was there was made anew; empty where there was none.
    """

    visit: str
    tracer: str
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    recorded: bool = True
    told: str = ""
    anew: str = ""


def run_visit(request: Request, visit: Visit, progress: Callable[[float, str], None] | None = None) -> list[Outcome]:
    """Do what is missing of a visit; never raises for what is wrong with it.

    Another run that is at the same visit is waited for; what it has done by then is not done again.

    Returns:
        An outcome for each tracer of the request.
    """
    place = request.out / visit.folder
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            with listening(lambda message: None):  # warnings stand in the records
                return _run(request, visit, place, progress or (lambda fraction, message: None))
        except BusyError as error:
            if time.monotonic() > limit:
                return _unrecorded(request, visit, Reason(recordable(str(error), request, visit), str(error)))
            time.sleep(INTERVAL)
        except Exception as error:
            return _unrecorded(request, visit, reason_of(error, request, visit))


def _unrecorded(request: Request, visit: Visit, why: Reason) -> list[Outcome]:
    return [
        Outcome(visit.name, tracer, FAILED, why.recorded, recorded=False, told=why.told)
        for tracer in request.options.tracers
    ]


def _run(request: Request, visit: Visit, place: Path, progress) -> list[Outcome]:
    """All tracers; the lock of the visit's folder is held only while there is something to do."""
    problem, inputs, said = Reason(recordable(visit.problem, request, visit), visit.problem), {}, {}
    if visit.t1w is not None or visit.case is not None:
        try:
            inputs, said = hashes(visit, request.options.tracers), said_of(visit)
        except InputError as error:
            problem = problem if problem.recorded else reason_of(error, request, visit)
    wanted = {tracer: origin(request, visit, tracer, inputs, said) for tracer in request.options.tracers}
    if not _missing(request, visit, place, wanted):
        if (place / STAGING).exists():  # of a run that was killed after its last result, or of one at work
            with contextlib.suppress(OutputError), reserve(place, overwrite=True):
                pass
        return [Outcome(visit.name, tracer, SKIPPED) for tracer in wanted]
    with reserve(place, overwrite=True) as reserved:
        missing = _missing(request, visit, place, wanted)  # another run may just have done it
        done = [Outcome(visit.name, tracer, SKIPPED) for tracer in wanted if tracer not in missing]
        work = _Work(request, visit, reserved, {tracer: wanted[tracer] for tracer in missing}, missing)
        try:
            return done + (work.fail(tuple(missing), problem) if problem.recorded else work.do(progress))
        finally:
            free_host_memory()


def _missing(request: Request, visit: Visit, place: Path, wanted: dict[str, Origin]) -> dict[str, str]:
    """Tracers that are to be done, each with why one that was done has to be made anew."""
    if request.redo:
        return dict.fromkeys(wanted, "")
    judged = {t: judge(place, record_name(visit, t, request.model), origin) for t, origin in wanted.items()}
    return {tracer: why for tracer, (done, why) in judged.items() if not done}


@dataclass
class _Work:
    """The tracers of a visit that are to be done, in its folder, which is reserved."""

    request: Request
    visit: Visit
    place: Reserved
    wanted: dict[str, Origin]
    anew: dict[str, str]
    left_out: str = ""

    def do(self, progress) -> list[Outcome]:
        try:
            model = loaded_model(self.request)
            tracers = tuple(self.wanted)
            case, lost = prepared_case(self.request, self.visit, tracers, model, progress)
            uses = "clinical" in model.method.defaults.inputs
            options = for_visit(self.request, tracers, self.visit.clinical, uses)
        except Exception as error:
            return self.fail(tuple(self.wanted), reason_of(error, self.request, self.visit))
        outcomes = []
        for number, tracer in enumerate(tracers):
            share = functools.partial(_share, progress, number, len(tracers), tracer)
            outcomes += self._tracer(case, replace(options, tracers=(tracer,)), model, lost.get(tracer, ""), share)
        first = next((number for number, outcome in enumerate(outcomes) if outcome.status == DONE), None)
        if first is not None:  # what holds for the visit is said once
            outcomes[first] = replace(outcomes[first], notes=(*self._notes(), *outcomes[first].notes))
        return outcomes

    def _tracer(self, case: Case, options, model, left_out: str, progress) -> list[Outcome]:
        from ..synthesis import run_case

        (tracer,) = options.tracers
        self.left_out = left_out
        try:
            try:
                (result,) = run_case(case, options, progress, model=model)
            except InputError as error:
                if tracer not in case.ready.pets:
                    raise
                case, self.left_out = case.without_pet(tracer), reason_of(error, self.request, self.visit).recorded
                (result,) = run_case(case, options, progress, model=model)
            self._write(tracer, result, case)
        except Exception as error:
            return self.fail((tracer,), reason_of(error, self.request, self.visit))
        notes = (f"measured PET of {tracer} left out: {self.left_out}",) if self.left_out else ()
        return [Outcome(self.visit.name, tracer, DONE, notes=notes, anew=self.anew[tracer])]

    def fail(self, tracers: tuple[str, ...], why: Reason) -> list[Outcome]:
        """Leave a record of the failure in place of results of other inputs or options; those of the same are kept."""
        outcomes = []
        for tracer in tracers:
            name = record_name(self.visit, tracer, self.request.model)
            recorded = not is_done(Path(self.place), name, self.wanted[tracer])  # else what was to be redone is there
            try:
                if recorded:
                    self._put(tracer, {}, replace(self._record(tracer), status=FAILED, reason=why.recorded))
            except (OutputError, OSError):  # a full disk; the caller tells
                recorded = False
            outcomes.append(Outcome(self.visit.name, tracer, FAILED, why.recorded, recorded=recorded, told=why.told))
        return outcomes

    def _notes(self) -> list[str]:
        return [recordable_note(note, self.request, self.visit) for note in self.visit.notes]

    def _record(self, tracer: str) -> Record:
        own = self.wanted[tracer]
        return Record(
            self.visit.participant, self.visit.session or "n/a", tracer, self.request.model, DONE, "",
            own.fingerprint, dict(own.inputs), self.request.choices(), left_out=self.left_out, said=dict(own.said),
            code=dict(own.code),
        )  # fmt: skip

    def _write(self, tracer: str, result: Synthesis, case: Case) -> None:
        """Write a result's files out of sight, then name them as BIDS does, all of them or none, the record last."""
        made = self.place.staging / _MADE
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        try:
            for name, write in result.writers(self.request.report).items():
                write(made / name)
            names = derived_names(stem(self.visit, tracer), [path.name for path in sorted(made.iterdir())])
            writers: dict[str, Callable[[Path], None]] = {
                new: functools.partial(os.replace, made / old) for old, new in names.items()
            }
            provenance = _renamed(made / "synthetic_pet.json", names)
            own = names["synthetic_pet.json"]
            for old, new in names.items():
                if old.endswith(".nii.gz"):
                    desc = volume_name("", old.removesuffix(".nii.gz"))[1]
                    content = sidecar(self.request, self.visit, provenance, desc, own)
                    writers[new.replace(".nii.gz", ".json")] = _json_writer(content)
            if "synthetic_pet" in result.volumes:
                writers[f"{stem(self.visit, tracer)}_{TRANSFORM}"] = functools.partial(_write_transform, case)
            record = replace(
                self._record(tracer), regions=_plain_rows(result.regions, provenance["pet"]["units"]),
                metrics=(provenance["reference"] or {}).get("metrics"), verdict=provenance.get("verdict"),
                warnings=provenance["warnings"], seconds=provenance["seconds"], notes=self._notes(),
            )  # fmt: skip
            self._put(tracer, writers, record)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _put(self, tracer: str, writers: dict[str, Callable[[Path], None]], record: Record) -> None:
        name = record_name(self.visit, tracer, self.request.model)
        names = list(writers)
        writers = {**writers, name: lambda path: _write_record(record, names, path)}
        folder = Path(self.place)
        earlier = [path.name for path in folder.glob(f"{stem(self.visit, tracer)}_*") if path.is_file()]
        write_set(self.place, writers, owned=earlier, overwrite=True)


def _write_record(record: Record, names: list[str], path: Path) -> None:
    """The record, with the hashes of the files that were written beside it before."""
    from ..volumes import file_sha256

    files = {name: path.parent / name for name in names}
    outputs = {n: {"sha256": file_sha256(file), "bytes": file.stat().st_size} for n, file in files.items()}
    path.write_text(replace(record, outputs=outputs).text(), encoding="utf-8")


def _write_transform(case: Case, path: Path) -> None:
    """Where points of the T1w lie in MNI space, small enough to go with every result."""
    import SimpleITK as sitk

    from ..registration.fields import coarse_field

    sitk.WriteImage(coarse_field(case.ready.t1w_to_grid, case.t1w_space), str(path), useCompression=True)


def _renamed(path: Path, names: dict[str, str]) -> dict:
    """Provenance whose outputs have the names of the derivatives; the file is written anew."""
    provenance = json.loads(path.read_text(encoding="utf-8"))
    provenance["outputs"] = {names.get(name, name): facts for name, facts in provenance["outputs"].items()}
    path.write_text(json.dumps(provenance, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return provenance


def _json_writer(content: dict) -> Callable[[Path], None]:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return lambda path: path.write_bytes(text.encode("utf-8"))


def _plain_rows(rows: list[dict], units: str) -> list[dict]:
    """Rows as JSON, with the unit of their means: numbers that JSON lacks become null."""

    def plain(value):
        if value is None or isinstance(value, (str, int)):
            return value
        return float(value) if math.isfinite(value) else None

    return [{name: plain(value) for name, value in row.items()} | {"units": units} for row in rows]


def _share(progress, number: int, count: int, tracer: str, fraction: float, message: str) -> None:
    progress(0.6 + 0.4 * (number + fraction) / count, f"{tracer}: {message}")
