"""Cases of a BIDS data set: ``sub-*[/ses-*]/{anat/*_T1w,anat/*_FLAIR,pet/*_trc-*_pet}``, any runs.

BIDS: Gorgolewski et al., Sci Data 2016;3:160044; PET: Norgaard et al., Sci Data 2022;9:65. Sidecars are read by the
inheritance principle, see `volumes.sidecar`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..absent import is_listed, why_no_file
from ..clinical import from_row
from ..errors import InputError
from ..jsonfiles import read_json_object
from ..notices import warn
from ..tracers import get_tracer
from ..volumes.contrast import names_agent
from ..volumes.endings import BIDS_ENDINGS
from ..volumes.sidecar import BidsFile, natural_order, parse_name, read_sidecar
from .cases import Case, Failure, PetScan, Source

#: Table of the subjects' ages and the like.
PARTICIPANTS = "participants.tsv"
#: What a session must have to be a case, as messages say it of one without.
_PAIR = "pair of T1w and FLAIR"


def is_bids(folder: Path) -> bool:
    """Whether a folder looks like a BIDS data set."""
    return (folder / "dataset_description.json").is_file() or any(folder.glob("sub-*/"))


def read_bids(folder: Path | str, *, mri_only: bool = False) -> Source:
    """Find the cases of a data set. Nothing but names, JSON and ``participants.tsv`` is read.

    Several T1w or FLAIR of a session, or PET of one tracer: the `preferred` one, and a note says so. A PET of a session
    without MRI belongs to the subject's only session with MRI, after that session's own; where there are several, it is
    not used.

    Args:
        folder: of the data set.
        mri_only: PET are not looked at, and people without any are cases too.

    Raises:
        InputError: no folder, no subject in it, or a ``participants.tsv`` that is no table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not subjects:
        raise InputError(f"{folder}: an empty data set, without any folder sub-*")
    from ..phantom.law import check_law

    described = description(folder)
    cases, failures, people = [], [], participants(folder, [subject.name for subject in subjects])
    for subject in subjects:
        found, lost = _subject_cases(folder, subject, mri_only)
        clinical, notes = from_row(people.get(subject.name, {}))
        notes = tuple(f"{PARTICIPANTS}: {note}" for note in notes)
        cases += [replace(case, clinical=clinical, notes=(*case.notes, *notes)) for case in found]
        failures += lost
    simulation = _simulation(described)
    options = {}
    if simulation is not None:
        options["law"] = simulation.get("Law", 1)
        check_law(options["law"])
    return Source(str(described.get("Name", folder.name)), simulation is not None, cases, failures, options)


def participants(folder: Path, subjects: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Rows of ``participants.tsv`` by subject, ``sub-01``; none without that file, which BIDS does not ask for.

    Identifiers may lack ``sub-``, and texts may stand in quotes. Of somebody who has several rows (a row a session,
    say), what these say differently is empty.

    Args:
        folder: of the data set.
        subjects: names of its subjects' folders, ``sub-01``; none: it is not looked whether the table knows them.

    Raises:
        InputError: the file is no table.

    Warns:
        RelAPETWarning: the table has no identifiers, none of them is a subject's, or somebody's rows differ.
    """
    path = folder / PARTICIPANTS
    if not is_listed(path):
        return {}
    try:
        if why := why_no_file(path):
            raise InputError(f"{path}: {why}")
        with open(path, newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
    header, *lines = [[text.strip().strip('"') for text in line] for line in lines] or [[]]
    if "participant_id" not in header:
        warn(f"{path}: no column participant_id, separated by tabs; nothing in it is known of anybody")
        return {}
    found: dict[str, dict[str, str]] = {}
    differ = set()
    for line in lines:
        row = dict.fromkeys(header, "") | dict(zip(header, line, strict=False))
        if not row["participant_id"]:
            continue
        row["participant_id"] = subject = f"sub-{row['participant_id'].removeprefix('sub-')}"
        before = found.setdefault(subject, row)
        differ |= {subject} if row != before else set()
        found[subject] = {name: text if text == before[name] else "" for name, text in row.items()}
    if found and subjects and found.keys().isdisjoint(subjects):
        warn(f"{path}: {next(iter(found))} and the others in it have no folder of that name; nothing in it is used")
    if differ:
        words = f"{', '.join(sorted(differ)[:3])}{', ...' * (len(differ) > 3)}"
        warn(f"{path}: several rows that differ are of {words}; what they say differently counts as missing")
    return found


def description(folder: Path) -> dict:
    """Contents of ``dataset_description.json``; empty without it. Raises `InputError` for a damaged one."""
    path = folder / "dataset_description.json"
    return read_json_object(path) if path.exists() else {}


def _simulation(described: dict) -> dict | None:
    """The entry of ``GeneratedBy`` that our simulation wrote; None for real people. Before law 2 it named no law."""
    from ..phantom.bids import GENERATOR

    made_by = described.get("GeneratedBy")
    entries = made_by if isinstance(made_by, list) else []
    return next((entry for entry in entries if isinstance(entry, dict) and entry.get("Name") == GENERATOR), None)


def _subject_cases(root: Path, folder: Path, mri_only: bool) -> tuple[list[Case], list[Failure]]:
    """Cases of one subject, one a session that has MRI; without PET where only MRI is wanted."""
    subject = folder.name
    files = {session: session_files(path) for session, path in sessions_of(folder).items()}
    with_mri = [session for session, found in files.items() if found["T1w"] and found["FLAIR"]]
    failures: list[Failure] = []
    if not with_mri:
        missing = [kind for kind in ("T1w", "FLAIR") if not any(found[kind] for found in files.values())]
        words = f"no {' and no '.join(missing)}" if missing else "no session with both T1w and FLAIR"
        return [], [Failure(subject, subject, "", words)]
    for session, found in files.items():
        if session not in with_mri and (found["T1w"] or found["FLAIR"]):
            kind = "FLAIR" if found["T1w"] else "T1w"
            failures.append(Failure(subject, "_".join(filter(None, (subject, session))), "", f"no {kind}"))
    pets: dict[str, list[BidsFile]] = defaultdict(list)
    for session in () if mri_only else own_first(files, with_mri):
        if (home := home_of(session, with_mri)) is not None:
            pets[home] += files[session]["pet"]
            continue
        words = homeless(session, with_mri, _PAIR)
        failures += [Failure(subject, subject, pet.entities.get("trc", ""), words) for pet in files[session]["pet"]]
    cases = []
    for session in with_mri:
        name = f"{subject}_{session}" if session and len(with_mri) > 1 else subject
        scans, notes, lost = scans_by_tracer(root, pets[session], subject, name)
        notes += of_other_sessions(scans, session, _PAIR)
        failures += lost
        if not scans and not mri_only:
            failures.append(Failure(subject, name, "", "no PET that can be used"))
            continue
        chosen = {kind: first_of(files[session][kind], kind, notes) for kind in ("T1w", "FLAIR")}
        cases.append(Case(name, subject, chosen["T1w"].path, chosen["FLAIR"].path, scans, tuple(notes)))
    return cases, failures


def sessions_of(folder: Path) -> dict[str, Path]:
    """Folders of a subject's sessions by name; its own folder by an empty name, where it has scans or no sessions.

    In order of their numbers, ``ses-2`` before ``ses-10``.
    """
    paths = sorted(folder.glob("ses-*"), key=lambda path: natural_order(path.name))
    found = {path.name: path for path in paths if path.is_dir()}
    return found if found and not any(session_files(folder).values()) else {"": folder} | found


def home_of(session: str, with_mri: Sequence[str]) -> str | None:
    """The session whose MRI a session's PET belongs to: itself, else the only one with MRI; None of several."""
    return session if session in with_mri else with_mri[0] if len(with_mri) == 1 else None


def of_other_sessions(scans: Mapping[str, PetScan], session: str, lacking: str = "MRI") -> list[str]:
    """Lines on PET, by tracer, that are compared with the MRI of a session which is not theirs.

    Args:
        lacking: what theirs has not, in words.
    """
    found = []
    for scan in scans.values():
        place = scan.path.parents[1].name
        own = place if place.startswith("ses-") else ""
        if own != session:
            whose, other = (f"of {name}" if name else "of no session" for name in (session, own))
            found.append(f"{scan.path.name}, {other}, which has no {lacking}, is compared with the MRI {whose}")
    return found


def own_first(sessions: Iterable[str], with_mri: Sequence[str]) -> list[str]:
    """Sessions with those that have MRI first, so that a PET of the MRI's own session goes before another's."""
    return sorted(sessions, key=lambda session: session not in with_mri)


def homeless(session: str, with_mri: Sequence[str], lacking: str = "MRI") -> str:
    """Why the PET of a session that has no such MRI (`lacking`, in words) is not used."""
    whose = ", ".join(name or "no session" for name in with_mri)
    return f"PET of {session or 'no session'}, which has no {lacking}, could belong to {whose}; say which in a table"


def session_files(folder: Path) -> dict[str, list[BidsFile]]:
    """T1w, FLAIR and pet images of a session, in order of name."""
    found: dict[str, list[BidsFile]] = {"T1w": [], "FLAIR": [], "pet": []}
    for path in sorted([*folder.glob("anat/*.nii*"), *folder.glob("pet/*.nii*")]):
        file = parse_name(path)
        if (
            path.name.endswith(BIDS_ENDINGS)
            and file.suffix in found
            and (file.suffix == "pet") == (path.parent.name == "pet")
        ):
            found[file.suffix].append(file)
    return found


def preferred(files: Iterable[BidsFile]) -> BidsFile:
    """The first of several files that is like other people's scans, else the first.

    Last come phase and the like of a complex MRI, images made of others (``space-``, ``desc-``), MRI with a contrast
    agent (``ce-``), and PET without attenuation correction (``rec-nac...``).
    """

    def oddities(file: BidsFile) -> list[bool]:
        said = file.entities
        return [
            said.get("part", "mag") != "mag",
            "space" in said or "desc" in said,
            names_agent(said.get("ce", "")),
            said.get("rec", "").lower().startswith("nac"),
        ]

    return min(files, key=oddities)


def first_of(files: list[BidsFile], what: str, notes: list[str]) -> BidsFile:
    """The `preferred` one of several files, with a note where there are others."""
    chosen = preferred(files)
    if len(files) > 1:
        notes.append(f"{chosen.path.name} taken of {len(files)} {what}")
    return chosen


def scans_by_tracer(root: Path, files: list[BidsFile], subject: str, case: str):
    """PET by tracer, notes, and failures of PET whose tracer or sidecar cannot be told."""
    by_tracer: dict[str, list[BidsFile]] = defaultdict(list)
    scans, notes, failures = {}, [], []
    for file in files:
        label = file.entities.get("trc")
        try:
            if label is None:
                raise InputError(f"{file.path}: its name has no trc- entity, so its tracer is unknown")
            by_tracer[get_tracer(label).name].append(file)
        except InputError as error:
            failures.append(Failure(subject, case, label or "", str(error)))
    for tracer, found in by_tracer.items():
        file = first_of(found, f"PET of {tracer}", notes)
        try:
            sidecar = read_sidecar(file.path, root)
            scans[tracer] = PetScan(tracer, file.path, sidecar.content, sidecar.paths)
        except InputError as error:
            failures.append(Failure(subject, case, tracer, str(error)))
    return scans, notes, failures
