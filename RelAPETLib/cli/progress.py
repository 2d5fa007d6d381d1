"""What a running command tells the user: a bar, JSON lines, or nothing but what matters.

``--progress json`` writes one object a line to stdout and nothing else there (`Resources/progress.schema.json`):
``progress`` (fraction 0 to 1, message, seconds elapsed and remaining), ``warning``, ``error`` (with the exit code the
process will end with) and, at the end of a successful command, one ``result``.
"""

from __future__ import annotations

import json
import math
import sys
import time

MODES = ("human", "json", "none")


def make_reporter(mode: str):
    """Reporter of a mode; its streams are those of this moment."""
    if mode == "json":
        return JsonReporter()
    return TextReporter(bar=mode == "human")


def _remaining(fraction: float, elapsed: float) -> float | None:
    return elapsed * (1 - fraction) / fraction if fraction > 0.02 else None


class JsonReporter:
    """One JSON object a line on stdout; errors also as one line on stderr."""

    def __init__(self):
        self._stdout, self._stderr, self._start = sys.stdout, sys.stderr, time.monotonic()

    def _write(self, line: dict) -> None:
        # ASCII: whoever reads the pipe need not know its encoding.
        self._stdout.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        self._stdout.flush()

    def progress(self, fraction: float, message: str) -> None:
        elapsed = time.monotonic() - self._start
        remaining = _remaining(fraction, elapsed)
        self._write({
            "type": "progress",
            "fraction": round(min(max(float(fraction), 0.0), 1.0), 4),
            "message": message,
            "elapsed": round(elapsed, 2),
            "remaining": None if remaining is None else round(remaining, 2),
        })  # fmt: skip

    def warning(self, message: str) -> None:
        self._write({"type": "warning", "message": " ".join(message.split())})

    def error(self, message: str, exit_code: int, accepted_by: str | None = None) -> None:
        message = " ".join(message.split())
        line = {"type": "error", "message": message, "exit_code": exit_code}
        self._write(line if accepted_by is None else line | {"accepted_by": accepted_by})
        print(f"relapet: error: {message}", file=self._stderr, flush=True)

    def result(self, command: str, content: dict, text: str) -> None:
        self._write({"type": "result", "command": command, **content})

    def close(self) -> None:
        """Nothing is held back."""


class TextReporter:
    """A progress bar on stderr (only on a terminal), results on stdout, warnings and errors on stderr.

    Warnings wait for the end: printed above a running bar they are overlooked, and before an error they would hide
    its one line.
    """

    def __init__(self, bar: bool):
        self._stdout, self._stderr, self._with_bar = sys.stdout, sys.stderr, bar
        self._bar, self._warnings = None, []

    def progress(self, fraction: float, message: str) -> None:
        if not self._with_bar:
            return
        if self._bar is None:
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {desc}"
            self._bar = tqdm(total=1.0, file=self._stderr, bar_format=layout, disable=None, leave=False)
        self._bar.set_description_str(message, refresh=False)
        self._bar.update(min(max(float(fraction), 0.0), 1.0) - self._bar.n)
        self._bar.refresh()

    def warning(self, message: str) -> None:
        self._warnings.append(" ".join(message.split()))

    def error(self, message: str, exit_code: int, accepted_by: str | None = None) -> None:
        self._close_bar()
        print(f"relapet: error: {' '.join(message.split())}", file=self._stderr, flush=True)

    def result(self, command: str, content: dict, text: str) -> None:
        self._close_bar()
        if text:
            print(text, file=self._stdout, flush=True)

    def close(self) -> None:
        """End of a successful command: the bar goes, the warnings come."""
        self._close_bar()
        for message in dict.fromkeys(self._warnings):
            print(f"relapet: warning: {message}", file=self._stderr, flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
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
