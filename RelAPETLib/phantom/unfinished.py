"""The finished people of a data set that is not complete: a run that was stopped costs the person it was at, no more.

They wait in a hidden folder of the data set to be, each with its rows of the tables, beside a note on what they follow
from. A person comes there whole, by one renaming.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, OutputError
from ..jsonfiles import read_json_object
from ..outputs import shown_as
from ..whole_files import sync, sync_tree, write_whole

UNFINISHED = ".unfinished"
_NOTE, _ROWS, _SCANS = "what.json", "rows.json", "scans"


class Unfinished:
    """People of one seed and law, by label.

    Args:
        folder: of the data set; need not exist.
        what: all that its people follow from, as JSON.
    """

    def __init__(self, folder: Path, what: dict) -> None:
        self._folder, self._what = folder / UNFINISHED, what

    def check(self, overwrite: bool) -> None:
        """Raise `OutputError` when people of something else wait there and `overwrite` does not let them go."""
        if not overwrite and self.count() and not self._is_ours():  # who was killed in `add` may leave an empty folder
            raise OutputError(
                f"{self._folder.parent} holds people of an unfinished data set of another seed, law or version; "
                "use --overwrite to give them up, or another --out"
            )

    def finished(self) -> dict[str, dict]:
        """Rows of the people who are there, by label; those of something else, and damaged ones, are removed."""
        if not self._is_ours():
            self.remove()
            return {}
        found = {}
        for person in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            try:
                found[person.name] = read_json_object(person / _ROWS)
            except InputError:
                shutil.rmtree(person)
        return found

    def count(self) -> int:
        """How many people are there."""
        return sum(path.is_dir() for path in self._folder.iterdir()) if self._folder.is_dir() else 0

    def add(self, label: str, rows: dict, write: Callable[[Path], None], staging: Path) -> None:
        """Write a person's scans with `write` into `staging`, a folder on the same disk, and keep them.

        Raises:
            OSError: the disk refuses.
        """
        part = staging / label
        (part / _SCANS).mkdir(parents=True)
        with shown_as({part / _SCANS: self._folder.parent / label}):
            write(part / _SCANS)
        (part / _ROWS).write_text(json.dumps(rows), encoding="utf-8")
        sync_tree(part)
        if not self._folder.is_dir():
            self._folder.mkdir()
            write_whole(self._folder / _NOTE, json.dumps(self._what).encode())
        os.rename(part, self._folder / label)
        sync(self._folder)

    def copy(self, label: str, target: Path) -> None:
        """A person's scans once more, by links where the disk has them: nothing is lost if the rest fails."""
        shutil.copytree(self._folder / label / _SCANS, target, copy_function=_link)

    def remove(self, *, needed: bool = True) -> None:
        """Let everybody go, the note first, so that nobody who is left by halves counts.

        Args:
            needed: whether what the disk does not let go of matters; where not, it stays without a word.

        Raises:
            OSError: the disk refuses, and it is needed.
        """
        if self._folder.is_dir():
            with contextlib.suppress(*(() if needed else (OSError,))):
                (self._folder / _NOTE).unlink(missing_ok=True)
                shutil.rmtree(self._folder)

    def _is_ours(self) -> bool:
        try:
            return read_json_object(self._folder / _NOTE) == self._what
        except InputError:
            return False


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
