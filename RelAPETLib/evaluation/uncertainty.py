"""How far a model's stated uncertainty can be trusted: fair CRPS, interval coverage, spread against error.

All of regional values (arXiv 2404.15274), not of voxels. Coverage stands by tercile of the truth, since a right share
over everybody can hide that the intervals fail in the very people who matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..tracers import get_tracer
from .resampling import NONE, RESAMPLES, needs_statistics, over_people, share
from .scores import crps
from .tsv import KEYS, MISSING, number, pairs_by

#: Columns that tell whose value in which region a row is about, and those of a table of single draws.
PLACE = (*KEYS, "atlas", "region")
DRAW_COLUMNS = (*PLACE, "sample", "suvr")
COLUMNS = (*PLACE, "samples", "crps", "error", "spread", "low", "high", "meant", "covered")
SUMMARY_COLUMNS = ("tracer", "model", "atlas", "region", "people", "scans", "what", "value", "low", "high", "note")
TERCILES = ("low", "middle", "high")
#: Values that differ by less are the same.
_SAME = 1e-6
#: Stands for all regions of an atlas together.
ALL_REGIONS = "all"

Draws = Mapping[tuple[str, ...], Sequence[float]]
#: Names of the pairs with mirrored noise that draws belong to, as `scores.crps` takes them.
Couples = Mapping[tuple[str, ...], Sequence[str]]


def draws_of(rows: Iterable[Mapping]) -> dict[tuple[str, ...], list[float]]:
    """Draws by the values of `PLACE`, from rows of a table with `DRAW_COLUMNS`.

    Raises:
        InputError: a value that is no number.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        value = number(row["suvr"])
        if not math.isfinite(value):
            raise InputError(f"a draw of {row['participant_id']} in {row['region']} is '{row['suvr']}', no number")
        found.setdefault(place_of(row), []).append(value)
    return found


def place_of(row: Mapping) -> tuple[str, ...]:
    """The values of `PLACE` of a row as tables of regions have them: ``n/a`` for empty ones, a tracer's short name."""
    place = {name: row[name] or MISSING for name in PLACE}
    try:
        place["tracer"] = get_tracer(place["tracer"]).name
    except InputError:
        pass  # one that no model has, which goes by its own word
    return tuple(place.values())


def couples_of(rows: Iterable[Mapping]) -> dict[tuple[str, ...], list[str]]:
    """Pairs of the draws of `draws_of`, from a column ``pair``; empty for a table without it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if "pair" in row:
            found.setdefault(place_of(row), []).append(row["pair"])
    return found


def range_of(draws: np.ndarray, couples: Sequence[str] = ()) -> tuple[float, float, float]:
    """Lowest and highest draw [n], and the share of truths between them if the draws are what they should be.

    Of n independent draws (n - 1) / (n + 1), whatever their distribution. Of k pairs with mirrored noise k / (k + 1),
    where the answer to mirrored noise is mirrored, as a regional mean's is nearly; a draw without its twin is left out.
    """
    names = np.asarray(couples)
    if names.size:
        draws = draws[[np.count_nonzero(names == name) == 2 for name in names]]
    if len(draws) < 2:
        return math.nan, math.nan, math.nan
    count = len(draws) // 2 if names.size else len(draws)
    meant = count / (count + 1) if names.size else (count - 1) / (count + 1)
    return float(draws.min()), float(draws.max()), meant


def uncertainty_rows(
    regions: Iterable[Mapping], draws: Draws | None = None, couples: Couples | None = None
) -> list[dict]:
    """Rows of ``uncertainty.tsv`` (`COLUMNS`): one a row of regions that has a measured value.

    Args:
        regions: rows of ``regions.tsv``, texts or numbers.
        draws: regional values of single samples by the texts of `PLACE`; two or more give the fair CRPS
            (`scores.crps`), and the spread (of independent ones) and the interval (`range_of`) where the row has none.
        couples: which of them are not independent.

    Returns:
        ``crps`` of the draws in the region, ``error`` synthetic minus measured, ``spread`` the SD of the draws,
        ``covered`` whether the interval ``low`` to ``high`` holds the measured value (None without an interval),
        ``meant`` the share that an interval from draws is meant to cover; and ``scatter``, how much the mean of the
        draws errs by their own scatter, as a share of their variance.
    """
    rows = []
    for (*place,), scans in pairs_by(regions, PLACE).items():
        for scan in scans:
            truth, spread = number(scan["measured"]), number(scan.get("spread"))
            own = np.asarray((draws or {}).get(tuple(place), ()), float)
            pairs = tuple((couples or {}).get(tuple(place), ()))
            low, high, meant = number(scan.get("low")), number(scan.get("high")), math.nan
            if len(own) > 1 and math.isnan(spread) and not pairs:
                spread = float(own.std(ddof=1))
            if math.isnan(low) or math.isnan(high):
                low, high, meant = range_of(own, pairs)
            rows.append(
                dict(zip(PLACE, place, strict=True))
                | {"synthetic": number(scan["synthetic"]), "measured": truth, "samples": len(own)}
                | {"crps": crps(own[:, None], np.array([truth]), pairs) if len(own) > 1 else math.nan}
                | {"error": number(scan["synthetic"]) - truth, "spread": spread, "low": low, "high": high}
                | {"meant": meant, "scatter": _scatter(len(own), bool(pairs))}
                | {"covered": None if math.isnan(low) or math.isnan(high) else low <= truth <= high}
            )
    return rows


def _scatter(count: int, mirrored: bool) -> float:
    """Variance of the mean of draws over their own: mirrored ones cancel, but for the last of an odd number."""
    if count < 2:
        return 0.0
    return count % 2 / count**2 if mirrored else 1 / count


def terciles(truth: Sequence[float]) -> np.ndarray:
    """Third of each value [n] among them, 0 to 2, by rank: equal values fall into the same one."""
    truth = np.asarray(truth, float)
    first, second = np.quantile(truth, [1 / 3, 2 / 3])
    return (truth > first).astype(int) + (truth > second)


def summary_rows(
    rows: Sequence[Mapping], *, nominal: float | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> list[dict]:
    """Rows of ``uncertainty_summary.tsv`` (`SUMMARY_COLUMNS`) by tracer, model and region, and over all of an atlas.

    Args:
        rows: of `uncertainty_rows`.
        nominal: share that the intervals are meant to cover, 0 to 1; goes into the notes.
        seed, resamples: of the resampling of people.

    Returns:
        One row each, as far as the values are there, of ``crps``; ``coverage``, and ``coverage, low`` (``middle``,
        ``high``) third of the measured values of that tracer and region; ``spread / error``, the root mean square of
        the spread over that of the error, 1 for an honest spread (Fortin et al., J Hydrometeorol 2014;15:1708-1713;
        what the number of samples adds is taken off where it is known); and ``rank correlation`` (Spearman) of the
        spread with the size of the error. Intervals are over people. A region that both PET were divided by has no
        row and is not among all regions: both are 1 there by definition, whatever the model is sure of.
    """
    needs_statistics()
    groups: dict[tuple, list[tuple[Mapping, int]]] = {}
    columns = ("tracer", "model", "atlas", "region")
    for key, own in pairs_by(rows, columns).items():
        if _is_reference(own):
            continue
        third = terciles([row["measured"] for row in own])
        for name in (key, (*key[:3], ALL_REGIONS)):
            groups.setdefault(name, []).extend(zip(own, third, strict=True))
    single = {(*key[:3], ALL_REGIONS): key for key in groups if key[3] != ALL_REGIONS}
    count: dict[tuple, int] = {}
    for key in groups:
        count[key[:3]] = count.get(key[:3], 0) + (key[3] != ALL_REGIONS)
    found = []
    for key in sorted(groups, key=lambda key: (key[:3], key[3] == ALL_REGIONS, key[3])):
        if key in single and count[key[:3]] == 1:
            continue  # one region alone is all of them
        own = [row for row, _ in groups[key]]
        people = [row["participant_id"] for row in own]
        names = dict(zip(columns, key, strict=True)) | {"people": len(set(people)), "scans": len(own)}
        how = {"seed": seed, "resamples": resamples}
        lines = [*_crps(own, how), *_coverage(groups[key], nominal, how), *_spread(own, how)]
        found += [names | line for line in lines]
    return found


def _is_reference(rows: Sequence[Mapping]) -> bool:
    """Whether all values of a region are the same and the synthetic ones are the measured ones, but for rounding."""
    truth = [row["measured"] for row in rows]
    return max(truth) - min(truth) < _SAME and all(abs(row["error"]) < _SAME for row in rows)


def _crps(rows: Sequence[Mapping], how: dict) -> Iterable[dict]:
    own = [row for row in rows if math.isfinite(row["crps"])]
    if own:
        values = np.array([row["crps"] for row in own])
        low, high = over_people(_people(own), lambda chosen: float(values[chosen].mean()), **how)
        yield _line("crps", float(values.mean()), low, high, own, "in the values' unit; lower is better")


def _coverage(rows: Sequence[tuple[Mapping, int]], nominal: float | None, how: dict) -> Iterable[dict]:
    own = [(row, third) for row, third in rows if row["covered"] is not None]
    meant = "" if nominal is None else f"meant: {nominal:.0%}"
    ranges = {row["meant"] for row, _ in own if math.isfinite(row["meant"])}
    if ranges:
        shares = " or ".join(f"{share_:.0%}" for share_ in sorted(ranges))
        meant = "; ".join(filter(None, (meant, f"lowest to highest sample, meant: {shares}")))
    for number_, name in ((None, "coverage"), *((n, f"coverage, {t}") for n, t in enumerate(TERCILES))):
        chosen = [row for row, third in own if number_ is None or third == number_]
        if chosen:
            covered = np.array([row["covered"] for row in chosen])
            yield _line(name, *share(covered, _people(chosen), **how), chosen, meant)


def _spread(rows: Sequence[Mapping], how: dict) -> Iterable[dict]:
    own = [row for row in rows if math.isfinite(row["spread"])]
    if not own:
        return
    spread, error = (np.array([row[name] for row in own]) for name in ("spread", "error"))
    # The mean of n samples errs by their own scatter too: (n + 1) / n of the spread's variance if they are independent.
    variance = spread**2 * (1 + np.array([row["scatter"] for row in own]))

    def ratio(chosen: np.ndarray) -> float:
        wrong = float((error[chosen] ** 2).mean())
        return math.sqrt(float(variance[chosen].mean()) / wrong) if wrong else math.nan

    people, everybody = _people(own), np.arange(len(own))
    yield _line("spread / error", ratio(everybody), *over_people(people, ratio, **how), own, "honest: 1")

    def ranks(chosen: np.ndarray) -> float:
        from scipy.stats import rankdata

        a, b = rankdata(spread[chosen]), rankdata(np.abs(error[chosen]))
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan

    level = ranks(everybody)
    ends = NONE if math.isnan(level) else over_people(people, ranks, **how)
    same = "the spread or the error is the same everywhere" if math.isnan(level) else ""
    yield _line("rank correlation", level, *ends, own, same)


def _people(rows: Sequence[Mapping]) -> list[str]:
    return [row["participant_id"] for row in rows]


def _line(what: str, value: float, low: float, high: float, rows: Sequence[Mapping], note: str) -> dict:
    few = "no interval: too few people, or all alike" if math.isnan(low) and not math.isnan(value) else ""
    return {
        "what": what, "value": value, "low": low, "high": high,
        "people": len(set(_people(rows))), "scans": len(rows), "note": "; ".join(filter(None, (note, few))),
    }  # fmt: skip
