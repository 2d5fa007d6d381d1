"""What stands where a file should be: a pointer of git-annex or Git LFS, a web page, a link to nothing."""

from __future__ import annotations

import os
import re
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


def what_stands_in(beginning: bytes) -> str | None:
    """What a file is instead of itself, by its first 100 bytes or more, and what to do; None for any other content."""
    beginning = beginning.lstrip().lower()
    return next((words for mark, words in _STANDING_IN if mark.match(beginning)), None)


def why_missing(path: str | os.PathLike) -> str:
    """Why there is no file: ``no such file``, or a link whose target is not here and how to fetch it."""
    try:
        if not os.path.islink(path):
            return "no such file"
        target = Path(os.path.realpath(path)).as_posix()
    except (OSError, ValueError):  # NUL or a lone surrogate
        return "no such file"
    return f"a link to a file that is not here; {_ANNEX if 'annex/objects' in target else 'copy the file itself'}"
