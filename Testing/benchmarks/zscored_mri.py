"""Where a stripped T1w lands whose intensities were made z-scores, beside the same with its own intensities.

    python zscored_mri.py T1W

Its background is 0, which is the brain's mean, or the lowest value. Distances are between the places of the model
grid's brain in the raw T1w.
"""

from __future__ import annotations

import argparse

import numpy as np
import SimpleITK as sitk

from RelAPETLib.grid import image_to_array
from RelAPETLib.preprocessing import preprocess
from RelAPETLib.registration.brain_extraction import extract_brain
from RelAPETLib.registration.mutual_information import mask_points
from RelAPETLib.volumes import read_volume


def scans(path: str) -> dict[str, sitk.Image]:
    """The stripped T1w in three scales, by what the table calls them."""
    t1w = read_volume(path)
    values, brain = sitk.GetArrayFromImage(t1w), sitk.GetArrayFromImage(extract_brain(t1w).mask) > 0
    scores = (values - values[brain].mean()) / values[brain].std()
    made = {
        "its own": np.where(brain, values, 0),
        "z-scores, background 0": np.where(brain, scores, 0),
        "z-scores, background the lowest": np.where(brain, scores, scores[brain].min()),
    }
    images = {name: sitk.GetImageFromArray(array.astype(np.float32)) for name, array in made.items()}
    for image in images.values():
        image.CopyInformation(t1w)
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("t1w", help="a raw T1w with its scalp")
    print("| intensities | mm off: mean | 95 % | most | correlation on the grid | brain missing |", flush=True)
    print("|---" * 6 + "|", flush=True)
    first = None
    for name, image in scans(parser.parse_args().t1w).items():
        ready = preprocess(image, None)
        inside = image_to_array(ready.mask) > 0
        points = mask_points(ready.mask, 97).tolist()
        found = np.array([ready.grid_to_t1w.TransformPoint(point) for point in points])
        values = image_to_array(ready.t1w)[inside]
        first = first or (found, values)
        apart = np.linalg.norm(found - first[0], axis=1)
        figures = [apart.mean(), np.percentile(apart, 95), apart.max()]
        cells = [f"{figure:.2f}" for figure in figures] + [f"{np.corrcoef(values, first[1])[0, 1]:.3f}"]
        print(f"| {name} | {' | '.join(cells)} | {ready.quality['brain_missing_t1w']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
