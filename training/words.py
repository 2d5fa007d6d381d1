"""What is said to the user: never a reason to fail."""

from __future__ import annotations

import contextlib
import os
import sys

from RelAPETLib.notices import printable


def one_line(text: str) -> str:
    """Text on one line that every terminal shows; what cannot be printed is escaped."""
    return printable(" ".join(text.split()), None)


def complain(text: str) -> None:
    """Lines on stderr; a full disk or a closed pipe behind it does not change how the process ends."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


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
