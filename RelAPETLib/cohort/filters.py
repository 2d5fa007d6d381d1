"""A BIDS filter file: which of a session's images count, as fMRIPrep's ``--bids-filter-file``.

::

    {"t1w": {"acquisition": "mprage", "run": 1}, "flair": {"session": ["1", "2"]}, "pet": {"reconstruction": null}}

A value is a label, a list of labels, null for images without that entity, or ``"*"`` for those with any label of it.
Numbers match labels with leading zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..jsonfiles import read_json_object
from ..volumes.sidecar import BidsFile

#: Stands for any label, as in fMRIPrep's filter files.
ANY = "*"
#: Kinds of image that a filter may name, and the suffix of their files.
KINDS = {"t1w": "T1w", "flair": "FLAIR", "pet": "pet"}
#: Long names of entities, as PyBIDS has them, and their short ones in file names.
ENTITIES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "tracer": "trc",
    "reconstruction": "rec",
    "run": "run",
    "echo": "echo",
    "part": "part",
    "task": "task",
    "space": "space",
    "description": "desc",
}


@dataclass(frozen=True)
class Filters:
    """What a filter file asks for.

    Attributes:
        wanted: by suffix (``T1w``), by short entity (``acq``), the labels that count; None among them: no such entity,
            `ANY`: any label.
    """

    wanted: dict[str, dict[str, tuple[str | None, ...]]] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether anything is filtered."""
        return bool(self.wanted)

    def apply(self, files: dict[str, list[BidsFile]]) -> dict[str, list[BidsFile]]:
        """The same files by suffix without those that do not count."""
        return {
            suffix: [file for file in found if self._counts(file, self.wanted.get(suffix, {}))]
            for suffix, found in files.items()
        }

    @staticmethod
    def _counts(file: BidsFile, wanted: dict[str, tuple[str | None, ...]]) -> bool:
        found = {entity: _plain(file.entities.get(entity)) for entity in wanted}
        return all(found[e] in labels or (ANY in labels and found[e] is not None) for e, labels in wanted.items())


def _plain(label: str | None) -> str | None:
    """A label as it is compared: numbers without their leading zeros."""
    return str(int(label)) if label is not None and label.isascii() and label.isdigit() else label


def read_filters(path: Path | str) -> Filters:
    """Filters of a file.

    Raises:
        InputError: no readable JSON object, or a kind, an entity or a value that no filter can have.
    """
    content = read_json_object(path, "BIDS filter file")
    wanted: dict[str, dict[str, tuple[str | None, ...]]] = {}
    for kind, entities in content.items():
        if kind.lower() not in KINDS:
            raise InputError(f"{path}: unknown kind of image '{kind[:40]}'; use {', '.join(KINDS)}")
        if not isinstance(entities, dict):
            raise InputError(f"{path}: {kind} must be an object of entities and labels")
        wanted[KINDS[kind.lower()]] = {
            short: labels for name, value in entities.items() if (short := _entity(path, name)) is not None
            for labels in (_labels(path, short, value),)
        }  # fmt: skip
    return Filters(wanted)


def _entity(path: Path | str, name: str) -> str | None:
    """Short name of an entity; None for what every image of a kind has alike (PyBIDS's ``suffix``, ``datatype``)."""
    if name in ("suffix", "datatype", "extension"):
        return None
    short = ENTITIES.get(name, name)
    if short not in ENTITIES.values():
        raise InputError(f"{path}: unknown entity '{name[:40]}'; use {', '.join(ENTITIES)}")
    return short


def _labels(path: Path | str, entity: str, value) -> tuple[str | None, ...]:
    labels = value if isinstance(value, list) else [value]
    if not all(label is None or type(label) in (str, int) for label in labels):
        raise InputError(f"{path}: {entity} must be a label, a list of labels, or null")
    return tuple(None if label is None else _plain(str(label).removeprefix(f"{entity}-")) for label in labels)
