"""Norms of measured PET with known figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.regions import regional_means
from RelAPETLib.volumes import write_volume

REGION, SD = "cerebellar_grey", 0.1


def smooth_mean() -> np.ndarray:
    """Norms' mean: smooth, asymmetric, and 1 in the reference region."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in MNI_GRID.shape), indexing="ij")
    array = 1.2 + 0.2 * x + 0.1 * y - 0.1 * z
    return (array / regional_means(array_to_image(array.astype(np.float32)), [REGION])[REGION]).astype(np.float32)


def write_norms(folder: Path, mean, sd=None, **changes) -> Path:
    """A folder of norms; `changes` of ``norms.json``, None takes an entry out."""
    folder.mkdir()
    facts = {"tracer": "TAU", "mean": "mean.nii.gz", "sd": "sd.nii.gz", "fwhm_mm": 8, "reference_region": REGION,
             "people": 40, "description": "controls of a test"}  # fmt: skip
    images = {"mean": mean, "sd": np.full(MNI_GRID.shape, SD, np.float32) if sd is None else sd}
    for name, image in images.items():
        image = image if isinstance(image, sitk.Image) else array_to_image(image)
        write_volume(image, folder / f"{name}.nii.gz")
    text = {key: value for key, value in (facts | changes).items() if value is not None}
    (folder / "norms.json").write_text(json.dumps(text))
    return folder
