"""Reading JSON that others wrote: any damage is one line that names the file, never a crash, a hang or full memory."""

from __future__ import annotations

import json
import math
from pathlib import Path

from .absent import why_no_file
from .errors import InputError, RelAPETError
from .notices import printable

MAX_DEPTH = 64
MAX_BYTES = 64 * 1024 * 1024
#: Integers of more bits than this are of no use to anybody.
_INTEGER_BITS = 64


def read_json(
    path: Path | str,
    what: str = "",
    *,
    error: type[RelAPETError] = InputError,
    advice: str = "mend it",
    numbers: str = "finite",
    limit: int = MAX_BYTES,
):
    """Contents of a JSON file (UTF-8, with or without byte order mark).

    Args:
        path: a plain file.
        what: what it is, for the message: "sidecar".
        error: class of what is raised.
        advice: the message's last words.
        numbers: ``finite`` refuses NaN, Infinity, numbers too large for a float and integers of more than 64 bits;
            ``null`` reads them as null.
        limit: bytes that it may have.

    Raises:
        `error`: missing, unreadable, too large, not JSON, nested deeper than `MAX_DEPTH`, a number as above, or a text
            that is none (`parse_json`).
    """
    name = f"{what} {printable(path)}".strip()
    try:
        path = Path(path)
        if why := why_no_file(path):
            raise error(f"{name}: {why}")
        if path.stat().st_size > limit:
            raise error(f"{name}: larger than {limit} bytes; refused")
        content = parse_json(path.read_text(encoding="utf-8-sig"), numbers=numbers)
    except OSError as problem:
        raise error(f"{name}: cannot be read ({problem.strerror or type(problem).__name__})") from problem
    except ValueError as problem:
        raise error(f"{name}: not readable JSON ({_reason(problem)}); {advice}") from problem
    return content


def read_json_object(path: Path | str, what: str = "", **how) -> dict:
    """As `read_json`; what is no object is refused too."""
    content = read_json(path, what, **how)
    if not isinstance(content, dict):
        raise how.get("error", InputError)(
            f"{what} {printable(path)}".strip() + f": must be a JSON object; {how.get('advice', 'mend it')}"
        )
    return content


def parse_json(text: str | bytes, *, numbers: str = "finite"):
    """Contents of a JSON text; see `read_json`.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deep, a number that is not finite or has more than 64 bits, or a
            text or key with half a surrogate pair, which is no letter and could not be written again.
    """

    def constant(word: str):
        if numbers == "null":
            return None
        raise ValueError(
            f"the number {word[:20]} is too large" if word[-1:].isdigit() else f"{word} is not a JSON number"
        )

    def floating(word: str):
        value = float(word)
        return value if math.isfinite(value) else constant(word)

    def integer(word: str):
        value = int(word) if len(word) <= _INTEGER_BITS else 1 << _INTEGER_BITS
        return value if value.bit_length() < _INTEGER_BITS else constant(word)

    try:
        content = json.loads(text, parse_constant=constant, parse_float=floating, parse_int=integer)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    _check_content(content)
    return content


def _check_content(content) -> None:
    """Raise `ValueError` for texts that are none, and for nesting that other code, which recurses, could not walk."""
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        for item in level:
            for text in item if isinstance(item, dict) else (item,):
                if (
                    isinstance(text, str)
                    and not text.isascii()
                    and any("\ud800" <= letter <= "\udfff" for letter in text)
                ):
                    raise ValueError(f"the text {printable(text, 40)} has half a surrogate pair")
        level = [
            item
            for parent in level
            if isinstance(parent, (dict, list))
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return f"not UTF-8 at byte {problem.start}"
    return " ".join(str(problem).split())[:120]
