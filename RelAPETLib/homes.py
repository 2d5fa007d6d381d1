"""``~`` at the beginning of a path that a user gives: a home folder, as in a shell.

A shell expands ``~/x``, but not ``'~/x'`` nor ``--out=~/x``, and a table or a request of ``relapet serve`` meets none.
So the command line, the training's words and the columns of tables expand it once, where the path comes in. What really
is called ``~`` is given as ``./~``. Paths that Python code hands over are taken as they are.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError


def given_path(text: str) -> str:
    """A path as a user writes it, with a leading ``~`` or ``~user`` made that home folder; argparse type of paths.

    Raises:
        InputError: the system knows no such user, or no home folder of this one.
    """
    return _expanded(text, text)


def given_place(text: str) -> Path:
    """`given_path` as a `Path`."""
    return Path(given_path(text))


def path_beside(table: Path, text: str) -> Path:
    """A path that stands in a table: its own, or as of the table's folder. Raises `InputError` as `given_path`."""
    return table.parent / _expanded(text, table.parent / text)


def _expanded(text: str, shown: object) -> str:
    if not text.startswith("~"):
        return text
    path = text if "\0" in text else os.path.expanduser(text)
    if path.startswith("~"):
        own = text[1:2] in ("", "/", os.sep)
        why = "no home folder of this user is known (set HOME)" if own else "there is no user of this name here"
        raise InputError(f"{shown}: {why}; begin with ./ where a file's own name begins with ~")
    return path
