"""Groups of people by what is known of them: all, sex, age band, scanner, site, and a group of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

from ..clinical import from_row
from .pairs import Pair

#: Years of a band of ages.
BAND = 10
_MISSING = {"", "n/a", "na", "nan", "none"}


def groups_of(pair: Pair) -> dict[str, str]:
    """Group by each covariate that is known: ``{"sex": "F", "age": "70 to 79", ...}``."""
    found = {
        name: text
        for name in ("scanner", "site", "group")
        if (text := pair.covariates.get(name, "").strip()).lower() not in _MISSING
    }
    values, _ = from_row({name: pair.covariates.get(name, "") for name in ("age", "sex")})
    if values.sex is not None:
        found["sex"] = values.sex
    if values.age is not None:
        low = int(values.age) // BAND * BAND
        found["age"] = f"{low} to {low + BAND - 1}"
    return found


def partition(pairs: Sequence[Pair]) -> dict[tuple[str, str], list[int]]:
    """Numbers of the pairs in each group, by covariate and value; ``("all", "all")`` first.

    A covariate with one value for all of them divides nothing and is left out.
    """
    known = [groups_of(pair) for pair in pairs]
    found = {("all", "all"): list(range(len(pairs)))}
    for name in ("group", "sex", "age", "scanner", "site"):
        values = sorted({groups[name] for groups in known if name in groups})
        if len(values) == 1 and all(name in groups for groups in known):
            continue
        for value in values:
            found[name, value] = [number for number, groups in enumerate(known) if groups.get(name) == value]
    return found
