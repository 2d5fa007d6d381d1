"""Make ``Resources/template/`` from the ICBM 152 2009a maps that the nilearn package carries.

Run from a checkout with nilearn installed: ``python -m training.assets.make_template``. The maps are cropped to the
model grid (`RelAPETLib.grid.MNI_GRID`) by whole voxels, so no interpolation takes place.
"""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from nilearn.datasets import struct

from RelAPETLib.grid import MNI_GRID, array_to_image

OUT = Path(__file__).resolve().parents[2] / "Resources" / "template"
SOURCES = {
    "t1": struct.MNI152_FILE_PATH,
    "grey_matter": struct.GM_MNI152_FILE_PATH,
    "white_matter": struct.WM_MNI152_FILE_PATH,
}


def crop_to_grid(path: Path) -> np.ndarray:
    """Voxels [X, Y, Z] of a 1 mm RAS map on the model grid, uint8, zero where the map ends."""
    image = nibabel.load(path)
    if not np.allclose(image.affine[:3, :3], np.eye(3)):
        raise SystemExit(f"{path}: not a 1 mm RAS map")
    source = np.asarray(image.dataobj)
    first = np.round(np.subtract(MNI_GRID.origin, image.affine[:3, 3])).astype(int)
    target = np.zeros(MNI_GRID.shape, np.uint8)
    take = [slice(max(f, 0), min(f + n, s)) for f, n, s in zip(first, MNI_GRID.shape, source.shape, strict=True)]
    put = [slice(t.start - f, t.stop - f) for t, f in zip(take, first, strict=True)]
    target[tuple(put)] = source[tuple(take)]
    return target


def brain_mask(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Where the skull-stripped T1 or a tissue map is set, closed by 3 mm, holes filled, largest piece."""
    head = sitk.GetImageFromArray(((t1 > 20) | (grey > 64) | (white > 64)).astype(np.uint8))
    closed = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(head, [3, 3, 3]))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(closed), sortByObjectSize=True) == 1
    return sitk.GetArrayFromImage(largest).astype(np.uint8)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    maps = {name: crop_to_grid(Path(path)) for name, path in SOURCES.items()}
    mask = brain_mask(maps["t1"], maps["grey_matter"], maps["white_matter"])
    maps["t1"] = maps["t1"] * mask
    maps["brain_mask"] = mask
    for name, array in maps.items():
        sitk.WriteImage(array_to_image(array), str(OUT / f"{name}.nii.gz"), useCompression=True)
        print(f"{name}: {int((array > 0).sum())} voxels set, maximum {array.max()}")


if __name__ == "__main__":
    main()
