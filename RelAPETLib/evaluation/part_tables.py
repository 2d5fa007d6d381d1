"""Markdown tables of the further parts of an evaluation: scales, positivity, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .regional_tables import lines, number, with_ends

_POSITIVITY = ("Tracer", "Model", "Region", "Cut-off", "Positive of", "Sensitivity", "Specificity", "AUC")
_UNCERTAINTY = ("Tracer", "Model", "Regions", "Measure", "Value", "95 % interval", "People", "Note")


def scales_table(rows: Sequence[Mapping]) -> str:
    """Each value of a scale is in ``scales.tsv``; here how many there are, and their mean in both images."""
    cells: dict[tuple, list[Mapping]] = {}
    for row in rows:
        cells.setdefault((row["tracer"], row["model"], row["atlas"], row["region"], row["kind"]), []).append(row)
    if not cells:
        return ""
    table = [("Tracer", "Model", "Scale", "Region", "What it is", "PET", "Synthetic, mean", "Measured, mean")]
    for key, own in cells.items():
        means = [_mean([row[side] for row in own]) for side in ("synthetic", "measured")]
        table.append((*key, str(len(own)), *means))
    return _section("Published scales", table)


def positivity_table(rows: Sequence[Mapping]) -> str:
    """Rows of ``positivity.tsv``."""
    if not rows:
        return ""
    table = [_POSITIVITY]
    for row in rows:
        both = f"{row['positive']} of {row['scans']}"
        rates = [with_ends(row, name) for name in ("sensitivity", "specificity", "auc")]
        place = f"{row['region']} ({row['atlas']})"
        table.append((row["tracer"], row["model"], place, f"{row['cutoff']:g}", both, *rates))
    return _section("Positivity: the measured PET decides", table)


def uncertainty_table(rows: Sequence[Mapping]) -> str:
    """Rows of ``uncertainty_summary.tsv``: those over all regions of an atlas, or of its only one."""
    several = {(row["tracer"], row["model"], row["atlas"]) for row in rows if row["region"] == "all"}
    kept = [row for row in rows if row["region"] == "all" or (row["tracer"], row["model"], row["atlas"]) not in several]
    if not kept:
        return ""
    table = [_UNCERTAINTY]
    for row in kept:
        low, high = number(row, "low"), number(row, "high")
        ends = f"{low} to {high}" if low and high else ""
        place = f"{row['region']} ({row['atlas']})"
        value = number(row, "value")
        table.append((row["tracer"], row["model"], place, row["what"], value, ends, str(row["people"]), row["note"]))
    return _section("Uncertainty that the model states", table)


def _section(title: str, table: Sequence[Sequence[str]]) -> str:
    return "\n".join(["", f"## {title}", "", *lines(table), ""])


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if value == value]
    return f"{sum(known) / len(known):.1f}" if known else ""
