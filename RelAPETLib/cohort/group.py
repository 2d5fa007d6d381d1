"""The group level: tables of a folder of derivatives, made anew from its records each time.

``participants.tsv``  everybody, with the number of results; nothing else of a person is copied
``volumes.tsv``       figures against measured PET, a row a volume and region
``regions.tsv``       regional values, a row a volume and region
``failures.tsv``      who has none, or lacks a part of it, and why
``notes.tsv``         what was chosen among a visit's files, or is doubted of them; a row a note, tracer ``n/a``

Tab separated, UTF-8, ``n/a`` for what is missing; the first columns of all but the first are ``participant_id``,
``session``, ``tracer``, ``model``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, OutputError
from ..evaluation.tsv import FAILURE_COLUMNS, KEYS, NOTE_COLUMNS, REGION_COLUMNS, VOLUME_COLUMNS, as_tsv
from ..notices import warn
from ..provenance import SUVR_UNITS
from ..regions.atlas import SHIPPED
from ..synthesis.intervals import LEAST_IN_VIEW
from ..whole_files import write_whole
from .derivatives import DESCRIPTION, GENERATOR
from .records import DONE, INPUTS, Record, read_records
from .shared_scans import shared_scans
from .visits import Visit

NOT_RUN = "no record: not run yet, or its run was stopped or could not write"
#: What has a revision (`origin.Origin.code`).
SEAMS = ("synthesis", "registration")
#: Columns of a regional row (`regions.regional_rows`) by those of the table; the first name that is there counts.
_REGION_FIELDS = {
    "synthetic": ("synthetic", "synthetic_pet"),
    "measured": ("measured", "reference"),
    "spread": ("spread",),
    "low": ("low",),
    "high": ("high",),
    "volume_ml": ("volume_ml",),
    "in_field": ("in_field", "share_in_view"),
}
_DESCRIPTIONS = {
    "participant_id": "person",
    "session": "session, n/a without",
    "tracer": "tracer that the synthetic PET imitates",
    "model": "name and version of the model",
    "region": "whole_grid or brain (volumes.tsv); region of the atlas (regions.tsv)",
    "psnr": "peak signal-to-noise ratio against the measured PET, dB; n/a for identical volumes",
    "ssim": "structural similarity, 3-D",
    "mae": "mean absolute error, volumes scaled to 0 to 1",
    "nrmse": "root mean square error over the measured PET's root mean square; n/a here, relapet evaluate has it",
    "atlas": "where the regions come from",
    "synthetic": "mean of the synthetic PET over the share in_field, in units",
    "measured": "mean of the measured PET over the same voxels, in units; n/a where it shows less than half of the "
    "region, and where it shows a part that the synthetic PET has no mean of",
    "spread": "standard deviation of the regional mean over the model's samples, in units: not the error; n/a where "
    "the measured PET lacks more than 2 % of the region, which it is not of",
    "low": "lower end of the interval, in units; n/a as spread",
    "high": "upper end of the interval, in units; n/a as spread",
    "volume_ml": "volume of the region",
    "in_field": "share of the region, 0 to 1, that synthetic and measured are means of: what the MRI show and, where "
    "there is a measured mean, the measured PET shows, too",
    "units": "of synthetic, measured, spread, low and high: SUVR, or relative (0 to 1) where the model knows no SUVR",
    "reason": "why there is no result, or what part of it is missing",
    "note": "what was chosen among the files of this person and session, or is doubted of them; for all tracers",
}


@dataclass(frozen=True)
class Summary:
    """What the tables hold.

    Attributes:
        files: paths by name.
        results, failed, partial: numbers of results, of failures without one, and of results that lack a part.
        code: numbers of results by the code's revisions that made them, in words.
    """

    files: dict[str, Path]
    results: int
    failed: int
    partial: int
    code: dict[str, int]


def write_tables(out: Path, visits: Iterable[Visit] = (), tracers: Sequence[str] = (), model: str = "n/a") -> Summary:
    """Make the tables anew from the records in a folder of derivatives.

    Args:
        out: the folder.
        visits, tracers: who should have results of what; those without any record are listed as failures, too.
        model: name and version of the model that they should have results of.

    Raises:
        InputError: no folder of derivatives of ours.
        OutputError: it cannot be written to.

    Warns:
        RelAPETWarning: results of several revisions of the code (`origin.Origin.code`) are there, or of one scan under
            the names of two people.
    """
    if not (out / DESCRIPTION).is_file():
        raise InputError(f"{out}: no results of {GENERATOR} there; run the participant level first")
    visits = list(visits)
    people, volumes, regions, failures, notes, known = {}, [], [], [], {}, set()
    partial, codes, made = 0, [], []
    for path, record in read_records(out):
        if isinstance(record, str):
            failures.append(_broken(path, record))
            continue
        key = _key(record)
        known.add((record.participant_id, record.session, record.tracer))
        if record.status != DONE:
            failures.append({**key, "reason": record.reason})
            continue
        codes.append(record.code)
        people.setdefault(record.participant_id, 0)
        people[record.participant_id] += 1
        volumes += [{**key, **row} for row in _volume_rows(record)]
        regions += [{**key, **row} for row in _region_rows(record)]
        of_visit = {**key, "tracer": None}
        made.append((of_visit, _scans(record)))
        notes |= {(*of_visit.values(), note): {**of_visit, "note": note} for note in record.notes}
        if record.left_out:
            partial += 1
            failures.append({**key, "reason": f"done, but not compared with its measured PET: {record.left_out}"})
    failures += _never_run(visits, tracers, model, known)
    for key, note in shared_scans(made):
        notes |= {(*key.values(), note): {**key, "note": note}}
    tables = {
        "participants.tsv": _participants(people, visits),
        "volumes.tsv": as_tsv(volumes, VOLUME_COLUMNS),
        "regions.tsv": as_tsv(regions, REGION_COLUMNS),
        "failures.tsv": as_tsv(sorted(failures, key=lambda row: [row[name] for name in KEYS]), FAILURE_COLUMNS),
        "notes.tsv": as_tsv(notes.values(), NOTE_COLUMNS),
        "participants.json": _columns(("participant_id", "results")),
        "volumes.json": _columns(VOLUME_COLUMNS),
        "regions.json": _columns(REGION_COLUMNS),
        "failures.json": _columns(FAILURE_COLUMNS),
        "notes.json": _columns(NOTE_COLUMNS),
    }
    try:
        for name, content in tables.items():
            write_whole(out / name, content)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}") from error
    files = {name: out / name for name in tables}
    return Summary(files, len(codes), len(failures) - partial, partial, _revisions(codes))


def _revisions(codes: Sequence[dict[str, int]]) -> dict[str, int]:
    """Numbers of results by the code's revisions that made them, in words; records of earlier versions do not tell.

    A warning where they differ. Preprocessed scans and saved cases have no registration, and go with any.
    """
    words = [", ".join(f"{what} {number}" for what, number in sorted(code.items())) for code in codes]
    found = Counter(text or "an earlier version, not recorded" for text in words)
    kinds = {name: {code.get(name) for code in codes if name in code or not code} for name in SEAMS}
    if any(len(numbers) > 1 for numbers in kinds.values()):
        told = "; ".join(f"{number} of {name}" for name, number in found.most_common())
        warn(f"results of several revisions of RelAPET stand in these tables: {told}; --redo makes all of them anew")
    return dict(found)


def _key(record: Record) -> dict[str, str]:
    model = f"{record.model.get('name')} {record.model.get('version')}"
    return {"participant_id": record.participant_id, "session": record.session, "tracer": record.tracer, "model": model}


def _scans(record: Record) -> dict[str, str]:
    """Hashes of the scans by role; a result that was not compared with its measured PET does not tell which it was."""
    return {role: digest for role, digest in record.inputs.items() if role in INPUTS or not record.left_out}


def _broken(path: Path, reason: str) -> dict[str, str]:
    """A row for a record that cannot be read, as far as its place tells whose it is."""
    parts = path.parent.parts
    session = parts[-2] if parts[-2].startswith("ses-") else "n/a"
    person = parts[-3] if session != "n/a" else parts[-2]
    return dict.fromkeys(KEYS, "n/a") | {
        "participant_id": person,
        "session": session,
        "reason": reason.replace(str(path), path.name),
    }


def _volume_rows(record: Record) -> list[dict]:
    rows = []
    for region in ("whole_grid", "brain"):
        figures = (record.metrics or {}).get(region)
        if isinstance(figures, dict):
            rows.append({"region": region, **{name: figures.get(name) for name in ("psnr", "ssim", "mae", "nrmse")}})
    return rows


def _region_rows(record: Record) -> list[dict]:
    rows = []
    for row in record.regions:
        found = {
            column: next((row[name] for name in names if name in row), None) for column, names in _REGION_FIELDS.items()
        }
        found |= _of_both(row)
        rows.append({"region": row["region"], "atlas": row.get("atlas", SHIPPED), **found, "units": row.get("units")})
    return rows


def _of_both(row: Mapping) -> dict:
    """What a row has otherwise where a measured PET shows less of its region than the MRI: means of the same voxels.

    The table of the result has the synthetic mean over all that the MRI show, and the measured one and that of the
    difference over what both show; in SUVR the latter two add up to the synthetic one there. Relative PET are scaled
    before they are compared, so that nothing tells it, and the row makes no pair.
    """
    share = row.get("share_measured")
    if share is None or share == row.get("share_in_view") or row.get("reference") is None:
        return {}
    if row.get("difference") is None or row.get("units") != SUVR_UNITS:
        return {"measured": None}
    unknown = {} if share >= LEAST_IN_VIEW else dict.fromkeys(("spread", "low", "high"))
    return {"synthetic": row["reference"] + row["difference"], "in_field": share, **unknown}


def _never_run(visits: list[Visit], tracers: Sequence[str], model: str, known: set) -> list[dict]:
    return [
        {"participant_id": visit.participant, "session": visit.session or "n/a", "tracer": tracer, "model": model,
         "reason": visit.problem or NOT_RUN}
        for visit in visits for tracer in tracers
        if (visit.participant, visit.session or "n/a", tracer) not in known
    ]  # fmt: skip


def _participants(people: dict[str, int], visits: list[Visit]) -> bytes:
    """Who has a folder here, and how many results; nothing else of a person is copied."""
    everybody = sorted({*people, *(visit.participant for visit in visits)})
    rows = [{"participant_id": p, "results": people.get(p, 0)} for p in everybody]
    return as_tsv(rows, ("participant_id", "results"))


def _columns(names: Sequence[str]) -> bytes:
    described = _DESCRIPTIONS | {"results": "number of synthetic PET of this person here"}
    content = {name: {"Description": described[name]} for name in names if name != "participant_id" or len(names) > 2}
    return (json.dumps(content, indent=2) + "\n").encode()
