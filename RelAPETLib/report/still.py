"""`report.png`: the inputs, the synthetic PET over the T1w, and what is known of its error, on one page."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import RelAPETError
from .pictures import (
    BURNED_IN,
    PLANES,
    SD_WINDOW,
    Plane,
    Volumes,
    grey_limits,
    own_window,
    prepare,
    round_limit,
    slice_of,
)

if TYPE_CHECKING:
    import SimpleITK as sitk
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES_PER_MM = 1 / 68.0
_MAX_WARNINGS = 8


@dataclass(frozen=True)
class Column:
    """One column of the report.

    Attributes:
        title: heading.
        array: [X, Y, Z], axes to R, A, S.
        colours: matplotlib colour map.
        limits: values at the ends of the colour map.
        units: label of the colour bar; None draws no bar.
        over: what is drawn below, `array` being transparent and 0 clear; None for nothing.
        synthetic: whether the words "SYNTHETIC, research only" are burned in.
    """

    title: str
    array: np.ndarray
    colours: str
    limits: tuple[float, float]
    units: str | None = None
    over: Column | None = None
    synthetic: bool = False


def _columns(arrays: dict[str, np.ndarray], window: tuple[float, float], units: str, samples: int) -> list[Column]:
    brain = arrays["pet"] != 0
    grey = grey_limits(arrays["t1w"], brain)
    columns = [Column("T1w", arrays["t1w"], "gray", grey)]
    if "t2f" in arrays:
        columns.append(Column("T2-FLAIR", arrays["t2f"], "gray", grey_limits(arrays["t2f"], brain)))
    below = Column("T1w below a PET", arrays["t1w"], "gray", grey)
    mean, spread = ("", "") if samples == 1 else (f" (mean of {samples})", f"Spread of {samples} samples (SD)")
    return columns + columns_of_maps(arrays, window, units, f"Synthetic PET{mean}", spread, below)


def columns_of_maps(
    arrays: dict[str, np.ndarray],
    window: tuple[float, float],
    units: str,
    guess: str = "Synthetic PET",
    spread: str = "Spread of samples",
    below: Column | None = None,
) -> list[Column]:
    """Columns of the synthetic PET and of those of the other maps that there are.

    Args:
        arrays: ``pet`` and perhaps ``reference``, ``difference``, ``uncertainty``, ``departure``, ``reference_z``.
        window, units: of both PET.
        guess, spread: headings of the synthetic PET and of its spread.
        below: what is drawn below both PET.
    """
    columns = [Column(guess, arrays["pet"], "inferno", window, units, over=below, synthetic=True)]
    if "reference" in arrays:
        columns.append(Column("Measured PET", arrays["reference"], "inferno", window, units, over=below))
    if "difference" in arrays:
        limit = round_limit(arrays["difference"], 0.1)
        title = "Synthetic minus measured"
        columns.append(Column(title, arrays["difference"], "RdBu_r", (-limit, limit), units, synthetic=True))
    if "uncertainty" in arrays:
        limit = round_limit(arrays["uncertainty"], 0.05)
        columns.append(Column(spread, arrays["uncertainty"], "viridis", (0.0, limit), units, synthetic=True))
    window = (-SD_WINDOW, SD_WINDOW)
    if "departure" in arrays:
        title = "Departure from training people's"
        columns.append(Column(title, arrays["departure"], "PuOr_r", window, "SD, no disease map", synthetic=True))
    if "reference_z" in arrays:
        columns.append(Column("Measured PET, z-score", arrays["reference_z"], "PuOr_r", window, "SD of the norms"))
    return columns


def draw(axes: Axes, column: Column, plane: Plane, volumes: Volumes, words: str = BURNED_IN, size: float = 7.0):
    """One picture with `words` in `size` points burned in where it is synthetic; returns what a colour bar needs."""
    from matplotlib.patheffects import withStroke

    across, up = (column.array.shape[axis] * volumes.spacing[axis] for axis in (plane.across, plane.up))
    style = {"origin": "lower", "extent": (0, across, 0, up), "aspect": "equal", "interpolation": "nearest"}
    axes.set_facecolor("black")
    picture = slice_of(column.array, plane, volumes.centre)
    if column.over is not None:
        below = column.over
        low, high = below.limits
        axes.imshow(slice_of(below.array, plane, volumes.centre), cmap=below.colours, vmin=low, vmax=high, **style)
        picture = np.ma.masked_equal(picture, 0)
    low, high = column.limits
    drawn = axes.imshow(
        picture, cmap=column.colours, vmin=low, vmax=high, alpha=1.0 if column.over is None else 0.75, **style
    )
    axes.set_xticks([])
    axes.set_yticks([])
    mark = {"transform": axes.transAxes, "va": "top", "fontsize": size + 2, "weight": "bold", "color": "white"}
    outline = [withStroke(linewidth=2, foreground="black")]
    for x, letter, side in ((0.02, plane.marks[0], "left"), (0.98, plane.marks[1], "right")):
        axes.text(x, 0.98, letter, ha=side, path_effects=outline, **mark)
    if column.synthetic:
        axes.text(
            0.5, 0.015, words, transform=axes.transAxes, ha="center", va="bottom", fontsize=size, weight="bold",
            color="white", bbox={"facecolor": "#b00020", "edgecolor": "none", "pad": 1.5, "alpha": 0.9},
        )  # fmt: skip
    return drawn


def _footer(lines: list[str], warnings: list[str], width: int) -> list[tuple[str, str]]:
    """Lines and their colours below the pictures."""
    wrapped = [(part, "black") for line in lines for part in textwrap.wrap(line, width) or [""]]
    for warning in warnings[:_MAX_WARNINGS]:
        wrapped += [(part, "#b00020") for part in textwrap.wrap(f"Warning: {warning}", width, subsequent_indent="    ")]
    if len(warnings) > _MAX_WARNINGS:
        wrapped.append((f"... and {len(warnings) - _MAX_WARNINGS} more warnings in synthetic_pet.json", "#b00020"))
    return wrapped


def _heading(figure: Figure, title: str, left: float) -> None:
    """Title and what the pictures are, at the top left; `left` in figure fractions."""
    inch = 1 / figure.get_figheight()
    words = f"{BURNED_IN}, not for diagnosis. A model's guess from MRI, not a measurement."
    figure.text(left, 1 - 0.13 * inch, title, ha="left", va="top", fontsize=11, weight="bold", parse_math=False)
    figure.text(left, 1 - 0.36 * inch, words, ha="left", va="top", fontsize=9, color="#b00020", weight="bold")


def colour_bar(figure: Figure, axes: Axes, drawn, column: Column) -> None:
    inside, (low, high) = column.array[column.array != 0], column.limits
    below, above = (bool(inside.size and end) for end in ((inside < low).any(), (inside > high).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}.get((below, above), "both")
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal", extend=extend)
    bar.solids.set_alpha(1.0)
    bar.set_label(column.units, fontsize=7, labelpad=1)
    bar.ax.tick_params(labelsize=7, pad=1, length=2)


def compose(
    columns: list[Column], volumes: Volumes, title: str, footer: list[tuple[str, str]], dpi: int = 130
) -> Figure:
    """The figure: everything placed in inches, one scale of mm to inch for all pictures."""
    from matplotlib.figure import Figure

    extent = np.array(columns[0].array.shape) * volumes.spacing * _INCHES_PER_MM
    column_width = max(extent[0], extent[1])
    heights = [extent[plane.up] for plane in PLANES]
    gap, left, top, bar, line = 0.08, 0.35, 0.85, 0.42, 0.16
    width = left + len(columns) * (column_width + gap) + 0.15
    height = top + sum(heights) + 2 * gap + bar + 0.2 + line * len(footer)
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")

    def add(x, y, w, h):
        return figure.add_axes((x / width, y / height, w / width, h / height))

    _heading(figure, title, left / width)
    for number, column in enumerate(columns):
        x, y, drawn = left + number * (column_width + gap), height - top, None
        middle = (x + column_width / 2) / width
        figure.text(middle, (y + 0.04) / height, column.title, ha="center", va="bottom", fontsize=9)
        for plane, h in zip(PLANES, heights, strict=True):
            w = extent[plane.across]
            drawn = draw(add(x + (column_width - w) / 2, y - h, w, h), column, plane, volumes)
            if number == 0:
                words = {"rotation": 90, "ha": "left", "va": "center", "fontsize": 9}
                figure.text(0.1 / width, (y - h / 2) / height, plane.name, **words)
            y -= h + gap
        if column.units:
            colour_bar(figure, add(x + 0.12 * column_width, y - 0.1, 0.76 * column_width, 0.11), drawn, column)
    for number, (text, colour) in enumerate(footer):
        y = (0.12 + line * (len(footer) - 1 - number)) / height
        figure.text(left / width, y, text, ha="left", va="bottom", fontsize=8, color=colour, parse_math=False)
    return figure


def write_report(
    path: Path | str | BinaryIO,
    *,
    t1w: sitk.Image,
    pet: sitk.Image,
    t2f: sitk.Image | None = None,
    reference: sitk.Image | None = None,
    difference: sitk.Image | None = None,
    uncertainty: sitk.Image | None = None,
    departure: sitk.Image | None = None,
    reference_z: sitk.Image | None = None,
    title: str,
    window: tuple[float, float] | None = None,
    units: str,
    samples: int = 1,
    notes: list[str] = (),
    warnings: list[str] = (),
) -> None:
    """Write the report as a PNG.

    Args:
        path: file to write (replaced when it exists), or an open one.
        t1w, pet, t2f, reference, difference, uncertainty, departure, reference_z: volumes on one grid, the T1w's or
            the model's; PET volumes are 0 outside the brain.
        title: first line, e.g. tracer and model.
        window: values at the ends of the PET's colour bar; None: percentiles of the PET itself.
        units: label of the colour bars.
        samples: number of samples the PET is the mean of.
        notes: lines below the pictures.
        warnings: printed in red below the notes; all but the first eight are counted only.

    Raises:
        InputError: the volumes are not on one grid.
        RelAPETError: matplotlib, an optional part of the installation, is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise RelAPETError("report.png needs matplotlib; install it with: pip install 'relapet[report]'") from error

    images = {"t1w": t1w, "t2f": t2f, "pet": pet, "reference": reference, "difference": difference}
    volumes = prepare(images | {"uncertainty": uncertainty, "departure": departure, "reference_z": reference_z})
    columns = _columns(volumes.arrays, window or own_window(volumes.arrays["pet"]), units, samples)
    text_width = max(80, 34 * len(columns))
    convention = "Radiological convention: the subject's right (R) is on the left. Pictures to one scale in mm."
    footer = _footer([*notes, convention], list(warnings), text_width)
    figure = compose(columns, volumes, title, footer)
    FigureCanvasAgg(figure).print_png(
        path, metadata={"Title": title, "Description": f"{BURNED_IN}, not for diagnosis", "Software": "RelAPET"}
    )
