"""Small data sets on the model grid for tests of the training: a table of a few people, and its cache."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RelAPETLib.cohort.table import read_table
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.volumes import read_volume, write_volume
from RelAPETLib.volumes.frames import parse_frames
from training.data.prepare import Options, prepare
from training.data.rendered import rendered_people

#: Of the simulated people.
SEED = 4


def write_table(folder: Path, grid_case: dict[str, Path], rows: list[tuple[str, str]]) -> Path:
    """A table of (subject, tracer) rows; every subject's volumes differ a little, PET of a tracer by a factor too."""
    base = {name: image_to_array(read_volume(path)) for name, path in grid_case.items()}
    lines = []
    for number, subject in enumerate(dict.fromkeys(subject for subject, _ in rows)):
        for name in ("t1w", "t2f"):
            image = base[name] * (1 + 0.002 * number)
            image[80, 90, 80 + number] *= 1.5
            image[60:70, 90:100, 80:90] *= 1 + 0.02 * number  # seen in blocks too, or they were one person
            _write(folder / f"{subject}_{name}.nii", image)
    for number, (subject, tracer) in enumerate(rows):
        path = folder / f"{subject}_{tracer}.nii"
        _write(path, base["pet"] * (1 + 0.1 * number))
        path.with_suffix(".json").write_text(json.dumps({"Units": "unitless"}))
        lines.append([subject, f"{subject}_t1w.nii", f"{subject}_t2f.nii", path.name, tracer])
    return write_rows(folder / "people.csv", lines)


def write_rows(path: Path, lines: list[list[str]]) -> Path:
    """A CSV table of full rows."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["subject", "t1w", "t2f", "pet", "tracer"], *lines])
    return path


def _write(path: Path, array: np.ndarray) -> None:
    write_volume(array_to_image(array.astype(np.float32)), path)


def write_series(path: Path, frames: list[np.ndarray]) -> None:
    """A dynamic PET (4-D NIfTI) on the model grid from frames [160, 180, 160]."""
    import nibabel as nib

    from RelAPETLib.grid import MNI_GRID

    image = nib.Nifti1Image(np.stack(frames, -1).astype(np.float32), MNI_GRID.affine)
    image.set_sform(MNI_GRID.affine, 1)
    nib.save(image, path)


def prepared(table: Path, out: Path, **options):
    """A cache of a table whose volumes are on the grid; the summary."""
    frames = parse_frames(options.pop("frames", ()))
    return prepare(read_table(table, simulated=True), out, Options(preprocessed=True, frames=frames, **options))


def prepare_simulated(out: Path, people: int):
    """A cache of simulated people of `SEED` in blocks of 10 mm; the summary."""
    return prepare(rendered_people(people, SEED), out, Options(factor=10))


def simulated(out: Path, people: int, eight_people: Path) -> Path:
    """The same, from those that the fixture `eight_people` has rendered already."""
    shutil.copytree(eight_people, out)
    assert prepare_simulated(out, people).prepared == 0, "somebody was rendered again"
    return out


def put_nan(path: Path) -> None:
    """One voxel of the brain in a file becomes NaN."""
    image = sitk.Cast(read_volume(path), sitk.sitkFloat32)
    image[80, 90, 80] = float("nan")
    write_volume(image, path, overwrite=True)
