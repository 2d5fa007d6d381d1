"""`report.png`: the inputs, the synthetic PET over the T1w, and what is known of its error, on one page.

Slices are the T1w's own voxel planes after a lossless reordering to R, A, S, drawn in millimetres, so that anisotropic
voxels keep their proportions. Radiological convention: the subject's right is on the left, as in 3D Slicer.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, RelAPETError

if TYPE_CHECKING:
    import SimpleITK as sitk
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BURNED_IN = "SYNTHETIC, research only"
_MARGIN_MM = 25.0
_SAGITTAL_OFFSET_MM = 25.0  # off the midline, where a sagittal slice would show little but the fissure
_INCHES_PER_MM = 1 / 68.0
_MAX_WARNINGS = 8


@dataclass(frozen=True)
class _Plane:
    name: str
    normal: int  # array axis that is cut
    across: int  # axis drawn left to right
    up: int  # axis drawn bottom to top
    marks: tuple[str, str]  # letters at the left and right edge


# The across axis is drawn mirrored (towards L, or P): radiological convention, and nose to the left as in Slicer.
_PLANES = (
    _Plane("axial", 2, 0, 1, ("R", "L")),
    _Plane("coronal", 1, 0, 2, ("R", "L")),
    _Plane("sagittal", 0, 1, 2, ("A", "P")),
)


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


def _arrays(images: dict[str, sitk.Image | None]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Canonical arrays [X, Y, Z] of images on one grid, and their voxel size in mm."""
    import SimpleITK as sitk

    from .volumes import canonical

    arrays, first = {}, None
    for name, image in images.items():
        if image is None:
            continue
        image = canonical(image)
        first = first or image
        if image.GetSize() != first.GetSize() or not np.allclose(image.GetOrigin(), first.GetOrigin(), atol=0.01):
            raise InputError(f"the report needs all volumes on the T1w's grid, but {name} is on another one")
        arrays[name] = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32)
    return arrays, np.array(first.GetSpacing())


def _grey_limits(array: np.ndarray, brain: np.ndarray) -> tuple[float, float]:
    """Window of an MRI: from its minimum to a little above the brain's 99.5th percentile (fat may be brighter)."""
    low = float(array.min())
    inside = array[brain] if brain.any() else array[array > low]
    high = low + 1.15 * (float(np.percentile(inside, 99.5)) - low) if inside.size else low
    return low, max(high, low + 1e-6)


def _round_limit(array: np.ndarray, step: float) -> float:
    """99th percentile of the non-zero magnitudes, rounded up to a multiple of `step`."""
    magnitudes = np.abs(array[array != 0])
    high = float(np.percentile(magnitudes, 99)) if magnitudes.size else step
    return max(step, float(np.ceil(high / step)) * step)


def _columns(arrays: dict[str, np.ndarray], window: tuple[float, float], units: str, samples: int) -> list[Column]:
    brain = arrays["pet"] != 0
    grey = _grey_limits(arrays["t1w"], brain)
    columns = [Column("T1w", arrays["t1w"], "gray", grey)]
    if "t2f" in arrays:
        columns.append(Column("T2-FLAIR", arrays["t2f"], "gray", _grey_limits(arrays["t2f"], brain)))
    below = Column("T1w below a PET", arrays["t1w"], "gray", grey)
    guess = "Synthetic PET" if samples == 1 else f"Synthetic PET (mean of {samples})"
    columns.append(Column(guess, arrays["pet"], "inferno", window, units, over=below, synthetic=True))
    if "reference" in arrays:
        columns.append(Column("Reference PET", arrays["reference"], "inferno", window, units, over=below))
    if "difference" in arrays:
        limit = _round_limit(arrays["difference"], 0.1)
        title = "Synthetic minus reference"
        columns.append(Column(title, arrays["difference"], "RdBu_r", (-limit, limit), units, synthetic=True))
    if "uncertainty" in arrays:
        limit = _round_limit(arrays["uncertainty"], 0.05)
        title = f"Spread of {samples} samples (SD)"
        columns.append(Column(title, arrays["uncertainty"], "viridis", (0.0, limit), units, synthetic=True))
    return columns


def _place(pet: np.ndarray, spacing: np.ndarray) -> tuple[list[int], list[slice]]:
    """Voxel through which the three planes go, and the box to draw: the brain with a margin."""
    where = np.nonzero(pet)
    if where[0].size == 0:
        centre, first, last = [n // 2 for n in pet.shape], [0] * 3, [n - 1 for n in pet.shape]
    else:
        centre = [int(round(float(axis.mean()))) for axis in where]
        first, last = [int(axis.min()) for axis in where], [int(axis.max()) for axis in where]
        centre[0] = max(first[0], centre[0] - int(round(_SAGITTAL_OFFSET_MM / spacing[0])))
    margin = [int(round(_MARGIN_MM / s)) for s in spacing]
    box = [
        slice(max(f - m, 0), min(end + m, n - 1) + 1)
        for f, end, m, n in zip(first, last, margin, pet.shape, strict=True)
    ]
    return centre, box


def _slice(array: np.ndarray, plane: _Plane, centre: list[int], box: list[slice]) -> np.ndarray:
    """Picture [up, across] of one plane, across mirrored."""
    index: list = list(box)
    index[plane.normal] = centre[plane.normal]
    picture = array[tuple(index)]  # the remaining axes keep their order, and across < up in every plane
    return picture.T[:, ::-1]


def _draw(axes: Axes, column: Column, plane: _Plane, centre, box, spacing):
    """One picture; returns what a colour bar needs."""
    from matplotlib.patheffects import withStroke

    size = [(box[axis].stop - box[axis].start) * spacing[axis] for axis in (plane.across, plane.up)]
    style = {"origin": "lower", "extent": (0, size[0], 0, size[1]), "aspect": "equal", "interpolation": "nearest"}
    axes.set_facecolor("black")
    picture = _slice(column.array, plane, centre, box)
    if column.over is not None:
        below = column.over
        low, high = below.limits
        axes.imshow(_slice(below.array, plane, centre, box), cmap=below.colours, vmin=low, vmax=high, **style)
        picture = np.ma.masked_equal(picture, 0)
    low, high = column.limits
    drawn = axes.imshow(
        picture, cmap=column.colours, vmin=low, vmax=high, alpha=1.0 if column.over is None else 0.75, **style
    )
    axes.set_xticks([])
    axes.set_yticks([])
    mark = {"transform": axes.transAxes, "va": "top", "fontsize": 9, "weight": "bold", "color": "white"}
    outline = [withStroke(linewidth=2, foreground="black")]
    for x, letter, side in ((0.02, plane.marks[0], "left"), (0.98, plane.marks[1], "right")):
        axes.text(x, 0.98, letter, ha=side, path_effects=outline, **mark)
    if column.synthetic:
        axes.text(
            0.5, 0.015, BURNED_IN, transform=axes.transAxes, ha="center", va="bottom", fontsize=7, weight="bold",
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
    figure.text(left, 1 - 0.13 * inch, title, ha="left", va="top", fontsize=11, weight="bold")
    figure.text(left, 1 - 0.36 * inch, words, ha="left", va="top", fontsize=9, color="#b00020", weight="bold")


def _colour_bar(figure: Figure, axes: Axes, drawn, units: str) -> None:
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    bar.solids.set_alpha(1.0)
    bar.set_label(units, fontsize=7, labelpad=1)
    bar.ax.tick_params(labelsize=7, pad=1, length=2)


def _page(columns: list[Column], centre, box, spacing, title: str, footer: list[tuple[str, str]]) -> Figure:
    """The figure: everything placed in inches, one scale of mm to inch for all pictures."""
    from matplotlib.figure import Figure

    extent = np.array([(b.stop - b.start) for b in box]) * spacing * _INCHES_PER_MM
    column_width = max(extent[0], extent[1])
    heights = [extent[plane.up] for plane in _PLANES]
    gap, left, top, bar, line = 0.08, 0.35, 0.85, 0.42, 0.16
    width = left + len(columns) * (column_width + gap) + 0.15
    height = top + sum(heights) + 2 * gap + bar + 0.2 + line * len(footer)
    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")

    def add(x, y, w, h):
        return figure.add_axes((x / width, y / height, w / width, h / height))

    _heading(figure, title, left / width)
    for number, column in enumerate(columns):
        x, y, drawn = left + number * (column_width + gap), height - top, None
        middle = (x + column_width / 2) / width
        figure.text(middle, (y + 0.04) / height, column.title, ha="center", va="bottom", fontsize=9)
        for plane, h in zip(_PLANES, heights, strict=True):
            w = extent[plane.across]
            drawn = _draw(add(x + (column_width - w) / 2, y - h, w, h), column, plane, centre, box, spacing)
            if number == 0:
                words = {"rotation": 90, "ha": "left", "va": "center", "fontsize": 9}
                figure.text(0.1 / width, (y - h / 2) / height, plane.name, **words)
            y -= h + gap
        if column.units:
            _colour_bar(figure, add(x + 0.12 * column_width, y - 0.1, 0.76 * column_width, 0.11), drawn, column.units)
    for number, (text, colour) in enumerate(footer):
        y = (0.12 + line * (len(footer) - 1 - number)) / height
        figure.text(left / width, y, text, ha="left", va="bottom", fontsize=8, color=colour)
    return figure


def write_report(
    path: Path | str,
    *,
    t1w: sitk.Image,
    pet: sitk.Image,
    t2f: sitk.Image | None = None,
    reference: sitk.Image | None = None,
    difference: sitk.Image | None = None,
    uncertainty: sitk.Image | None = None,
    title: str,
    window: tuple[float, float],
    units: str,
    samples: int = 1,
    notes: list[str] = (),
    warnings: list[str] = (),
) -> None:
    """Write the report as a PNG.

    Args:
        path: file to write (replaced when it exists).
        t1w, pet, t2f, reference, difference, uncertainty: volumes on one grid, the T1w's or the model's; PET volumes
            are 0 outside the brain.
        title: first line, e.g. tracer and model.
        window: values at the ends of the PET's colour bar.
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

    volumes = {"t1w": t1w, "t2f": t2f, "pet": pet}
    volumes |= {"reference": reference, "difference": difference, "uncertainty": uncertainty}
    arrays, spacing = _arrays(volumes)
    columns = _columns(arrays, window, units, samples)
    centre, box = _place(arrays["pet"], spacing)
    text_width = max(80, 34 * len(columns))
    convention = "Radiological convention: the subject's right (R) is on the left. Pictures to one scale in mm."
    footer = _footer([*notes, convention], list(warnings), text_width)
    figure = _page(columns, centre, box, spacing, title, footer)
    FigureCanvasAgg(figure).print_png(
        str(path), metadata={"Title": title, "Description": f"{BURNED_IN}, not for diagnosis", "Software": "RelAPET"}
    )
