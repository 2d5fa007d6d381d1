"""The tables of a cohort, as `relapet evaluate` and `relapet bids` write them: read, checked and counted."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..evaluation.tsv import KEYS, MISSING

#: Limits of agreement are not drawn for fewer volumes.
LEAST_FOR_LIMITS = 3
_NUMBERS = {
    "volumes": ("psnr", "ssim", "mae", "nrmse"),
    "regions": ("synthetic", "measured", "spread", "low", "high", "volume_ml", "in_field"),
    "failures": (),
    "notes": (),
}
#: Unit of regional means where neither table nor records tell one, as in tables of earlier versions.
SUVR = "SUVR"
_WORDS = {"volumes": ("region",), "regions": ("region", "atlas"), "failures": ("reason",), "notes": ("note",)}
MAX_BYTES = 500_000_000
#: Table of `relapet evaluate` alone: figures of images by groups of people, and the columns that are read of it.
IMAGES = "images.tsv"
_OF_PEOPLE = ("tracer", "model", "region", "covariate", "group", "people", "psnr_mean")


class Key(NamedTuple):
    """Which result: a row of `volumes.tsv`, but for its region."""

    participant_id: str
    session: str
    tracer: str
    model: str


class Group(NamedTuple):
    """Results that may be put together."""

    tracer: str
    model: str


@dataclass(frozen=True)
class Tables:
    """Rows by table: texts, numbers (None for ``n/a``), and ``key``, a `Key`.

    Rows of ``people`` are of groups of people: ``tracer``, ``model``, ``region``, ``covariate`` (sex, age ...),
    ``group``, ``people`` and ``psnr_mean`` (dB).
    """

    volumes: list[dict]
    regions: list[dict]
    failures: list[dict]
    notes: list[dict]
    people: list[dict] = field(default_factory=list)

    def groups(self) -> list[Group]:
        """Tracers and models that there are results of."""
        return sorted({Group(row["key"].tracer, row["key"].model) for row in [*self.volumes, *self.regions]})

    def results(self) -> list[Key]:
        """Every result, once."""
        return sorted({row["key"] for row in [*self.volumes, *self.regions]})


def read_tables(source: str | os.PathLike | Mapping[str, Iterable[Mapping] | str | os.PathLike]) -> Tables:
    """Tables of a folder, or given by name.

    Args:
        source: a folder with ``volumes.tsv``, ``regions.tsv``, ``failures.tsv``, ``notes.tsv`` and ``images.tsv``, not
            all of which must be there; or by ``volumes``, ``regions``, ``failures``, ``notes``: a path, or rows as
            mappings.

    Raises:
        InputError: there are none, one cannot be read, lacks a column or has a row twice, or a number is none.
    """
    people: list[dict] = []
    if isinstance(source, Mapping):
        unknown = sorted(source.keys() - _NUMBERS.keys())
        if unknown:
            raise InputError(f"unknown table '{unknown[0]}'; use {', '.join(_NUMBERS)}")
        given = dict(source)
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        given = {name: path for name in _NUMBERS if (path := folder / f"{name}.tsv").is_file()}
        if not given:
            names = ", ".join(f"{name}.tsv" for name in _NUMBERS)
            raise InputError(f"{folder}: none of {names} is there; give a folder of relapet evaluate or bids")
        people = _people(folder / IMAGES)
    return Tables(**{name: _table(name, given.get(name, ())) for name in _NUMBERS}, people=people)


def _people(path: Path) -> list[dict]:
    """Rows of groups of people, without those of everybody; none where there is no such table."""
    if not path.is_file():
        return []
    found = []
    for number, row in _read(path, _OF_PEOPLE):
        line: dict = {name: _words(row, name) for name in _OF_PEOPLE}
        if line["covariate"] == "all":
            continue
        for name in ("people", "psnr_mean"):
            line[name] = _number(row[name], f"{path}: row {number}: {name}")
        found.append(line)
    return found


def _table(name: str, given) -> list[dict]:
    where = os.fspath(given) if isinstance(given, (str, os.PathLike)) else f"table {name}"
    columns = (*KEYS, *_WORDS[name])
    rows = _read(Path(given), columns) if isinstance(given, (str, os.PathLike)) else enumerate(given, 1)
    found, seen = [], set()
    for number, row in rows:
        line = _row(name, row, f"{where}: row {number}")
        mark = (line["key"], *(line[word] for word in _WORDS[name]))
        if mark in seen and name not in ("failures", "notes"):
            raise InputError(f"{where}: row {number}: {' '.join(mark[0])}, {line['region']} stands there twice")
        seen.add(mark)
        found.append(line)
    return found


def _read(path: Path, columns: Sequence[str]) -> Iterable[tuple[int, dict]]:
    """Rows of a table that has these columns, numbered from 1; of one with none, none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes; refused")
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t", strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: no column '{missing[0]}'; wanted are {', '.join(columns)}")
            return [(number, row) for number, row in enumerate(reader, 1)]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _row(name: str, row: Mapping, where: str) -> dict:
    """One row with its key; whatever is missing is ``n/a`` or None."""
    line = {"key": Key(*(_words(row, column) for column in KEYS))}
    if line["key"].participant_id == MISSING and name != "failures":
        raise InputError(f"{where}: no participant_id")
    line |= {column: _words(row, column) for column in _WORDS[name]}
    line |= {"units": _words(row, "units")} if name == "regions" else {}
    for column in _NUMBERS[name]:
        line[column] = _number(row.get(column), f"{where}: {column}")
    return line


def _words(row: Mapping, column: str) -> str:
    value = row.get(column)
    return MISSING if value in (None, "") else str(value).strip()


def _number(value: object, where: str) -> float | None:
    if value is None or (isinstance(value, str) and value.strip() in ("", MISSING)):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: '{str(value)[:40]}' is no number; write n/a where there is none") from None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman's figures (Lancet 1986;327:307-310) of one region, synthetic minus measured.

    Attributes:
        region: its name.
        means, differences: of each volume, [n].
        people: number of different people.
        bias, sd: mean and SD (n - 1) of the differences; None for none, and for fewer than two.
        inside, judged: of `judged` measured values with an interval, `inside` lie in it.
    """

    region: str
    means: np.ndarray
    differences: np.ndarray
    people: int
    bias: float | None
    sd: float | None
    inside: int
    judged: int

    @property
    def limits(self) -> tuple[float, float] | None:
        """Bias -/+ 1.96 SD; None for fewer than `LEAST_FOR_LIMITS` volumes."""
        if self.sd is None or len(self.differences) < LEAST_FOR_LIMITS:
            return None
        return self.bias - 1.96 * self.sd, self.bias + 1.96 * self.sd


def by_region(tables: Tables, group: Group) -> dict[str, list[dict]]:
    """Rows of `regions.tsv` of a group by region, in the table's order; each atlas and unit has its own."""
    found: dict[str, list[dict]] = {}
    rows = [row for row in tables.regions if Group(row["key"].tracer, row["key"].model) == group]
    rows = [row | {"units": _unit_of(row)} for row in rows]
    several = [column for column in ("atlas", "units") if len({row[column] for row in rows}) > 1]
    for row in rows:
        told = ", ".join(row[column] for column in several)
        name = row["region"].replace("_", " ")
        found.setdefault(f"{name} ({told})" if told else name, []).append(row)
    return found


def units_of(tables: Tables, group: Group) -> str:
    """Unit of a group's regional means, ``SUVR`` or ``relative (0 to 1)``; of both, both."""
    rows = (row for row in tables.regions if Group(row["key"].tracer, row["key"].model) == group)
    return " or ".join(sorted({_unit_of(row) for row in rows})) or SUVR


def _unit_of(row: dict) -> str:
    """Unit of a row; tables of before there was such a column are of SUVR unless their results say otherwise."""
    return SUVR if row["units"] == MISSING else row["units"]


def agreements(tables: Tables, group: Group) -> list[Agreement]:
    """Agreement of synthetic and measured means in each region (of an atlas, in a unit) of a group."""
    return [_agreement(name, rows) for name, rows in by_region(tables, group).items()]


def _agreement(name: str, rows: list[dict]) -> Agreement:
    both = [row for row in rows if row["synthetic"] is not None and row["measured"] is not None]
    made, measured = (np.array([row[c] for row in both], float) for c in ("synthetic", "measured"))
    gaps = made - measured
    known = [row for row in both if row["low"] is not None and row["high"] is not None]
    return Agreement(
        region=name,
        means=(made + measured) / 2,
        differences=gaps,
        people=len({row["key"].participant_id for row in both}),
        bias=float(gaps.mean()) if gaps.size else None,
        sd=float(gaps.std(ddof=1)) if gaps.size > 1 else None,
        inside=sum(row["low"] <= row["measured"] <= row["high"] for row in known),
        judged=len(known),
    )


def figures_of(tables: Tables, group: Group, region: str = "brain") -> dict[Key, dict]:
    """Rows of `volumes.tsv` of a group in one region, by result."""
    return {
        row["key"]: row
        for row in tables.volumes
        if Group(row["key"].tracer, row["key"].model) == group and row["region"] == region
    }


def ranked(tables: Tables, group: Group) -> tuple[list[Key], str]:
    """Results of a group from best to worst, and by what: PSNR in the brain, else MAE, else regional error."""
    figures = figures_of(tables, group)
    for column, sign, words in (("psnr", -1, "PSNR in the brain"), ("mae", 1, "MAE in the brain")):
        known = {key: row[column] for key, row in figures.items() if row[column] is not None}
        if known:
            return sorted(known, key=lambda key: (sign * known[key], key)), words
    errors = regional_errors(tables, group)
    return sorted(errors, key=lambda key: (errors[key], key)), "mean regional error"


def regional_errors(tables: Tables, group: Group) -> dict[Key, float]:
    """Mean over regions of |synthetic minus measured|, by result."""
    gaps: dict[Key, list[float]] = {}
    for row in tables.regions:
        if Group(row["key"].tracer, row["key"].model) != group or None in (row["synthetic"], row["measured"]):
            continue
        gaps.setdefault(row["key"], []).append(abs(row["synthetic"] - row["measured"]))
    return {key: float(np.mean(values)) for key, values in gaps.items()}
