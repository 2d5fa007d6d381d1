"""What a cut field of view of a measured PET does: SUVR by its reference region, and figures of a perfect synthesis.

    python pet_view.py [PET]

PET lies in MNI space, on any grid; without one, a PET of the template's tissue, blurred to 6 mm, is cut. Each row
counts all of the brain, as was done once, beside what the PET shows.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import SimpleITK as sitk

from RelAPETLib.comparison import compare
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.regions import regional_means, shares_in_view
from RelAPETLib.registration.template import load_template
from RelAPETLib.registration.uptake import pet_view, seen_brain

PLANES = (0, 10, 20, 30, 35, 40)
REGION, WINDOW = "cerebellar_grey", (0.0, 3.0)


def whole_pet(path: str | None, template) -> np.ndarray:
    """A PET [X, Y, Z] on the model grid, SUVR."""
    if path is None:
        sd = 6 / math.sqrt(8 * math.log(2))
        image = sitk.SmoothingRecursiveGaussian(template.grey * 1.4 + template.white * 1.0, [sd] * 3)
    else:
        from RelAPETLib.volumes import read_volume

        grid = MNI_GRID.reference_image()
        image = sitk.Resample(read_volume(path), grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    pet = np.where(image_to_array(template.mask) > 0, image_to_array(image), 0).astype(np.float32)
    return pet / regional_means(array_to_image(pet), [REGION])[REGION]


def row(pet: np.ndarray, plane: int, template) -> list[str]:
    """Cells of one plane: shares seen, SUVR and figures over all of the brain and over what is seen."""
    cut, geometry = pet.copy(), np.ones(pet.shape, bool)
    cut[:, :, :plane], geometry[:, :, :plane] = 0, False
    view = array_to_image(pet_view(cut, geometry, template).astype(np.uint8))
    image, seen = array_to_image(cut), seen_brain(template.mask, view)
    brain = image_to_array(template.mask) > 0
    cells = [str(plane), f"{image_to_array(view)[brain].mean():.3f}", f"{shares_in_view(view)[REGION]:.2f}"]
    for where, shown in ((template.mask, None), (seen, view)):
        means = regional_means(image, [REGION, "frontal"], where)
        metrics = compare(array_to_image(pet), image, template.mask, window=WINDOW, view=shown)[1]["brain"]
        level = "no error" if metrics["psnr"] is None else f"{metrics['psnr']:.1f}"
        cells += [f"{means['frontal'] / means[REGION]:.3f}", level]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pet", nargs="?", help="a PET in MNI space")
    template = load_template()
    pet = whole_pet(parser.parse_args().pet, template)
    print("| cut below plane | brain seen | reference region seen | frontal SUVR, all voxels | PSNR, dB | "
          "frontal SUVR, seen voxels | PSNR, dB |")  # fmt: skip
    print("|---" * 7 + "|")
    for plane in PLANES:
        print("| " + " | ".join(row(pet, plane, template)) + " |", flush=True)


if __name__ == "__main__":
    main()
