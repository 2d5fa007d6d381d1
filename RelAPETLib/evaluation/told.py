"""What a result tells of itself: spread, interval, what its MRI show, SUVR of single samples, and seconds it took.

`relapet synthesize` writes them beside the PET (``regions.tsv``, ``samples.tsv``, the record), `relapet bids` under the
names of its derivatives. Tables are of the regions of the model grid, whatever the space of the PET.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..absent import is_listed
from ..errors import InputError
from ..jsonfiles import read_json_object
from ..notices import warn
from .tsv import number, read_tsv

#: What a result says of a region beside its mean, by column of its table.
COLUMNS = ("spread", "low", "high")
_PLAIN = re.compile(r"synthetic_pet(_space-MNI)?\.nii(\.gz)?$")
_BIDS = re.compile(r"(?P<stem>sub-.+?)(_space-[^_]+)?_desc-synthetic_pet\.nii(\.gz)?$")


@dataclass(frozen=True)
class Told:
    """What is told of one result.

    Attributes:
        ends: by region, `COLUMNS` as far as they are known, SUVR.
        draws: by region, SUVR of each sample.
        couples: by region, which samples have mirrored noise: those of one name; empty where nothing says so.
        in_view: by region, share of it in the field of view of the MRI that the PET is made from, 0 to 1.
        seconds: that all samples of the PET took to draw, where it was made; NaN where nothing says so.
    """

    ends: dict[str, dict[str, float]] = field(default_factory=dict)
    draws: dict[str, list[float]] = field(default_factory=dict)
    couples: dict[str, list[str]] = field(default_factory=dict)
    in_view: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan

    def over(self, number: float) -> Told:
        """The same with all SUVR divided by a number, as the PET was."""
        ends = {region: {name: value / number for name, value in own.items()} for region, own in self.ends.items()}
        draws = {region: [value / number for value in own] for region, own in self.draws.items()}
        return replace(self, ends=ends, draws=draws)


def read_told(synthetic: Path) -> Told:
    """The tables and the record of a result, as far as they are there.

    Args:
        synthetic: its PET.

    Warns:
        RelAPETWarning: a table or record that cannot be read; it is left out.
    """
    told = Told(seconds=_seconds(synthetic))
    for row in _rows(synthetic, "regions.tsv", ("region",)):
        known = {name: value for name in COLUMNS if math.isfinite(value := number(row.get(name)))}
        if known:
            told.ends[row["region"]] = known
        if math.isfinite(share := number(row.get("share_in_view"))):
            told.in_view[row["region"]] = share
    for row in _rows(synthetic, "samples.tsv", ("sample", "region", "suvr")):
        if math.isfinite(value := number(row["suvr"])):
            told.draws.setdefault(row["region"], []).append(value)
            if "pair" in row:
                told.couples.setdefault(row["region"], []).append(row["pair"])
    return told


def _rows(synthetic: Path, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    path = _beside(synthetic, name, name)
    if path is None:
        return []
    try:
        return read_tsv(path, columns)
    except InputError as error:
        warn(f"left out what a result tells of its regions: {error}")
        return []


def _seconds(synthetic: Path) -> float:
    path = _beside(synthetic, "synthetic_pet.json", "provenance.json")
    if path is None:
        return math.nan
    try:
        spent = read_json_object(path).get("seconds")
    except InputError as error:
        warn(f"left out how long a result took: {error}")
        return math.nan
    value = spent.get("sampling") if isinstance(spent, dict) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return float(value) if known else math.nan


def _beside(synthetic: Path, plain: str, derived: str) -> Path | None:
    """A file beside a PET, by its name of `relapet synthesize` or of `relapet bids`; None where there is none."""
    if _PLAIN.match(synthetic.name):
        path = synthetic.with_name(plain)
    elif match := _BIDS.match(synthetic.name):
        path = synthetic.with_name(f"{match['stem']}_desc-synthetic_{derived}")
    else:
        return None
    return path if is_listed(path) else None
