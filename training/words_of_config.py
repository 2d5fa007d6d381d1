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
#: A place that is in Hydra's grammar already: in quotes, nothing, or with an interpolation or an escape in it. The two
#: backslashes before the name of a server, as Windows has them, are none.
_IN_GRAMMAR = re.compile(r"""['"]|null$|.*(\$\{|(?!^\\\\\w)\\[\\()\[\]{}:=, \t])""")


def as_words(config: TrainConfig, without: tuple[str, ...] = ()) -> list[str]:
    """``method=NAME`` and ``key=value`` for every key; together they are overrides that give this configuration again.

    Args:
        without: keys to leave out.
    """
    flat = flatten(config)
    return [f"method={flat['method.name']}", *(f"{key}={as_value(flat[key])}" for key in flat if key not in without)]


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


def as_place(value: str) -> str:
    """A file or folder of the command line in Hydra's grammar, which takes no accent, comma or bracket without quotes.

    Args:
        value: as the user wrote it, perhaps in that grammar.
    """
    value = value.strip()
    return value if _IN_GRAMMAR.match(value) else as_value(value)
