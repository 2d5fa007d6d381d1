"""Pairs of a BIDS data set with measured PET and a derivatives folder with synthetic ones.

Synthetic PET are ``sub-*[/ses-*]/pet/sub-*_trc-*[_space-*]_desc-synthetic_pet.nii.gz``. A measured one belongs to it
that has the same subject, session and tracer; of several the `bids.preferred` one, with a warning. Where one of the two
has no session, they belong together if there is one session of each and of MRI. A measured PET of a session without MRI
belongs to the subject's only session with MRI, as `relapet bids` has it. No measured PET belongs to two sessions.

Masks and label images are looked for beside: ``*_desc-brain_mask`` and ``*_dseg`` of the same subject and session, in
the derivatives first. Without ``space-`` they lie on the T1w, or on the PET in whose folder they are and whose entities
they have; ones of other spaces than T1w and MNI are not taken. The T1w is the one that the synthetic PET's sidecar says
it lies on, else the one that `relapet bids` takes.
"""

from __future__ import annotations

import functools
from pathlib import Path

from ..absent import is_listed
from ..clinical import COLUMNS
from ..errors import InputError
from ..evaluation.pairs import COVARIATES, TITLES, Pair
from ..evaluation.spaces import agreed_space, other_space, space_entity, space_of, warn_of_variants
from ..jsonfiles import read_json_object
from ..notices import warn
from ..volumes.endings import BIDS_ENDINGS
from ..volumes.sidecar import BidsFile, natural_order, parse_name, read_sidecar, readable_content
from .bids import home_of, participants, preferred
from .derivatives import RAW, TRANSFORM
from .pairs import known_tracer

DESCRIPTION = "dataset_description.json"
SYNTHETIC = "synthetic"
#: Entities by which several PET of a session differ, each of which lies where its scan put it.
OF_A_SCAN = ("trc", "rec", "run", "task", "acq")
#: What ``desc-`` of a measured PET does not begin with: it is made by `relapet bids`.
MADE = (SYNTHETIC, "spread", "departure", "difference")


def read_derivatives(
    raw: Path | str, derivatives: Path | str, *, measured_only: bool = False, space: str = ""
) -> tuple[list[Pair], list[dict]]:
    """Pairs, and rows of ``failures.tsv`` for synthetic PET without a measured one.

    Args:
        raw: the data set with measured PET.
        derivatives: of one model. Its ``desc-`` entity or, where that is plain ``synthetic``, its record names it.
        measured_only: take all measured PET of `raw` and no synthetic one; `derivatives` is then only looked into for
            masks and labels.
        space: of PET whose names say none; and which to take of synthetic ones that are there in both, else ``T1w``.

    Raises:
        InputError: a folder is missing, or no PET is found.
    """
    raw, derivatives = Path(raw), Path(derivatives)
    for folder in (raw, derivatives):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    measured = _files(raw, lambda file: file.suffix == "pet" and not file.entities.get("desc", "").startswith(MADE))
    if not measured:
        raise InputError(f"{raw}: no measured PET (sub-*[/ses-*]/pet/*_pet.nii.gz)")
    people = participants(raw, sorted({_key(file)["participant_id"] for file in measured}))
    pairs, failures = [], []
    made = [] if measured_only else _files(derivatives, _is_synthetic)
    if not made and not measured_only:
        raise InputError(f"{derivatives}: no synthetic PET (sub-*[/ses-*]/pet/*_desc-{SYNTHETIC}_pet.nii.gz)")
    made = _of_one_space(made, space or "T1w")
    several = _of_several_sessions(made or measured, raw)

    def take(made: BidsFile | None, pet: BidsFile, model: str) -> None:
        try:
            pairs.append(_pair(made, pet, model, people, (derivatives, raw), several, space))
        except InputError as error:
            warn(f"left out {(made or pet).path.name}: {error}")
            failures.append({**_key(made or pet), "model": model or "n/a", "reason": str(error)})

    if measured_only:
        groups: dict[tuple, list[BidsFile]] = {}
        for file in measured:
            groups.setdefault(tuple(_key(file).values()), []).append(file)
        for same in groups.values():
            take(None, _first(same, "measured"), "")
        return pairs, failures
    model = _model(derivatives)
    for file in made:
        fitting, reason = _fitting(file, made, measured, raw)
        if not fitting:
            failures.append({**_key(file), "model": model, "reason": f"{file.path.name}: {reason}"})
            continue
        take(file, _first(fitting, f"{file.path.name}: compared with"), model)
    return pairs, failures


def _first(files: list[BidsFile], words: str) -> BidsFile:
    """The `preferred` one of several measured PET, with a warning where there are others."""
    chosen = preferred(files)
    if len(files) > 1:
        warn(f"{words} {chosen.path.name}, one of {len(files)} measured PET")
    return chosen


def _is_image(path: Path) -> bool:
    """Whether a file is named as an image; hidden ones, such as macOS leaves on network shares (``._*``), are none."""
    return path.name.endswith(BIDS_ENDINGS) and not path.name.startswith(".")


def _is_synthetic(file: BidsFile) -> bool:
    return file.suffix == "pet" and file.entities.get("desc", "").startswith(SYNTHETIC)


def _of_one_space(made: list[BidsFile], wanted: str) -> list[BidsFile]:
    """Synthetic PET, in the wanted space alone where one is there in both (``relapet bids --space both``)."""
    groups: dict[tuple, list[BidsFile]] = {}
    for file in made:
        groups.setdefault((*_key(file).values(), file.entities["desc"]), []).append(file)
    left_out = set()
    for files in groups.values():
        if {space_of(file.path) for file in files} == {"T1w", "MNI"}:
            left_out |= {file.path for file in files if space_of(file.path) != wanted}
    if left_out:
        warn(f"{len(left_out)} synthetic PET are there in two spaces: those in {wanted} are taken (--space)")
    return [file for file in made if file.path not in left_out]


def _files(root: Path, wanted) -> list[BidsFile]:
    """Images of the ``pet`` folders, in order of name."""
    paths = sorted([*root.glob("sub-*/pet/*.nii*"), *root.glob("sub-*/ses-*/pet/*.nii*")])
    files = [parse_name(path) for path in paths if _is_image(path)]
    return [file for file in files if "sub" in file.entities and wanted(file)]


def _mri_places(raw: Path, subject: str) -> list[str]:
    """Folders of a subject (``ses-1``; empty for its own) in which a T1w lies."""
    scans = [*raw.glob(f"sub-{subject}/anat/*_T1w.nii*"), *raw.glob(f"sub-{subject}/ses-*/anat/*_T1w.nii*")]
    places = {path.parents[1].name for path in scans if _is_image(path)}
    return sorted("" if place == f"sub-{subject}" else place for place in places)


def _fitting(
    made: BidsFile, all_made: list[BidsFile], measured: list[BidsFile], raw: Path
) -> tuple[list[BidsFile], str]:
    """Measured PET that belong to a synthetic one, and why there is none.

    That of its session; else, where one of the two has no session and nothing else could belong to either, that one;
    else one of a session without MRI, as `bids.home_of` has it. None that is another session's own serves twice.
    """
    subject, own, tracer = made.entities["sub"], made.entities.get("ses"), _key(made)["tracer"]
    same = [file for file in measured if file.entities["sub"] == subject and _key(file)["tracer"] == tracer]
    same = same if "trc" in made.entities else []
    if found := [file for file in same if file.entities.get("ses") == own]:
        return found, ""
    beside = {file.entities.get("ses") for file in all_made if file.entities["sub"] == subject}
    free = [file for file in same if file.entities.get("ses") not in beside]
    sessions, places = {file.entities.get("ses") for file in same}, _mri_places(raw, subject)
    if open_ones := [file for file in free if None in (file.entities.get("ses"), own)]:
        if len(sessions) == len(beside) == 1 and len(places) <= 1:
            return open_ones, ""
        words = f"synthetic PET are of {_named(beside)} and measured ones of {_named(sessions)}"
        return [], f"{words}; say in a table which belong together"
    homes = {session: home_of(f"ses-{session}", places) for session in sessions}
    if found := [file for file in free if homes[file.entities["ses"]] == f"ses-{own}"]:
        found.sort(key=lambda file: natural_order(file.entities["ses"]))  # as `bids.sessions_of`
        warn(f"{made.path.name}: compared with a measured PET of a session without MRI, {found[0].path.name}")
        return found, ""
    return [], "no measured PET of this subject, session and tracer in the data set"


def _named(sessions: set[str | None]) -> str:
    return ", ".join(f"ses-{session}" if session else "no session" for session in sorted(sessions, key=str))


def _key(file: BidsFile) -> dict[str, str]:
    session = file.entities.get("ses")
    return {
        "participant_id": f"sub-{file.entities['sub']}",
        "session": f"ses-{session}" if session else "n/a",
        "tracer": known_tracer(file.entities.get("trc", "n/a")),
    }


def _model(derivatives: Path) -> str:
    """What the model is called: ``GeneratedBy`` of the derivatives says it, else their folder's name does."""
    path = derivatives / DESCRIPTION
    made_by = read_json_object(path).get("GeneratedBy") if is_listed(path) else None
    for entry in made_by if isinstance(made_by, list) else []:
        model = entry.get("Model") if isinstance(entry, dict) else None
        if isinstance(model, dict) and isinstance(model.get("name", model.get("Name")), str):
            words = [model.get("name", model.get("Name")), model.get("version", model.get("Version"))]
            return " ".join(str(word) for word in words if word)
        if isinstance(model, str) and model:
            return model
    return derivatives.resolve().name


def _pair(
    made: BidsFile | None,
    measured: BidsFile,
    model: str,
    people: dict[str, dict[str, str]],
    roots: tuple[Path, ...],
    several: set[str],
    default: str,
) -> Pair:
    main = made or measured
    key = _key(main)
    sidecar = read_sidecar(measured.path)
    covariates = _covariates(people.get(key["participant_id"], {}))
    manufacturer = [str(sidecar.content.get(name, "")) for name in ("Manufacturer", "ManufacturersModelName")]
    if "scanner" not in covariates and any(manufacturer):
        covariates["scanner"] = " ".join(filter(None, manufacturer))
    if "site" not in covariates and isinstance(sidecar.content.get("InstitutionName"), str):
        covariates["site"] = sidecar.content["InstitutionName"]
    if made and (other := other_space(made.path)):
        raise InputError(f"its name says space-{other}, which is neither T1w nor MNI")
    pets = {"synthetic PET": made and made.path, "measured PET": measured.path}
    warn_of_variants(pets)
    space = agreed_space(pets)
    space = space or ("" if other_space(main.path) else default)
    beside = functools.partial(_beside, main, roots, space=space, several=several)
    return Pair(
        key["participant_id"],
        "" if key["session"] == "n/a" else key["session"],
        key["tracer"],
        model,
        made.path if made else None,
        measured.path,
        t1w=_t1w_in_mni(main, roots) if space == "MNI" else _stated_t1w(made, roots[-1]) or _t1w(main, roots[-1]),
        mask=beside("mask", "brain"),
        dseg=beside("dseg", None),
        space=space,
        to_mni=_transform(made) if space == "T1w" else None,
        covariates=covariates,
        sidecar=sidecar.content,
        sidecar_paths=sidecar.paths,
    )


def _covariates(row: dict[str, str]) -> dict[str, str]:
    """Texts by name of `COVARIATES`, from columns in any case of letters, and ``gender`` for ``sex``."""
    texts = {name.lower(): text for name, text in row.items() if text.lower() not in ("", "n/a")}
    found = {name: next((texts[c] for c in COLUMNS.get(name, (name,)) if c in texts), None) for name in COVARIATES}
    return {name: text for name, text in found.items() if text is not None}


def _transform(made: BidsFile | None) -> Path | None:
    """The transform that `relapet bids` writes beside a result, or None."""
    if made is None:
        return None
    path = made.path.with_name(f"{made.path.name.split('_space-')[0]}_{TRANSFORM}")
    return path if is_listed(path) else None


def _of_several_sessions(pets: list[BidsFile], raw: Path) -> set[str]:
    """Subjects with PET of several sessions and MRI not of a single one: what is of no session fits not all of them."""
    sessions: dict[str, set[str | None]] = {}
    for file in pets:
        sessions.setdefault(file.entities["sub"], set()).add(file.entities.get("ses"))
    return {subject for subject, own in sessions.items() if len(own) > 1 and len(_mri_places(raw, subject)) != 1}


def _stated_t1w(made: BidsFile | None, raw: Path) -> Path | None:
    """The T1w in the data set on which a synthetic PET lies by its sidecar; None where that names none of the person.

    Of several T1w of a session `relapet bids` may have been told to take another than `preferred` says.
    """
    said = None if made is None else readable_content(made.path).get("SpatialReference")
    if not isinstance(said, str) or not said.startswith(f"{RAW}sub-{made.entities['sub']}/") or ".." in said:
        return None
    path = raw / said.removeprefix(RAW)
    return path if is_listed(path) else None


def _t1w(file: BidsFile, raw: Path) -> Path | None:
    """The T1w of the session in the data set that `relapet bids` takes; else of the only session with one."""
    subject, session = f"sub-{file.entities['sub']}", file.entities.get("ses")
    places, own = _mri_places(raw, file.entities["sub"]), f"ses-{session}" if session else ""
    if own not in places and len(places) != 1:
        return None
    folder = raw / subject / (own if own in places else places[0]) / "anat"
    return preferred(parse_name(path) for path in sorted(folder.glob("*_T1w.nii*")) if _is_image(path)).path


def _t1w_in_mni(file: BidsFile, roots: tuple[Path, ...]) -> Path | None:
    """A T1w of the same subject and session whose name says that it lies in MNI space; never the scanner's own.

    One of the PET's own variant of that space, should there be one; else it is told of.
    """
    subject, session = f"sub-{file.entities['sub']}", file.entities.get("ses")
    for root in roots:
        for folder in [f"{subject}/ses-{session}", subject] if session else [subject]:
            found = sorted(path for path in root.glob(f"{folder}/anat/*_T1w.nii*") if _is_image(path))
            if found := [path for path in found if space_of(path) == "MNI"]:
                chosen = min(found, key=lambda path: space_entity(path) != space_entity(file.path))
                warn_of_variants({"PET": file.path, TITLES["t1w"]: chosen})
                return chosen
    return None


def _beside(
    main: BidsFile, roots: tuple[Path, ...], suffix: str, desc: str | None, *, space: str, several: set[str]
) -> Path | None:
    """A mask or label image of a PET's subject and session, in its space, or None.

    The first of several, with a warning; those of one side or one label (``hemi-``, ``label-``) come last, and in MNI
    space those of another variant. One of no session serves a session's PET unless there are `several`.
    """
    subject, session = f"sub-{main.entities['sub']}", main.entities.get("ses")
    folders = [f"{subject}/ses-{session}", subject] if session else [subject]
    strange = None
    for root in roots:
        for folder in folders:
            parts = (f"{folder}/{part}/*_{suffix}.nii*" for part in ("anat", "pet"))
            there = sorted(path for part in parts for path in root.glob(part) if _is_image(path))
            there = [path for path in there if desc is None or parse_name(path).entities.get("desc") == desc]
            found = sorted((path for path in there if _same_space(path, main, space)), key=_oddity(main))
            strange = strange or next((path for path in there if other_space(path)), None)
            if found and folder != folders[0] and main.entities["sub"] in several:
                warn(f"{found[0].name}: not taken, since it is of no session and {subject} has PET of several")
                return None
            if len(found) > 1:
                warn(f"{found[0].name} taken of {len(found)}; a table (--table) with a column '{suffix}' names another")
            if found:
                warn_of_variants({"PET": main.path, TITLES[suffix]: found[0]})
                return found[0]
    if strange:
        warn(f"{strange.name}: not taken, since its space is neither T1w nor MNI; a table (--table) can name it")
    return None


def _same_space(path: Path, main: BidsFile, space: str) -> bool:
    """Whether a mask or label image lies in the space of a PET.

    One whose name says no space counts as one in the T1w's space, and in a PET's folder as one in that PET's own: of
    the PET with the tracer, run and so on that it names.
    """
    if other_space(path) or other_space(main.path):
        return space_entity(path) == space_entity(main.path)
    if not space_entity(path) and path.parent.name == "pet":
        said = parse_name(path).entities
        another = any(said.get(name, own) != own for name in OF_A_SCAN for own in [main.entities.get(name)])
        if another or path.parent != main.path.parent:
            return False
    return (space_of(path) or "T1w") == (space or "T1w")


def _oddity(main: BidsFile):
    """Key that puts the plainest mask or label image of a PET first."""

    def key(path: Path) -> list[bool]:
        said = parse_name(path).entities
        return ["hemi" in said or "label" in said, space_entity(path) != space_entity(main.path)]

    return key
