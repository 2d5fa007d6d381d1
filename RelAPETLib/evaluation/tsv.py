"""Tables of an evaluation: tab separated, UTF-8, ``n/a`` for what is missing."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..absent import why_missing
from ..errors import InputError
from ..notices import printable

MISSING = "n/a"
#: First columns of every table of volumes, regions or values: whose, which session, of what, made by which model.
KEYS = ("participant_id", "session", "tracer", "model")
#: Columns of the tables that `relapet evaluate` and `relapet bids` both write and `relapet report` reads.
VOLUME_COLUMNS = (*KEYS, "region", "psnr", "ssim", "mae", "nrmse")
REGION_COLUMNS = (
    *KEYS, "region", "atlas", "synthetic", "measured", "spread", "low", "high", "volume_ml", "in_field", "units",
)  # fmt: skip
FAILURE_COLUMNS = (*KEYS, "reason")
#: Of `relapet bids` alone.
NOTE_COLUMNS = (*KEYS, "note")


def as_tsv(rows: Iterable[Mapping], columns: Sequence[str]) -> bytes:
    """Rows as a table with these columns, numbers to six digits, texts in one line without tabs.

    What is None, empty, absent or no finite number becomes ``n/a``, as BIDS has it; truth becomes ``yes`` or ``no``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue().encode()


def _text(value) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}" if math.isfinite(value) else MISSING
    return MISSING if value is None else printable(" ".join(str(value).split()), None) or MISSING


def read_tsv(path: Path | str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a table as texts by column.

    Args:
        path: the table.
        columns: those that it must have; others are kept.

    Raises:
        InputError: unreadable, empty, a column is missing or a row has more fields than there are columns.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t", strict=True)
            rows, names = list(reader), [name.strip() for name in reader.fieldnames or ()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as a tab separated table in UTF-8") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: {why_missing(path)}") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({getattr(error, 'strerror', None) or error})") from error
    missing = [column for column in columns if column not in names]
    if missing:
        raise InputError(f"{path}: no column '{missing[0]}'; wanted are {', '.join(columns)}, separated by tabs")
    if not rows:
        raise InputError(f"{path}: a table without any row")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InputError(f"{path}: line {number} has more fields than there are columns")
    return [{name.strip(): (text or "").strip() for name, text in row.items()} for row in rows]


def number(value) -> float:
    """A value of a row as a number; NaN for ``n/a``, empty, None or what is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def pairs_by(rows: Iterable[Mapping], columns: Sequence[str]) -> dict[tuple, list[Mapping]]:
    """Rows with both a synthetic and a measured value, grouped by columns, in the order in which groups appear."""
    groups: dict[tuple, list[Mapping]] = {}
    for row in rows:
        if math.isfinite(number(row["synthetic"])) and math.isfinite(number(row["measured"])):
            groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups
