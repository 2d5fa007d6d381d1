"""The words of ``python -m training train``: its options, its help, and ``@FILE``. Loads nothing heavy."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from RelAPETLib.errors import InputError
from RelAPETLib.homes import given_place

from .config import TrainConfig, chosen, flatten, method_class
from .errors import ConfigError
from .keys import RULES
from .methods import DEFAULT, METHODS
from .words_of_config import as_value

OPTIONS = {
    "--help": "this text; method=NAME shows that method's keys, preset=NAME and the like their defaults",
    "--cfg": "print the configuration that the words make, as words for @FILE, and end",
    "--dry-run": "train ten steps in a temporary folder, say what a run would need, and end; `out` is not touched",
}
_WIDTH = 120

USAGE = """usage: python -m training train data.cache=CACHE out=OUT [KEY=VALUE ...] [@FILE ...] [--cfg | --dry-run]

Train a model on a cache that 'prepare' wrote. The same command goes on where an interrupted run stopped.
@FILE stands for a file of such words, one a line; lines that begin with # do not count.
'pretrain' in place of 'train' takes the same words and runs the pre-training on MRI alone, of a method that has one.
"""
ENDINGS = (
    "exit codes: 0 done; 75 asked to stop, start it again; 2 a bad configuration or input; 3 diverged; "
    "4 another rank failed"
)


@dataclass(frozen=True)
class Request:
    """What the words ask for: ``train``, ``help``, ``cfg`` or ``dry-run``, and the overrides."""

    action: str
    overrides: tuple[str, ...]


def read_words(words: Sequence[str]) -> Request:
    """Options and overrides of a command line, with files put in their place.

    Raises:
        ConfigError: an unknown option, or two of them.
        InputError: a file cannot be read.
    """
    asked, rest = [], []
    for word in words:
        if word in ("-h", "--help"):
            return Request("help", tuple(expanded([word for word in words if not word.startswith("-")])))
        if not word.startswith("-"):
            rest.append(word)
        elif word in OPTIONS:
            asked.append(word.lstrip("-"))
        else:
            near = difflib.get_close_matches(word, [*OPTIONS, *RULES], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{word}: no option of train; there are {', '.join(OPTIONS)}{hint}")
    if len(set(asked)) > 1:
        raise ConfigError("--cfg and --dry-run: one of them")
    return Request(asked[0] if asked else "train", tuple(expanded(rest)))


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
            lines = given_place(word[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:  # UnicodeDecodeError, and a path with NUL
            raise InputError(f"{word[1:]!r}: cannot be read ({error})") from error
        found += [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    return found


def help_text(overrides: Sequence[str] = ()) -> str:
    """What ``train --help`` says: options, choices, and every key of the chosen method with its default.

    Args:
        overrides: choices like ``method=rela_latent`` and ``preset=paper`` among them count, others do not.

    Raises:
        ConfigError: a choice that does not exist.
    """
    kind, config = method_class(overrides), chosen(overrides)
    lines = [USAGE, "options:"]
    lines += [_entry(name, what) for name, what in OPTIONS.items()]
    lines += ["", "choices of whole groups (the first is the default):"]
    methods = [name for choices in METHODS.values() for name in choices]
    methods = "| ".join([DEFAULT, *(name for name in methods if name != DEFAULT)])
    wrapped = textwrap.wrap(methods, 110, initial_indent="  method=", subsequent_indent="         ")
    lines += [line.replace("| ", "|") for line in wrapped]
    lines += [
        f"  {group}={'|'.join(choices)}{f' (as {kind.follows[group]})' if group in kind.follows else ''}"
        for group, choices in kind.groups.items()
        if group != "method"
    ]
    lines += ["", f"keys of method={config.method.name}, with their defaults:", *_keys(config)]
    return "\n".join([*lines, "", ENDINGS])


def _keys(config: TrainConfig) -> list[str]:
    """Lines about all keys: those without a group, then group by group, each after an empty line."""
    flat, lines = flatten(config), []
    groups = dict.fromkeys(key.rpartition(".")[0] for key in flat)
    for group in sorted(groups, key=bool):
        keys = [key for key in flat if key.rpartition(".")[0] == group]
        lines += ["" for _ in keys[:1] if group] + [_key(config, key, flat[key]) for key in keys]
    return lines


def _key(config: TrainConfig, key: str, default: Any) -> str:
    what = config.rules[key]
    choices = f" ({', '.join(map(str, what.choices))})" if what.choices else ""
    must = " [must be given]" if default == "???" else ""
    shown = "" if default in ("???", "") else as_value(default)
    return _entry(f"{key}={shown}", f"{what.what}{choices}{must}")


def _entry(name: str, text: str) -> str:
    first = f"  {name:<42} "
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * 45, break_on_hyphens=False)
