"""Reading a synthetic PET of an earlier run, and what lies beside it, with the record that says it is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .absent import why_missing
from .errors import InputError, RelAPETError
from .jsonfiles import parse_json
from .provenance import (
    DEPARTURE_MEANING,
    DIFFERENCE_MEANING,
    REGIONS_MEANING,
    UNCERTAINTY_MEANING,
    Z_MEANING,
    check_provenance,
)
from .volumes import corner_distance, file_sha256, image_affine, read_volume
from .volumes.synthetic import RECORD_NAME, REFERENCE_MEANING

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What may lie beside a PET, by the meaning that the record gives to its file.
MEANINGS = {
    "uncertainty": UNCERTAINTY_MEANING,
    "departure": DEPARTURE_MEANING,
    "difference": DIFFERENCE_MEANING,
    "reference": REFERENCE_MEANING,
    "reference_z": Z_MEANING,
}


#: Names of a synthetic PET in a result's folder.
PETS = tuple(f"synthetic_pet{space}{end}" for space in ("", "_space-MNI") for end in (".nii.gz", ".nii"))


@dataclass(frozen=True)
class SyntheticPet:
    """A synthetic PET and what belongs to it.

    Attributes:
        pet: float32.
        uncertainty, departure, difference, reference, reference_z: float32 on the same grid, or None.
        record: contents of `synthetic_pet.json`.
        space: ``"T1w"`` or ``"MNI"``.
    """

    pet: sitk.Image
    uncertainty: sitk.Image | None
    record: dict
    space: str
    difference: sitk.Image | None = None
    reference: sitk.Image | None = None
    departure: sitk.Image | None = None
    reference_z: sitk.Image | None = None


def pet_of(given: Path) -> Path:
    """The synthetic PET of a result: a file as it is, of a result's folder the PET in it, on the T1w's grid first.

    Raises:
        InputError: a folder that holds no result.
    """
    if not given.is_dir():
        return given
    found = next((given / name for name in PETS if (given / name).is_file()), None)
    if found is not None or (given / RECORD_NAME).is_file():
        return found or given / PETS[0]
    below = sorted(path.parent for path in given.glob(f"*/{RECORD_NAME}"))[:5]
    advice = f"one of {', '.join(map(str, below))}" if below else f"a result's folder or its {PETS[0]}"
    raise InputError(f"{given}: a folder without {RECORD_NAME}; give {advice}")


def read_synthetic_pet(
    pet: Path, record_path: Path | None = None, maps: Iterable[str] = ("uncertainty",)
) -> SyntheticPet:
    """Read a PET, its record (default: `synthetic_pet.json` beside it) and those `maps` that both have.

    Args:
        maps: of `MEANINGS`.

    Raises:
        InputError: no record, a broken one, or one that does not list this file (by name, meaning and SHA-256) as the
            synthetic PET; a volume that cannot be read or holds NaN or infinite values, or negative ones where there
            can be none; a map on another grid.
    """
    record_path = record_path or pet.parent / RECORD_NAME
    record = _read_record(record_path, pet)
    listed = record["outputs"].get(pet.name)
    if listed is None or listed["content"] != record["pet"]["content"] or listed["units"] != record["pet"]["units"]:
        raise InputError(
            f"{pet}: {record_path} does not list this file as a synthetic PET; give one by the name it was saved under"
        )
    _check_hash(pet, listed, record_path)
    image = _read(pet, "PET")
    found = {"uncertainty": None} | {name: _read_beside(pet, image, record, listed["space"], name) for name in maps}
    return SyntheticPet(image, record=record, space=listed["space"], **found)


def regional_table(pet: Path, record: dict, record_path: Path | None = None) -> Path | None:
    """The regional table beside a PET that its record lists; None where it is not there. Raises `InputError`."""
    for name, output in record["outputs"].items():
        path = pet.parent / Path(name).name
        if output["content"] == REGIONS_MEANING and path.is_file():
            _check_hash(path, output, record_path or pet.parent / RECORD_NAME)
            return path
    return None


def _read_record(path: Path, pet: Path) -> dict:
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a plain file; give the synthetic_pet.json of {pet.name}")
    try:
        record = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: {why_missing(path)}; only a synthetic PET with its record can be exported, give the record of "
            f"{pet.name} as --provenance"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON; give the synthetic_pet.json of {pet.name}") from error
    try:
        check_provenance(record)
    except RelAPETError as error:
        raise InputError(f"{path}: not the record of a synthetic PET ({error})") from error
    return record


def _check_hash(path: Path, listed: dict, record_path: Path) -> None:
    """Refuse a file that is not the one the record was written with; early records have no hashes."""
    if "sha256" in listed and file_sha256(path) != listed["sha256"]:
        raise InputError(
            f"{path}: not the file that {record_path} was written with (another SHA-256); give the PET and the record "
            "of the same synthesis"
        )


def _read(path: Path, name: str) -> sitk.Image:
    import SimpleITK as sitk

    image = read_volume(path, name)
    values = sitk.GetArrayViewFromImage(image)
    if not np.isfinite(values).all() or (name in ("PET", "uncertainty") and values.min() < 0):
        raise InputError(f"{path}: NaN, infinite or negative values, which no synthetic PET has; synthesize it again")
    return image


def _read_beside(pet: Path, image: sitk.Image, record: dict, space: str, kind: str) -> sitk.Image | None:
    """A map that belongs to a PET; None where the record or the folder has none."""
    for name, output in record["outputs"].items():
        path = pet.parent / Path(name).name
        if output["content"] != MEANINGS[kind] or output["space"] != space or not path.is_file():
            continue
        _check_hash(path, output, pet.parent / RECORD_NAME)
        found = _read(path, kind)
        affines = image_affine(found), image_affine(image)
        if found.GetSize() != image.GetSize() or corner_distance(*affines, image.GetSize()) > 1e-3:
            raise InputError(f"{path}: not on the grid of {pet.name}; the two come from different runs")
        return found
    return None
