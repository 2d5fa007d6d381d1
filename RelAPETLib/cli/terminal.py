"""The streams a command talks through, kept apart from what libraries print, and what may be printed on them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


class Stream(io.TextIOBase):
    """Text to a file descriptor without a buffer: what cannot be written now is not tried again at exit."""

    def __init__(self, descriptor: int, encoding: str = "utf-8"):
        self._descriptor, self._encoding = descriptor, encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        data = text.replace("\n", os.linesep).encode(self._encoding, "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]
        return len(text)


@contextlib.contextmanager
def own_streams() -> Iterator[tuple[io.TextIOBase, io.TextIOBase]]:
    """This process's stdout and stderr as streams that stay while `quiet_descriptors` sends all else to the log.

    Closed ones are opened to nowhere: else the next file that is opened would become stdout and take what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    with contextlib.ExitStack() as stack:
        yield _own(sys.stdout, 1, stack), _own(sys.stderr, 2, stack)


def _own(stream, number: int, stack: contextlib.ExitStack):
    if stream is None:  # closed by whoever started us
        return stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
    try:
        if stream.fileno() != number:
            return stream
    except (OSError, ValueError, AttributeError):  # not a file: a test's or a notebook's
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    copy = os.dup(number)
    stack.callback(os.close, copy)
    return Stream(copy, stream.encoding or "utf-8")


def lines_of(descriptor: int, longest: int) -> Iterator[bytes]:
    """Lines of a file descriptor as they come; of one that is longer, a little more than `longest` bytes.

    Not by `sys.stdin`, which Python cannot close at its end while another thread waits for a line.
    """
    held, skipping = b"", False
    while data := os.read(descriptor, 1 << 16):
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            if not skipping:
                yield line
            skipping = False
        if len(held) > longest:
            if not skipping:
                yield held[: longest + 1]
            held, skipping = b"", True
    if held and not skipping:
        yield held


@contextlib.contextmanager
def quiet_descriptors(path: os.PathLike | None) -> Iterator[None]:
    """Send what C and C++ libraries print (descriptors 1 and 2) to the end of a file, or nowhere, while this lasts."""
    target = _open(path)
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(target)


def _open(path: os.PathLike | None) -> int:
    if path is not None:
        with contextlib.suppress(OSError):
            return os.open(path, os.O_WRONLY | os.O_APPEND)
    return os.open(os.devnull, os.O_WRONLY)
