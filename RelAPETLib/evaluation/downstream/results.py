"""Figures of a downstream experiment: errors by person, paired differences, their tables and picture."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

import numpy as np

from ...errors import RelAPETError
from ..resampling import LEVEL, over_people
from . import WARNING
from .people import MRI, SHUFFLED, SYNTHETIC
from .training import NOBODY, Outcome

COLUMNS = (
    "tracer", "model", "target", "arm", "against", "what", "value", "low", "high", "people", "epochs", "seeds",
    "warning",
)  # fmt: skip
#: Names of figures in the column ``what``.
MAE, RMSE, CORRELATION, DIFFERENCE = "MAE", "RMSE", "correlation", "difference of MAE"


def by_person(outcome: Outcome) -> tuple[list[str], dict[str, dict[str, np.ndarray]]]:
    """People, and each one's mean absolute error [people] by target and arm; NaN where the target is not known."""
    people = list(dict.fromkeys(outcome.people))
    codes = np.array([people.index(person) for person in outcome.people])
    found: dict[str, dict[str, np.ndarray]] = {}
    for target, truth in outcome.targets.items():
        known = np.isfinite(truth)
        count = np.bincount(codes[known], minlength=len(people))
        for arm, predicted in outcome.predicted.items():
            total = np.bincount(codes[known], np.abs(predicted[target] - truth)[known], minlength=len(people))
            errors = np.where(count > 0, total / np.maximum(count, 1), math.nan)
            found.setdefault(target, {})[arm] = errors
    return people, found


def summary_rows(outcome: Outcome, tracer: str, model: str, *, seed: int = 0) -> list[dict]:
    """Rows of ``downstream.tsv`` (`COLUMNS`).

    By target and arm the MAE, RMSE and Pearson's correlation of predictions that the person's own data did not train;
    and paired differences of MAE over people: every arm less `MRI`, and own synthetic less somebody else's. Below 0 is
    the smaller error. Intervals are over people; they hold the networks as they are.

    Args:
        outcome: of `training.run`.
        tracer, model: whose synthetic PET.
        seed: of the resampling.
    """
    people, errors = by_person(outcome)
    whose, rows = np.array(outcome.people), []
    fixed = {"tracer": tracer, "model": model, "epochs": outcome.epochs, "seeds": outcome.seeds, "warning": WARNING}
    for target, own in errors.items():
        known = np.isfinite(next(iter(own.values())))
        fixed |= {"target": target, "people": int(known.sum())}
        there = np.isfinite(outcome.targets[target])
        truth, names = outcome.targets[target][there], [people[n] for n in np.flatnonzero(known)]

        def row(arm, what, value, ends=(math.nan, math.nan), against=None, fixed=fixed):
            rows.append({**fixed, "arm": arm, "against": against, "what": what, "value": value,
                         "low": ends[0], "high": ends[1]})  # fmt: skip

        for arm, values in own.items():
            made = outcome.predicted[arm][target][there]
            row(arm, MAE, *_mean(values[known], names, seed))
            row(arm, RMSE, float(np.sqrt(((made - truth) ** 2).mean())))
            if arm != NOBODY:  # which has five values in all, by fold
                row(arm, CORRELATION, *_correlation(made, truth, whose[there], seed))
        pairs = [(arm, MRI) for arm in own if arm != MRI] + [(SYNTHETIC, SHUFFLED)]
        for arm, against in pairs:
            row(arm, DIFFERENCE, *_mean((own[arm] - own[against])[known], names, seed), against)
    return rows


def _mean(values: np.ndarray, people: list[str], seed: int) -> tuple[float, tuple[float, float]]:
    return float(values.mean()), over_people(people, lambda chosen: float(values[chosen].mean()), seed=seed)


def _correlation(made: np.ndarray, truth: np.ndarray, people, seed: int) -> tuple[float, tuple[float, float]]:
    def pearson(chosen: np.ndarray) -> float:
        a, b = made[chosen], truth[chosen]
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan

    level = pearson(np.arange(len(made)))
    return level, (math.nan, math.nan) if math.isnan(level) else over_people(people, pearson, seed=seed)


def person_columns(outcome: Outcome) -> list[str]:
    """Columns of ``downstream_people.tsv``: the person, the target, its value, and every arm's prediction."""
    return ["participant_id", "target", "truth", *outcome.predicted, "warning"]


def person_rows(outcome: Outcome) -> list[dict]:
    """Rows of ``downstream_people.tsv`` (`person_columns`), one a scan and target that is known."""
    return [
        {"participant_id": person, "target": target, "truth": float(truth[number]), "warning": WARNING}
        | {arm: float(predicted[target][number]) for arm, predicted in outcome.predicted.items()}
        for target, truth in outcome.targets.items()
        for number, person in enumerate(outcome.people)
        if math.isfinite(truth[number])
    ]


def draw(rows: list[dict], path: Path) -> None:
    """``downstream.png``: errors of every arm and their paired differences from MRI alone, by target.

    Args:
        rows: of `summary_rows`.
        path: the PNG to write.

    Raises:
        RelAPETError: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RelAPETError("downstream.png needs matplotlib; install it with: pip install 'relapet[report]'") from error
    targets = list(dict.fromkeys(row["target"] for row in rows))
    figure = Figure(figsize=(2.4 + 3.6 * len(targets), 6.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(targets), squeeze=False, sharey="row")
    for column, target in enumerate(targets):
        own = [row for row in rows if row["target"] == target]
        upper, lower = axes[0, column], axes[1, column]
        correlations = {row["arm"]: row["value"] for row in own if row["what"] == CORRELATION}
        _points(upper, [row for row in own if row["what"] == MAE], correlations)
        upper.set_title(f"{target} ({own[0]['people']} people)")
        upper.set_xlabel("mean absolute error (r: correlation with the truth)")
        pairs = [row for row in own if row["what"] == DIFFERENCE and row["arm"] != NOBODY]
        _points(lower, pairs)
        lower.axvline(0, color="0.6", linewidth=1, zorder=0)
        lower.set_xlabel("difference of MAE (below 0: smaller error)")
    first = rows[0]
    figure.suptitle(
        f"Downstream prediction, {first['tracer']}, {first['model']}: a 3-D ResNet, {first['epochs']} epochs, "
        f"{first['seeds']} network(s) a fold; {LEVEL:.0%} intervals over people",
        fontsize=9,
        wrap=True,
    )
    figure.supxlabel(textwrap.fill(WARNING, 42 + 48 * len(targets)), fontsize=8, color="firebrick")
    figure.savefig(path, format="png")


def _points(axes, rows: list[dict], correlations: dict[str, float] | None = None) -> None:
    """One line a row from the top: its value, its interval, its name, and the arm's correlation where it is known."""
    for number, row in enumerate(rows):
        axes.plot(row["value"], -number, "o", color="C3" if row["arm"].startswith(SYNTHETIC) else "C0")
        if math.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [-number, -number], "-", color="0.3", linewidth=1.5, zorder=1)
        level = (correlations or {}).get(row["arm"], math.nan)
        if math.isfinite(level):
            place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"r {level:.2f}", (row["value"], -number), fontsize=7, **place)
    names = [f"{row['arm']}\nless {row['against']}" if row["against"] else row["arm"] for row in rows]
    axes.set_yticks([-n for n in range(len(rows))], names, fontsize=8)
    axes.set_ylim(0.6 - len(rows), 0.6)
