"""A small study for evaluation: PET painted on the shipped regions, in SUVR, and what numpy and scipy say of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from RelAPETLib.grid import MNI_GRID, ModelGrid, array_to_image, image_to_array
from RelAPETLib.regions import load_regions
from RelAPETLib.registration.template import load_template
from RelAPETLib.volumes import write_volume

#: Coarse, in MNI space, and laid so that no voxel of the labels is half way between two of its own.
GRID = ModelGrid((40, 45, 40), (4.0, 4.0, 4.0), (-78.7, -105.7, -71.7))
MODELS = ("worse", "better")


def nearest_indices() -> tuple[np.ndarray, ...]:
    """Indices into the model grid's arrays that are nearest to the voxels of `GRID`."""
    axes = []
    for axis in range(3):
        places = GRID.origin[axis] + GRID.spacing[axis] * np.arange(GRID.shape[axis]) - MNI_GRID.origin[axis]
        axes.append(np.clip(np.round(places).astype(int), 0, MNI_GRID.shape[axis] - 1))
    return np.ix_(*axes)


def paint(values: np.ndarray) -> np.ndarray:
    """PET [40, 45, 40] with a value in each of the twelve regions; 1 in the rest of the brain, 0 outside."""
    where = nearest_indices()
    labels, brain = image_to_array(load_regions()[0])[where], image_to_array(load_template().mask)[where] > 0
    return np.where(brain, np.concatenate([[1.0], values])[labels], 0).astype(np.float32)


def write_study(folder: Path, people: int = 5, retested: int = 3, first: int = 0) -> list[dict]:
    """Volumes and ``study.tsv``: two models of each PET of people, of whom some have two sessions. Returns its rows."""
    rows = []
    for person in range(first, first + people):
        rng = np.random.default_rng(person)
        truth = 1.2 + 0.3 * rng.standard_normal() + 0.1 * rng.standard_normal(12)
        for session in range(2 if person - first < retested else 1):
            stem = f"{person:02d}_{session + 1}"
            noise = np.random.default_rng(1000 + 2 * person + session)
            measured = paint(truth + 0.03 * noise.standard_normal(12))
            volumes = {"measured": measured}
            for model, (slope, error) in zip(MODELS, ((0.5, 0.1), (0.9, 0.03)), strict=True):
                guess = 1.2 + slope * (truth - 1.2) + error * noise.standard_normal(12) + 0.05
                speckle = 1 + error * noise.standard_normal(GRID.shape)
                volumes[model] = (paint(guess) * speckle).astype(np.float32)
            for name, volume in volumes.items():
                write_volume(array_to_image(volume, GRID), folder / f"{stem}_{name}.nii.gz")
            rows += [
                {
                    "participant_id": f"sub-{person:02d}", "session": f"ses-{session + 1}", "tracer": "PIB",
                    "model": model, "synthetic": f"{stem}_{model}.nii.gz", "measured": f"{stem}_measured.nii.gz",
                    "space": "MNI", "age": 61 + 4 * (person % 10), "sex": "FM"[person % 2], "scanner": "", "site": "A",
                }
                for model in MODELS
            ]  # fmt: skip
    write_table(folder / "study.tsv", rows)
    return rows


def write_scale_masks(folder: Path) -> Path:
    """Table of Centiloid masks made of our own regions, in place of the scale's, which may not be shipped."""
    image, regions = load_regions()
    labels, numbers = image_to_array(image), {region.name: region.label for region in regions}
    lines = ["scale\tregion\tfile"]
    for name, region in (("cortex", "frontal"), ("reference", "cerebellar_grey")):
        write_volume(array_to_image((labels == numbers[region]).astype(np.uint8)), folder / f"{name}.nii.gz")
        lines.append(f"Centiloid\t{name}\t{name}.nii.gz")
    (folder / "masks.tsv").write_text("\n".join(lines) + "\n")
    return folder / "masks.tsv"


def write_table(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_table(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def own_brain(grid: ModelGrid = GRID) -> np.ndarray:
    """The template's brain on a grid by scipy alone: where its linear interpolation is .5 or more."""
    from scipy.ndimage import map_coordinates

    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij")) * np.reshape(grid.spacing, (3, 1, 1, 1))
    places = places + np.subtract(grid.origin, MNI_GRID.origin).reshape(3, 1, 1, 1)
    return map_coordinates((image_to_array(load_template().mask) > 0).astype(float), places, order=1) >= 0.5


def own_means(volume: np.ndarray, grid: ModelGrid = GRID) -> dict[str, float]:
    """Regional means of a volume on a grid by scipy alone: linear among its voxels in the brain, at each label."""
    from scipy.ndimage import map_coordinates

    image, regions = load_regions()
    labels = image_to_array(image)
    voxels = np.argwhere(labels > 0)
    places = (voxels + np.subtract(MNI_GRID.origin, grid.origin)) / grid.spacing
    brain = own_brain(grid).astype(float)
    sums, weights = (map_coordinates(array, places.T, order=1, mode="nearest") for array in (volume * brain, brain))
    nearest = np.round(places).astype(int)
    kept = ((nearest >= 0) & (nearest < grid.shape)).all(1) & (weights > 1e-3)
    values = sums / np.maximum(weights, 1e-3)
    numbers = labels[tuple(voxels.T)]
    return {region.name: float(values[kept & (numbers == region.label)].mean()) for region in regions}
