"""The paper's Figure 4: synthetic against measured regional SUVR by region and model, and SSIM inside regions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from ..comparison import ssim_map, window_to_unit
from ..errors import InputError, RelAPETError
from ..tracers import TRACERS
from .tsv import KEYS, number, pairs_by

SSIM_COLUMNS = (*KEYS, "atlas", "region", "ssim")
#: Most regions and models that a page shows; more would be too small to read.
MOST_REGIONS, MOST_MODELS = 12, 10


def regional_ssim_rows(
    keys: Mapping[str, str],
    atlas: str,
    synthetic: np.ndarray,
    measured: np.ndarray,
    masks: Mapping[str, np.ndarray],
) -> list[dict]:
    """Rows of ``regional_ssim.tsv`` (`SSIM_COLUMNS`): mean of the 3-D SSIM map (`comparison.ssim_map`) in each region.

    Windows at a region's edge see beyond it, as in the paper's masked SSIM.

    Args:
        keys: ``participant_id``, ``session``, ``tracer`` and ``model``.
        atlas: name of the regions.
        synthetic, measured: SUVR [X, Y, Z]; mapped to [0, 1] by the tracer's window.
        masks: bool, the same shape, by region; an empty one has no value (NaN).
    """
    window = TRACERS[keys["tracer"]].suvr_window
    similar = ssim_map(*(window_to_unit(volume, window) for volume in (synthetic, measured)))
    fixed = {name: keys[name] for name in KEYS} | {"atlas": atlas}
    return [
        fixed | {"region": region, "ssim": float(similar[mask].mean(dtype=np.float64)) if mask.any() else math.nan}
        for region, mask in masks.items()
    ]


def can_draw(regions: Iterable[Mapping]) -> bool:
    """Whether rows of one tracer and atlas have a pair and fit a page."""
    groups = pairs_by(regions, ("model", "region"))
    models, names = ({key[place] for key in groups} for place in (0, 1))
    return bool(groups) and len(names) <= MOST_REGIONS and len(models) <= MOST_MODELS


def draw_regions(
    regions: Iterable[Mapping],
    tracer: str,
    path: Path,
    ssim: Sequence[Mapping] = (),
    *,
    unit: str = "SUVR",
) -> None:
    """Write the figure of one tracer and atlas as a PNG.

    Args:
        regions: rows of ``regions.tsv``, or of a scale (`scales.scale_rows`); those without a measured value and those
            of other tracers do not count.
        tracer: whose.
        path: the PNG.
        ssim: rows of `regional_ssim_rows`; with any, part (b) stands below.
        unit: of the values.

    Raises:
        InputError: no pair of this tracer, several atlases, or more regions or models than a page holds.
        RelAPETError: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RelAPETError("the figure needs matplotlib; install it with: pip install 'relapet[report]'") from error
    groups = pairs_by((row for row in regions if row["tracer"] == tracer), ("model", "region"))
    models, names = (list(dict.fromkeys(key[place] for key in groups)) for place in (0, 1))
    _check(groups, tracer, models, names)
    ssim = [row for row in ssim if row["tracer"] == tracer and math.isfinite(number(row["ssim"]))]
    width, height = 1.0 + 1.7 * len(names), 0.9 + 1.75 * len(models)
    figure = Figure(figsize=(max(width, 6), height + (2.8 if ssim else 0)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subfigures(2, 1, height_ratios=(height, 2.8)) if ssim else (figure, None)
    axes = upper.subplots(len(models), len(names), squeeze=False)
    for column, region in enumerate(names):
        reach = _reach([row for model in models for row in groups.get((model, region), ())])
        for line, model in enumerate(models):
            _scatter(axes[line, column], groups.get((model, region), ()), reach)
        axes[0, column].set_title(fill(region.replace("_", " "), 22), fontsize=7, pad=9, parse_math=False)
    for line, model in enumerate(models):
        axes[line, 0].set_ylabel(f"{model}\nsynthetic", fontsize=7, parse_math=False)
    people = len({row["participant_id"] for own in groups.values() for row in own})
    upper.suptitle(
        f"{tracer}, regional {unit}: synthetic PET (a model's guess) against measured, {people} people", fontsize=9
    )
    upper.supxlabel(f"measured {unit}", fontsize=8)
    if ssim:
        _bars(lower, ssim, models, names)
    figure.savefig(path, format="png")


def _check(groups: Mapping, tracer: str, models: Sequence[str], names: Sequence[str]) -> None:
    if not groups:
        raise InputError(f"no pair of synthetic and measured values of {tracer}; there is nothing to draw")
    atlases = sorted({row["atlas"] for own in groups.values() for row in own})
    if len(atlases) > 1:
        raise InputError(f"one atlas a figure is wanted, not {', '.join(atlases)}")
    if len(names) > MOST_REGIONS or len(models) > MOST_MODELS:
        raise InputError(
            f"{len(names)} regions of {len(models)} models are more than a page shows; choose up to {MOST_REGIONS} "
            f"and {MOST_MODELS}"
        )


def _reach(rows: Sequence[Mapping]) -> tuple[float, float]:
    values = [number(row[side]) for row in rows for side in ("synthetic", "measured")]
    margin = 0.06 * (max(values) - min(values)) or 0.1
    return min(values) - margin, max(values) + margin


def _scatter(axes, rows: Sequence[Mapping], reach: tuple[float, float]) -> None:
    """One panel: a dot a scan, the line of identity, MAE and RMSE."""
    axes.plot(reach, reach, "-", color="0.6", linewidth=0.8, zorder=0)
    axes.set(xlim=reach, ylim=reach, aspect="equal")
    axes.tick_params(labelsize=6)
    axes.locator_params(nbins=4)
    axes.set_yticks(axes.get_xticks(), minor=False)
    axes.set(xlim=reach, ylim=reach)
    if not rows:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", fontsize=6)
        return
    measured, synthetic = (np.array([number(row[side]) for row in rows]) for side in ("measured", "synthetic"))
    error = synthetic - measured
    axes.plot(measured, synthetic, "o", markersize=2.5, alpha=0.6, color="C0", markeredgewidth=0)
    words = f"MAE {np.abs(error).mean():.3f}  RMSE {math.sqrt((error**2).mean()):.3f}  n {len(rows)}"
    # Above the panel, not in it, where it would hide scans that lie far above the line of identity.
    axes.annotate(words, (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", fontsize=5)


def _bars(figure, rows: Sequence[Mapping], models: Sequence[str], names: Sequence[str]) -> None:
    """SSIM by region, a bar a model with its SD over scans."""
    axes = figure.subplots()
    width = 0.8 / len(models)
    for number_, model in enumerate(models):
        own = [[float(r["ssim"]) for r in rows if (r["model"], r["region"]) == (model, name)] for name in names]
        means = [np.mean(values) if values else math.nan for values in own]
        spread = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in own]
        places = np.arange(len(names)) + (number_ - (len(models) - 1) / 2) * width
        axes.bar(places, means, width, yerr=spread, label=model, error_kw={"linewidth": 0.7})
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=6, parse_math=False)
    axes.set_ylabel("SSIM (mean, SD over scans)", fontsize=7)
    axes.tick_params(axis="y", labelsize=6)
    legend = axes.legend(fontsize=6, ncols=min(len(models), 5), loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
