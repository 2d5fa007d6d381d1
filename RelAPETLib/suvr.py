"""How it is known that a PET's numbers are SUVR.

``Units`` of the BIDS sidecar, its own or inherited (`volumes.sidecar`), or of a DICOM header say so; where nothing is
said, values that only SUVR would give (`PLAUSIBLE_SUVR`) are taken with a warning. A named reference region makes any
unit SUVR; how, that is the business of those who measure the region (`synthesis.reference`, `evaluation.regional`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import DoubtfulInputError, InputError
from .notices import warn
from .volumes import header_units
from .volumes.sidecar import is_suvr, read_sidecar

#: Mean over the brain of any tracer's SUVR, with room on both sides. SUV and kBq/mL can fall inside too,
#: hence the warning; Bq/mL cannot.
PLAUSIBLE_SUVR = (0.3, 4.0)
#: Words for a shell and for the panel, whose box says "divide it by its mean in the reference region".
HINT = "give a SUVR volume, or have it divided by its mean in a reference region (--reference-region)"


@dataclass(frozen=True)
class ReferenceUnits:
    """How a reference's unit is known.

    Attributes:
        known_from: words for the provenance.
        region: region whose mean the PET is divided by, or None.
        plausibility_only: nothing but the values speaks for SUVR.
    """

    known_from: str
    region: str | None = None
    plausibility_only: bool = False


def sidecar_units(path: Path) -> str | None:
    """``Units`` of an image's JSON sidecar, its own or inherited; None where nothing is said.

    Raises:
        InputError: a sidecar cannot be read, or is not a JSON object.
    """
    return read_sidecar(path, advice=f"mend it, move it away, or {HINT}").units


def stated_units(path: Path | None) -> ReferenceUnits:
    """How the unit of a PET is known that no reference region makes SUVR.

    Args:
        path: its file; None for an image in memory.

    Raises:
        InputError: the sidecar or DICOM header names another unit than SUVR, or cannot be read.
    """
    units, where = sidecar_units(path) if path is not None else None, "sidecar"
    if units is None and path is not None:
        units, where = header_units(path), "DICOM header"
    if units is None:
        return ReferenceUnits(
            "neither a sidecar nor a DICOM header says so; its values are those of SUVR", plausibility_only=True
        )
    if not is_suvr(units):
        whose = " (its own or inherited)" if where == "sidecar" else ""
        raise InputError(f"{path}: its {where}{whose} gives the unit '{units}', not SUVR; {HINT}")
    return ReferenceUnits(f"its {where}: Units '{units}'")


def check_suvr(
    mean: float, units: ReferenceUnits, name: str, force: bool, *, tell: bool = True, warned: str | None = None
) -> None:
    """Whether a PET that counts as SUVR has the values of one.

    Args:
        mean: over the brain.
        units: from `stated_units`.
        name: what messages call the PET.
        force: accept values that SUVR hardly has when the sidecar or header says SUVR.
        tell: warn where only the values speak for SUVR.
        warned: what warnings call it, which may end up in a record, where no path may stand; None: `name`.

    Raises:
        InputError: the unit is unknown and the values are not SUVR's.
        DoubtfulInputError: said to be SUVR, the values are not, and `force` is False.

    Warns:
        RelAPETWarning: only the values speak for SUVR, or do not where `force` is True.
    """
    low, high = PLAUSIBLE_SUVR
    plausible = low <= mean <= high
    warned = name if warned is None else warned
    if units.plausibility_only:
        if not plausible:
            raise InputError(
                f"{name}: unit unknown (no Units in a JSON sidecar or DICOM header), and its brain mean {mean:.4g} is "
                f"not SUVR; {HINT}"
            )
        if tell:
            warn(
                f"{warned}: no sidecar or DICOM header says what its unit is; taken to be SUVR since its brain mean is "
                f"{mean:.2f}"
            )
    elif not plausible:
        words = f"said to be SUVR, but its brain mean is {mean:.4g} (SUVR gives {low:g} to {high:g})"
        if not force:
            raise DoubtfulInputError(f"{name}: {words}", "check it, or use --force to accept it")
        warn(f"{warned}: {words}")
