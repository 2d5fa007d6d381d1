"""Pairs of a BIDS data set with measured PET and a derivatives folder with synthetic ones.

Synthetic PET are ``sub-*[/ses-*]/pet/sub-*_trc-*[_space-*]_desc-synthetic_pet.nii.gz``. A measured one belongs to it
that has the same subject, session and tracer; of several the first by name, and a note says so. A subject's only
session serves where one of the two has none. Masks and label images are looked for beside: ``*_desc-brain_mask`` and
``*_dseg`` of the same subject and session (and space), in the derivatives first.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..evaluation.pairs import COVARIATES, Pair
from ..jsonfiles import read_json_object
from ..notices import warn
from ..volumes.sidecar import BidsFile, parse_name, read_sidecar
from .bids import PARTICIPANTS
from .derivatives import TRANSFORM
from .pairs import known_tracer, space_of
from .table import read_rows

_IMAGES = (".nii.gz", ".nii")
DESCRIPTION = "dataset_description.json"
SYNTHETIC = "synthetic"


def read_derivatives(
    raw: Path | str, derivatives: Path | str, *, measured_only: bool = False
) -> tuple[list[Pair], list[dict]]:
    """Pairs, and rows of ``failures.tsv`` for synthetic PET without a measured one.

    Args:
        raw: the data set with measured PET.
        derivatives: of one model. Its ``desc-`` entity or, where that is plain ``synthetic``, its record names it.
        measured_only: take all measured PET of `raw` and no synthetic one; `derivatives` is then only looked into for
            masks and labels.

    Raises:
        InputError: a folder is missing, or no PET is found.
    """
    raw, derivatives = Path(raw), Path(derivatives)
    for folder in (raw, derivatives):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    measured = _files(raw, lambda file: file.suffix == "pet" and file.entities.get("desc") != SYNTHETIC)
    if not measured:
        raise InputError(f"{raw}: no measured PET (sub-*[/ses-*]/pet/*_pet.nii.gz)")
    people = _participants(raw)
    if measured_only:
        return [_pair(None, file, "", people, (derivatives, raw)) for file in measured], []
    made = _files(derivatives, _is_synthetic)
    if not made:
        raise InputError(f"{derivatives}: no synthetic PET (sub-*[/ses-*]/pet/*_desc-{SYNTHETIC}_pet.nii.gz)")
    model = _model(derivatives)
    pairs, failures = [], []
    for file in made:
        fitting = [other for other in measured if _same(file, other)]
        if not fitting:
            reason = f"{file.path.name}: no measured PET of this subject, session and tracer in the data set"
            failures.append({**_key(file), "model": model, "reason": reason})
            continue
        if len(fitting) > 1:
            warn(f"{file.path.name}: compared with {fitting[0].path.name}, the first of {len(fitting)} measured PET")
        pairs.append(_pair(file, fitting[0], model, people, (derivatives, raw)))
    return pairs, failures


def _is_synthetic(file: BidsFile) -> bool:
    return file.suffix == "pet" and file.entities.get("desc", "").startswith(SYNTHETIC)


def _files(root: Path, wanted) -> list[BidsFile]:
    """Images of the ``pet`` folders, in order of name."""
    paths = sorted([*root.glob("sub-*/pet/*.nii*"), *root.glob("sub-*/ses-*/pet/*.nii*")])
    files = [parse_name(path) for path in paths if path.name.endswith(_IMAGES)]
    return [file for file in files if "sub" in file.entities and wanted(file)]


def _same(made: BidsFile, measured: BidsFile) -> bool:
    """Whether a measured PET belongs to a synthetic one."""
    a, b = made.entities, measured.entities
    sessions = a.get("ses"), b.get("ses")
    return (
        a["sub"] == b["sub"]
        and "trc" in a
        and "trc" in b
        and known_tracer(a["trc"]) == known_tracer(b["trc"])
        and (sessions[0] == sessions[1] or None in sessions)
    )


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
    made_by = read_json_object(path).get("GeneratedBy") if path.is_file() else None
    for entry in made_by if isinstance(made_by, list) else []:
        model = entry.get("Model") if isinstance(entry, dict) else None
        if isinstance(model, dict) and isinstance(model.get("name", model.get("Name")), str):
            words = [model.get("name", model.get("Name")), model.get("version", model.get("Version"))]
            return " ".join(str(word) for word in words if word)
        if isinstance(model, str) and model:
            return model
    return derivatives.resolve().name


def _participants(raw: Path) -> dict[str, dict[str, str]]:
    path = raw / PARTICIPANTS
    if not path.is_file():
        return {}
    return {row["participant_id"]: row for _, row in read_rows(path, ("participant_id",))}


def _pair(
    made: BidsFile | None, measured: BidsFile, model: str, people: dict[str, dict[str, str]], roots: tuple[Path, ...]
) -> Pair:
    main = made or measured
    key = _key(main)
    sidecar = read_sidecar(measured.path)
    row = people.get(key["participant_id"], {})
    covariates = {name: row[name] for name in COVARIATES if row.get(name) not in (None, "", "n/a")}
    manufacturer = [str(sidecar.content.get(name, "")) for name in ("Manufacturer", "ManufacturersModelName")]
    if "scanner" not in covariates and any(manufacturer):
        covariates["scanner"] = " ".join(filter(None, manufacturer))
    if "site" not in covariates and isinstance(sidecar.content.get("InstitutionName"), str):
        covariates["site"] = sidecar.content["InstitutionName"]
    space = space_of(main.path)
    return Pair(
        key["participant_id"],
        "" if key["session"] == "n/a" else key["session"],
        key["tracer"],
        model,
        made.path if made else None,
        measured.path,
        t1w=_t1w(main, roots[-1]),
        mask=_beside(main, roots, "mask", "brain", space),
        dseg=_beside(main, roots, "dseg", None, space),
        space=space,
        to_mni=_transform(made) if space == "T1w" else None,
        covariates=covariates,
        sidecar=sidecar.content,
        sidecar_paths=sidecar.paths,
    )


def _transform(made: BidsFile | None) -> Path | None:
    """The transform that `relapet bids` writes beside a result, or None."""
    if made is None:
        return None
    path = made.path.with_name(f"{made.path.name.split('_space-')[0]}_{TRANSFORM}")
    return path if path.is_file() else None


def _t1w(file: BidsFile, raw: Path) -> Path | None:
    """The first T1w of the subject's session in the data set, else of the subject."""
    subject, session = f"sub-{file.entities['sub']}", file.entities.get("ses")
    for folder in ([f"{subject}/ses-{session}"] if session else []) + [subject, f"{subject}/ses-*"]:
        found = sorted(path for path in raw.glob(f"{folder}/anat/*_T1w.nii*") if path.name.endswith(_IMAGES))
        if found:
            return found[0]
    return None


def _beside(file: BidsFile, roots: tuple[Path, ...], suffix: str, desc: str | None, space: str) -> Path | None:
    """A mask or label image of the same subject and session, in the same space, or None; without an entity is T1w."""
    subject, session = f"sub-{file.entities['sub']}", file.entities.get("ses")
    folders = [f"{subject}/ses-{session}", subject] if session else [subject]
    for root in roots:
        for folder in folders:
            parts = (f"{folder}/{part}/*_{suffix}.nii*" for part in ("anat", "pet"))
            for path in sorted(path for part in parts for path in root.glob(part)):
                entities = parse_name(path).entities
                if (space_of(path) or "T1w") == (space or "T1w") and (desc is None or entities.get("desc") == desc):
                    return path
    return None
