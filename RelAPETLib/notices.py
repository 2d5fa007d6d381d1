"""What the user should know that does not stop the work: told to whoever listens in this thread, else a Python warning.

A listener belongs to the context it was set in (`contextvars`), so two cases in two threads never hear each other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import RelAPETWarning

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("relapet_notice_listener", default=None)


def warn(message: str) -> None:
    """Tell the user one line: what is odd, and what was done about it."""
    listener = _listener.get()
    if listener is None:
        warnings.warn(message, RelAPETWarning, stacklevel=2)
    else:
        listener(message)


def printable(text: object, limit: int | None = 400) -> str:
    """A text on one line in which nothing moves a cursor, changes colours, or turns the order of letters around.

    Names of files and headers come from strangers. Bytes that are no UTF-8 and all else unprintable is written as
    Python would, e.g. ``\\x1b``. What is longer than `limit` letters loses its middle.
    """
    shown = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit // 2]}...{shown[-limit // 2 :]}"


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte that is no UTF-8, as Python keeps it in a file's name
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener(message)` for each `warn` in this context, instead of a Python warning."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def collected(messages: list[str]) -> Iterator[None]:
    """Append each message to a list, and still pass it on to whoever listened before (or as a Python warning)."""
    outer = _listener.get()

    def gather(message: str) -> None:
        messages.append(message)
        _pass_on(outer, message)

    with listening(gather):
        yield


def _pass_on(outer: Callable[[str], object] | None, message: str) -> None:
    """Tell who listened before, or warn where the message came from."""
    if outer is None:
        warnings.warn(message, RelAPETWarning, stacklevel=4)
    else:
        outer(message)


@contextmanager
def once() -> Iterator[None]:
    """Pass each message on to whoever listened before (or as a Python warning) the first time it comes, no more."""
    outer, said = _listener.get(), set()

    def first(message: str) -> None:
        if message in said:
            return
        said.add(message)
        _pass_on(outer, message)

    with listening(first):
        yield
