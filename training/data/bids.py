"""Cases of a BIDS data set: ``sub-*[/ses-*]/{anat/*_T1w,anat/*_FLAIR,pet/*_trc-*_pet}``, any runs.

BIDS: Gorgolewski et al., Sci Data 2016;3:160044; PET: Norgaard et al., Sci Data 2022;9:65. Sidecars are merged by the
inheritance principle: a JSON of the same suffix in a folder above applies when the file has all its entities.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.tracers import get_tracer

from .cases import Case, Failure, PetScan, Source

_IMAGES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class BidsFile:
    """A file name taken apart: ``sub-01_ses-2_trc-PIB_run-1_pet.nii.gz``.

    Attributes:
        path: the file.
        entities: ``{"sub": "01", "ses": "2", ...}``.
        suffix: ``pet``, ``T1w``, ...
    """

    path: Path
    entities: dict[str, str]
    suffix: str


def parse_name(path: Path) -> BidsFile:
    """Entities and suffix of a file by its name."""
    *pairs, suffix = path.name.split(".")[0].split("_")
    return BidsFile(path, dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix)


def is_bids(folder: Path) -> bool:
    """Whether a folder looks like a BIDS data set."""
    return (folder / "dataset_description.json").is_file() or any(folder.glob("sub-*/"))


def read_bids(folder: Path | str) -> Source:
    """Find the cases of a data set. Nothing but names and JSON is read.

    Several T1w or FLAIR of a session, or PET of one tracer: the first by name, and a note says so. A PET of a session
    without MRI belongs to the subject's only session with MRI; where there are several, it is not used.

    Raises:
        InputError: no folder, or no subject in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not subjects:
        raise InputError(f"{folder}: an empty data set, without any folder sub-*")
    description = _description(folder)
    cases, failures = [], []
    for subject in subjects:
        found, lost = _subject_cases(folder, subject)
        cases += found
        failures += lost
    return Source(str(description.get("Name", folder.name)), _is_simulated(description), cases, failures)


def _description(folder: Path) -> dict:
    path = folder / "dataset_description.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable JSON; mend it") from error
    return content if isinstance(content, dict) else {}


def _is_simulated(description: dict) -> bool:
    from RelAPETLib.phantom.bids import GENERATOR

    made_by = description.get("GeneratedBy")
    return isinstance(made_by, list) and any(isinstance(m, dict) and m.get("Name") == GENERATOR for m in made_by)


def _subject_cases(root: Path, folder: Path) -> tuple[list[Case], list[Failure]]:
    """Cases of one subject, one a session that has MRI."""
    subject = folder.name
    sessions = {path.name: path for path in sorted(folder.glob("ses-*")) if path.is_dir()} or {"": folder}
    files = {session: _session_files(path) for session, path in sessions.items()}
    with_mri = [session for session, found in files.items() if found["T1w"] and found["FLAIR"]]
    failures: list[Failure] = []
    if not with_mri:
        missing = [kind for kind in ("T1w", "FLAIR") if not any(found[kind] for found in files.values())]
        words = f"no {' and no '.join(missing)}" if missing else "no session with both T1w and FLAIR"
        return [], [Failure(subject, subject, "", words)]
    pets: dict[str, list[BidsFile]] = defaultdict(list)
    for session, found in files.items():
        home = session if session in with_mri else with_mri[0] if len(with_mri) == 1 else None
        if home is not None:
            pets[home] += found["pet"]
            continue
        words = f"PET of {session}, which has no MRI, could belong to {', '.join(with_mri)}; say which in a table"
        failures += [Failure(subject, subject, pet.entities.get("trc", ""), words) for pet in found["pet"]]
    cases = []
    for session in with_mri:
        name = f"{subject}_{session}" if len(with_mri) > 1 else subject
        scans, notes, lost = _tracers(root, pets[session], subject, name)
        failures += lost
        if not scans:
            failures.append(Failure(subject, name, "", "no PET that can be used"))
            continue
        chosen = {kind: _first(files[session][kind], kind, notes) for kind in ("T1w", "FLAIR")}
        cases.append(Case(name, subject, chosen["T1w"].path, chosen["FLAIR"].path, scans, tuple(notes)))
    return cases, failures


def _session_files(folder: Path) -> dict[str, list[BidsFile]]:
    """T1w, FLAIR and pet images of a session, in order of name."""
    found: dict[str, list[BidsFile]] = {"T1w": [], "FLAIR": [], "pet": []}
    for path in sorted([*folder.glob("anat/*.nii*"), *folder.glob("pet/*.nii*")]):
        file = parse_name(path)
        if (
            path.name.endswith(_IMAGES)
            and file.suffix in found
            and (file.suffix == "pet") == (path.parent.name == "pet")
        ):
            found[file.suffix].append(file)
    return found


def _first(files: list[BidsFile], what: str, notes: list[str]) -> BidsFile:
    if len(files) > 1:
        notes.append(f"{files[0].path.name} taken of {len(files)} {what}")
    return files[0]


def _tracers(root: Path, files: list[BidsFile], subject: str, case: str):
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
        file = _first(found, f"PET of {tracer}", notes)
        try:
            scans[tracer] = PetScan(tracer, file.path, *read_sidecar(root, file))
        except InputError as error:
            failures.append(Failure(subject, case, tracer, str(error)))
    return scans, notes, failures


def read_sidecar(root: Path, file: BidsFile) -> tuple[dict, tuple[Path, ...]]:
    """Metadata of an image, nearer files overriding farther ones, and the files they came from.

    Raises:
        InputError: a sidecar is not a JSON object.
    """
    folders = [folder for folder in (file.path.parent, *file.path.parents) if folder == root or root in folder.parents]
    merged: dict = {}
    used = []
    for folder in dict.fromkeys(reversed(folders)):
        candidates = [parse_name(path) for path in sorted(folder.glob(f"*{file.suffix}.json"))]
        fitting = [c for c in candidates if c.suffix == file.suffix and c.entities.items() <= file.entities.items()]
        for candidate in sorted(fitting, key=lambda c: len(c.entities)):
            merged |= read_json(candidate.path)
            used.append(candidate.path)
    return merged, tuple(used)


def read_json(path: Path) -> dict:
    """A sidecar's content. Raises `InputError` when it is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON sidecar; mend it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a sidecar must be a JSON object")
    return content
