"""Lookup tables: which label of an image is which region, in the forms that people have.

- a table with a header (tab or comma): BIDS's ``dseg.tsv`` (``index``, ``name``), ours (``label``, ``name``);
- FreeSurfer's colour table: ``17 Left-Hippocampus 220 216 20 0``, separated by blanks or tabs;
- ITK-SNAP's label description: ``1 255 0 0 1 1 1 "hippocampus"``.
"""

from __future__ import annotations

import csv
import re
from itertools import takewhile
from pathlib import Path

from ..absent import is_listed, why_no_file
from ..errors import InputError
from ..notices import printable
from ..volumes.endings import name_without_ending
from ..volumes.sidecar import parse_name

#: Columns that hold the number and the name, the first that is there.
NUMBERS, NAMES = ("index", "label", "id", "value"), ("name", "region", "structure", "title")
MAX_BYTES = 4 * 1024 * 1024
LONGEST_NAME = 120
#: Volumes are read as float32, in which larger whole numbers run together.
LARGEST_LABEL = 2**24 - 1
_DESCRIPTION = "dataset_description.json"
#: Words that are numbers. A name holds a letter and is none of these; it may begin with a digit: ``3rd-Ventricle``.
_NUMBER = re.compile(r"(?i)[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|0x[0-9a-f]+|nan")
_LETTER = re.compile(r"[^\W\d_]")
_COLOUR = re.compile(r"(\s+\d+){3,}\s*$")


def read_lookup(path: Path | str) -> dict[int, str]:
    """Names of regions by label, in the order of the file; label 0, the background, is left out.

    Raises:
        InputError: not there, no text in UTF-8, too large, of no known form, or a label with two names.
    """
    path = Path(path)
    where = f"lookup table {printable(path)}"
    try:
        if why := why_no_file(path):
            raise InputError(f"{where}: {why}")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{where}: larger than {MAX_BYTES} bytes; refused")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from error
    try:
        pairs = _from_header(lines) or _from_lines(lines)
    except csv.Error as error:
        raise InputError(f"{where}: cannot be read as a table ({error})") from error
    if not pairs:
        raise InputError(
            f"{where}: no labels found; give a table with columns 'index' and 'name', FreeSurfer's colour table or "
            "ITK-SNAP's label description"
        )
    found: dict[int, str] = {}
    for number, words in pairs:
        name = " ".join(words.split())[:LONGEST_NAME]  # of one line, and no tab, which parts columns
        if found.setdefault(number, name) != name:
            raise InputError(f"{where}: label {number} is both '{printable(found[number])}' and '{printable(name)}'")
    return {number: name for number, name in found.items() if number != 0}


def _from_header(lines: list[str]) -> list[tuple[int, str]]:
    """Labels of a table whose first line names its columns; none where there is no such line."""
    if not lines:
        return []
    sign = "\t" if "\t" in lines[0] else ","
    # Each line by itself: a quotation mark without its second would swallow all that follow.
    rows = [next(csv.reader([line], delimiter=sign), []) for line in lines]
    columns = [column.strip().lower() for column in rows[0]]
    number = next((columns.index(name) for name in NUMBERS if name in columns), None)
    name = next((columns.index(name) for name in NAMES if name in columns), None)
    if number is None or name is None:
        return []
    return [
        (label, row[name])
        for row in rows[1:]
        if len(row) > max(number, name) and (label := _label(row[number])) is not None and row[name].strip()
    ]


def _from_lines(lines: list[str]) -> list[tuple[int, str]]:
    """Labels of FreeSurfer's or ITK-SNAP's lines."""
    found = []
    for line in lines:
        line = line.split("#", 1)[0].strip() if not line.rstrip().endswith('"') else line.strip()
        quoted = re.fullmatch(r'(\d+)\s.*?"([^"]+)"', line)
        plain = re.fullmatch(r"(\d+)(\s+)(\S.*)", line)
        name = quoted[2] if quoted else _name(plain[3], "\t" in plain[2]) if plain else ""
        if name and (label := _label((quoted or plain)[1])) is not None:
            found.append((label, name))
    return found


def _name(words: str, tabbed: bool) -> str:
    """The name at the beginning of what follows a label; empty where that is no more than numbers.

    It ends at the next tab, where tabs part the columns, else before the first number; a colour is no part of it.
    """
    if tabbed or "\t" in words:
        name = _COLOUR.sub("", words.split("\t")[0])
        return name.strip() if any(map(_is_word, name.split())) else ""
    return " ".join(takewhile(_is_word, words.split()))


def _is_word(text: str) -> bool:
    return bool(_LETTER.search(text)) and not _NUMBER.fullmatch(text)


def _label(text: str) -> int | None:
    text = text.strip()
    if not re.fullmatch(r"\d{1,10}(\.0+)?", text):
        return None
    number = int(float(text))
    return number if number <= LARGEST_LABEL else None


def lookup_beside(image: Path) -> Path | None:
    """The table that BIDS has for a label image: ``.tsv`` of its name, else one that it inherits; None without."""
    own = image.with_name(f"{name_without_ending(image) or image.name}.tsv")
    if is_listed(own):
        return own
    file = parse_name(image)
    if "sub" not in file.entities:
        return None
    for folder in image.absolute().parents:
        fitting = [
            other
            for other in map(parse_name, sorted(folder.glob(f"*{file.suffix}.tsv")))
            if other.suffix == file.suffix and other.entities.items() <= file.entities.items()
        ]
        if fitting:
            return max(fitting, key=lambda other: len(other.entities)).path
        if (folder / _DESCRIPTION).is_file():
            break
    return None
