"""A configuration as words that make it again, one key a word, for ``--cfg`` and ``@FILE``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .groups import flatten

if TYPE_CHECKING:
    from .config import TrainConfig

#: Text that Hydra's grammar takes as it is, and for text.
_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.\-]*")
_WORDS = {"true", "false", "null", "inf", "nan"}


def as_words(config: TrainConfig, without: tuple[str, ...] = ()) -> list[str]:
    """``key=value`` for every key; together they are overrides that give this configuration again.

    Args:
        without: keys to leave out.
    """
    return [f"{key}={as_value(value)}" for key, value in flatten(config).items() if key not in without]


def as_value(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_value, value))}]"
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # Within quotes a backslash means itself, unless quotes follow; a dollar would begin an interpolation.
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return "'" + quoted.replace("${", "\\${") + "'"
