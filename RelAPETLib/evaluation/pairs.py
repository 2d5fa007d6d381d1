"""What is to be evaluated, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..unnamed import with_beside, without_files, without_places

#: What a table says of a person that figures can be grouped by.
COVARIATES = ("age", "sex", "scanner", "site", "group")
#: What messages call the files of a pair, by the table's columns.
TITLES = {
    "synthetic": "synthetic PET",
    "measured": "measured PET",
    "t1w": "T1w",
    "mask": "brain mask",
    "dseg": "label image",
    "lut": "lookup table",
    "to_mni": "transform to MNI",
}


@dataclass(frozen=True)
class Pair:
    """A synthetic PET and the measured one of the same person, session and tracer.

    Attributes:
        participant: whose; people are told apart by it.
        session: empty without one.
        tracer: short name of a known tracer, else the word that the data set has for it.
        model: who made the synthetic one; empty where there is none.
        synthetic: its file; None where only the measured one is evaluated.
        measured: its file, 3-D or 4-D.
        t1w: the MRI in whose space the synthetic one is, for those who ask for registration; or None.
        mask: brain mask, or None.
        dseg: the person's own label image in the space of the PET, or None.
        lookup: its table, or None for the one beside it.
        space: ``MNI``, ``T1w`` (the person's own), or empty where nothing says so.
        to_mni: ITK transform from points of the person's space to MNI (LPS mm), or None.
        covariates: by name of `COVARIATES`, as texts; what is not known is left out.
        sidecar: of the measured PET, merged.
        sidecar_paths: where it is from.
        registered: the measured one laid over the synthetic one's grid by an earlier run, in the same unit and 0
            outside the brain, which is read in its place; or None.
    """

    participant: str
    session: str
    tracer: str
    model: str
    synthetic: Path | None
    measured: Path
    t1w: Path | None = None
    mask: Path | None = None
    dseg: Path | None = None
    lookup: Path | None = None
    space: str = ""
    to_mni: Path | None = None
    covariates: dict[str, str] = field(default_factory=dict)
    sidecar: dict = field(default_factory=dict)
    sidecar_paths: tuple[Path, ...] = ()
    registered: Path | None = None

    @property
    def key(self) -> dict[str, str]:
        """The first columns of every table."""
        return {
            "participant_id": self.participant,
            "session": self.session or "n/a",
            "tracer": self.tracer,
            "model": self.model or "n/a",
        }

    @property
    def files(self) -> dict[str, Path | None]:
        """Its files by the columns of `TITLES`, and ``registered``."""
        return {column: getattr(self, {"lut": "lookup"}.get(column, column)) for column in (*TITLES, "registered")}

    @property
    def name(self) -> str:
        """What messages call it."""
        return " ".join(filter(None, (self.participant, self.session, self.tracer, self.model)))


def recordable(error: object, files: Mapping[str, Path | None]) -> str:
    """Why a pair was left out, on one line for a table: what each file is in place of its path and name.

    Args:
        files: as `Pair.files` has them, or those of a table's line.
    """
    titles = TITLES | {"registered": "registered measured PET"}  # no column of a table
    known: dict[Path, str] = {}
    for column, path in files.items():
        known |= {} if path is None else with_beside(path, titles[column])
    (words,) = without_files([str(error)], known)
    return without_places(words)
