"""Markdown tables of regions: agreement, means of measured PET by group, test-retest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .summary import tracer_order

_MAIN = ("suvr", "as evaluated")
_AGREEMENT = (
    "Region", "People", "Measured", "Synthetic", "MAE", "Bias", "Limits of agreement", "ICC(A,1)", "CCC", "Slope",
)  # fmt: skip
_RETEST = (
    "Tracer", "Model", "Region", "PET", "People", "Mean", "SD within", "Repeatability", "Variability, %", "ICC(A,1)",
)  # fmt: skip


def agreement_tables(rows: Sequence[dict]) -> str:
    """Agreement of each model in each region, everybody; other reference regions and sides after it."""
    parts = []
    everybody = [row for row in rows if row["covariate"] == "all"]
    for tracer, model, atlas, what, reference in _keys(everybody):
        own = [
            row
            for row in everybody
            if (row["tracer"], row["model"], row["atlas"], row["what"], row["reference"])
            == (tracer, model, atlas, what, reference)
        ]
        title = f"{tracer}, {model}, regions '{atlas}'"
        title += ", asymmetry index (%)" if what == "asymmetry" else ", SUVR"
        title += "" if reference == _MAIN[1] else f", both divided by their own mean in {reference}"
        lines = [
            [
                row["region"],
                str(row["people"]),
                _pm(row, "measured"),
                _pm(row, "synthetic"),
                _with_ends(row, "mae"),
                _with_ends(row, "bias"),
                f"{_number(row, 'loa_low')} to {_number(row, 'loa_high')}" if _number(row, "loa_low") else "",
                _with_ends(row, "icc"),
                _with_ends(row, "ccc"),
                _with_ends(row, "slope"),
            ]
            for row in own
        ]
        parts += ["", f"## {title}", "", *_lines([_AGREEMENT, *lines])]
    parts += _notes(everybody)
    return "\n".join(["", "Intervals: 95 %, bootstrap over people; mean ± SD over volumes.", *parts, ""])


def measured_tables(rows: Sequence[dict]) -> str:
    """Mean and SD of measured SUVR by region and group of people."""
    parts = []
    main = [row for row in rows if row["what"] == "suvr"]
    for tracer, _, atlas, _, reference in _keys(main):
        own = [r for r in main if (r["tracer"], r["atlas"], r["reference"]) == (tracer, atlas, reference)]
        groups = list(dict.fromkeys((row["covariate"], row["group"]) for row in own))
        cells = {(row["region"], row["covariate"], row["group"]): row for row in own}
        header = ["Region", *(_group_title(*group, own) for group in groups)]
        regions = dict.fromkeys(row["region"] for row in own)
        lines = [
            [region, *(_pm(cells.get((region, *group), {}), "measured") for group in groups)] for region in regions
        ]
        title = f"{tracer}, regions '{atlas}', SUVR" + ("" if reference == _MAIN[1] else f" over {reference}")
        parts += ["", f"## {title}: mean ± SD over volumes", "", *_lines([header, *lines])]
    return "\n".join([*parts, *_notes(main), ""])


def retest_table(rows: Sequence[dict]) -> str:
    """Test-retest of measured and synthetic PET; empty where nobody had two sessions."""
    if not rows:
        return ""
    names = ("mean", "within_sd", "repeatability", "variability_percent", "icc")
    lines = [
        [row["tracer"], row["model"], row["region"], row["pet"], str(row["people"]), *(_number(row, n) for n in names)]
        for row in rows
    ]
    return "\n".join(["", "## Test-retest over sessions, SUVR", "", *_lines([_RETEST, *lines]), ""])


def _keys(rows: Sequence[dict]) -> list[tuple]:
    keys = dict.fromkeys((r["tracer"], r["model"], r["atlas"], r["what"], r["reference"]) for r in rows)
    order = {tracer: number for number, tracer in enumerate(tracer_order(key[0] for key in keys))}
    return sorted(keys, key=lambda key: (key[3] != "suvr", key[4] != _MAIN[1], order[key[0]]))


def _group_title(covariate: str, group: str, rows: Iterable[dict]) -> str:
    people = max(row["people"] for row in rows if (row["covariate"], row["group"]) == (covariate, group))
    return f"{'all' if covariate == 'all' else f'{covariate} {group}'} (n = {people})"


def _notes(rows: Sequence[dict]) -> list[str]:
    notes = dict.fromkeys(f"{row['tracer']} {row['model']}: {row['note']}" for row in rows if row.get("note"))
    return ["", *(f"- {note}" for note in notes)] if notes else []


def _number(row: dict, name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else f"{value:.3f}"


def _pm(row: dict, pet: str) -> str:
    mean, sd = _number(row, f"mean_{pet}"), _number(row, f"sd_{pet}")
    return f"{mean} ± {sd}" if mean and sd else mean


def _with_ends(row: dict, name: str) -> str:
    value, low, high = (_number(row, key) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})" if value and low else value


def _lines(table: Sequence[Sequence[str]]) -> list[str]:
    rows = [table[0], ["---"] * len(table[0]), *table[1:]]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
