"""What the text headers of NRRD and MetaImage have in common: lines, numbers, the name of a data file.

Both are read here and not by ITK, whose parsers crash on some headers (a type of 2,000 letters, `%s` as a file name)
and put defaults where geometry is missing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..notices import printable
from .streams import ByteStream, open_file

#: No header is longer; what people add to one (DICOM elements) is far shorter.
_MAX_HEADER = 2**20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf(inity)?)", re.ASCII | re.IGNORECASE)


def next_line(stream: ByteStream) -> str | None:
    """The next line of a header without its end; None at the end of the file. Raises `InputError` if it is too long."""
    if stream.position > _MAX_HEADER:
        raise stream.damaged("its header has no end")
    line = stream.readline(_MAX_HEADER)
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n") if line else None


def field_error(stream: ByteStream, field: str, value: str, wanted: str) -> InputError:
    """The error for a field with a value that it cannot have."""
    return InputError(f"{stream.label}: {field} in its header is {printable(value, 60)!r}; {wanted}")


def missing_field(stream: ByteStream, field: str, unknown: str) -> InputError:
    """The error for a field without which something is unknown."""
    return InputError(f"{stream.label}: no {field} in its header, so {unknown} unknown; export it again with it")


def numbers(stream: ByteStream, field: str, text: str, count: int) -> list[float]:
    """So many numbers, separated by white space or commas. NaN passes; infinity does not."""
    parts = text.replace(",", " ").split()
    if len(parts) != count or not all(_NUMBER.fullmatch(part) for part in parts):
        raise field_error(stream, field, text, f"{count} numbers are wanted")
    values = [float(part) for part in parts]
    if any(map(math.isinf, values)):
        raise field_error(stream, field, text, "finite numbers are wanted")
    return values


def integer(stream: ByteStream, field: str, text: str) -> int:
    """A whole number of at most 18 digits."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise field_error(stream, field, text, "a whole number is wanted")
    return int(text)


def data_path(stream: ByteStream, path: Path, field: str, named: str) -> Path:
    """Where the file with the voxels is: beside its header, which must not send us through the disk.

    Raises `InputError` if it is elsewhere, several files, or not there.
    """
    if not named or Path(named).name != named or named == ".." or "\\" in named or "\0" in named or "%" in named:
        raise field_error(stream, field, named, "the plain name of one file in the same folder is wanted")
    place = path.with_name(named)
    if not os.path.lexists(place):  # unlike Path.exists it takes a name too long for the disk
        raise InputError(f"{stream.label}: its data file {printable(named)} is not there; it belongs beside the header")
    return place


@contextmanager
def data_file(stream: ByteStream, path: Path, field: str, named: str) -> Iterator[ByteStream]:
    """The file with the voxels, opened. Raises `InputError` as `data_path` does."""
    place = data_path(stream, path, field, named)
    label = printable(place)
    with open_file(place, label) as file:
        yield ByteStream(file, label, place.stat().st_size)
