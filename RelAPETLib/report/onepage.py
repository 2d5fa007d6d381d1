"""`report.pdf`: one person's synthetic PET on one A4 page, for a file or a printer; its text is text, not pixels.

The same facts give the same bytes: no date is in the file unless one is given. Everything is placed in inches. What
stands above and below takes the room it needs, and the pictures get what is left.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import RelAPETError
from ..notices import printable
from ..provenance import SIMULATED_STATEMENT, STATEMENT
from ..tracers import TRACERS
from .notes import further_warnings
from .person import DEPARTURE, DISAGREE, NOT_ERROR
from .pictures import BURNED_IN, PLANES, Volumes, grey_limits, own_window, prepare
from .still import Column, colour_bar, columns_of_maps, draw
from .web import BANNER, VERDICTS

if TYPE_CHECKING:
    import SimpleITK as sitk
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.27, 11.69  # A4
_LEFT, _TOP, _BOTTOM = 0.5, 0.35, 0.4
_INSIDE = WIDTH - 2 * _LEFT
_FAMILY = "DejaVu Sans"  # comes with matplotlib
_RED, _GREY = "#b00020", "#555555"
_SHADES = {"ok": "#e6f4ea", "caution": "#fff4e0", "refuse": "#fde7e9"}
_MAX_LINES, _MAX_WARNINGS = 6, 3
#: Width of what stands beside the table, and space between the two.
_BESIDE, _GAP = 3.45, 0.25
#: Below and above a row of pictures: heading, and colour bar with its numbers.
_HEADING, _BAR, _BAR_WIDTH = 0.19, 0.34, 2.2
_LARGEST, _LEAST = 2.6, 0.5  # height of the row of the PET itself at most, and of any other map at least


def write_pdf_report(
    path: Path | str,
    *,
    pictures: dict[str, sitk.Image | None],
    record: dict,
    regions: Sequence[dict],
    label: str | None = None,
    created: datetime | None = None,
) -> None:
    """Write the page of one synthesis as a PDF.

    Args:
        path: file to write (replaced when it exists).
        pictures: as for `person.write_html_report`; the FLAIR and the white matter are not shown.
        record: what `synthetic_pet.json` holds.
        regions: rows of `regions.tsv`, numbers or texts.
        label: a name or code to print on the page; None, and the page names nobody.
        created: date that the PDF tells of its making; None tells none.

    Raises:
        InputError: the volumes are not on one grid.
        RelAPETError: matplotlib, an optional part of the installation, is missing.
    """
    try:
        from matplotlib.backends.backend_pdf import FigureCanvasPdf
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RelAPETError("report.pdf needs matplotlib; install it with: pip install 'relapet[report]'") from error

    shown = {name: image for name, image in pictures.items() if name not in ("t2f", "template_white", "t1w_white")}
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    compose_page(figure, prepare(shown), record, regions, label)
    about = {
        "Title": f"SYNTHETIC {record['tracer']['name']} PET, {_model(record)}",
        "Subject": f"{BURNED_IN}, not for diagnosis",
        "Creator": f"RelAPET {__version__}",
        "CreationDate": created,
    }
    FigureCanvasPdf(figure).print_pdf(str(path), metadata=about)


def compose_page(
    figure: Figure, volumes: Volumes, record: dict, regions: Sequence[dict], label: str | None = None
) -> None:
    """Fill an empty A4 figure; arguments as for `write_pdf_report`, volumes of `pictures.prepare`."""
    page = _Page(figure)
    top = _head(page, record, label)
    bottom = _foot(page, record)
    columns = _columns(volumes, record)
    room = bottom - top
    others = columns[1:]
    large = min(_LARGEST, room * (0.4 if others else 0.5) - _HEADING - _BAR)
    below = top + _row(page, columns[0], volumes, (_LEFT, top, _INSIDE, large), BURNED_IN)
    fitting = max(0, int((bottom - below) / (_HEADING + _BAR + _LEAST)))
    left_out, others = others[fitting:], others[:fitting]
    x, width = (_LEFT + _BESIDE + _GAP, _INSIDE - _BESIDE - _GAP) if others else (_LEFT, _INSIDE)
    y = below
    for column in others:
        height = (bottom - below) / len(others) - _HEADING - _BAR
        y += _row(page, column, volumes, (_LEFT, y, _BESIDE, height), "SYNTHETIC")
    end = _table(page, record, regions, x, below, width)
    if left_out:
        shown = ", ".join(column.title for column in left_out)
        words = f"No room on this page for {shown}: relapet report makes report.html, which shows all."
        page.paragraph(x, end, words, width, 6.8, color=_GREY)


@dataclass
class _Page:
    """Texts and boxes at places in inches from the left and from the top."""

    figure: Figure

    def text(self, x: float, y: float, words: str, size: float = 7.5, align: str = "left", **style) -> None:
        """One line; `y` is its upper edge."""
        style = {"color": "black", "family": _FAMILY, "parse_math": False} | style
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, words, fontsize=size, ha=align, va="top", **style)

    def paragraph(self, x: float, y: float, words: str, width: float, size: float = 7.5, **style) -> float:
        """Wrapped lines; returns the `y` below them."""
        for line in wrapped(words, size, width, style.get("weight", "normal")):
            self.text(x, y, line, size, **style)
            y += _step(size)
        return y

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        place = (x / WIDTH, 1 - (y + height) / HEIGHT)
        self.figure.add_artist(
            Rectangle(place, width / WIDTH, height / HEIGHT, facecolor=colour, edgecolor="none", zorder=-1)
        )

    def axes(self, x: float, y: float, width: float, height: float):
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))


def _step(size: float) -> float:
    """Inches from one line to the next."""
    return 1.3 * size / 72


@lru_cache(maxsize=2)
def _font(weight: str):
    from matplotlib.font_manager import FontProperties, findfont, get_font

    properties = FontProperties(family=_FAMILY, weight=weight)
    return properties, get_font(findfont(properties))


def _drawable(words: object) -> str:
    """Any value as one line whose letters the font has."""
    font = _font("normal")[1]
    line = " ".join(printable(words, limit=None).split())
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in line)


def _wide(line: str, size: float, weight: str = "normal") -> float:
    """Inches that a line takes at a size in points."""
    from matplotlib.textpath import text_to_path

    properties = _font(weight)[0].copy()
    properties.set_size(size)
    return text_to_path.get_text_width_height_descent(line, properties, False)[0] / 72


def wrapped(words: object, size: float, width: float, weight: str = "normal") -> list[str]:
    """Lines that are no wider than `width` inches at a size in points; a longer word is parted."""

    def fits(line: str) -> bool:
        return _wide(line, size, weight) <= width

    lines, line = [], ""
    for word in _drawable(words).split(" "):
        longer = f"{line} {word}" if line else word
        if fits(longer):
            line = longer
            continue
        if line:
            lines.append(line)
        while not fits(word) and len(word) > 1:
            part = max(1, bisect_left(range(1, len(word)), True, key=lambda n, word=word: not fits(word[:n])))
            lines.append(word[:part])
            word = word[part:]
        line = word
    return [*lines, line] if line else lines


def _model(record: dict) -> str:
    return f"model {record['model']['name']} {record['model']['version']}"


def _head(page: _Page, record: dict, label: str | None) -> float:
    """What it is, whose, and the verdict; returns the `y` below."""
    tracer, samples = record["tracer"], record["sampling"]["samples"]
    page.box(_LEFT, _TOP, _INSIDE, 0.26, _RED)
    page.text(_LEFT + 0.1, _TOP + 0.065, BANNER, 8.5, color="white", weight="bold")
    y = _TOP + 0.36
    title = f"Synthetic {tracer['name']} PET: {tracer['radiopharmaceutical']}"
    y = page.paragraph(_LEFT, y, title, _INSIDE, 13, weight="bold") + 0.02
    drawn = "one sample" if samples == 1 else f"mean of {samples} samples"
    y = page.paragraph(_LEFT, y, f"{_model(record)}; {drawn}; {record['pet']['units']}; made {record['created']}",
                       _INSIDE, 8, color=_GREY)  # fmt: skip
    who = label if label else "not named on this page"
    y = page.paragraph(_LEFT, y, f"Person: {who}", _INSIDE, 8, weight="bold" if label else "normal") + 0.06
    return _warnings(page, record, _verdict(page, record, y)) + 0.06


def _verdict(page: _Page, record: dict, y: float) -> float:
    """The box of the input check, in its own words."""
    verdict = record.get("verdict") or {}
    level = verdict.get("level")
    words = f"{VERDICTS[level]} {verdict['says']}" if level in VERDICTS else "? Input check: not checked"
    lines = _at_most(wrapped(words, 8, _INSIDE - 0.2, "bold"))
    height = len(lines) * _step(8) + 0.12
    page.box(_LEFT, y, _INSIDE, height, _SHADES.get(level, "#eeeeee"))
    for number, line in enumerate(lines):
        page.text(_LEFT + 0.1, y + 0.06 + number * _step(8), line, 8, weight="bold")
    return y + height + 0.05


def _at_most(lines: list[str], most: int = _MAX_LINES) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], "... more in synthetic_pet.json"]


def _warnings(page: _Page, record: dict, y: float) -> float:
    lines = further_warnings(record)
    for line in lines[:_MAX_WARNINGS]:
        for part in _at_most(wrapped(f"Warning: {line}", 7, _INSIDE), 2):
            page.text(_LEFT, y, part, 7, color=_RED)
            y += _step(7)
    if len(lines) > _MAX_WARNINGS:
        page.text(_LEFT, y, f"... and {len(lines) - _MAX_WARNINGS} more warnings in synthetic_pet.json", 7, color=_RED)
        y += _step(7)
    return y


def _foot(page: _Page, record: dict) -> float:
    """What it is not and where it comes from, at the bottom; returns the `y` above."""
    model, sampling = record["model"], record["sampling"]
    isnt = [STATEMENT, DISAGREE]
    isnt += [SIMULATED_STATEMENT] if model["trained_on_simulated_data"] else []
    isnt += [NOT_ERROR] if record["uncertainty"] else []
    isnt += [DEPARTURE] if (record.get("departure") or {}).get("meaning") else []
    how = f"{sampling['steps']} steps of {sampling['sampler']}" if sampling["sampler"] else "drawn at once"
    inputs = [f"{role} {facts['sha256'][:12]}" for role, facts in record["inputs"].items() if facts]
    source = (
        f"RelAPET {record['versions']['relapet']}, {_model(record)}, weights SHA-256 {model['weights_sha256'][:12]}; "
        f"inputs by SHA-256: {', '.join(inputs)}; {sampling['samples']} sample(s), {how}, seed {sampling['seed']}; "
        f"registration: {record['preprocessing']['method']}. The whole record is synthetic_pet.json."
    )
    parts = [("What it is not", 7.5, "bold", "black"), (" ".join(isnt), 7, "normal", "black"),
             ("Radiological convention: the subject's right (R) is on the left. Approximate regions of the model grid.",
              6.5, "normal", _GREY), (source, 6.5, "normal", _GREY)]  # fmt: skip
    lines = [
        (line, size, weight, colour)
        for words, size, weight, colour in parts
        for line in wrapped(words, size, _INSIDE, weight)
    ]
    top = y = HEIGHT - _BOTTOM - sum(_step(size) for _, size, _, _ in lines)
    for line, size, weight, colour in lines:
        page.text(_LEFT, y, line, size, weight=weight, color=colour)
        y += _step(size)
    return top - 0.1


def _columns(volumes: Volumes, record: dict) -> list[Column]:
    """The synthetic PET over the T1w, and the other maps that there are."""
    tracer = TRACERS.get(record["tracer"]["name"]) if record["tracer"]["output"] == "suvr" else None
    window = (tracer and tracer.contrast_window) or own_window(volumes.arrays["pet"])
    below = Column("T1w below a PET", volumes.arrays["t1w"], "gray", grey_limits(volumes.arrays["t1w"], volumes.brain))
    samples = record["sampling"]["samples"]
    guess = "Synthetic PET over the T1w" + ("" if samples == 1 else f" (mean of {samples} samples)")
    spread = f"Spread of {samples} samples, not the error"
    return columns_of_maps(volumes.arrays, window, record["pet"]["units"], guess, spread, below)


def _row(page: _Page, column: Column, volumes: Volumes, place: tuple[float, float, float, float], words: str) -> float:
    """Three planes of a map in a place (x, y, width, height of the pictures); returns the height of all of it."""
    x, y, width, height = place
    size = [volumes.brain.shape[axis] * volumes.spacing[axis] for axis in range(3)]
    gap = 0.06
    scale = min((width - 2 * gap) / sum(size[plane.across] for plane in PLANES),
                height / max(size[plane.up] for plane in PLANES))  # fmt: skip
    tall = scale * max(size[plane.up] for plane in PLANES)
    wide = scale * sum(size[plane.across] for plane in PLANES) + 2 * gap
    page.text(x, y, f"{column.title}, {column.units}", 8, weight="bold")
    left = x + (width - wide) / 2 if width == _INSIDE else x
    narrowest = scale * min(size[plane.across] for plane in PLANES)
    letters = 7 * min(1.0, 0.9 * narrowest / _wide(words, 7, "bold"))  # no wider than the picture
    for plane in PLANES:
        across, up = scale * size[plane.across], scale * size[plane.up]
        axes = page.axes(left, y + _HEADING + (tall - up) / 2, across, up)
        drawn = draw(axes, column, plane, volumes, words, letters)
        left += across + gap
    middle = x + (width if width == _INSIDE else wide) / 2
    bar = page.axes(middle - _BAR_WIDTH / 2, y + _HEADING + tall + 0.05, _BAR_WIDTH, 0.08)
    colour_bar(page.figure, bar, drawn, replace(column, units=""))
    bar.locator_params(nbins=5)
    return _HEADING + tall + _BAR


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _shown(value: float, form: str = ".2f") -> str:
    return format(value, form) if math.isfinite(value) else "n/a"


def _interval(row: dict) -> str:
    low, high = _number(row.get("low")), _number(row.get("high"))
    if math.isnan(low) or math.isnan(high):
        return "n/a"
    return "no bound" if math.isinf(low) or math.isinf(high) else f"{low:.2f} to {high:.2f}"


def _cells(regions: Sequence[dict], level: float | None) -> list[tuple[str, list[str]]]:
    """Columns of the regional table: heading, and a text for each region; those without any value are left out."""
    found = []
    for name, title in (("synthetic_pet", "synthetic"), ("spread", "spread"), ("reference", "measured")):
        values = [_number(row.get(name)) for row in regions]
        if name == "synthetic_pet" or any(map(math.isfinite, values)):
            found.append((title, [_shown(value) for value in values]))
    intervals = [_interval(row) for row in regions]
    if set(intervals) != {"n/a"}:
        found.insert(1, (f"{100 * level:.0f} % interval" if level else "interval", intervals))
    for name, title in (("share_measured", "measured of it"), ("share_in_view", "in view")):
        shares = [_number(row.get(name)) for row in regions]
        if any(share < 1 for share in shares):
            found.append((title, [_shown(100 * math.floor(100 * share) / 100, ".0f") + " %" for share in shares]))
    return found


def _table(page: _Page, record: dict, regions: Sequence[dict], x: float, y: float, width: float) -> float:
    """The regional means, and what is said of them and of the maps that need words; returns the `y` below."""
    if regions:
        y = _means(page, record, regions, x, y, width)
    parts = (record.get("summary"), record.get("intervals"), record.get("departure"))
    for said in (*parts, (record.get("reference") or {}).get("z")):
        if said and said.get("says"):
            y = page.paragraph(x, y, said["says"], width, 6.8) + 0.04
    return y


def _places(names: Sequence[str], columns: Sequence[tuple[str, list[str]]], width: float) -> tuple[float, list[float]]:
    """Size of the table's letters in points, and the right end of each column of numbers in inches from its left.

    The letters are as small as it takes for no text to reach another; room that is left parts the columns.
    """
    size, gap = 6.8, 0.1
    first = 0.03 + max(_wide(name, size) for name in names)
    needed = [gap + max(_wide(title, 0.85 * size), *(_wide(cell, size) for cell in cells)) for title, cells in columns]
    shrunk = min(1.0, (width - 0.04) / (first + sum(needed)))
    spare = max(0.0, min(0.25, (width - 0.04 - first - sum(needed)) / len(needed)))
    ends = [shrunk * (first + sum(needed[: number + 1])) + spare * (number + 1) for number in range(len(needed))]
    return shrunk * size, ends


def _means(page: _Page, record: dict, regions: Sequence[dict], x: float, y: float, width: float) -> float:
    """The regional table; returns the `y` below."""
    page.text(x, y, f"Regional means ({record['pet']['units']})", 8, weight="bold")
    y += _HEADING
    columns = _cells(regions, (record.get("intervals") or {}).get("level"))
    names = [_drawable(str(row["region"]).replace("_", " ")) for row in regions]
    line, (size, ends) = 0.145, _places(names, columns, width)
    ends = [x + end for end in ends]
    for (title, _), end in zip(columns, ends, strict=True):
        page.text(end, y, title, 0.85 * size, "right", color=_GREY)
    y += 0.14
    for number, name in enumerate(names):
        if number % 2 == 0:
            page.box(x, y - 0.02, ends[-1] - x + 0.04, line, "#f2f2f2")
        page.text(x + 0.03, y, name, size)
        for (_, cells), end in zip(columns, ends, strict=True):
            page.text(end, y, cells[number], size, "right")
        y += line
    return y + 0.05
