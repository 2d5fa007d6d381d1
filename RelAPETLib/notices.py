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
        if outer is None:
            warnings.warn(message, RelAPETWarning, stacklevel=3)
        else:
            outer(message)

    with listening(gather):
        yield
