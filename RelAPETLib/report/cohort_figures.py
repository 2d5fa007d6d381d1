"""Figures of a cohort, as PNG: distributions, Bland-Altman plots, and pictures of single results.

Colours are Okabe and Ito's, which people with any colour vision can tell apart.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RelAPETError
from ..tracers import TRACERS
from .cohort_tables import Agreement
from .pictures import own_window, prepare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#555555"
METRICS = {"psnr": "PSNR, dB", "ssim": "SSIM", "mae": "MAE", "nrmse": "NRMSE"}
_MAX_REGIONS = 40


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RelAPETError(
            "a cohort's report needs matplotlib; install it with: pip install 'relapet[report]'"
        ) from error
    return Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": "RelAPET"})
    return stream.getvalue()


def _jitter(n: int) -> np.ndarray:
    """Places beside one another for n points: always the same, within 0.15."""
    return 0.3 * ((np.arange(n) * 0.618034) % 1 - 0.5)


def distributions(values: Mapping[str, Sequence[float]]) -> bytes:
    """A box and all points of each metric that has values."""
    shown = {name: np.array(numbers, float) for name, numbers in values.items() if len(numbers)}
    figure = _figure(2.4 * max(len(shown), 1), 3.0)
    for place, (name, numbers) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), place)
        if numbers.size > 1:
            axes.boxplot(numbers, widths=0.5, showfliers=False, medianprops={"color": ORANGE, "linewidth": 2})
        axes.plot(1 + _jitter(numbers.size), numbers, "o", color=BLUE, markersize=4, alpha=0.6)
        axes.set_xlim(0.5, 1.5)
        axes.set_xticks([])
        axes.set_title(f"{METRICS.get(name, name)} (n = {numbers.size})", fontsize=9)
        axes.tick_params(labelsize=8)
    return _png(figure)


def regional(rows: Mapping[str, tuple[Sequence[float], Sequence[float]]], units: str) -> bytes:
    """Points of each region side by side: synthetic and, where there are any, measured values."""
    names = list(rows)[:_MAX_REGIONS]
    figure = _figure(9.5, max(2.5, 0.34 * len(names) + 1.0))
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        for numbers, colour, mark, shift in zip(rows[name], (BLUE, ORANGE), "os", (-0.16, 0.16), strict=True):
            numbers = np.array(numbers, float)
            axes.plot(numbers, place + shift + 0.4 * _jitter(numbers.size), mark, color=colour, markersize=3, alpha=0.5)
            if numbers.size > 1:  # behind the points, which it would hide where they are alike
                middle = [np.median(numbers)], [place + shift]
                axes.plot(*middle, "|", color="black", markersize=13, markeredgewidth=1.5, zorder=1)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(units, fontsize=9, parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    axes.plot([], [], "o", color=BLUE, label="synthetic (a model's guess)")
    axes.plot([], [], "s", color=ORANGE, label="measured")
    axes.plot([], [], "|", color="black", label="median", markersize=11)
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    return _png(figure)


def bland_altman(figures: Sequence[Agreement], units: str) -> bytes:
    """A plot a region: synthetic minus measured against the mean of both, bias and limits of agreement."""
    shown = [one for one in figures if one.differences.size][:_MAX_REGIONS]
    across = min(4, len(shown))
    down = math.ceil(len(shown) / across)
    figure = _figure(2.6 * across, 2.2 * down + 0.4)
    reach = max(float(np.abs(one.differences).max()) for one in shown)
    reach = 1.15 * max([reach, *(abs(limit) for one in shown for limit in one.limits or ())]) or 1.0
    for place, one in enumerate(shown, 1):
        axes = figure.add_subplot(down, across, place)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.plot(one.means, one.differences, "o", color=BLUE, markersize=4, alpha=0.6)
        axes.axhline(one.bias, color=ORANGE, linewidth=1.6)
        for limit in one.limits or ():
            axes.axhline(limit, color=ORANGE, linewidth=1.2, linestyle="--")
        axes.set_ylim(-reach, reach)
        axes.set_title(fill(f"{one.region} (n = {one.differences.size})", 38), fontsize=8, parse_math=False)
        axes.tick_params(labelsize=7)
    figure.supxlabel(f"mean of synthetic and measured, {units}", fontsize=9, parse_math=False)
    figure.supylabel(f"synthetic minus measured, {units}", fontsize=9, parse_math=False)
    return _png(figure)


def result_pictures(volumes: Mapping[str, Path], title: str, tracer: str, suvr: bool) -> bytes:
    """Three planes of one result's maps, the synthetic ones marked.

    Args:
        volumes: files of ``pet`` and of ``reference``, ``difference``, ``uncertainty`` those that there are, on one
            grid. A measured PET that is not there is the synthetic one minus the difference, where both are SUVR.
        title: above the pictures.
        tracer: whose window for contrast is used.
        suvr: the values are SUVR.

    Raises:
        InputError: a volume cannot be read, or they are not on one grid.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ..volumes import read_volume
    from .still import columns_of_maps, compose

    shown = prepare({name: read_volume(path) for name, path in volumes.items()})
    arrays = shown.arrays
    if "reference" not in arrays and "difference" in arrays and suvr:
        # A difference of exactly 0 is where the measured PET shows no brain (`comparison.compare`).
        there = shown.brain & (arrays["difference"] != 0)
        arrays["reference"] = np.where(there, arrays["pet"] - arrays["difference"], 0)
    known = TRACERS[tracer].contrast_window if suvr and tracer in TRACERS else None
    window, units = known or own_window(arrays["pet"]), "SUVR" if suvr else "relative"
    columns = columns_of_maps(arrays, window, units)
    stream = io.BytesIO()
    FigureCanvasAgg(compose(columns, shown, title, [], dpi=75)).print_png(stream, metadata={"Software": "RelAPET"})
    return stream.getvalue()
