"""Clinical values of a person that methods may be told: age, sex and a cognitive score, each perhaps missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import InputError

#: The values, in the order in which networks get them.
CLINICAL = ("age", "sex", "score")
#: Years.
OLDEST = 120
#: Columns of a table of participants in which each is looked for, the first that is there.
COLUMNS = {"age": ("age",), "sex": ("sex", "gender"), "score": ("score", "memory_score", "mmse")}
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
_MISSING = {"", "n/a", "na", "nan", "none"}


@dataclass(frozen=True)
class ClinicalValues:
    """What is known of a person; None is not known.

    Attributes:
        age: years, 0 to 120.
        sex: ``F`` or ``M``; ``female`` and ``male`` are taken, too.
        score: a cognitive score, on the scale of the data that a model was trained on.

    Raises:
        InputError: a value that cannot be.
    """

    age: float | None = None
    sex: str | None = None
    score: float | None = None

    def __post_init__(self):
        if self.age is not None and not 0 <= self.age <= OLDEST:
            raise InputError(f"age {self.age:g} is out of range; use 0 to {OLDEST} years")
        if self.score is not None and not math.isfinite(self.score):
            raise InputError(f"score {self.score} is no number that can be used")
        if self.sex is not None:
            if str(self.sex).lower() not in _SEXES:
                raise InputError(f"unknown sex '{str(self.sex)[:40]}'; use F or M, or leave it out")
            object.__setattr__(self, "sex", _SEXES[str(self.sex).lower()])

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the values that are known."""
        return tuple(name for name in CLINICAL if getattr(self, name) is not None)

    def numbers(self) -> list[float]:
        """The values in the order of `CLINICAL`: years, 1 for female and 0 for male, the score; NaN for unknown."""
        sex = None if self.sex is None else float(self.sex == "F")
        return [math.nan if value is None else float(value) for value in (self.age, sex, self.score)]

    def record(self) -> dict[str, float | str]:
        """The known values by name, as JSON."""
        return {name: getattr(self, name) for name in self.known}


def from_row(row: Mapping[str, str]) -> tuple[ClinicalValues, list[str]]:
    """Values of a row of a table of participants, and a line for each that cannot be read, which counts as missing.

    Args:
        row: texts by column; the columns are those of `COLUMNS` in any case of letters.
    """
    texts = {name.strip().lower(): str(text or "").strip() for name, text in row.items() if name}
    found, notes = {}, []
    for name, columns in COLUMNS.items():
        text = next((texts[column] for column in columns if column in texts), "")
        if text.lower() in _MISSING:
            continue
        try:
            found |= ClinicalValues(**{name: text if name == "sex" else float(text)}).record()
        except (ValueError, InputError):
            notes.append(f"{name} '{text[:40]}' cannot be read and counts as missing")
    return ClinicalValues(**found), notes


def from_rows(rows: Iterable[Mapping[str, str]]) -> tuple[ClinicalValues, list[str]]:
    """Values of several rows of one person, as `from_row`; what they say differently counts as missing, with a line."""
    values, notes = [], []
    for row in rows:
        value, said = from_row(row)
        values.append(value)
        notes += [line for line in said if line not in notes]
    found = {}
    for name in CLINICAL:
        given = {getattr(value, name) for value in values} - {None}
        if len(given) > 1:
            notes.append(f"{name} differs from row to row and counts as missing")
        elif given:
            found[name] = given.pop()
    return ClinicalValues(**found), notes
