"""Reading JSON that somebody else wrote: only numbers that fit, and no deeper nesting than a person writes."""

from __future__ import annotations

import json
import math

_MAX_DEPTH = 64
_MAX_INTEGER = 2**63


def parse_json(text: str | bytes):
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, not UTF-8, nested more than 64 deep, or with NaN, an infinite number, or an integer of
            more than 64 bits. (`json.loads` alone accepts some of these, and raises RecursionError.)
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for holder in level for item in _items(holder)]
        if not level:
            return value
    raise ValueError(f"nested more than {_MAX_DEPTH} deep")


def _items(holder) -> list:
    if isinstance(holder, dict):
        return list(holder.values())
    return holder if isinstance(holder, list) else []


def _refuse(name: str):
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _integer(digits: str) -> int:
    number = int(digits) if len(digits) < 30 else _MAX_INTEGER
    if abs(number) >= _MAX_INTEGER:
        raise ValueError(f"the number {digits[:20]} is too large")
    return number
