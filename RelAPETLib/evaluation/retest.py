"""Test-retest: how far the sessions of a person lie apart, in measured and in synthetic PET."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from ..volumes.sidecar import natural_order
from .agreement import agreement

#: Columns of ``retest.tsv``.
COLUMNS = (
    "tracer", "model", "atlas", "region", "pet", "people", "sessions", "mean", "within_sd", "repeatability",
    "variability_percent", "icc", "note",
)  # fmt: skip


def retest_rows(regions: Iterable[Mapping]) -> list[dict]:
    """Rows of `COLUMNS` from rows of ``regions.tsv``, of people with two sessions or more; none where nobody has.

    ``within_sd`` is the SD within people, SUVR (pooled over their sessions), ``repeatability`` 1.96 sqrt(2) of it
    (Bland and Altman 1986), ``variability_percent`` the mean of |second - first| over their mean, and ``icc`` the
    ICC(A,1), the latter two of the first two sessions in order of their names, ``ses-2`` before ``ses-10``.
    """
    values: dict[tuple, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    regions = list(regions)
    whose = _measured_beside(regions)
    for row in regions:
        for pet in ("synthetic", "measured"):
            value = row[pet]
            if value is None or not np.isfinite(value):
                continue
            if pet == "measured" and whose[row["tracer"], row["participant_id"]] != row["model"]:
                continue
            model = row["model"] if pet == "synthetic" else "n/a"
            key = (row["tracer"], model, row["atlas"], row["region"], pet)
            values[key][row["participant_id"]][row["session"]] = float(value)
    return [row for key, people in values.items() if (row := _row(key, people))]


def _measured_beside(regions: Iterable[Mapping]) -> dict[tuple[str, str], str]:
    """The model by tracer and person whose rows tell of the measured PET: the first of those with the most sessions.

    It is the same PET whoever made the synthetic one.
    """
    sessions: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in regions:
        if row["measured"] is not None and np.isfinite(row["measured"]):
            sessions[row["tracer"], row["participant_id"]][row["model"]].add(row["session"])
    return {key: max(models, key=lambda name: len(models[name])) for key, models in sessions.items()}


def _row(key: tuple, people: Mapping[str, Mapping[str, float]]) -> dict | None:
    ordered = [[found[name] for name in sorted(found, key=natural_order)] for found in people.values()]
    several = [found for found in ordered if len(found) > 1]
    if not several:
        return None
    squares = sum(np.var(found, ddof=1) * (len(found) - 1) for found in several)
    within = float(np.sqrt(squares / sum(len(found) - 1 for found in several)))
    first, second = np.array([found[:2] for found in several]).T
    figures = agreement(second, first)
    icc = float(figures["icc"]) if len(several) > 1 else None
    return {
        **dict(zip(COLUMNS[:5], key, strict=True)),
        "people": len(several),
        "sessions": sum(map(len, several)),
        "mean": float(np.mean([np.mean(found) for found in several])),
        "within_sd": within,
        "repeatability": float(1.96 * np.sqrt(2) * within),
        "variability_percent": float(np.mean(200 * np.abs(second - first) / (second + first))),
        "icc": icc,
        "note": "one person with several sessions: no ICC" if len(several) == 1 else "",
    }
