"""Cases of a plain table: a CSV with columns subject, t1w, t2f, pet, tracer, and perhaps session; one row a PET.

Paths are relative to the table's folder. A JSON of the PET's name beside it is its sidecar.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.tracers import get_tracer

from .bids import read_json
from .cases import Case, Failure, PetScan, Source

COLUMNS = ("subject", "t1w", "t2f", "pet", "tracer")


def read_table(path: Path | str, *, simulated: bool = False) -> Source:
    """Find the cases of a table. Rows with the same subject (and session) are one case and must name the same MRI.

    Args:
        path: the CSV.
        simulated: the people do not exist; goes into the metadata of what is trained on them.

    Raises:
        InputError: unreadable, a column is missing, no rows, a subject that cannot be a file name, or rows of one
            case that name different MRI.
    """
    path = Path(path)
    groups: dict[str, list[dict]] = defaultdict(list)
    for number, row in enumerate(_rows(path), start=2):
        subject, session = row["subject"], row.get("session", "")
        name = f"{subject}_{session}" if session else subject
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise InputError(f"{path}: line {number}: subject '{name}' may have letters, digits and . _ + - only")
        groups[name].append(row)
    cases, failures = [], []
    for name, rows in sorted(groups.items()):
        case, lost = _case(path, name, rows)
        failures += lost
        cases += [case] if case else []
    return Source(path.stem, simulated, cases, failures)


def _rows(path: Path) -> list[dict]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: no column '{missing[0]}'; wanted are {', '.join(COLUMNS)}")
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error})") from error
    if not rows:
        raise InputError(f"{path}: an empty data set, without any row")
    return rows


def _case(path: Path, name: str, rows: list[dict]) -> tuple[Case | None, list[Failure]]:
    subject = rows[0]["subject"]
    if any(row["subject"] != subject for row in rows):
        raise InputError(f"{path}: two subjects with their sessions make the same name '{name}'; rename one")
    for column in ("t1w", "t2f"):
        if len({row[column] for row in rows}) > 1:
            raise InputError(f"{path}: subject '{name}' has several {column}; tell them apart by a column 'session'")
        if not rows[0][column]:
            return None, [Failure(subject, name, "", f"no {column} in {path.name}")]
    pets, failures = {}, []
    for row in rows:
        if not row["pet"]:
            continue
        try:
            scan = _scan(path.parent / row["pet"], row["tracer"])
            if scan.tracer in pets:
                raise InputError(f"a second PET of {scan.tracer}; tell them apart by a column 'session'")
            pets[scan.tracer] = scan
        except InputError as error:
            failures.append(Failure(subject, name, row["tracer"], str(error)))
    if not pets:
        return None, [*failures, Failure(subject, name, "", "no PET that can be used")]
    return Case(name, subject, path.parent / rows[0]["t1w"], path.parent / rows[0]["t2f"], pets), failures


def _scan(path: Path, tracer: str) -> PetScan:
    bare = PetScan(get_tracer(tracer).name, path)
    sidecar = Path(bare.sidecar_name)
    return PetScan(bare.tracer, path, read_json(sidecar), (sidecar,)) if sidecar.is_file() else bare
