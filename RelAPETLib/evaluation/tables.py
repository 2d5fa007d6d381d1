"""Tables laid out like the paper's I (methods, with significance), III (ablations) and IV (with inference time)."""

from __future__ import annotations

from collections.abc import Sequence

from .figures import METRICS
from .significance import by_person, paired_tests
from .summary import tracer_order

TITLES = {
    "whole_grid": "whole grid, as in the paper",
    "brain": "inside the brain mask",
    "release": "as the published implementation measures",
}
LEVEL = 0.05


#: That of the paper's tables which tells how long a volume takes.
TIMED = "Table IV"
#: Tables of the paper, and what each has beside the figures.
LAYOUTS = {"Table I": "sig", "Table III": "", TIMED: "time"}


def markdown(
    rows: list, summary: list[dict], methods: list[str], notes: list[str], layouts: Sequence[str] = tuple(LAYOUTS)
) -> str:
    """All tables of all regions.

    Args:
        rows: figures of volumes (`figures.Row`).
        summary: of `summary.summarize`.
        methods: in the order of the lines; significance is against the last.
        notes: one line each, above the tables.
        layouts: those of `LAYOUTS` that are wanted.
    """
    tracers = tracer_order(line["tracer"] for line in summary)
    counts = {t: max(line["volumes"] for line in summary if line["tracer"] == t) for t in tracers}
    best = "; best in bold" if len(methods) > 1 else ""
    parts = ["# Synthetic against measured PET", "", *(f"- {note}" for note in notes)]
    parts.append(f"- volumes: {', '.join(f'{t} {n}' for t, n in counts.items())}; mean ± SD over volumes{best}")
    parts.append("- PSNR in dB")
    regions = list(dict.fromkeys(line["region"] for line in summary))
    if "release" in regions:
        parts.append("- release: volumes in [-1, 1], SSIM in 2-D over slices, data range that of the measured volume")
    else:
        parts.append("- SSIM and MAE in 3-D with data range 1")
    for region in regions:
        cells = {(line["method"], line["tracer"]): line for line in summary if line["region"] == region}
        significant = {t: _significant(rows, methods, t, region) for t in tracers}
        for title in layouts:
            extras = LAYOUTS[title]
            parts += ["", f"## Layout of {title}: {TITLES[region]}", ""]
            if extras == "sig" and len(methods) > 1:
                parts += [f"Sig.: * where SSIM differs from {methods[-1]}'s, paired t-test, p < {LEVEL:g}.", ""]
            parts += _table(
                cells, methods, tracers, significant if extras == "sig" and len(methods) > 1 else None, extras == "time"
            )
    return "\n".join(parts) + "\n"


def _table(cells: dict, methods: list[str], tracers: list[str], significant: dict | None, time: bool) -> list[str]:
    header = ["Method"]
    for tracer in tracers:
        header += [f"{tracer}-PET {title}" for title in METRICS.values()]
        header += ["Sig."] if significant is not None else []
    header += ["Inference time, s ↓"] if time else []
    best = {(tracer, metric): _best(cells, methods, tracer, metric) for tracer in tracers for metric in METRICS}
    lines = [header, ["---"] * len(header)]
    for method in methods:
        line = [method]
        for tracer in tracers:
            figures = cells.get((method, tracer))
            for metric in METRICS:
                text = _cell(figures, metric)
                line.append(f"**{text}**" if figures and method in best[tracer, metric] else text)
            if significant is not None:
                line.append("*" if method in significant[tracer] else "")
        if time:
            seconds = [cells[method, t]["seconds_per_volume"] for t in tracers if (method, t) in cells]
            line.append(f"{seconds[0]:.3f}" if seconds and seconds[0] is not None else "")
        lines.append(line)
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(figures: dict | None, metric: str) -> str:
    if figures is None or figures[f"{metric}_mean"] is None:
        return ""
    mean, sd = figures[f"{metric}_mean"], figures[f"{metric}_sd"]
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _best(cells: dict, methods: list[str], tracer: str, metric: str) -> set[str]:
    """Methods whose mean, as printed, is the best; nobody when there is nothing to be better than."""
    means = {m: cells[m, tracer][f"{metric}_mean"] for m in methods if (m, tracer) in cells}
    means = {m: round(value, 3) for m, value in means.items() if value is not None}
    if len(means) < 2:
        return set()
    top = min(means.values()) if metric == "mae" else max(means.values())
    return {method for method, value in means.items() if value == top}


def _significant(rows: list, methods: list[str], tracer: str, region: str) -> set[str]:
    """Methods whose SSIM differs from the last one's over the people that both have (paired t-test)."""

    def scans(method: str) -> dict[str, dict[str, float]]:
        """SSIM of each person's volumes."""
        values: dict[str, dict[str, float]] = {}
        for row in rows:
            if (row.method, row.tracer, row.region) == (method, tracer, region):
                values.setdefault(row.subject, {})[row.case] = row.ssim
        return values

    ours, found = scans(methods[-1]), set()
    for method in methods[:-1]:
        pairs = by_person(ours, scans(method))
        p = paired_tests([first for first, _ in pairs], [second for _, second in pairs]).t_p
        if p is not None and p < LEVEL:
            found.add(method)
    return found
