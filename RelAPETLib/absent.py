"""What stands where a file should be: a pointer of git-annex or Git LFS, a web page, a link to nothing."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_ANNEX = "fetch it with git annex get or datalad get"
_POINTER = f"a git-annex pointer, not the file itself; {_ANNEX}"
_PAGE = "a web page, not the file itself; the download went wrong"
#: By the beginning, without white space and in lower case.
_STANDING_IN = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
    (re.compile(rb"/annex/objects"), _POINTER),
    (re.compile(rb"(\.\.?[/\\])*\.git[/\\]annex[/\\]objects"), _POINTER),  # a link where the disk knows no links
    (re.compile(rb"<!doctype html|<html"), _PAGE),
)
#: As much of a file shows it.
_BEGINNING = 400


def what_stands_in(beginning: bytes) -> str | None:
    """What a file is instead of itself, by its first 100 bytes or more, and what to do; None for any other content."""
    beginning = beginning.lstrip().lower()
    return next((words for mark, words in _STANDING_IN if mark.match(beginning)), None)


def why_no_file(path: str | os.PathLike) -> str | None:
    """Why a path is no file to read: not there, a link to nothing, no plain file, a pointer; None for any other file.

    Raises:
        OSError: it cannot be looked at or opened.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return why_missing(path)
    if not stat.S_ISREG(mode):
        return "not a plain file"
    with open(path, "rb") as stream:
        return what_stands_in(stream.read(_BEGINNING))


def is_listed(path: str | os.PathLike) -> bool:
    """Whether a folder has the name of a file, or of a link to one that may not be here; reading it then says so."""
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))


def why_missing(path: str | os.PathLike, otherwise: str = "no such file") -> str:
    """Why there is no file: `otherwise`, or a link whose target is not here and how to fetch it."""
    try:
        if not os.path.islink(path) or os.path.exists(path):
            return otherwise
        target = Path(os.path.realpath(path)).as_posix()
    except (OSError, ValueError):  # NUL or a lone surrogate
        return otherwise
    return f"a link to a file that is not here; {_ANNEX if 'annex/objects' in target else 'copy the file itself'}"
