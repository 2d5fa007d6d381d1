"""What a record says of an error or a choice, without the names of a person's files, and what the terminal says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from ..errors import RelAPETError
from ..notices import printable
from ..unnamed import with_beside, without_files, without_places
from .request import Request, without_roots
from .visits import Visit

_LONGEST = 600


class Reason(NamedTuple):
    """Why something failed.

    Attributes:
        recorded: one line that names the visit's inputs by what they are, ``the T1w``: for records, tables and pages.
        told: the same with their paths, for the terminal of who runs it.
    """

    recorded: str
    told: str = ""


def reason_of(error: BaseException, request: Request, visit: Visit) -> Reason:
    """One line on why something failed, for the record and for the terminal."""
    if isinstance(error, RelAPETError):
        words = str(error)
    elif isinstance(error, MemoryError):
        words = "there is not enough memory"
    elif isinstance(error, OSError):
        words = f"the system refuses: {error.strerror or error}"
    else:
        logging.getLogger("relapet").exception("bug")
        words = f"internal error ({type(error).__name__}: {error})"
    told = without_roots(" ".join(words.split()), request, visit.case)
    return Reason(recordable(words, request, visit), printable(told, _LONGEST))


def recordable(words: str, request: Request, visit: Visit) -> str:
    """A message on one line that names the inputs of a visit by what they are, and no place of the machine."""
    (words,) = without_files([words], _inputs(visit))
    return printable(without_places(without_roots(words, request, visit.case)), _LONGEST)


def recordable_note(note: str, request: Request, visit: Visit) -> str:
    """Likewise of a choice among several files. Names that begin with the person's code, as those of BIDS do, stay."""
    files = _inputs(visit)
    for path in [path for path in files if path.name.startswith(f"{visit.participant}_")]:
        note = note.replace(str(path), path.name)
        del files[path]
    (note,) = without_files([note], files)
    return without_places(without_roots(note, request))


def _inputs(visit: Visit) -> dict[Path, str]:
    """Every file of a visit that a message may name, by what it is."""
    from ..synthesis.inputs import REFERENCE, TITLES

    files: dict[Path, str] = {}
    for scan in visit.pets.values():
        files |= dict.fromkeys(scan.sidecar_paths, f"{REFERENCE}'s sidecar")
    for path, title in [*((path, REFERENCE) for path in visit.pet_files), (visit.t2f, TITLES["t2f"]),
                        (visit.t1w, TITLES["t1w"])]:  # fmt: skip
        files |= {} if path is None else with_beside(path, title)
    return files
