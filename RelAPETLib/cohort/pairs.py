"""Pairs of synthetic and measured PET of a table, for evaluation: CSV, or TSV where its name ends in ``.tsv``.

Columns ``participant_id``, ``tracer`` and ``measured``; ``synthetic`` unless measured PET alone are evaluated; and as
they are there ``session``, ``model``, ``t1w``, ``mask``, ``dseg``, ``lut``, ``space`` (``MNI`` or ``T1w``),
``to_mni``, ``age``, ``sex``, ``scanner``, ``site``, ``group``. Paths are relative to the table's folder. ``synthetic``
may be a folder that ``relapet synthesize`` wrote, which knows its model and tracer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os.path import expanduser
from pathlib import Path

from ..absent import is_listed
from ..errors import InputError
from ..evaluation.pairs import COVARIATES, TITLES, Pair, recordable
from ..evaluation.spaces import agreed_space, other_space, space_of, warn_of_variants
from ..evaluation.transforms import OF_CASE
from ..homes import path_beside
from ..jsonfiles import read_json_object
from ..notices import printable, warn
from ..regions.atlas import SPACES
from ..tracers import get_tracer
from ..volumes.sidecar import read_sidecar
from .table import read_rows

#: What a folder of `relapet synthesize` holds: the PET, its record, and the PET on the model grid.
MADE, RECORD, MADE_MNI = "synthetic_pet.nii.gz", "synthetic_pet.json", "synthetic_pet_space-MNI.nii.gz"
_MISSING = {"", "n/a"}


def read_pairs(path: Path | str, *, measured_only: bool = False, space: str = "") -> tuple[list[Pair], list[dict]]:
    """Pairs of a table, and rows of ``failures.tsv`` for lines that cannot be used.

    Args:
        path: the table.
        measured_only: take the measured PET of each person, session and tracer once, and no synthetic one.
        space: space of those whose line names none.

    Raises:
        InputError: no plain table, a column is missing, or no line.
    """
    path = Path(path)
    wanted = ("participant_id", "tracer", "measured") if measured_only else _wanted()
    pairs, failures = [], []
    owners: dict[Path, tuple[str, ...]] = {}
    made: dict[Path, Pair] = {}
    shared: list[tuple[str, str]] = []
    for number, row in read_rows(path, wanted):
        row = {name: "" if text.lower() in _MISSING else text for name, text in row.items()}
        try:
            pair = _pair(path, row, measured_only, space)
            owner = owners.setdefault(pair.measured, (pair.participant, pair.session, pair.tracer))
            if owner != (pair.participant, pair.session, pair.tracer):
                raise InputError(f"its measured PET is that of {' '.join(filter(None, owner))}, in a line before")
            if pair.synthetic is not None and made.setdefault(pair.synthetic, pair).participant != pair.participant:
                shared.append((pair.participant, made[pair.synthetic].participant))
            pairs.append(pair)
        except InputError as error:
            key = {name: row.get(name) or "n/a" for name in ("participant_id", "session", "tracer", "model")}
            warn(f"{path}, line {number}: {error}")
            files = {name: path.parent / expanduser(row[name]) for name in TITLES if row.get(name)}
            failures.append({**key, "reason": f"line {number}: {recordable(error, files)}"})
    if shared:
        words = "a line that was copied from another person's, or a PET that is meant for everybody"
        warn(f"{path}: {len(shared)} lines have another person's synthetic PET, {' that of '.join(shared[0])}: {words}")
    if not pairs:
        raise InputError(f"{path}: no line can be used; the first: {failures[0]['reason']}")
    return _measured_once(pairs, path) if measured_only else pairs, failures


def _measured_once(pairs: Sequence[Pair], table: Path) -> list[Pair]:
    """The first pair of each person, session and tracer, with a warning where later ones name another PET."""
    found: dict[tuple[str, str, str], Pair] = {}
    others = set()
    for pair in pairs:
        key = (pair.participant, pair.session, pair.tracer)
        if found.setdefault(key, pair).measured != pair.measured:
            others.add(pair.name)
    if others:
        words = f"{', '.join(sorted(others)[:3])}{', ...' * (len(others) > 3)}"
        warn(f"{table}: several measured PET of one session and tracer are of {words}; the first of each is taken")
    return list(found.values())


def with_cases(pairs: Sequence[Pair], folder: Path | str) -> list[Pair]:
    """Pairs with the transform of their saved case where they have none of their own.

    Args:
        folder: of cases, ``sub-01[/ses-1]``, as `relapet bids --work-dir` keeps them in ``cases``.

    Raises:
        InputError: no such folder, or no case of anybody in it.
    """
    folder, found = Path(folder), []
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for pair in pairs:
        person = f"sub-{pair.participant.removeprefix('sub-')}"
        session = f"ses-{pair.session.removeprefix('ses-')}" if pair.session else ""
        case = folder / person / session / OF_CASE
        if not is_listed(case) and not any((folder / person).glob(f"ses-*/{OF_CASE}")):
            case = folder / person / OF_CASE  # the person's only one
        case = case if is_listed(case) else None
        found.append(replace(pair, to_mni=pair.to_mni or case))
    if not any(pair.to_mni for pair in found):
        raise InputError(f"{folder}: no saved case of the people who are evaluated (sub-*[/ses-*]/{OF_CASE})")
    return found


def _wanted() -> tuple[str, ...]:
    return ("participant_id", "tracer", "synthetic", "measured")


def known_tracer(word: str) -> str:
    """Short name of a known tracer, else the word itself: a tracer that no model has can be measured too."""
    try:
        return get_tracer(word).name
    except InputError:
        return printable(word, 40)


def _pair(table: Path, row: dict[str, str], measured_only: bool, space: str) -> Pair:
    def file(name: str) -> Path | None:
        return path_beside(table, row[name]) if row.get(name) else None

    if not row["participant_id"]:
        raise InputError("no participant_id")
    measured = file("measured")
    if measured is None:
        raise InputError("no measured PET")
    said = row.get("space", "")
    if said and said not in SPACES:
        raise InputError(f"space '{printable(said, 40)}' is not known; use {' or '.join(SPACES)}")
    sidecar = read_sidecar(measured)
    pair = Pair(
        row["participant_id"],
        row.get("session", ""),
        known_tracer(row["tracer"]) if row["tracer"] else "",
        "" if measured_only else row.get("model", ""),
        None if measured_only else file("synthetic"),
        measured,
        t1w=file("t1w"),
        mask=file("mask"),
        dseg=file("dseg"),
        lookup=file("lut"),
        space=said or space_of(measured) or space,
        to_mni=file("to_mni"),
        covariates={name: row[name] for name in COVARIATES if row.get(name)},
        sidecar=sidecar.content,
        sidecar_paths=sidecar.paths,
    )
    pair = pair if measured_only else _made(pair)
    if not pair.tracer:
        raise InputError("no tracer")
    return replace(pair, space=_space(pair, said, space))


def _space(pair: Pair, said: str, default: str) -> str:
    """The space of a pair: as its column says, else names, else `default`; they and its labels may not contradict."""
    pets, labels = (
        {TITLES[n]: getattr(pair, n) for n in names} for names in (("synthetic", "measured"), ("mask", "dseg"))
    )
    space = agreed_space(pets, column=said)
    if not said and (other := other_space(pair.synthetic)):
        raise InputError(
            f"the synthetic PET's name says space-{printable(other, 40)}; say in a column 'space' what it is"
        )
    agreed_space(labels, PET=space or default)
    warn_of_variants(pets | labels)
    for title, path in labels.items():
        if other := other_space(path):
            warn(f"{pair.name}: the {title}'s name says space-{printable(other, 40)}; it is taken to lie on the PET")
    return space or default


def _made(pair: Pair) -> Pair:
    """A pair whose synthetic PET is there, with model and tracer from the record where the table does not say."""
    if pair.synthetic is None:
        raise InputError("no synthetic PET")
    if pair.synthetic.is_dir():
        names = (MADE_MNI, MADE) if pair.space == "MNI" else (MADE, MADE_MNI)
        names = [name for each in names for name in (each, each.removesuffix(".gz"))]
        file = next((f for name in names if is_listed(f := pair.synthetic / name)), None)
        if file is None:
            own = [pair.synthetic / pair.tracer / name for name in (MADE, MADE.removesuffix(".gz"))]
            file = next((f for f in own if is_listed(f)), None)
        if file is None:
            raise InputError(f"{printable(pair.synthetic)}: a folder without {MADE}")
        pair = replace(pair, synthetic=file)
    model, tracer = made_by(pair.synthetic)
    if tracer and pair.tracer and tracer != pair.tracer:
        raise InputError(f"{printable(pair.synthetic)}: made of {tracer}, not of {pair.tracer}")
    return replace(pair, model=pair.model or model or "model", tracer=pair.tracer or tracer)


def made_by(synthetic: Path) -> tuple[str, str]:
    """Model (name and version) and tracer of a synthetic PET by the record beside it; empty where there is none."""
    record = synthetic.with_name(RECORD)
    if not synthetic.name.startswith("synthetic_pet") or not is_listed(record):
        return "", ""
    content = read_json_object(record, "record")
    model, tracer = (content.get(name) if isinstance(content.get(name), dict) else {} for name in ("model", "tracer"))
    words = [str(model[name]) for name in ("name", "version") if isinstance(model.get(name), str)]
    return " ".join(words), str(tracer.get("name", ""))
