"""What is said to the user: never a reason to fail."""

from __future__ import annotations

import contextlib
import os
import sys


def printable(text: str) -> str:
    """Text that every terminal shows: control characters and bytes that are no UTF-8 are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """The same on one line."""
    return printable(" ".join(text.split()))


def say(message: str) -> None:
    """Lines on stdout; a full disk or a closed pipe behind it does not end the work."""
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(map(printable, message.splitlines()))
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except (OSError, ValueError):
        # What is left in its buffer would fail once more when Python ends, and change the exit code.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
