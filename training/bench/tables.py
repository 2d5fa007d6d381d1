"""The bench's tables: errors by person, seeds together, differences by paired tests with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from RelAPETLib.evaluation.scores import auc
from RelAPETLib.tracers import TRACERS, paper_order

from .settings import SETTINGS

#: Figures of the first table, laid out like RelA-Diffusion's Table I, with their digits.
IMAGES = {"psnr": ("PSNR ↑", 2), "ssim": ("SSIM ↑", 3), "mae": ("MAE x 1000 ↓", 1)}
LEVEL = 0.05
#: The tracer that amyloid status is read from.
AMYLOID = next(name for name, facts in TRACERS.items() if facts.target == "amyloid")


def tables(controls: Mapping[str, list[dict]], runs: Sequence[dict]) -> list[str]:
    """Lines of Markdown.

    Args:
        controls: figures of test scans by control (`controls.control_rows`).
        runs: contents of ``figures.json``.
    """
    seeds = {name: [controls[name]] for name in controls}
    for name in SETTINGS:
        own = [run["rows"] for run in runs if run["name"] == name and not run["diverged"]]
        seeds |= {name: own} if own else {}
    parts = ["## Images", "", *image_table(seeds), "", "## Regions and distributions", "", *region_table(seeds), ""]
    return [*parts, "## Costs", "", *cost_table(runs)]


def image_table(seeds: Mapping[str, list[list[dict]]]) -> list[str]:
    """PSNR, SSIM and MAE of the samples' mean, mean ± standard error over people; SD over seeds in brackets."""
    tracers = paper_order()
    head = ["method"]
    for tracer in tracers:
        head += [f"{tracer} {title}" for title, _ in IMAGES.values()] + ["Sig."]
    head += [f"paper's PSNR {', '.join(tracers)} (other data)"]
    lines = [head, ["---"] * len(head)]
    marks = {tracer: significant(seeds, tracer) for tracer in tracers}
    for name, runs in seeds.items():
        line = [name]
        for tracer in tracers:
            for key, (_, digits) in IMAGES.items():
                line.append(cell(by_person(runs, tracer, key) * (1e3 if key == "mae" else 1), digits))
            line.append(marks[tracer].get(name, ""))
        paper = SETTINGS[name].paper if name in SETTINGS else None
        lines.append([*line, ", ".join(f"{value:.2f}" for value in paper or ())])
    return rows_of(lines)


def region_table(seeds: Mapping[str, list[list[dict]]]) -> list[str]:
    """Regional SUVR, scores of distributions and amyloid status, by tracer."""
    head = ["method", "tracer", "one sample PSNR", "regional error x 1000", "regional r", "CRPS x 1000",
            "distance to the ideal x 1000", "share of the ideal", "r of the spread", "amyloid AUC"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for name, runs in seeds.items():
        for tracer in paper_order():
            line = [name, tracer, cell(by_person(runs, tracer, "one"), 2)]
            line.append(cell(1e3 * by_person(runs, tracer, "regional_error"), 1))
            line.append(number([correlation(rows, tracer) for rows in runs], 2))
            line += [cell(1e3 * by_person(runs, tracer, key), 1) for key in ("crps", "distance")]
            control = by_person(seeds["ridge_head"], tracer, "distance").sum()
            line.append(number([1 - values.sum() / control for values in by_person(runs, tracer, "distance")], 2))
            line.append(number([spread(rows, tracer) for rows in runs], 2))
            line.append(number([amyloid(rows) for rows in runs], 2) if tracer == AMYLOID else "")
            lines.append(line)
    return rows_of(lines)


def cost_table(runs: Sequence[dict]) -> list[str]:
    """What training and drawing cost."""
    head = [
        "method",
        "seeds",
        "steps",
        "parameters",
        "calls",
        "seconds a draw",
        "training, CPU min",
        "peak MB",
        "diverged",
    ]
    lines = [head, ["---"] * len(head)]
    for name, setting in SETTINGS.items():
        own = [run for run in runs if run["name"] == name]
        if not own:
            continue
        whole = [run for run in own if not run["diverged"]]
        seconds = f"{np.mean([run['seconds'] for run in whole]):.3f}" if whole else ""
        parameters = f"{whole[0]['parameters']:,}" if whole else ""
        minutes = np.mean([run["cost"]["cpu_s"] for run in own]) / 60
        peak = max(run["cost"]["peak_mb"] for run in own)
        lines.append([
            name, ", ".join(str(run["seed"]) for run in own), str(own[0]["steps"]), parameters, str(setting.calls),
            seconds, f"{minutes:.1f}", f"{peak:.0f}", str(len(own) - len(whole)),
        ])  # fmt: skip
    return rows_of(lines)


def by_person(runs: list[list[dict]], tracer: str, key: str) -> np.ndarray:
    """A figure [seeds, people] of a tracer's scans."""
    return np.array([[row[key] for row in rows if row["tracer"] == tracer] for rows in runs], float)


def significant(seeds: Mapping[str, list[list[dict]]], tracer: str) -> dict[str, str]:
    """Marks by method: ``+`` or ``-`` where its PSNR differs from the control's (ridge_head), people paired.

    Two-sided paired t-tests of people's means over seeds, with Holm's correction over all methods; a difference within
    the seeds' own SD is none.
    """
    from scipy.stats import ttest_rel

    base = by_person(seeds["ridge_head"], tracer, "psnr").mean(0)
    found, chances = {}, {}
    for name, runs in seeds.items():
        if name in ("ridge_head", "ideal"):
            continue
        values = by_person(runs, tracer, "psnr")
        gap = float((values.mean(0) - base).mean())
        if np.ptp(values.mean(0) - base) > 0 and (len(runs) == 1 or abs(gap) > values.mean(1).std(ddof=1)):
            chances[name] = float(ttest_rel(values.mean(0), base).pvalue)
            found[name] = "+" if gap > 0 else "-"
    kept = holm(chances)
    return {name: found[name] for name in found if kept[name]}


def holm(chances: Mapping[str, float], level: float = LEVEL) -> dict[str, bool]:
    """Which of several p values are significant together (Holm, Scand. J. Stat. 1979;6:65-70)."""
    found, going = {}, True
    for rank, name in enumerate(sorted(chances, key=chances.__getitem__)):
        going = going and chances[name] <= level / (len(chances) - rank)
        found[name] = going
    return found


def correlation(rows: list[dict], tracer: str) -> float:
    """r over people of regional SUVR, mean over regions; NaN where the method says the same of everybody."""
    own = [row for row in rows if row["tracer"] == tracer]
    made, measured = (np.array([row[key] for row in own]) for key in ("regions", "measured"))
    if made.std(0).min() < 1e-6:
        return float("nan")
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(made.T, measured.T, strict=True)]))


def spread(rows: list[dict], tracer: str) -> float:
    """r over people of the predictive SD of cortex with the ideal's; NaN where it is the same for everybody."""
    own = [row for row in rows if row["tracer"] == tracer]
    ours, ideal = (np.array([row[key] for row in own]) for key in ("spread", "ideal_spread"))
    return float("nan") if ours.std() < 1e-6 else float(np.corrcoef(ours, ideal)[0, 1])


def amyloid(rows: list[dict]) -> float:
    """AUC of the cortical composite of the amyloid tracer for amyloid status."""
    own = [row for row in rows if row["tracer"] == AMYLOID]
    return auc(np.array([row["composite"] for row in own]), np.array([row["positive"] for row in own]))


def cell(values: np.ndarray, digits: int) -> str:
    """Mean ± standard error over people of values [seeds, people]; SD over seeds in brackets."""
    if np.isnan(values).any() or not values.size:
        return ""
    people = values.mean(0)
    text = f"{people.mean():.{digits}f} ± {people.std(ddof=1) / np.sqrt(len(people)):.{digits}f}"
    return text + (f" ({values.mean(1).std(ddof=1):.{digits}f})" if len(values) > 1 else "")


def number(values: Sequence[float], digits: int) -> str:
    """Mean over seeds; their SD in brackets."""
    if np.isnan(values).any():
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return text + (f" ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else "")


def rows_of(lines: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in lines]
