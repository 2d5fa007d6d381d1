"""Figures of many volumes together: mean and SD, as lines of a table, nested, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from ..tracers import paper_order
from .figures import METRICS, Row


def tracer_order(tracers: Iterable[str]) -> list[str]:
    """Tracers in the order of the paper's tables, then those that are not known, by name."""
    found = set(tracers)
    known = [tracer for tracer in paper_order() if tracer in found]
    return known + sorted(found - set(known))


def summarize(rows: Sequence[Row], methods: Sequence[str], metrics: Iterable[str] = METRICS) -> list[dict]:
    """Mean and SD (n - 1) by method, tracer and region; seconds, where known, without each method's first (warm-up)."""
    summary = []
    for method in methods:
        own = [row for row in rows if row.method == method]
        regions = list(dict.fromkeys(row.region for row in own))
        seconds = [row.seconds for row in own if row.region == regions[0] and np.isfinite(row.seconds)]
        seconds = seconds[1:] or seconds
        for tracer in tracer_order(row.tracer for row in own):
            for region in regions:
                kept = [row for row in own if row.tracer == tracer and row.region == region]
                if not kept:
                    continue
                line = {"method": method, "tracer": tracer, "region": region, "volumes": len(kept)}
                for metric in metrics:
                    values = np.array([getattr(row, metric) for row in kept])
                    values = values[np.isfinite(values)]
                    line[f"{metric}_mean"] = float(values.mean()) if values.size else None
                    line[f"{metric}_sd"] = float(values.std(ddof=1)) if values.size > 1 else None
                summary.append({**line, "seconds_per_volume": float(np.mean(seconds)) if seconds else None})
    return summary


def by_method(summary: list[dict]) -> dict:
    """``{method: {tracer: {region: figures}}}``, rounded, for a bundle's metadata."""
    nested: dict = {}
    for line in summary:
        figures = {k: v for k, v in line.items() if k not in ("method", "tracer", "region")}
        figures = {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}
        nested.setdefault(line["method"], {}).setdefault(line["tracer"], {})[line["region"]] = figures
    return nested


def as_csv(rows: list[dict]) -> bytes:
    """Rows of equal keys as CSV in UTF-8, numbers to six places; None and NaN are empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {k: "" if v is None or v != v else round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
        writer.writerow(values)
    return stream.getvalue().encode()
