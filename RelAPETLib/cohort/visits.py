"""Who is to be done: one visit a person and session, from a BIDS data set, a plain table or a folder of saved cases.

Unlike the cases that training takes, a visit needs no PET, and whether it needs a T2-FLAIR is the model's business.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..absent import why_missing
from ..clinical import ClinicalValues, from_row, from_rows
from ..errors import InputError
from ..homes import path_beside
from ..notices import warn
from ..tracers import get_tracer
from ..volumes.sidecar import BidsFile, read_sidecar
from .bids import (
    first_of,
    home_of,
    homeless,
    is_bids,
    of_other_sessions,
    own_first,
    participants,
    scans_by_tracer,
    session_files,
    sessions_of,
)
from .cases import Failure, PetScan
from .filters import Filters
from .table import read_rows

#: What a table must have; ``t2f``, ``session``, ``pet`` with ``tracer``, age, sex and score may be there.
TABLE_COLUMNS = ("subject", "t1w")
#: What makes a folder a saved case (`synthesis.saved.RECORD`).
CASE_RECORD = "case.json"
#: What to do where two people of a table have one scan.
_CORRECT = "correct the table, or give both one name if they are one"
_LABEL = re.compile(r"[A-Za-z0-9+]{1,60}")


@dataclass(frozen=True)
class Visit:
    """One person's scans of one session.

    Attributes:
        participant: ``sub-01``.
        session: ``ses-2``; empty without sessions.
        t1w, t2f: files, None where there is none.
        case: folder of a saved case, which then stands for the scans.
        pets: measured PET by tracer.
        pet_files: files of all that were offered, those that cannot be used among them; no record names them.
        clinical: what is known of the person.
        notes: choices made among several files, one line each.
        lost: PET that cannot be used, by the tracer's name; of those of unknown tracers the notes tell.
        problem: why nothing can be done at all; empty where something can.
    """

    participant: str
    session: str = ""
    t1w: Path | None = None
    t2f: Path | None = None
    case: Path | None = None
    pets: dict[str, PetScan] = field(default_factory=dict)
    pet_files: tuple[Path, ...] = ()
    clinical: ClinicalValues = field(default_factory=ClinicalValues, repr=False)
    notes: tuple[str, ...] = ()
    lost: tuple[Failure, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """``sub-01_ses-2``."""
        return "_".join(filter(None, (self.participant, self.session)))

    @property
    def folder(self) -> str:
        """Where its results lie in the output, ``sub-01/ses-2/pet``."""
        return "/".join(filter(None, (self.participant, self.session, "pet")))


def find_visits(
    source: Path | str,
    *,
    cases: Path | str | None = None,
    people: Sequence[str] = (),
    sessions: Sequence[str] = (),
    filters: Filters | None = None,
) -> list[Visit]:
    """The visits of a data set in order of name. Nothing but names, JSON and tables is read.

    Args:
        source: a BIDS data set, or a table (CSV with `TABLE_COLUMNS`).
        cases: a folder of saved cases, ``sub-*[/ses-*]/case.json``, that take the place of the scans; `source` then
            tells no more than age, sex and score.
        people, sessions: labels, with or without ``sub-`` and ``ses-``; none: all.
        filters: of `filters.read_filters`, for a BIDS data set.

    Raises:
        InputError: nothing there, or a label that is not.

    Warns:
        RelAPETWarning: two people of a table have one scan.
    """
    source = Path(source)
    if cases is not None:
        visits = _of_cases(Path(cases), _rows(source))
    elif source.is_file():
        visits = _of_table(source)
    else:
        visits = _of_bids(source, filters or Filters(), _labels(people, "sub-"))
    chosen = _chosen(visits, "participant", people, "sub-", source)
    chosen = _chosen(chosen, "session", sessions, "ses-", source)
    return sorted(chosen, key=lambda visit: (visit.participant, visit.session))


def _chosen(visits: list[Visit], what: str, labels: Iterable[str], prefix: str, source: Path) -> list[Visit]:
    wanted = _labels(labels, prefix)
    if not wanted:
        return visits
    known = {getattr(visit, what) for visit in visits}
    missing = [label for label in wanted if label not in known]
    if missing:
        raise InputError(f"{source}: no {what} {', '.join(missing[:5])}; look at its folders, or leave the label out")
    return [visit for visit in visits if getattr(visit, what) in wanted]


def _labels(labels: Iterable[str], prefix: str) -> list[str]:
    return list(dict.fromkeys(prefix + label.strip().removeprefix(prefix) for label in labels))


def _rows(source: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of participants by person."""
    if source.is_file():
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for _, row in read_rows(source, ("subject",)):
            found[f"sub-{_label(row['subject'], 'sub-')}"].append(row)
        return found
    if not source.is_dir():
        raise InputError(f"{source}: {why_missing(source, 'no such file or folder')}")
    return {person: [row] for person, row in participants(source).items()}


def _of_session(rows: list[dict[str, str]], session: str) -> list[dict[str, str]]:
    """Those of a person's rows that name this session or none; all where there is no such."""
    own = {"", session.removeprefix("ses-")}
    return [row for row in rows if row.get("session", "").removeprefix("ses-") in own] or rows


def _of_cases(folder: Path, rows: dict[str, list[dict[str, str]]]) -> list[Visit]:
    found = sorted([*folder.glob(f"sub-*/{CASE_RECORD}"), *folder.glob(f"sub-*/ses-*/{CASE_RECORD}")])
    if not found:
        raise InputError(f"{folder}: no saved case in it, such as sub-01/{CASE_RECORD}; 'relapet bids' makes them")
    visits = []
    for path in found:
        participant, *session = path.parent.relative_to(folder).parts
        clinical, notes = from_rows(_of_session(rows.get(participant, []), "".join(session)))
        visits.append(Visit(participant, "".join(session), case=path.parent, clinical=clinical, notes=tuple(notes)))
    return visits


def _of_table(path: Path) -> list[Visit]:
    groups: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for number, row in read_rows(path, TABLE_COLUMNS):
        try:
            session = row.get("session", "")
            person = f"sub-{_label(row['subject'], 'sub-')}"
            groups[person, f"ses-{_label(session, 'ses-')}" if session else ""].append(row)
        except InputError as error:
            raise InputError(f"{path}: line {number}: {error}") from error
    visits = [_table_visit(path, person, session, rows) for (person, session), rows in groups.items()]
    return _told_of_one_t1w(path, _pets_once(path, visits))


def _told_of_one_t1w(path: Path, visits: Iterable[Visit]) -> list[Visit]:
    """The same, with a note where a person before has the same T1w: a line copied from another person's looks so.

    Warns:
        RelAPETWarning: whose it is, which stands in no other person's record.
    """
    found, owners, shared = [], {}, []
    for visit in visits:
        owner = visit.participant if visit.t1w is None else owners.setdefault(visit.t1w, visit.participant)
        if owner != visit.participant:
            shared.append(f"the T1w of {visit.name} is that of {owner}")
            visit = replace(visit, notes=(*visit.notes, f"its T1w is another person's too; {_CORRECT}"))
        found.append(visit)
    _warn_of_shared(path, shared)
    return found


def _pets_once(path: Path, visits: Iterable[Visit]) -> list[Visit]:
    """The same where no measured PET counts for two visits: for the later one it is lost.

    Warns:
        RelAPETWarning: whose it is of two people, which stands in no other person's record.
    """
    found, owners, shared = [], {}, []
    for visit in visits:
        taken = {t: owners[scan.path] for t, scan in visit.pets.items() if scan.path in owners}
        owners |= {scan.path: visit for scan in visit.pets.values() if scan.path not in owners}
        pets = {tracer: scan for tracer, scan in visit.pets.items() if tracer not in taken}
        lost = []
        for tracer, owner in taken.items():
            reason = f"its measured PET is that of {owner.name}; give each session its own"
            if owner.participant != visit.participant:
                shared.append(f"the measured PET of {tracer} of {visit.name} is that of {owner.name}")
                reason = f"its measured PET is another person's; {_CORRECT}"
            lost.append(Failure(visit.participant, visit.name, tracer, reason))
        found.append(replace(visit, pets=pets, lost=(*visit.lost, *lost)))
    _warn_of_shared(path, shared)
    return found


def _warn_of_shared(path: Path, shared: Sequence[str]) -> None:
    if shared:
        more = f", and {len(shared) - 1} more such" if len(shared) > 1 else ""
        warn(f"{path}: {shared[0]}{more}; {_CORRECT}")


def _label(text: str, prefix: str) -> str:
    """A label that BIDS allows in a file's name."""
    label = text.removeprefix(prefix)
    if not _LABEL.fullmatch(label):
        raise InputError(f"'{text[:40]}' cannot be a label of BIDS; use up to 60 letters and digits")
    return label


def _table_visit(path: Path, person: str, session: str, rows: list[dict]) -> Visit:
    for column in ("t1w", "t2f"):
        if len({row.get(column, "") for row in rows}) > 1:
            raise InputError(f"{path}: {person} has several {column}; tell them apart by a column 'session'")
    try:
        mri = {name: path_beside(path, text) if (text := rows[0].get(name, "")) else None for name in ("t1w", "t2f")}
        problem = "" if mri["t1w"] else f"no t1w in {path.name}"
    except InputError as error:
        mri, problem = dict.fromkeys(("t1w", "t2f")), str(error)
    pets: dict[str, PetScan] = {}
    lost, offered = [], []
    for row in rows:
        if not row.get("pet"):
            continue
        try:
            offered.append(pet := path_beside(path, row["pet"]))
            tracer = get_tracer(row.get("tracer", "")).name
            if tracer in pets:
                raise InputError(f"a second PET of {tracer}; tell them apart by a column 'session'")
            sidecar = read_sidecar(pet)
            pets[tracer] = PetScan(tracer, pet, sidecar.content, sidecar.paths)
        except InputError as error:
            lost.append(Failure(person, person, row.get("tracer", ""), str(error)))
    clinical, notes = from_rows(rows)
    known, more = _named(lost, pets)
    return Visit(person, session, **mri, pets=pets, pet_files=tuple(offered), clinical=clinical, notes=(*notes, *more),
                 lost=known, problem=problem)  # fmt: skip


def _named(lost: Iterable[Failure], pets: Mapping[str, PetScan]) -> tuple[tuple[Failure, ...], list[str]]:
    """Failures of PET by their tracers' names, and lines of those whose tracer is none of ours or has a PET all the
    same: such a result is compared, and lacks nothing."""
    known, notes = [], []
    for failure in lost:
        try:
            failure = replace(failure, tracer=get_tracer(failure.tracer).name)
        except InputError:
            notes.append(f"a measured PET was left out: {failure.reason}")
            continue
        if failure.tracer in pets:
            notes.append(f"another measured PET of {failure.tracer} was left out: {failure.reason}")
        else:
            known.append(failure)
    return tuple(known), notes


def _of_bids(folder: Path, filters: Filters, people: list[str]) -> list[Visit]:
    """Visits of a data set; of the people named, where some are: jobs of one person each do not read all the others."""
    if not folder.is_dir():
        raise InputError(f"{folder}: {why_missing(folder, 'no such file or folder')}")
    if not is_bids(folder) or not (subjects := sorted(path for path in folder.glob("sub-*") if path.is_dir())):
        raise InputError(f"{folder}: no BIDS data set, it has no folder sub-*")
    rows = participants(folder, [path.name for path in subjects])
    visits = []
    for subject in (path for path in subjects if not people or path.name in people):
        clinical, notes = from_row(rows.get(subject.name, {}))
        found = _subject_visits(folder, subject, filters)
        visits += [replace(visit, clinical=clinical, notes=(*visit.notes, *notes)) for visit in found]
    return visits


def _subject_visits(root: Path, folder: Path, filters: Filters) -> list[Visit]:
    """Visits of one subject: one a session with a T1w, and one that says what is missing where a T1w is.

    Sessions with neither T1w nor FLAIR have no visit, unless none has; nor those whose T1w a filter may have taken out.
    """
    subject = folder.name
    sessions = sessions_of(folder)
    every = {name: session_files(path) for name, path in sessions.items()}
    files = {name: filters.apply(found) for name, found in every.items()}
    with_mri = [name for name, found in files.items() if found["T1w"]]
    if not with_mri:
        words = "no T1w that the filter lets through" if filters.given else "no T1w"
        return [Visit(subject, next(iter(sessions)) if len(sessions) == 1 else "", problem=words)]
    filtered = [name for name, found in every.items() if found["T1w"] and name not in with_mri]
    visits, pets, lost = [], *_homes(files, with_mri, filtered, subject)
    for session in with_mri:
        notes: list[str] = []
        scans, said, failures = scans_by_tracer(root, pets[session], subject, subject)
        mri = {kind: first_of(files[session][kind], kind, notes).path if files[session][kind] else None
               for kind in ("T1w", "FLAIR")}  # fmt: skip
        known, more = _named((*lost.pop(session, ()), *failures), scans)
        offered = tuple(file.path for file in pets[session])
        visits.append(
            Visit(subject, session, mri["T1w"], mri["FLAIR"], pets=scans, pet_files=offered,
                  notes=(*notes, *said, *of_other_sessions(scans, session), *more), lost=known)
        )  # fmt: skip
    lone = [name for name, found in files.items() if found["FLAIR"] and name not in with_mri and not filters.given]
    return visits + [Visit(subject, session, problem="no T1w") for session in lone]


def _homes(
    files: dict[str, dict[str, list[BidsFile]]], with_mri: list[str], filtered: list[str], subject: str
) -> tuple[dict, dict]:
    """PET by the session whose MRI it is compared with, and, under the first such session, those without one.

    A session whose T1w the filter takes out (`filtered`) has MRI of its own: its PET belongs to no other's.
    """
    pets: dict[str, list[BidsFile]] = defaultdict(list)
    lost: dict[str, list[Failure]] = defaultdict(list)
    for session in own_first(files, with_mri):
        if session not in filtered and (home := home_of(session, with_mri)) is not None:
            pets[home] += files[session]["pet"]
            continue
        words = homeless(session, with_mri)
        if session in filtered:
            words = f"PET of {session or 'no session'} belongs to a T1w that the filter takes out"
        lost[with_mri[0]] += [
            Failure(subject, subject, pet.entities.get("trc", ""), words) for pet in files[session]["pet"]
        ]
    return pets, lost
