"""Keeping what a command reads from being replaced by what it writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import OutputError

#: Options that say where to write; what they name is no input.
WRITTEN = ("out", "save_case", "log_file", "work_dir")


def keep_inputs(arguments, targets: Iterable[Path], option: str = "--out") -> None:
    """Refuse to replace an input by an output, e.g. an earlier synthetic PET given as the reference.

    Args:
        arguments: a command's; every text in them that is the path of something is an input.
        targets: files that are written or replaced.
        option: that chooses them.

    Raises:
        OutputError: one of the targets is an input.
    """
    known = {Path(target).resolve() for target in targets}
    for name, value in vars(arguments).items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if name in WRITTEN or not isinstance(each, str) or not each:
                continue
            try:
                taken = Path(each).resolve() in known and os.path.lexists(each)
            except (OSError, ValueError, RuntimeError):  # no path: a NUL, a ring of links
                continue
            if taken:
                raise OutputError(f"{each} is an input and would be replaced; choose another {option}")
