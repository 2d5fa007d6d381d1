"""Agreement of synthetic with measured regional values: MAE, bias, Bland-Altman, ICC(A,1), Lin's CCC, slope.

All of them follow from weighted moments of the pairs, so that a bootstrap over people, each with all sessions, is a
change of weights. Of several sessions of a person all count; intervals know that they belong together.

Bland and Altman, Lancet 1986;1:307-310; McGraw and Wong, Psychol Methods 1996;1:30-46 (ICC(A,1), two-way, absolute
agreement, single measurement); Lin, Biometrics 1989;45:255-268 (CCC, with moments over n).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .resampling import LEAST_PEOPLE, Interval, over_weighted_people

#: Figures that get an interval.
WITH_INTERVAL = ("mae", "bias", "icc", "ccc", "slope")
#: All figures, in the order of the tables.
FIGURES = (
    "mean_synthetic", "sd_synthetic", "mean_measured", "sd_measured", "mae", "bias", "sd_difference", "loa_low",
    "loa_high", "icc", "ccc", "slope", "intercept", "r",
)  # fmt: skip
#: Half of a normal distribution's middle 95 %, in SD.
_Z = 1.959963984540054


def agreement(synthetic: np.ndarray, measured: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Figures of pairs, each an array of the shape that `weights` has but for its last axis; NaN where undefined.

    Args:
        synthetic, measured: [n], without NaN.
        weights: [..., n], how often each pair counts; None: once.

    Returns:
        By name of `FIGURES`. The slope and intercept are those of synthetic on measured (least squares; 1 and 0 are
        ideal). SD are over n - 1. The limits of agreement are bias -+ 1.96 SD of the differences.
    """
    x, y = np.asarray(synthetic, float), np.asarray(measured, float)
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    # About a common centre, since moments about 0 lose digits.
    centre = float(np.mean(y)) if len(y) else 0.0
    x, y = x - centre, y - centre
    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)
    n, sx, sy, sxx, syy, sxy, sad = np.moveaxis(weights @ columns, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my = sx / n, sy / n
        # A spread of rounding alone is none.
        vx, vy = (_clean(square / n - mean**2, columns[:, 3:5]) for square, mean in ((sxx, mx), (syy, my)))
        cxy = np.where((vx > 0) & (vy > 0), sxy / n - mx * my, 0.0)
        bias, unbiased = mx - my, n / (n - 1)
        vd = _clean(vx + vy - 2 * cxy, columns[:, 3:5]) * unbiased
        # Two-way analysis of variance with two raters: mean squares of rows, columns and error.
        rows, between, error = (vx + vy + 2 * cxy) * unbiased / 2, n * bias**2 / 2, vd / 2
        total = rows + error + 2 / n * (between - error)
        sd_difference = np.sqrt(vd)
        slope = np.where(vy > 0, cxy / vy, np.nan)
        found = {
            "mean_synthetic": mx + centre,
            "sd_synthetic": np.sqrt(vx * unbiased),
            "mean_measured": my + centre,
            "sd_measured": np.sqrt(vy * unbiased),
            "mae": sad / n,
            "bias": bias,
            "sd_difference": sd_difference,
            "loa_low": bias - _Z * sd_difference,
            "loa_high": bias + _Z * sd_difference,
            "icc": np.where(total > 0, (rows - error) / total, np.nan),
            "ccc": np.where(vx + vy > 0, 2 * cxy / (vx + vy + bias**2), np.nan),
            "slope": slope,
            "intercept": mx + centre - slope * (my + centre),
            "r": np.where(vx * vy > 0, cxy / np.sqrt(vx * vy), np.nan),
        }
    single = n <= 1
    for name in ("sd_synthetic", "sd_measured", "sd_difference", "loa_low", "loa_high", "icc", "ccc"):
        found[name] = np.where(single, np.nan, found[name])
    return found


def _clean(variance: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """A variance of which no more than rounding is left becomes 0."""
    scale = float(squares.max()) if squares.size else 0.0
    return np.where(variance <= 1e-13 * scale, 0.0, variance)


def intervals(
    synthetic: np.ndarray, measured: np.ndarray, people: Sequence[str], resamples: int, seed: int
) -> dict[str, Interval]:
    """Intervals of `WITH_INTERVAL` by name, as `resampling.over_people` gives them."""

    def figures(weights: np.ndarray) -> np.ndarray:
        found = agreement(synthetic, measured, weights)
        return np.stack([found[name] for name in WITH_INTERVAL])

    ends = over_weighted_people(people, figures, len(WITH_INTERVAL), seed=seed, resamples=resamples)
    return dict(zip(WITH_INTERVAL, ends, strict=True))


def describe(
    synthetic: np.ndarray, measured: np.ndarray, people: Sequence[str], resamples: int, seed: int
) -> dict[str, float | int | str | None]:
    """One row of ``agreement.tsv``: numbers of people and volumes, `FIGURES`, intervals, and what is not known, why.

    Args:
        synthetic: [n]; all NaN where only measured PET are evaluated.
        measured: [n].
        people: whose each is.
    """
    x, y, names = np.asarray(synthetic, float), np.asarray(measured, float), np.asarray(people)
    alone = bool(np.isnan(x).all())
    kept = np.isfinite(y) if alone else np.isfinite(x) & np.isfinite(y)
    lost, x, y, names = int((~kept).sum()), x[kept], y[kept], names[kept].tolist()
    row: dict = {"people": len(set(names)), "volumes": len(names)}
    notes = [f"{lost} volume{'s' * (lost > 1)} without a value"] if lost else []
    if not len(y):
        return {**row, "note": "; ".join([*notes, "nothing to measure"])}
    found = {name: float(value) for name, value in agreement(y if alone else x, y).items()}
    if alone:
        found = {name: found[name] for name in ("mean_measured", "sd_measured")}
    row |= found
    if len(y) == 1:
        notes.append("one volume: no spread and no agreement")
    elif found["sd_measured"] == 0 and not alone:
        notes.append("the measured values are all the same: no slope, no r")
    if alone:
        return {**row, "note": "; ".join(notes)}
    if len(y) > 1 and found["sd_synthetic"] == 0:
        notes.append("the synthetic values are all the same: no r")
    if row["people"] < LEAST_PEOPLE:
        notes.append(few_people(row["people"]))
    ends = intervals(x, y, names, resamples, seed)
    row |= {
        f"{name}_{end}": value for name, pair in ends.items() for end, value in zip(("low", "high"), pair, strict=True)
    }
    unknown = [name for name, (low, _) in ends.items() if np.isnan(low) and np.isfinite(found[name])]
    if unknown and row["people"] >= LEAST_PEOPLE:
        notes.append(f"no interval of {', '.join(unknown)}: too few different people, or all alike")
    return {**row, "note": "; ".join(notes)}


def few_people(number: int) -> str:
    """What to say of fewer people than an interval needs."""
    return f"{'one person' if number == 1 else f'{number} people'}: no interval"


def mean_interval(values: Sequence[float], people: Sequence[str], resamples: int, seed: int) -> Interval:
    """Interval of the mean of values (`resampling.over_people`); those that are not finite do not count."""
    known = np.isfinite(np.asarray(values, float))
    own = np.asarray(values, float)[known]

    def mean(weights: np.ndarray) -> np.ndarray:
        return (weights @ own / weights.sum(-1))[None]

    people = [name for name, counts in zip(people, known, strict=True) if counts]
    return over_weighted_people(people, mean, 1, seed=seed, resamples=resamples)[0]
