"""Headers of DICOM files: pydicom finds the elements, their values are taken as bytes and parsed here.

So a value is either what the standard says or an error that names its field, never a guess, and no value is quoted:
messages hold names of fields and of files, nothing of a patient.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, RelAPETError
from ...notices import printable

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: A deflated data set may become this large.
_MAX_INFLATED_BYTES = 2**30
#: Tags that the first data element of a file may begin with, in either byte order.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
#: Reads of so many bytes need no look at what is left of a file.
_SMALL = 65536
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_QUIET = threading.RLock()
#: Elements that the dictionary of an older pydicom may lack.
_NEWER = {"SyntheticData": 0x0008001C}


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep what pydicom warns of and logs away from terminal and log: it quotes names and dates.

    Python's filters belong to the process, so one thread reads at a time.
    """
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


class Header:
    """The elements that were asked for of one DICOM file, or of one item of a sequence in it.

    Attributes:
        path: the file, for messages.
        syntax: UID of its transfer syntax.
        preamble: whether the file says that it is DICOM; without it that is a guess.
    """

    def __init__(self, path: Path, dataset: Dataset, syntax: str, preamble: bool = True):
        self.path, self.syntax, self.preamble, self._dataset = path, syntax, preamble, dataset

    def error(self, keyword: str, words: str) -> InputError:
        return InputError(f"{printable(self.path)}: its DICOM header's {keyword} {words}; export the series again")

    def raw(self, keyword: str) -> bytes | None:
        """The bytes of an element; None if it is missing, empty bytes if it has no value."""
        try:
            element = self._dataset.get_item(_tag(keyword))
        except Exception as error:  # pydicom raises whatever its parsing stumbles over
            raise damaged(self.path) from error
        if element is None:
            return None
        value = element.value
        if isinstance(value, int):  # pydicom has turned PixelRepresentation into a number on its way to a sequence
            value = (value & 0xFFFF).to_bytes(2, "big" if self.syntax == BIG_ENDIAN else "little")
        if value is None or isinstance(value, bytes):
            return value or b""
        raise self.error(keyword, "is not a single value")

    def text(self, keyword: str) -> str:
        """Text without padding, empty if the element is missing or empty."""
        return (self.raw(keyword) or b"").decode("latin-1").strip("\0 \t\r\n")

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        """`count` finite decimal numbers; None if the element is missing or empty."""
        text = self.text(keyword)
        if not text:
            return None
        parts = [part.strip("\0 ") for part in text.split("\\")]
        if len(parts) != count:
            raise self.error(keyword, f"has {len(parts)} values where {count} {'is' if count == 1 else 'are'} wanted")
        if not all(_DECIMAL.fullmatch(part) for part in parts):
            raise self.error(keyword, "is not a number")
        values = [float(part) for part in parts]
        if not all(math.isfinite(value) for value in values):
            raise self.error(keyword, "is not finite")
        return values

    def number(self, keyword: str, default: float) -> float:
        found = self.numbers(keyword, 1)
        return default if found is None else found[0]

    def integer(self, keyword: str, default: int | None = None) -> int:
        """A binary (US) or written (IS) whole number; an error if it is missing and there is no default."""
        from pydicom.datadict import dictionary_VR, tag_for_keyword

        value = self.raw(keyword)
        if not value:
            if default is None:
                raise self.error(keyword, "is missing")
            return default
        if dictionary_VR(tag_for_keyword(keyword)) == "US":
            if len(value) != 2:
                raise self.error(keyword, "is not one number")
            return int.from_bytes(value, "big" if self.syntax == BIG_ENDIAN else "little")
        text = self.text(keyword)
        if not _INTEGER.fullmatch(text):
            raise self.error(keyword, "is not a whole number")
        return int(text)

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; none if it is missing or empty."""
        from pydicom import Dataset
        from pydicom.datadict import tag_for_keyword

        tag = tag_for_keyword(keyword)
        if tag not in self._dataset:
            return []
        try:
            items = self._dataset[tag].value or []
        except Exception as error:  # pydicom raises whatever its parsing stumbles over
            raise damaged(self.path) from error
        if isinstance(items, (bytes, str)) or not all(isinstance(item, Dataset) for item in items):
            raise self.error(keyword, "is not a sequence")
        return [Header(self.path, item, self.syntax) for item in items]

    def without_elements(self) -> Header:
        """A header of the same file in which every element is missing."""
        from pydicom import Dataset

        return Header(self.path, Dataset(), self.syntax)


def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(keyword)
    return _NEWER[keyword] if found is None else found


def damaged(path: Path) -> InputError:
    return InputError(f"{printable(path)}: a damaged DICOM file; copy it again or take it out of the folder")


def read_header(path: Path, keywords: list[str], pixels: bool = False) -> Header | None:
    """The named elements of a file; None if it is no DICOM. Files without the 128 bytes of preamble are read too.

    Args:
        path: a file.
        keywords: of the elements; nothing else of the file is kept.
        pixels: read on past the beginning of the pixels.

    Raises:
        InputError: a DICOM file that cannot be parsed.
        RelAPETError: pydicom is not installed.
        OSError: the file cannot be read.
    """
    try:
        import pydicom
    except ImportError as error:
        raise RelAPETError("reading DICOM needs pydicom; install it with: pip install 'pydicom>=2.4'") from error

    with _Clamped(path) as stream:
        beginning = stream.read(132)
        preamble = beginning[128:] == b"DICM"
        if not preamble and not beginning.startswith(_FIRST_GROUPS):
            return None
        wanted = [_tag(keyword) for keyword in ("TransferSyntaxUID", *keywords)]
        try:
            _check_deflated(stream)
            stream.seek(0)
            with quiet_pydicom():
                dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True, specific_tags=wanted)
                syntax = _syntax(dataset)
        except Exception as error:  # pydicom raises whatever its parsing stumbles over
            if not preamble:
                return None
            raise damaged(path) from error
    return Header(path, dataset, syntax, preamble)


def _syntax(dataset: Dataset) -> str:
    """UID of the transfer syntax; for a file without it, what pydicom has found the data set to be."""
    meta = getattr(dataset, "file_meta", None)
    element = meta.get_item(0x00020010) if meta is not None else None
    if element is None or not element.value:
        big = getattr(dataset, "original_encoding", (None, True))[1] is False
        return BIG_ENDIAN if big else "1.2.840.10008.1.2.1"
    value = element.value
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip("\0 ")


class _Clamped(io.BufferedReader):
    """A file that is never asked for more bytes than it has: a damaged length takes no memory."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self._end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > _SMALL:
            left = max(0, self._end - self.tell())
            size = left if size is None or size < 0 else min(size, left)
        return super().read(size)


def _check_deflated(stream: _Clamped) -> None:
    """Refuse a deflated data set that would take too much memory: pydicom inflates it whole."""
    stream.seek(132)
    deflated = False
    while True:
        element = stream.read(8)
        if element[:2] != b"\x02\x00" or len(element) < 8:
            break
        long = element[4:6] in (b"OB", b"OW", b"UN", b"SQ", b"UT")
        length = int.from_bytes(stream.read(4) if long else element[6:8], "little")
        value = stream.read(length)
        if element[2:4] == b"\x10\x00":
            deflated = value.strip(b"\0 ") == DEFLATED.encode()
    if not deflated:
        return
    stream.seek(-len(element), io.SEEK_CUR)
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while piece := inflater.unconsumed_tail or stream.read(65536):
        size += len(inflater.decompress(piece, 2**20))
        if size > _MAX_INFLATED_BYTES:
            raise ValueError("inflates to more than it may")
    if not inflater.eof:
        raise EOFError("the deflated data set ends early")
