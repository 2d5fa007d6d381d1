"""The words of ``python -m training train``: its options, its help, and ``@FILE``. Loads nothing heavy."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RelAPETLib.errors import InputError

from .errors import ConfigError
from .groups import ABLATIONS, LATENTS, METHODS, PRESETS, TrainConfig, flatten
from .keys import GROUPS, KEYS
from .words_of_config import _value

OPTIONS = {
    "--help": "this text",
    "--cfg": "print the configuration that the words make, as words for @FILE, and end",
    "--dry-run": "train ten steps in a temporary folder, say what a run would need, and end; `out` is not touched",
}
_WIDTH = 120

USAGE = """usage: python -m training train data.cache=CACHE out=OUT [KEY=VALUE ...] [@FILE ...] [--cfg | --dry-run]

Train a model on a cache that 'prepare' wrote. The same command goes on where an interrupted run stopped.
@FILE stands for a file of such words, one a line; lines that begin with # do not count.
"""
ENDINGS = (
    "exit codes: 0 done; 75 asked to stop, start it again; 2 a bad configuration or input; 3 diverged; "
    "4 another rank failed"
)


@dataclass(frozen=True)
class Asked:
    """What the words ask for: ``train``, ``help``, ``cfg`` or ``dry-run``, and the overrides."""

    action: str
    overrides: tuple[str, ...]


def read_words(words: Sequence[str]) -> Asked:
    """Options and overrides of a command line, with files put in their place.

    Raises:
        ConfigError: an unknown option, or two of them.
        InputError: a file cannot be read.
    """
    asked, rest = [], []
    for word in words:
        if word in ("-h", "--help"):
            return Asked("help", ())
        if not word.startswith("-"):
            rest.append(word)
        elif word in OPTIONS:
            asked.append(word.lstrip("-"))
        else:
            near = difflib.get_close_matches(word, [*OPTIONS, *KEYS], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{word}: no option of train; there are {', '.join(OPTIONS)}{hint}")
    if len(set(asked)) > 1:
        raise ConfigError("--cfg and --dry-run: one of them")
    return Asked(asked[0] if asked else "train", tuple(expanded(rest)))


def expanded(words: Sequence[str]) -> list[str]:
    """The words, each ``@FILE`` replaced by the file's lines; empty lines and those that begin with # are left out.

    Raises:
        InputError: the file cannot be read.
    """
    found: list[str] = []
    for word in words:
        if not word.startswith("@"):
            found.append(word)
            continue
        try:
            lines = Path(word[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:  # UnicodeDecodeError, and a path with NUL
            raise InputError(f"{word[1:]!r}: cannot be read ({error})") from error
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def help_text() -> str:
    """What ``train --help`` says: options, groups, and every key with its default, from the tables."""
    lines = [USAGE, "options:"]
    lines += [_entry(name, what) for name, what in OPTIONS.items()]
    lines += ["", "choices of whole groups (the first is the default):"]
    for group, first, choices in (
        ("method", "rela", METHODS),
        ("preset", "default", PRESETS),
        ("ablation", "none", ABLATIONS),
        ("latent", "autoencoded", LATENTS),
    ):
        lines.append(f"  {group}={'|'.join([first, *(name for name in choices if name != first)])}")
    defaults = flatten(TrainConfig())
    lines += ["", "keys, with their defaults:"]
    for key in [key for key in KEYS if "." not in key]:
        lines.append(_key(key, defaults[key]))
    for group in GROUPS:
        lines.append("")
        lines += [_key(key, defaults[key]) for key in KEYS if key.startswith(f"{group}.")]
    return "\n".join([*lines, "", ENDINGS])


def _key(key: str, default: Any) -> str:
    what = KEYS[key]
    choices = f" ({', '.join(map(str, what.choices))})" if what.choices else ""
    shown = "must be given" if default == "???" else "empty" if default == "" else _value(default)
    return _entry(f"{key}={'' if shown in ('must be given', 'empty') else shown}", what.what + choices, shown)


def _entry(name: str, what: str, shown: str = "") -> str:
    text = f"{what} [must be given]" if shown == "must be given" else what
    first = f"  {name:<42} "
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * 45, break_on_hyphens=False)
