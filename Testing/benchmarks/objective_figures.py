"""Tables of `objective.py`: from kept figures of people to rows. Errors are by person."""

from __future__ import annotations

from itertools import groupby

import numpy as np

TRACERS = ("TAU", "PIB", "PBR")
HEAD = [
    "| run | seeds | people | steps | CPU min | tracer | one sample dB | mean of samples dB | "
    "against the mean PET dB | CRPS x 1000 | distance to the ideal x 1000 | share of the ideal | "
    "r of the spread | spread / ideal's | in 80 % intervals |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
]


def table(baselines: list[dict], results: list[dict], order: list[str]) -> list[str]:
    """Rows of the baselines, then of the runs: a setting's seeds together, each person's figures their mean.

    Args:
        baselines: results of ``population mean``, ``ridge_head`` and ``ideal``.
        results: of runs, with ``name``, ``seed``, ``people``, ``steps``, ``seconds`` and ``rows`` of people.
        order: names as they are to come.
    """

    def setting(result: dict) -> tuple:
        return result["people"], result["steps"], order.index(result["name"])

    lines = list(HEAD)
    control = {(row["case"], row["tracer"]): row for row in baselines[1]["rows"]}
    mean = {(row["case"], row["tracer"]): row for row in baselines[0]["rows"]}
    for result in baselines:
        lines += rows_of([result], control, mean)
    for _, seeds in groupby(sorted(results, key=lambda r: (*setting(r), r["seed"])), setting):
        lines += rows_of(list(seeds), control, mean)
    return lines


def rows_of(seeds: list[dict], control: dict, mean: dict) -> list[str]:
    """A row a tracer of one setting; where there are several seeds, the seeds' SD follows in brackets."""
    first, lines = seeds[0], []
    for tracer in TRACERS:
        kept = [[row for row in result["rows"] if row["tracer"] == tracer] for result in seeds]
        keys = [(row["case"], tracer) for row in kept[0]]
        cells = []
        for key, factor, digits in (
            ("one", 1, 2),
            ("mean", 1, 2),
            ("gain", 1, 2),
            ("crps", 1e3, 2),
            ("distance", 1e3, 2),
        ):
            base = np.array([mean[place]["mean"] for place in keys]) if key == "gain" else 0
            values = factor * np.array([[row["mean" if key == "gain" else key] for row in rows] for rows in kept])
            cells.append(cell(values - base, digits))
        ours = np.array([[row["distance"] for row in rows] for rows in kept]).sum(1)
        shares = 1 - ours / sum(control[place]["distance"] for place in keys)
        cells.append(f"{shares.mean():.2f}" + (f" ({shares.std(ddof=1):.2f})" if len(seeds) > 1 else ""))
        # Figures that were kept before it was measured have no coverage.
        inside = np.array([[row.get("covered", np.nan) for row in rows] for rows in kept])
        cells += [spread(kept), size_of_spread(kept), cell(inside, 3)]
        minutes = np.mean([result["seconds"] for result in seeds]) / 60
        numbers = ", ".join(str(result["seed"]) for result in seeds)
        lines.append(
            f"| {first['name']} | {numbers} | {first['people']} | {first['steps']} | {minutes:.1f} | {tracer} | "
            f"{' | '.join(cells)} |"
        )
    return lines


def cell(values: np.ndarray, digits: int) -> str:
    """Mean and standard error over people of values [seeds, people]; SD over seeds in brackets."""
    if np.isnan(values).any():
        return ""
    people = values.mean(0)
    text = f"{people.mean():.{digits}f} ± {people.std(ddof=1) / np.sqrt(len(people)):.{digits}f}"
    return text + (f" ({values.mean(1).std(ddof=1):.{digits}f})" if len(values) > 1 else "")


def spread(kept: list[list[dict]]) -> str:
    """Correlation of the predictive SD with the ideal's over people, mean over seeds."""
    found = []
    for rows in kept:
        ours, ideal = (np.array([row[key] for row in rows]) for key in ("spread", "ideal_spread"))
        found.append(np.nan if ours.std() < 1e-6 else np.corrcoef(ours, ideal)[0, 1])
    return "" if np.isnan(found).any() else f"{np.mean(found):.2f}"


def size_of_spread(kept: list[list[dict]]) -> str:
    """SD of the draws' cortical mean, of all people and seeds together, by the ideal's."""
    ours, ideal = (np.mean([row[key] for rows in kept for row in rows]) for key in ("spread", "ideal_spread"))
    return f"{ours / ideal:.2f}"
