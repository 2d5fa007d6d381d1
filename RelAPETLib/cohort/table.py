"""Cases of a plain table: a CSV with columns subject, t1w, t2f, pet, tracer, and perhaps session; one row a PET.

Where only the MRI is wanted, pet and tracer are not needed.

Columns age, sex and score may be there; what the rows of one case say differently counts as missing.

Paths are relative to the table's folder. Sidecars of PET are read as `volumes.sidecar` says.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..absent import why_no_file
from ..clinical import from_rows
from ..errors import InputError
from ..homes import path_beside
from ..tracers import get_tracer
from ..volumes.sidecar import read_sidecar
from .cases import Case, Failure, PetScan, Source

COLUMNS = ("subject", "t1w", "t2f", "pet", "tracer")
MRI_COLUMNS = COLUMNS[:3]
#: No path is longer on Linux, macOS or Windows.
LONGEST_FIELD = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_table(path: Path | str, *, simulated: bool = False, mri_only: bool = False) -> Source:
    """Find the cases of a table. Rows with the same subject (and session) are one case and must name the same MRI.

    Args:
        path: the CSV.
        simulated: the people do not exist; goes into the metadata of what is trained on them.
        mri_only: PET are not looked at, and people without any are cases too.

    Raises:
        InputError: unreadable, a column is missing, no rows, a subject that cannot be a file name, or rows of one
            case that name different MRI.
    """
    path = Path(path)
    groups: dict[str, list[dict]] = defaultdict(list)
    for number, row in read_rows(path, MRI_COLUMNS if mri_only else COLUMNS):
        subject, session = row["subject"], row.get("session", "")
        name = f"{subject}_{session}" if session else subject
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
            raise InputError(
                f"{path}: line {number}: subject '{_short(name)}' may have up to 100 letters, digits and . _ + - only"
            )
        groups[name].append(row)
    cases, failures = [], []
    for name, rows in sorted(groups.items()):
        case, lost = _case(path, name, rows, mri_only)
        failures += lost
        cases += [case] if case else []
    return Source(path.stem, simulated, cases, failures)


def read_rows(path: Path, wanted: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Numbers of a table's lines, and their fields by column. Tabs part them where its name ends in .tsv, else commas.

    Args:
        path: in UTF-8.
        wanted: columns that it has to have.

    Raises:
        InputError: whatever is no plain table.
    """
    tabs = path.suffix.lower() == ".tsv"
    try:
        if why := why_no_file(path):
            raise InputError(f"{path}: {why}")
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True, delimiter="\t" if tabs else ",")
            columns = [name.strip() for name in next(reader, [])]
            _check_columns(path, columns, wanted)
            rows = [
                (reader.line_num, _row(f"{path}: line {reader.line_num}", columns, fields))
                for fields in reader
                if any(map(str.strip, fields))
            ]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as {'TSV' if tabs else 'CSV'} in UTF-8") from error
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read as a {'TSV' if tabs else 'CSV'} table ({reason})") from error
    if not rows:
        raise InputError(f"{path}: an empty data set, without any row")
    return rows


def _check_columns(path: Path, columns: list[str], wanted: Sequence[str]) -> None:
    named = ", ".join(wanted)
    if not any(columns):
        raise InputError(f"{path}: empty, or its first line is; it must name the columns {named}")
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column '{_short(twice[0])}' stands there twice; rename or remove one")
    missing = [column for column in wanted if column not in columns]
    if missing:
        sign, name = (",", "tabs") if path.suffix.lower() == ".tsv" else ("\t", "commas")
        hint = f"; separate columns with {name}" if any(s in column for column in columns for s in (";", sign)) else ""
        raise InputError(f"{path}: no column '{missing[0]}'; wanted are {named}{hint}")


def _row(where: str, columns: list[str], fields: list[str]) -> dict[str, str]:
    if len(fields) > len(columns):
        raise InputError(f"{where}: {len(fields)} fields, but {len(columns)} columns; quote what holds a comma")
    row = dict.fromkeys(columns, "") | {name: text.strip() for name, text in zip(columns, fields, strict=False)}
    for name, text in row.items():
        if _CONTROL.search(text):
            raise InputError(f"{where}: column '{_short(name)}' holds a control character")
        if len(text) > LONGEST_FIELD:
            raise InputError(f"{where}: column '{_short(name)}' holds more than {LONGEST_FIELD} characters")
    return row


def _short(text: str) -> str:
    return ascii(text[:40])[1:-1]


def _case(path: Path, name: str, rows: list[dict], mri_only: bool) -> tuple[Case | None, list[Failure]]:
    subject = rows[0]["subject"]
    if any(row["subject"] != subject for row in rows):
        raise InputError(f"{path}: two subjects with their sessions make the same name '{name}'; rename one")
    for column in ("t1w", "t2f"):
        if len({row[column] for row in rows}) > 1:
            raise InputError(f"{path}: subject '{name}' has several {column}; tell them apart by a column 'session'")
        if not rows[0][column]:
            return None, [Failure(subject, name, "", f"no {column} in {path.name}")]
    pets, failures = {}, []
    for row in () if mri_only else rows:
        if not row["pet"]:
            continue
        try:
            scan = _scan(path_beside(path, row["pet"]), row["tracer"])
            if scan.tracer in pets:
                raise InputError(f"a second PET of {scan.tracer}; tell them apart by a column 'session'")
            pets[scan.tracer] = scan
        except InputError as error:
            failures.append(Failure(subject, name, row["tracer"], str(error)))
    if not pets and not mri_only:
        return None, [*failures, Failure(subject, name, "", "no PET that can be used")]
    clinical, notes = from_rows(rows)
    mri = path_beside(path, rows[0]["t1w"]), path_beside(path, rows[0]["t2f"])
    return Case(name, subject, *mri, pets, tuple(f"{path.name}: {note}" for note in notes), clinical), failures


def _scan(path: Path, tracer: str) -> PetScan:
    sidecar = read_sidecar(path)
    return PetScan(get_tracer(tracer).name, path, sidecar.content, sidecar.paths)
