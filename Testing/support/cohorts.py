"""Small cohorts for tests: saved cases and BIDS data sets of one plain brain on the model grid, many times over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from RelAPETLib.cohort.records import SUFFIX, read_record


def save_one(folder: Path, grid_case: dict[str, Path]) -> Path:
    """A saved case of the plain brain."""
    from RelAPETLib.synthesis import prepare_case, save_case

    save_case(prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu"), folder)
    return folder


def many_cases(folder: Path, one: Path, names: list[str]) -> Path:
    """A folder of saved cases, ``sub-01`` or ``sub-01/ses-2`` by name; their files are links to the one's."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for file in one.iterdir():
            os.link(file, folder / name / file.name)
    return folder


def damage(folder: Path) -> None:
    """Make a saved case's T1w another one than its record says."""
    whole = (folder / "t1w.nii.gz").read_bytes()
    (folder / "t1w.nii.gz").unlink()  # a link, which others share
    (folder / "t1w.nii.gz").write_bytes(whole[:-100])


def bids_data(folder: Path, grid_case: dict[str, Path], people: dict[str, list[str]]) -> Path:
    """A BIDS data set: by person or ``sub-01/ses-1``, which of ``T1w``, ``FLAIR`` and ``trc-..._pet`` there are."""
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "Small", "BIDSVersion": "1.10.0"}')
    for name, files in people.items():
        for file in files:
            role = {"T1w": "t1w", "FLAIR": "t2f"}.get(file.split("_")[-1], "pet")
            place = folder / name / ("pet" if role == "pet" else "anat")
            place.mkdir(parents=True, exist_ok=True)
            target = place / f"{name.replace('/', '_')}_{file}.nii.gz"
            shutil.copyfile(grid_case[role], target)
            if role == "pet":
                target.with_name(target.name.replace(".nii.gz", ".json")).write_text(json.dumps({"Units": "unitless"}))
    return folder


def results(out: Path) -> dict[str, str]:
    """SHA-256 of every synthetic PET by its name, as the records have it; only of those that are there."""
    found = {}
    for path in out.rglob(f"*{SUFFIX}"):
        record = read_record(path)
        for name, facts in record.outputs.items():
            if name.endswith("desc-synthetic_pet.nii.gz") and (path.parent / name).is_file():
                found[name] = facts["sha256"]
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
