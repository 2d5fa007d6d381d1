"""The pages of a result that was saved earlier: its files in a folder, and the T1w that the PET is shown over."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, OutputError
from ..notices import warn
from ..saved_pet import MEANINGS, RECORD_NAME, SyntheticPet, pet_of, read_synthetic_pet, regional_table
from ..volumes import canonical, corner_distance, file_sha256, image_affine, read_volume
from ..volumes.geometry import SAME_GRID_MM

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class SavedResult:
    """What a page is made of.

    Attributes:
        record: what `synthetic_pet.json` holds.
        pictures: volumes on one grid, as `person.write_html_report` takes them; no T2-FLAIR and no white matter, since
            the registration is not in a result's folder.
        regions: rows of the regional table, texts; empty where it is missing.
    """

    record: dict
    pictures: dict[str, sitk.Image | None]
    regions: list[dict]


def is_result(folder: Path | str) -> bool:
    """Whether a folder holds a result of one synthesis."""
    return (Path(folder) / RECORD_NAME).is_file()


def read_result(
    pet: Path | str,
    t1w: Path | str | None = None,
    *,
    provenance: Path | str | None = None,
    resample: bool = False,
) -> SavedResult:
    """Read a result for its pages.

    Args:
        pet: its folder, or its synthetic PET.
        t1w: the T1w that it was made from, file or DICOM folder; None for a PET in MNI space: the template.
        provenance: the PET's record; `synthetic_pet.json` beside it when None.
        resample: bring a T1w on another grid to the PET's, instead of refusing it.

    Raises:
        InputError: as `saved_pet.read_synthetic_pet`; no T1w, or, without `resample`, one on another grid than the
            PET's.

    Warns:
        RelAPETWarning: the T1w is not the very file that the PET was made from.
    """
    pet = pet_of(Path(pet))
    beside = Path(provenance) if provenance else None
    found = read_synthetic_pet(pet, beside, maps=tuple(MEANINGS))
    pictures = {name: getattr(found, name) for name in ("pet", *MEANINGS)}
    table = regional_table(pet, found.record, beside)
    rows = [] if table is None else read_regions(table)
    return SavedResult(found.record, {"t1w": _background(pet, found, t1w, resample)} | pictures, rows)


def write_saved_page(result: SavedResult, path: Path | str, kind: str, label: str | None = None) -> None:
    """Write one page of a result, whole or not at all.

    Args:
        path: file to write; it is replaced when it exists.
        kind: ``"html"`` or ``"pdf"``.
        label: a name or code to print on the page.

    Raises:
        OutputError: the disk refuses.
    """
    from ..whole_files import write_whole
    from . import notes_of, write_html_report, write_pdf_report

    words = {"pictures": result.pictures, "record": result.record, "regions": result.regions, "label": label}

    def write(part: Path) -> None:
        if kind == "pdf":
            write_pdf_report(part, **words)
        else:
            write_html_report(part, notes=notes_of(result.record), **words)

    try:
        write_whole(path, write, suffix=f".{kind}")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def read_regions(path: Path) -> list[dict]:
    """Rows of a result's regional table. Raises `InputError`."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table; synthesize again") from error
    if any(None in row or None in row.values() or not row.get("region") for row in rows):
        raise InputError(f"{path}: a damaged table; synthesize again")
    return rows


def _background(pet: Path, found: SyntheticPet, t1w: Path | str | None, resample: bool) -> sitk.Image:
    """The MRI below the PET, on its grid."""
    if t1w is None:
        if found.space != "MNI":
            raise InputError(f"{pet}: the T1w that it was made from is wanted to show it over", "give it as --t1w")
        from ..registration.template import load_template

        return load_template().t1
    image, own = canonical(read_volume(Path(t1w), "T1w")), canonical(found.pet)
    affines = image_affine(image), image_affine(own)
    if image.GetSize() != own.GetSize() or corner_distance(*affines, own.GetSize()) > SAME_GRID_MM:
        if resample:
            import SimpleITK as sitk

            return sitk.Resample(image, own)
        raise InputError(f"{t1w}: not on the grid of {pet.name}; give the T1w that the PET was made from")
    made_from = found.record["inputs"]["t1w"]
    if found.space == "T1w" and made_from and file_sha256(Path(t1w)) != made_from["sha256"]:
        warn("the PET was not made from this very T1w file; that it is the same scan only you can know")
    image.CopyInformation(own)
    return image
