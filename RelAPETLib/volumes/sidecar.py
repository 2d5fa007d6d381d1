"""What the JSON beside a PET says of it, by the inheritance principle of BIDS; its unit stands here, once for all.

BIDS: Gorgolewski et al., Sci Data 2016;3:160044, "The inheritance principle". A JSON of the same suffix applies to an
image when it stands in the image's folder or one above it, up to the data set's root, and the image has all of its
entities; nearer files override farther ones, key by key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..absent import is_listed
from ..errors import InputError
from ..jsonfiles import read_json_object
from .endings import name_without_ending

#: Spellings of SUVR in sidecars. BIDS gives ratios as "unitless"; "1" is UCUM's unity.
SUVR_SPELLINGS = frozenset({"suvr", "{suvr}", "unitless", "1", "{ratio}", "ratio", "dimensionless"})
#: What the sidecars of simulated scans say, under this key.
SIMULATION_KEY = "SimulationDescription"
SIMULATED = "Simulated by relapet phantom: no person, no scanner, no radioactivity."
_DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True)
class BidsFile:
    """A file name taken apart: ``sub-01_ses-2_trc-PIB_run-1_pet.nii.gz``.

    Attributes:
        path: the file.
        entities: ``{"sub": "01", "ses": "2", ...}``.
        suffix: ``pet``, ``T1w``, ...
    """

    path: Path
    entities: dict[str, str]
    suffix: str


@dataclass(frozen=True)
class Sidecar:
    """What is said of an image.

    Attributes:
        content: metadata, nearer files overriding farther ones; empty when there is none. Numbers that are not finite
            are None.
        paths: the files it came from, the nearest last.
    """

    content: dict = field(default_factory=dict)
    paths: tuple[Path, ...] = ()

    @property
    def units(self) -> str | None:
        """``Units`` as text of at most 60 characters; None when nothing is said."""
        return units_of(self.content)


def parse_name(path: Path) -> BidsFile:
    """Entities and suffix of a file by its name."""
    *pairs, suffix = path.name.split(".")[0].split("_")
    return BidsFile(path, dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix)


def natural_order(label: str) -> tuple:
    """Key that sorts labels by the numbers in them: ``ses-2`` before ``ses-10``, ``m06`` before ``m12``."""
    parts = re.split(r"([0-9]+)", label)
    return (*(int(part) if place % 2 else part for place, part in enumerate(parts)), label)


def units_of(content: dict) -> str | None:
    """``Units`` of a sidecar's content as text of at most 60 characters; None when nothing is said.

    BIDS has one word, "unitless", for SUVR and for what an image's own extremes scale to 0 to 1: `relapet bids` says
    beside it that the latter is relative, and then that is the unit.
    """
    units, quantity = content.get("Units"), str(content.get("QuantityDescription", ""))
    if quantity.lower().startswith("relative"):
        units = quantity
    return None if units is None else " ".join(str(units).split())[:60]


def is_suvr(units: str) -> bool:
    """Whether a sidecar's ``Units`` mean SUVR."""
    return units.lower() in SUVR_SPELLINGS


def is_simulated(content: Mapping) -> bool:
    """Whether a sidecar's content says that ``relapet phantom`` made the image."""
    return content.get(SIMULATION_KEY) == SIMULATED


def readable_content(image: Path) -> dict:
    """What an image's sidecars say; nothing where one of them is damaged, for what nobody need be told of here."""
    try:
        return read_sidecar(image).content
    except InputError:
        return {}


def sidecar_path(image: Path) -> Path | None:
    """Where the JSON of an image's own name stands or would stand; None for what is no image's name."""
    name = name_without_ending(image)
    return image.with_name(f"{name}.json") if name else None


def read_sidecar(image: Path, root: Path | None = None, *, advice: str = "mend it") -> Sidecar:
    """All that applies to an image: the JSON of its name and, where the name is BIDS's, what it inherits.

    Args:
        image: the file; need not exist.
        root: the data set's folder; None: the nearest folder above the image with a ``dataset_description.json``, else
            the one that holds its ``sub-`` folder, else the image's own.
        advice: last words of an error's message.

    Raises:
        InputError: a sidecar that applies cannot be read, or is no JSON object.
    """
    own = sidecar_path(image)
    if own is None:
        return Sidecar()
    file = parse_name(image)
    folders = _folders(image.absolute(), root) if "sub" in file.entities else []
    found = [path for folder in folders for path in _applying(file, folder)]
    if is_listed(own) and own.name not in [path.name for path in found if path.parent == own.absolute().parent]:
        found.append(own)
    content: dict = {}
    for path in found:
        content |= read_json_object(path, "sidecar", advice=advice, numbers="null")
    return Sidecar(content, tuple(found))


def _folders(image: Path, root: Path | None) -> list[Path]:
    """Folders whose sidecars may apply, the data set's first."""
    above = image.parents
    if root is not None:
        root = root.absolute()
    else:
        root = next((folder for folder in above if (folder / _DESCRIPTION).is_file()), None) or next(
            (folder.parent for folder in above if folder.name == f"sub-{parse_name(image).entities['sub']}"),
            image.parent,
        )
    return [folder for folder in reversed(above) if folder == root or root in folder.parents]


def _applying(file: BidsFile, folder: Path) -> list[Path]:
    """Sidecars in a folder that apply to an image, those with fewer entities first."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(f"{file.suffix}.json"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    there = [parse_name(folder / name) for name in names]
    fitting = [c for c in there if c.suffix == file.suffix and c.entities.items() <= file.entities.items()]
    return [c.path for c in sorted(fitting, key=lambda c: len(c.entities))]
