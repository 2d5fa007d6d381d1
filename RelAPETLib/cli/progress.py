"""What a running command tells the user: a bar, JSON lines, or nothing but what matters.

``--progress json`` writes one object a line to stdout and nothing else there (`Resources/progress.schema.json`):
``progress`` (fraction 0 to 1, message, seconds elapsed and remaining), ``warning``, ``error`` (with the exit code the
process will end with) and, at the end of a successful command, one ``result``.

Texts pass through `printable` here, and only here. A line that cannot be written, say to a full disk, stops no work;
a result that cannot is an error.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Sequence

from ..errors import OutputError
from ..notices import printable

MODES = ("human", "json", "none")


class OutputClosed(Exception):
    """Whoever read our output has closed it, as in ``relapet models list | head``."""


def make_reporter(mode: str, stdout=None, stderr=None):
    """Reporter of a mode; its streams are those given, else those of this moment."""
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    if mode == "json":
        return JsonReporter(stdout, stderr)
    return TextReporter(mode == "human", stdout, stderr)


def _remaining(fraction: float, elapsed: float) -> float | None:
    return elapsed * (1 - fraction) / fraction if fraction > 0.02 else None


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()), None)


def write_all(stream, text: str) -> None:
    """Write what the user asked for.

    Raises:
        OutputError: it cannot be written.
        OutputClosed: nobody listens any more.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        raise OutputError(
            f"the result could not be printed ({error.strerror or error}); what the command made is kept"
        ) from error


def _write_if_possible(stream, text: str) -> None:
    """Write a line that may be lost."""
    with contextlib.suppress(OSError):
        stream.write(text)
        stream.flush()


class JsonReporter:
    """One JSON object a line on stdout; errors also as one line on stderr."""

    def __init__(self, stdout, stderr):
        self._stdout, self._stderr, self._start = stdout, stderr, time.monotonic()

    def line(self, line: dict) -> None:
        """One object as it is, of a protocol that goes beyond one command. Raises `OutputClosed`, `OutputError`."""
        # ASCII: whoever reads the pipe need not know its encoding.
        write_all(self._stdout, json.dumps(_finite(line), allow_nan=False) + "\n")

    def _write_unless_full(self, line: dict) -> None:
        with contextlib.suppress(OutputError):
            self.line(line)

    def progress(self, fraction: float, message: str) -> None:
        elapsed = time.monotonic() - self._start
        remaining = _remaining(fraction, elapsed)
        self._write_unless_full({
            "type": "progress",
            "fraction": round(min(max(float(fraction), 0.0), 1.0), 4),
            "message": _one_line(message),
            "elapsed": round(elapsed, 2),
            "remaining": None if remaining is None else round(remaining, 2),
        })  # fmt: skip

    def log(self, message: str) -> None:
        """The same has been told as progress."""

    def warning(self, message: str) -> None:
        self._write_unless_full({"type": "warning", "message": _one_line(message)})

    def error(self, message: str, exit_code: int, accepted_by: str | None = None, problem: str | None = None) -> None:
        message = _one_line(message)
        line = {"type": "error", "message": message, "exit_code": exit_code}
        further = {"accepted_by": accepted_by, "problem": None if problem is None else _one_line(problem)}
        with contextlib.suppress(OutputClosed):
            self._write_unless_full(line | {name: value for name, value in further.items() if value is not None})
        _write_if_possible(self._stderr, f"relapet: error: {message}\n")

    def result(self, command: str, content: dict, lines: Sequence[str]) -> None:
        self.line({"type": "result", "command": command, **content})

    def close(self) -> None:
        """Nothing is held back."""


class TextReporter:
    """A progress bar on stderr (only on a terminal), results on stdout, warnings and errors on stderr.

    Warnings wait for the end: printed above a running bar they are overlooked, and before an error they would hide
    its one line.
    """

    def __init__(self, bar: bool, stdout, stderr):
        self._stdout, self._stderr, self._with_bar = stdout, stderr, bar
        self._bar, self._warnings = None, []

    def progress(self, fraction: float, message: str) -> None:
        if not self._with_bar:
            return
        with contextlib.suppress(OSError):
            self._show(fraction, _one_line(message))

    def _show(self, fraction: float, message: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {desc}"
            self._bar = tqdm(total=1.0, file=self._stderr, bar_format=layout, disable=None, leave=False)
        self._bar.set_description_str(message, refresh=False)
        self._bar.update(min(max(float(fraction), 0.0), 1.0) - self._bar.n)
        self._bar.refresh()

    def log(self, message: str) -> None:
        """A line at once where there is no terminal to show a bar on, as in a job's log: how far a long command is."""
        if self._with_bar and not self._stderr.isatty():
            _write_if_possible(self._stderr, f"{time.strftime('%H:%M:%S')} {_one_line(message)}\n")

    def warning(self, message: str) -> None:
        self._warnings.append(_one_line(message))

    def error(self, message: str, exit_code: int, accepted_by: str | None = None, problem: str | None = None) -> None:
        """Tell what ended the command; for people, `message` says all: `problem` lacks its advice for a shell."""
        self._close_bar()
        _write_if_possible(self._stderr, f"relapet: error: {_one_line(message)}\n")

    def result(self, command: str, content: dict, lines: Sequence[str]) -> None:
        """Show the result to people; `content` is for programs."""
        self._close_bar()
        if lines:
            write_all(self._stdout, "".join(f"{printable(line, None)}\n" for line in lines))

    def close(self) -> None:
        """End of a successful command: the bar goes, the warnings come."""
        self._close_bar()
        for message in dict.fromkeys(self._warnings):
            _write_if_possible(self._stderr, f"relapet: warning: {message}\n")

    def _close_bar(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
            self._bar = None


def _finite(value):
    """The same with numbers that JSON lacks as null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
