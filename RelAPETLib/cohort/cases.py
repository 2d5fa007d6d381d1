"""What a data set offers, before anything is read: cases, their PET, and what cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..clinical import ClinicalValues
from ..volumes.frames import PetScan


@dataclass(frozen=True)
class Case:
    """One T1w and T2F of a subject with the PET that belong to them.

    Attributes:
        name: identifier, a file name: the subject, with the session where there are several.
        subject: whose it is; people are told apart by it.
        t1w, t2f: files.
        pets: by tracer; empty where only the MRI is wanted.
        notes: choices made among several files, one line each.
        clinical: what is known of the subject.
    """

    name: str
    subject: str
    t1w: Path
    t2f: Path
    pets: dict[str, PetScan]
    notes: tuple[str, ...] = ()
    clinical: ClinicalValues = field(default_factory=ClinicalValues)


@dataclass(frozen=True)
class RenderedCase:
    """A simulated person who is rendered straight on the model grid; there are no files.

    Attributes:
        name, subject: as `phantom.bids` names the same person.
        seed, index, law: of `make_person`.
    """

    name: str
    subject: str
    seed: int
    index: int
    law: int = 2


@dataclass(frozen=True)
class Failure:
    """Something that could not be used.

    Attributes:
        subject, case: whose; the case may be unknown.
        tracer: the PET that failed; empty when it is the whole case.
        reason: one line.
    """

    subject: str
    case: str
    tracer: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: for the metadata; no path.
        simulated: the people do not exist.
        cases: in order of name.
        failures: what is already known not to be usable.
        options: what else is known of how it was made, as JSON: ``law`` of simulated people.
    """

    name: str
    simulated: bool
    cases: Sequence[Case | RenderedCase]
    failures: list[Failure]
    options: dict = field(default_factory=dict)
