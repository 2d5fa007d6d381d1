"""The bench's tables: errors by person, seeds together, differences by paired tests with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from RelAPETLib.evaluation.scores import auc
from RelAPETLib.tracers import TRACERS, paper_order

from ..methods import LEFT_OUT
from . import published
from .settings import BARE, GIVEN_IMAGE_LOSS, MOST_CALLS, SETTINGS, Setting

#: Figures of the first tables, those of RelA-Diffusion's Table I, with their digits.
IMAGES = {"psnr": ("PSNR ↑", 2), "ssim": ("SSIM ↑", 3), "mae": ("MAE ↓", 4)}
LEVEL = 0.05
#: The control that every method is compared with.
CONTROL = "ridge_head"
#: The tracer that amyloid status is read from.
AMYLOID = next(name for name, facts in TRACERS.items() if facts.target == "amyloid")
#: Logits of measured less those of synthetic PET below which a discriminator is said to be at chance.
LEAST_GAP = 0.1
GAPS = (
    "D(real) - D(fake): what the discriminator says of measured PET less what of synthetic, mean over the last half of",
    f"the training; at chance below {LEAST_GAP}, empty without a discriminator and in figures that were kept before.",
)
#: Figures [seeds][scans] by name, with those of the controls.
Seeds = Mapping[str, list[list[dict]]]


def tables(controls: Mapping[str, list[dict]], runs: Sequence[dict], full: Sequence[dict]) -> list[str]:
    """Lines of Markdown about all methods.

    Args:
        controls: figures of test scans by control (`controls.control_rows`).
        runs: contents of ``figures.json``.
        full: contents of ``full.json``.
    """
    seeds = seeds_of(controls, runs, SETTINGS)
    parts = ["## Images", "", *image_tables(seeds, published.METHODS, CONTROL, published.LEFT_OUT)]
    parts += [*(f"{name} is left out: {why}." for name, why in LEFT_OUT.items()), ""]
    parts += ["## Regions and distributions", "", *region_table(seeds), ""]
    if full:
        parts += ["## In full", "", *full_lines(full, runs), ""]
    return [*parts, "## Costs", "", *cost_table(runs, SETTINGS), "", *GAPS, ""]


def ablation_tables(
    controls: Mapping[str, list[dict]], runs: Sequence[dict], settings: Mapping[str, Setting], whole: str
) -> list[str]:
    """Lines of Markdown about RelA-Diffusion and its ablations with one objective; `whole` is the full method."""
    seeds = seeds_of(controls, runs, settings)
    told = {name: published.ABLATIONS["none" if name == whole else name.split("-")[0]] for name in settings}
    lines = ["### Images", ""]
    lines += image_tables(seeds, told, whole) if whole in seeds else [f"{whole} is not done yet.", ""]
    costs = [*cost_table(runs, settings), "", *GAPS, ""]
    return [*lines, "### Regions and distributions", "", *region_table(seeds), "", *costs]


def seeds_of(controls: Mapping[str, list[dict]], runs: Sequence[dict], names) -> dict[str, list[list[dict]]]:
    """Figures of all runs that did not diverge by name, seed after seed, behind those of the controls."""
    seeds = {name: [rows] for name, rows in controls.items()}
    for name in names:
        own = [run["rows"] for run in runs if run["name"] == name and not run["diverged"]]
        seeds |= {name: own} if own else {}
    return seeds


def image_tables(
    seeds: Seeds,
    told: Mapping[str, published.Figures],
    base: str,
    left_out: Mapping[str, published.Figures] = MappingProxyType({}),
) -> list[str]:
    """A table a tracer: PSNR, SSIM and MAE of the samples' mean, beside the paper's of other data, and `explained`.

    Mean ± standard error over people; SD over seeds in brackets.

    Args:
        seeds: by name.
        told: what the paper reports, by name.
        base: whom the others' PSNR is compared with.
        left_out: what the paper reports of methods that are none of ours; a row each, without figures of ours.
    """
    lines, blank = [], [""] * len(IMAGES)
    for number, tracer in enumerate(paper_order()):
        marks = significant(seeds, tracer, base)
        head = ["method", *(title for title, _ in IMAGES.values()), "explained ↑", f"Sig. against {base}"]
        head += [f"paper's {title[:-2]} (other data)" for title, _ in IMAGES.values()]
        rows = [head, ["---"] * len(head)]
        for name, runs in seeds.items():
            line = [name, *(cell(by_person(runs, tracer, key), digits) for key, (_, digits) in IMAGES.items())]
            line += [explained(runs, seeds[MEAN], tracer), marks.get(name, "")]
            figures = told[name][number] if name in told else None
            line += [f"{value:.3f}" for value in figures] if figures else blank
            rows.append(line)
        for name, figures in left_out.items():
            rows.append([f"{name} (left out)", *blank, "", "", *(f"{value:.3f}" for value in figures[number])])
        lines += [f"{tracer}:", "", *rows_of(rows), "", unranked(seeds, tracer), ""]
    return lines


def unranked(seeds: Seeds, tracer: str) -> str:
    """A line that says which methods no ranking by PSNR can tell from the best one, and which there is none of.

    The seeds' spread is one for all: the root mean square of the methods' SD over seeds.
    """
    own = {name: by_person(runs, tracer, "psnr").mean(1) for name, runs in seeds.items() if name not in FIXED}
    if not own:
        return "No method is done yet."
    variances = [values.var(ddof=1) for values in own.values() if len(values) > 1]
    if not variances:
        return "One seed each: the spread over seeds is not known, so the order of methods here is no ranking."
    sd = float(np.sqrt(np.mean(variances)))
    best = max(own, key=lambda name: own[name].mean())
    near = [name for name in own if name != best and own[best].mean() - own[name].mean() <= sd]
    words = f"within it of the best, {best}, and so not ranked: {', '.join(near) or 'none'}"
    alone = [name for name, values in own.items() if len(values) < 2]
    more = f"; of one seed alone, and so not ranked either: {', '.join(alone)}" if alone else ""
    return f"The seeds' spread (SD) is {sd:.2f} dB; {words}{more}. Nothing is ranked by less than that."


def explained(runs: list[list[dict]], mean: list[list[dict]], tracer: str) -> str:
    """1 - the squared error of all people together / that of the population mean; seeds averaged; ± by jackknife.

    A mean of decibels favours what is right for most people: the median of a tracer that is high in few. This does not.
    """
    error, base = ((10 ** (-by_person(rows, tracer, "psnr") / 10)).mean(0) for rows in (runs, mean))
    found = 1 - error.sum() / base.sum()
    if len(error) < 2:
        return f"{found:.2f}"
    without = 1 - (error.sum() - error) / (base.sum() - base)
    spread = (len(error) - 1) ** 0.5 * without.std()
    return f"{found:.2f} ± {spread:.2f}"


#: What every figure of `explained` is measured from.
MEAN = "population mean"
#: Rows that have no seeds.
FIXED = (MEAN, "population median", CONTROL, "ideal")


def full_lines(full: Sequence[dict], runs: Sequence[dict]) -> list[str]:
    """What more network calls change, on the people who were drawn in full: the bench's draws and the paper's."""
    cases = list(dict.fromkeys(row["case"] for run in full for row in run["rows"]))
    said = f"{len(cases)} people drawn with as many network calls and the sampler that the papers have, where those are"
    lines = [f"{said} more than {MOST_CALLS}; the same people as drawn on the bench in brackets.", ""]
    figures = {"one": ("one sample PSNR", 1, 2), "psnr": ("PSNR", 1, 2), "crps": ("CRPS x 1000", 1e3, 1),
               "distance": ("distance to the ideal x 1000", 1e3, 1)}  # fmt: skip
    titles = [title for title, _, _ in figures.values()]
    head = ["method", "seed", "calls", "sampler", "tracer", *titles, "CPU s a draw"]
    rows = [head, ["---"] * len(head)]
    for run in full:
        short = next(
            (other for other in runs if all(other[key] == run[key] for key in ("name", "seed", "minutes"))), None
        )
        for tracer in paper_order():
            ours = [row for row in run["rows"] if row["tracer"] == tracer]
            theirs = [row for row in (short or run)["rows"] if row["tracer"] == tracer and row["case"] in cases]
            if not ours:
                continue
            line = [run["name"], str(run["seed"]), str(run["calls"]), run["sampler"] or "as on the bench", tracer]
            for key, (_, scale, digits) in figures.items():
                both = [scale * np.mean([row[key] for row in rows]) for rows in (ours, theirs)]
                line.append(f"{both[0]:.{digits}f} ({both[1]:.{digits}f})")
            rows.append([*line, f"{run['seconds']:.1f}"])
    return [*lines, *rows_of(rows)]


def image_loss_table(controls: Mapping[str, list[dict]], runs: Sequence[dict]) -> list[str]:
    """Lines of Markdown about methods with and without the image loss that their papers lack, seeds of both alone."""
    figures = {"psnr": ("PSNR", 1, 2), "one": ("one sample PSNR", 1, 2), "crps": ("CRPS x 1000", 1e3, 1),
               "distance": ("distance to the ideal x 1000", 1e3, 1)}  # fmt: skip
    titles = [title for title, _, _ in figures.values()]
    head = ["method", "seeds", "tracer", "image loss", *titles, "explained ↑", "change of PSNR by person"]
    rows = [head, ["---"] * len(head)]
    for name in GIVEN_IMAGE_LOSS:
        done = [
            {run["seed"]: run["rows"] for run in runs if run["name"] == each and not run["diverged"]}
            for each in (name, name + BARE)
        ]
        both = sorted(done[0].keys() & done[1].keys())
        sides = [[side[seed] for seed in both] for side in done]
        for tracer in paper_order() if both else ():
            change = np.subtract(*(by_person(side, tracer, "psnr") for side in reversed(sides)))
            for side, words, last in zip(sides, ("with", "without"), ("", cell(change, 2)), strict=True):
                line = [name, ", ".join(map(str, both)), tracer, words]
                line += [
                    cell(scale * by_person(side, tracer, key), digits) for key, (_, scale, digits) in figures.items()
                ]
                rows.append([*line, explained(side, [controls[MEAN]], tracer), last])
    if len(rows) == 2:
        return []
    said = (
        "The mean absolute error of the (clean) image is given to all methods. Here are those whose papers have none,"
    )
    return ["## Without the image loss", "", f"{said} with it and without.", "", *rows_of(rows), ""]


def region_table(seeds: Seeds) -> list[str]:
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
            control = by_person(seeds[CONTROL], tracer, "distance").sum()
            line.append(number([1 - values.sum() / control for values in by_person(runs, tracer, "distance")], 2))
            line.append(number([spread(rows, tracer) for rows in runs], 2))
            line.append(number([amyloid(rows) for rows in runs], 2) if tracer == AMYLOID else "")
            lines.append(line)
    return rows_of(lines)


def cost_table(runs: Sequence[dict], settings: Mapping[str, Setting]) -> list[str]:
    """What training and drawing cost."""
    head = [
        "method",
        "seeds",
        "steps (of them before)",
        "parameters",
        "calls",
        "CPU s a draw",
        "training, CPU min",
        "peak MB",
        "diverged",
        "D(real) - D(fake)",
    ]
    lines = [head, ["---"] * len(head)]
    for name, setting in settings.items():
        own = [run for run in runs if run["name"] == name]
        if not own:
            continue
        whole = [run for run in own if not run["diverged"]]
        seconds = f"{np.mean([run['seconds'] for run in whole]):.3f}" if whole else ""
        parameters = f"{whole[0]['parameters']:,}" if whole else ""
        minutes = np.mean([run["cost"]["cpu_s"] for run in own]) / 60
        peak = max(run["cost"]["peak_mb"] for run in own)
        before = [f"{key} {number}" for key, number in own[0].get("stages", {}).items()]
        steps = str(own[0]["steps"]) + (f" ({', '.join(before)})" if before else "")
        lines.append([
            name, ", ".join(str(run["seed"]) for run in own), steps, parameters, str(setting.calls),
            seconds, f"{minutes:.1f}", f"{peak:.0f}", str(len(own) - len(whole)),
            gap_cell(own),
        ])  # fmt: skip
    return rows_of(lines)


def gap_cell(runs: Sequence[dict]) -> str:
    """What the discriminators of a method's runs told apart; empty without one, or where it was not kept."""
    gaps = [run["gap"] for run in runs if run.get("gap") is not None]
    if not gaps:
        return ""
    text = number(gaps, 2)
    return f"{text}, at chance" if abs(np.mean(gaps)) < LEAST_GAP else text


def by_person(runs: list[list[dict]], tracer: str, key: str) -> np.ndarray:
    """A figure [seeds, people] of a tracer's scans."""
    return np.array([[row[key] for row in rows if row["tracer"] == tracer] for rows in runs], float)


def significant(seeds: Seeds, tracer: str, base: str = CONTROL) -> dict[str, str]:
    """Marks by method: ``+`` or ``-`` where its PSNR differs from that of `base`, people paired.

    Two-sided paired t-tests of people's means over seeds, with Holm's correction over all methods; a difference within
    the seeds' own SD is none, but its test counts among those that are corrected for.
    """
    from scipy.stats import ttest_rel

    control = by_person(seeds[base], tracer, "psnr").mean(0)
    found, chances = {}, {}
    for name, runs in seeds.items():
        if name == base or name in FIXED:
            continue
        values = by_person(runs, tracer, "psnr")
        if values.shape[1] < 2:  # one person proves nothing
            continue
        gaps = values.mean(0) - control
        # Without a scatter over people there is nothing to test a gap by.
        chances[name] = float(ttest_rel(values.mean(0), control).pvalue) if np.ptp(gaps) > 0 else 1.0
        if len(runs) == 1 or abs(gaps.mean()) > values.mean(1).std(ddof=1):
            found[name] = "+" if gaps.mean() > 0 else "-"
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
    error = f"± {people.std(ddof=1) / np.sqrt(len(people)):.{digits}f}" if len(people) > 1 else "of one person"
    text = f"{people.mean():.{digits}f} {error}"
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
