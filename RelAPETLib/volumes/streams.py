"""A file's bytes in order, decompressed, and known to be whole once its end is reached.

gzip, zlib and bzip2 end in a check sum. Readers that stop at the last voxel never see it, so a flipped bit turns into
other voxels without a word (TotalSegmentator #24, ITK #6575). `ByteStream.finish` reads on to the end.
"""

from __future__ import annotations

import bz2
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from ..absent import why_missing
from ..errors import InputError

#: Bytes taken from a file at a time.
_CHUNK = 2**18
#: Decompressed bytes that may follow what the header promises (MGH's tags, padding); more is no volume's.
_MAX_TRAILER = 2**26
#: Deflate shrinks at most to 1/1032 (zlib's technical notes).
_DEFLATE_RATIO = 1032
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


class _Readable(Protocol):
    def read(self, size: int) -> bytes: ...


class ByteStream:
    """Reads forward through a file or through what is left of another stream.

    Args:
        source: where the bytes come from.
        label: the file's name in messages.
        most: no more bytes than this can come; None where that is not known.
        coding: ``"gzip"`` (also zlib), ``"bzip2"`` or None for bytes as they are.
    """

    def __init__(self, source: _Readable, label: str, most: int | None, coding: str | None = None) -> None:
        self.label = label
        self.most = most
        self.coding = coding
        self.position = 0
        self._ahead = b""
        self._outer = source
        if coding == "gzip":
            self._source: _Readable = _Inflated(source)
            self.most = None if most is None else most * _DEFLATE_RATIO
        elif coding == "bzip2":
            self._source = bz2.BZ2File(_Unseekable(source))
            self.most = None
        else:
            self._source = source

    def decoded(self, coding: str | None) -> ByteStream:
        """What is left of this stream, decompressed; the stream itself without a coding."""
        return self if coding is None else ByteStream(_Remainder(self), self.label, self.left, coding)

    @property
    def left(self) -> int | None:
        """How many bytes can still come, at most."""
        return None if self.most is None else max(0, self.most - self.position)

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer at the end; the next `read` gives them again."""
        while len(self._ahead) < size and (more := self._some(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises `InputError` where the file ends before."""
        content = self.peek(size) if size < len(self._ahead) else self._ahead
        self._ahead = self._ahead[len(content) :]
        if len(content) < size:
            parts, missing = [content], size - len(content)
            while missing:
                if not (part := self._some(missing)):
                    raise self.damaged("it ends early")
                parts.append(part)
                missing -= len(part)
            content = b"".join(parts)
        self.position += size
        return content

    def skip(self, size: int) -> None:
        """Pass over so many bytes. Raises `InputError` where there are not so many, or more than any header skips."""
        if size > (_MAX_TRAILER if self.coding else self.left or 0):
            raise self.damaged(f"its voxels cannot begin after {size} bytes")
        while size > 0:
            size -= len(self.read(min(size, _CHUNK)))

    def readline(self, limit: int) -> bytes:
        """The next line with its end; b"" at the end of the stream. Raises `InputError` where it is too long."""
        size = 256
        while b"\n" not in (ahead := self.peek(size)) and len(ahead) == size:
            if size > limit:
                raise self.damaged("a line of its header has no end")
            size *= 2
        return self.read(ahead.find(b"\n") + 1 or len(ahead))

    def finish(self) -> None:
        """Read a compressed stream to its end, where its check sums are, and the one around it too."""
        left = _MAX_TRAILER
        while self.coding and (content := self._some(_CHUNK)):
            left -= len(content)
            if left < 0:
                raise InputError(f"{self.label}: far longer than its header says; it is damaged or no volume")
        if isinstance(self._outer, _Remainder):
            self._outer.stream.finish()

    def damaged(self, what: str) -> InputError:
        """The error to raise: the file is not what was once written."""
        return InputError(f"{self.label}: damaged or truncated, {what}; copy it again")

    def _some(self, size: int) -> bytes:
        """At least one byte and at most `size`, or b"" at the end."""
        try:
            return self._source.read(min(size, _CHUNK))
        except EOFError as error:
            raise self.damaged("its compressed data end early") from error
        except zlib.error as error:
            raise self.damaged("its compressed data are broken or their check sum is wrong") from error
        except OSError as error:
            if error.errno is None:  # bz2's
                raise self.damaged("its compressed data are broken or their check sum is wrong") from error
            raise InputError(f"{self.label}: cannot be read: {error.strerror or error}") from error


class _Remainder:
    """What is left of a stream, as a source for another."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream

    def read(self, size: int) -> bytes:
        return self.stream.read(len(self.stream.peek(size)))


class _Unseekable:
    """What `bz2` wants of a file, over a source that only reads."""

    def __init__(self, source: _Readable) -> None:
        self.read = source.read

    def seekable(self) -> bool:
        return False


class _Inflated:
    """zlib's or gzip's bytes, decompressed; gzip's may be in several members. zlib itself compares the check sums."""

    def __init__(self, source: _Readable) -> None:
        self._source = source
        self._pending = b""
        self._inflate = zlib.decompressobj(47)  # 15 bits of window + 32: either header

    def read(self, size: int) -> bytes:
        while True:
            if self._inflate.eof and not self._next_member():
                return b""
            if not self._pending:
                self._pending = self._source.read(_CHUNK)
            had_input = bool(self._pending)
            content = self._inflate.decompress(self._pending, size)
            self._pending = self._inflate.unconsumed_tail
            if content:
                return content
            if not had_input and not self._inflate.eof:
                raise EOFError

    def _next_member(self) -> bool:
        rest = self._inflate.unused_data.lstrip(b"\0")  # tapes and some file systems pad with zeros
        while not rest:
            if not (more := self._source.read(_CHUNK)):
                return False
            rest = more.lstrip(b"\0")
        if not rest.startswith(_GZIP[:1]):
            raise zlib.error("bytes after the end")
        self._pending = rest
        self._inflate = zlib.decompressobj(31)
        return True


def open_file(path: Path, label: str) -> BinaryIO:
    """Open a regular file that is not empty. Raises `InputError` for anything else: a pipe would wait for ever."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{label}: not a regular file")
        if found.st_size == 0:
            raise InputError(f"{label}: the file is empty")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: NUL or a lone surrogate
        raise InputError(f"{label}: {why_missing(path)}") from error
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror or error}") from error


def open_stream(file: BinaryIO, label: str) -> ByteStream:
    """Stream over an open file from where it stands, decompressed if its content (not its name) is gzip's."""
    size = os.fstat(file.fileno()).st_size - file.tell()
    stream = ByteStream(file, label, size)
    return stream.decoded("gzip") if stream.peek(2) == _GZIP else stream
