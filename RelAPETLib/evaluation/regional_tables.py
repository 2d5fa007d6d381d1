"""Markdown tables of regions: agreement, means of measured PET by group, test-retest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .summary import tracer_order

#: Stands for the reference region of the evaluation itself.
AS_EVALUATED = "as evaluated"
_AGREEMENT = (
    "Region", "People", "Measured", "Synthetic", "MAE", "Bias", "Limits of agreement", "ICC(A,1)", "CCC", "Slope",
)  # fmt: skip
_RETEST = (
    "Tracer", "Model", "Region", "PET", "People", "Mean", "SD within", "Repeatability", "Variability, %", "ICC(A,1)",
)  # fmt: skip


def agreement_tables(rows: Sequence[dict]) -> str:
    """Agreement of each model in each region, everybody; then how it changes with the reference region."""
    everybody = [row for row in rows if row["covariate"] == "all" and row["what"] == "suvr"]
    parts = [
        "",
        "Regional SUVR, everybody. Intervals: 95 %, bootstrap over people; mean ± SD over volumes. Groups of people "
        "and asymmetry indices stand in agreement.tsv.",
    ]
    cells = {(r["tracer"], r["model"], r["atlas"], r["region"], r["reference"]): r for r in everybody}
    references = list(dict.fromkeys(row["reference"] for row in everybody))
    for tracer, model, atlas in _keys(everybody):
        own = [r for r in everybody if (r["tracer"], r["model"], r["atlas"]) == (tracer, model, atlas)]
        regions = list(dict.fromkeys(row["region"] for row in own))
        main = [cells[tracer, model, atlas, region, AS_EVALUATED] for region in regions]
        parts += [
            "",
            f"## {tracer}, {model}, regions '{atlas}'",
            "",
            *lines([_AGREEMENT, *map(_agreement_line, main)]),
        ]
        others = [r for r in references[1:] if (tracer, model, atlas, regions[0], r) in cells]
        if others:
            names = [AS_EVALUATED, *(f"over {reference}" for reference in others)]
            header = ["Region", *(f"{figure} {name}" for name in names for figure in ("Bias", "ICC(A,1)"))]
            body = [
                [
                    region,
                    *(
                        number(cells[tracer, model, atlas, region, reference], figure)
                        for reference in (AS_EVALUATED, *others)
                        for figure in ("bias", "icc")
                    ),
                ]
                for region in regions
            ]
            parts += ["", "Sensitivity to the reference region, both PET divided by their own mean in it:", ""]
            parts += lines([header, *body])
    parts += _notes(everybody)
    return "\n".join([*parts, ""])


def _agreement_line(row: dict) -> list[str]:
    limits = f"{number(row, 'loa_low')} to {number(row, 'loa_high')}" if number(row, "loa_low") else ""
    return [
        row["region"],
        str(row["people"]),
        _pm(row, "measured"),
        _pm(row, "synthetic"),
        with_ends(row, "mae"),
        with_ends(row, "bias"),
        limits,
        *(with_ends(row, name) for name in ("icc", "ccc", "slope")),
    ]


def measured_tables(rows: Sequence[dict]) -> str:
    """Mean and SD of measured SUVR by region and group of people."""
    parts = []
    main = [row for row in rows if row["what"] == "suvr"]
    for tracer, atlas, reference in dict.fromkeys((r["tracer"], r["atlas"], r["reference"]) for r in main):
        own = [r for r in main if (r["tracer"], r["atlas"], r["reference"]) == (tracer, atlas, reference)]
        groups = list(dict.fromkeys((row["covariate"], row["group"]) for row in own))
        cells = {(row["region"], row["covariate"], row["group"]): row for row in own}
        header = ["Region", *(_group_title(*group, own) for group in groups)]
        regions = dict.fromkeys(row["region"] for row in own)
        body = [[region, *(_pm(cells.get((region, *group), {}), "measured") for group in groups)] for region in regions]
        title = f"{tracer}, regions '{atlas}', SUVR" + ("" if reference == AS_EVALUATED else f" over {reference}")
        parts += ["", f"## {title}: mean ± SD over volumes", "", *lines([header, *body])]
    return "\n".join([*parts, *_notes(main), ""])


def retest_table(rows: Sequence[dict]) -> str:
    """Test-retest of measured and synthetic PET; empty where nobody had two sessions."""
    if not rows:
        return ""
    names = ("mean", "within_sd", "repeatability", "variability_percent", "icc")
    body = [
        [row["tracer"], row["model"], row["region"], row["pet"], str(row["people"]), *(number(row, n) for n in names)]
        for row in rows
    ]
    return "\n".join(["", "## Test-retest over sessions, SUVR", "", *lines([_RETEST, *body]), ""])


def _keys(rows: Sequence[dict]) -> list[tuple[str, str, str]]:
    keys = dict.fromkeys((row["tracer"], row["model"], row["atlas"]) for row in rows)
    order = tracer_order(key[0] for key in keys)
    return sorted(keys, key=lambda key: order.index(key[0]))


def _group_title(covariate: str, group: str, rows: Iterable[dict]) -> str:
    people = max(row["people"] for row in rows if (row["covariate"], row["group"]) == (covariate, group))
    return f"{'all' if covariate == 'all' else f'{covariate} {group}'} (n = {people})"


def _notes(rows: Sequence[dict]) -> list[str]:
    notes = dict.fromkeys(f"{row['tracer']} {row['model']}: {row['note']}" for row in rows if row.get("note"))
    return ["", *(f"- {note}" for note in notes)] if notes else []


def number(row: Mapping, name: str) -> str:
    """A number of a row in three places; empty for none."""
    value = row.get(name)
    return "" if value is None or value != value else f"{value:.3f}"


def _pm(row: dict, pet: str) -> str:
    mean, sd = number(row, f"mean_{pet}"), number(row, f"sd_{pet}")
    return f"{mean} ± {sd}" if mean and sd else mean


def with_ends(row: Mapping, name: str) -> str:
    """A number of a row with its interval, if it has one."""
    value, low, high = (number(row, key) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})" if value and low else value


def lines(table: Sequence[Sequence[str]]) -> list[str]:
    """A table, its head first, as lines of Markdown."""
    rows = [table[0], ["---"] * len(table[0]), *table[1:]]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
