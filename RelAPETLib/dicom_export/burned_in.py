"""Axial pictures of a PET for any viewer, with SYNTHETIC burned into every one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import description
from .planes import Planes

#: Pixels along the longer side of a picture, margins left out: enough for legible text, small enough for a viewer.
SIDE = 384
_TOP, _BOTTOM = 32, 56
_WHITE, _GREY = 255, 190


@dataclass(frozen=True)
class Frame:
    """How the pictures lie on the planes.

    Attributes:
        size: columns, rows of the part that shows the plane.
        offset: column, row of that part in the picture.
        picture: columns, rows of the whole picture.
        affine: 4x4 from (picture column, picture row, slice) to RAS mm.
    """

    size: tuple[int, int]
    offset: tuple[int, int]
    picture: tuple[int, int]
    affine: np.ndarray


def frame_of(planes: Planes) -> Frame:
    """Square pictures with margins for the text; pixels are square to a fraction of a percent."""
    _, rows, columns = planes.pixels.shape
    width, height = columns * planes.spacing[0], rows * planes.spacing[1]
    pixel = max(width, height) / SIDE
    size = max(1, round(width / pixel)), max(1, round(height / pixel))
    offset = (SIDE - size[0]) // 2, _TOP + (SIDE - size[1]) // 2
    scale = np.array([columns / size[0], rows / size[1]])  # plane pixels a picture pixel
    to_plane = np.eye(4)
    to_plane[[0, 1], [0, 1]] = scale
    to_plane[:2, 3] = (0.5 - np.array(offset)) * scale - 0.5  # edges coincide, not pixel centres
    return Frame(size, offset, (SIDE, _TOP + SIDE + _BOTTOM), planes.affine @ to_plane)


def picture(values: np.ndarray, frame: Frame, record: dict) -> np.ndarray:
    """One plane as an 8-bit picture with its text.

    Args:
        values: [rows, columns] of an axial plane in the PET's units.
        frame: from `frame_of`.
        record: contents of `synthetic_pet.json`.

    Returns:
        [picture rows, picture columns] uint8; 0 is the display window's lowest value, 255 its highest.
    """
    from PIL import Image

    low, high = description.display_window(record)
    grey = np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255
    plane = Image.fromarray(grey).resize(frame.size, Image.Resampling.BILINEAR)
    canvas = np.zeros(frame.picture[::-1], np.uint8)
    left, top = frame.offset
    canvas[top : top + frame.size[1], left : left + frame.size[0]] = np.rint(np.asarray(plane))
    image = Image.fromarray(canvas)
    _write(image, record, (low, high))
    return np.asarray(image)


def _write(image, record: dict, window: tuple[float, float]) -> None:
    """Banner, tracer, model, grey scale and sides; black edges keep letters legible over the brain."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    middle, bottom = SIDE // 2, _TOP + SIDE

    def text(place, words, size, anchor, fill=_WHITE):
        draw.text(place, words, fill=fill, font=_font(words, size), anchor=anchor, stroke_width=2, stroke_fill=0)

    text((middle, _TOP // 2), "SYNTHETIC PET - not a measurement", 20, "mm")
    for place, letter in (((6, _TOP + SIDE // 2), "R"), ((SIDE - 6, _TOP + SIDE // 2), "L")):
        text(place, letter, 20, "lm" if letter == "R" else "rm")
    text((middle, _TOP + 4), "A", 16, "mt", _GREY)
    text((middle, bottom - 4), "P", 16, "mb", _GREY)
    tracer, model = record["tracer"], record["model"]
    _scale(draw, text, window, description.quantity(record), bottom)
    named = f"SYNTHETIC {tracer['name']}, {tracer['radiopharmaceutical']}"
    text((6, bottom + 12), description.short(named, 60), 12, "lm")
    text((6, bottom + 30), description.short(f"model {model['name']} {model['version']}", 40), 12, "lm", _GREY)
    text((6, bottom + 47), "Research only, not for diagnosis", 12, "lm", _GREY)


def _scale(draw, text, window: tuple[float, float], unit: str, bottom: int) -> None:
    """The grey scale with its two ends."""
    left, width, top = SIDE - 106, 80, bottom + 42
    for step in range(width):
        draw.line([(left + step, top), (left + step, top + 8)], fill=round(255 * step / (width - 1)))
    draw.rectangle([left - 1, top - 1, left + width, top + 9], outline=_GREY)
    text((left - 6, top + 4), f"{window[0]:g}", 12, "rm")
    text((left + width + 5, top + 4), f"{window[1]:g}", 12, "lm")
    text((left + width // 2, top - 12), unit, 12, "mm")


def _font(words: str, size: int):
    """Pillow's own font; no file of the machine is needed."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
