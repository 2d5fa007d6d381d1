"""Paired tests of models over people: t, Wilcoxon, Holm's correction, effect size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Columns of ``statistics.tsv``.
COLUMNS = (
    "tracer", "model", "against", "kind", "atlas", "region", "metric", "people", "mean", "mean_against", "difference",
    "better", "t", "t_p", "t_p_holm", "wilcoxon", "wilcoxon_p", "wilcoxon_p_holm", "effect_dz", "note",
)  # fmt: skip

#: Figures by person, by scan of theirs.
Scans = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PairedTests:
    """Two-sided paired tests.

    Attributes:
        t, t_p: paired t-test; None where it says nothing.
        wilcoxon, wilcoxon_p: signed-rank test; None where it says nothing.
        dz: effect size, mean of the differences over their SD (Cohen's d_z); None without spread.
        note: why figures are missing; empty where none is.
    """

    t: float | None
    t_p: float | None
    wilcoxon: float | None
    wilcoxon_p: float | None
    dz: float | None
    note: str


def paired_tests(first: Sequence[float], second: Sequence[float]) -> PairedTests:
    """Whether two models differ over the same people, by scipy.

    Args:
        first, second: one figure a person, in the same order; pairs with NaN are left out.
    """
    from scipy.stats import ttest_rel, wilcoxon

    pairs = np.array([first, second], float).T
    pairs = pairs[np.isfinite(pairs).all(1)]
    difference = pairs[:, 0] - pairs[:, 1]
    if len(pairs) < 2:
        people = "nobody" if not len(pairs) else "one person"
        return PairedTests(None, None, None, None, None, f"{people} has both; two or more are needed")
    if not difference.any():
        return PairedTests(None, None, None, None, None, "no difference in anybody")
    ranks = wilcoxon(difference)
    if np.ptp(difference) <= 1e-12 * np.abs(pairs).max():
        return PairedTests(None, None, *map(float, ranks), None, "the same difference in everybody")
    t = ttest_rel(pairs[:, 0], pairs[:, 1])
    dz = float(difference.mean() / difference.std(ddof=1))
    return PairedTests(float(t.statistic), float(t.pvalue), float(ranks.statistic), float(ranks.pvalue), dz, "")


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of p-values, by statsmodels; None stays None and does not count."""
    from statsmodels.stats.multitest import multipletests

    known = [value for value in values if value is not None]
    corrected = iter(multipletests(known, method="holm")[1]) if known else iter(())
    return [None if value is None else float(next(corrected)) for value in values]


def by_person(first: Scans, second: Scans) -> list[tuple[float, float]]:
    """Two models' figures of each person [people], means over the scans that both have one of, in order of names.

    Over all scans of each, a scan that one model lacks would count as a difference between the models.
    """
    found = []
    for person in sorted(first.keys() & second.keys()):
        a, b = first[person], second[person]
        both = [(a[scan], b[scan]) for scan in a if scan in b and math.isfinite(a[scan]) and math.isfinite(b[scan])]
        if both:
            found.append(tuple(float(np.mean(values)) for values in zip(*both, strict=True)))
    return found


def compare_models(
    figures: Mapping[tuple, Mapping[str, Scans]],
    models: Sequence[str],
    against: str,
    rising: Iterable[str],
) -> list[dict]:
    """Every model against one, in every figure, as rows of `COLUMNS`.

    Args:
        figures: by (tracer, kind, atlas, region, metric), by model. `kind` is ``image`` or ``region``.
        models: in the order of the rows.
        against: one of them.
        rising: metrics of which more is better.

    Returns:
        Rows; Holm's family is all tests of one tracer, kind and metric.
    """
    rows = []
    for (tracer, kind, atlas, region, metric), by_model in figures.items():
        for model in models:
            if model == against or model not in by_model or against not in by_model:
                continue
            pairs = by_person(by_model[model], by_model[against])
            ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())
            tests = paired_tests(ours, theirs)
            mean, other = (float(np.mean(values)) if values else None for values in (ours, theirs))
            better = None
            if pairs and mean != other:
                better = model if (mean > other) == (metric in rising) else against
            rows.append({
                "tracer": tracer, "model": model, "against": against, "kind": kind, "atlas": atlas, "region": region,
                "metric": metric, "people": len(pairs), "mean": mean, "mean_against": other,
                "difference": mean - other if pairs else None, "better": better, "t": tests.t, "t_p": tests.t_p,
                "wilcoxon": tests.wilcoxon, "wilcoxon_p": tests.wilcoxon_p, "effect_dz": tests.dz, "note": tests.note,
            })  # fmt: skip
    for family in {(row["tracer"], row["kind"], row["metric"]) for row in rows}:
        own = [row for row in rows if (row["tracer"], row["kind"], row["metric"]) == family]
        for name in ("t_p", "wilcoxon_p"):
            for row, value in zip(own, holm([row[name] for row in own]), strict=True):
                row[f"{name}_holm"] = value
    return rows
