"""Draw the extension's icon: an axial slice of the template, its left half as MRI, its right half as PET.

Run from a checkout with matplotlib installed: ``python -m training.assets.make_icon [--look FOLDER]``. The PET half is
the simulated TAU law's gain painted on the template's regions, smoothed as a scanner would. ``--look`` also writes the
icon at the sizes in which Slicer shows it, side by side on a light and a dark ground.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk
from PIL import Image

from RelAPETLib.phantom.law1 import LAWS, REGIONS
from RelAPETLib.regions import load_regions
from RelAPETLib.resources import resource

OUT = Path(__file__).resolve().parents[2] / "RelAPET" / "Resources" / "Icons" / "RelAPET.png"
SIZE = 128
OVERSAMPLING = 8
#: Height of the slice (mm) and smoothing of the PET half (standard deviation, mm).
Z, BLUR = 6.0, 3.0
#: Share of the icon that the brain's longer side takes, and the tile's corner radius as a share of the icon.
FILL, CORNER = 0.91, 0.18
TILE = np.array([0.07, 0.09, 0.13])


def painted_regions() -> sitk.Image:
    """TAU-like uptake on the template's regions, about 0 to 1, blurred."""
    labels, regions = load_regions()
    values = sitk.GetArrayFromImage(labels)
    gain = dict(zip(REGIONS, LAWS["TAU"].gain, strict=True))
    uptake = np.zeros(values.shape, np.float32)
    for region in regions:
        uptake[values == region.label] = 0.55 + gain[region.name] if region.tissue == "grey" else 0.22
    painted = sitk.GetImageFromArray(uptake)
    painted.CopyInformation(labels)
    return sitk.SmoothingRecursiveGaussian(painted, BLUR)


def axial(image: sitk.Image, centre: tuple[float, float], side: float) -> np.ndarray:
    """Slice at `Z` with the nose up and the person's left at the right, `SIZE * OVERSAMPLING` pixels square."""
    pixels = SIZE * OVERSAMPLING
    step = side / pixels
    grid = sitk.Image(pixels, pixels, 1, sitk.sitkFloat32)
    grid.SetSpacing((step, step, 1.0))
    # LPS: x grows to the left, y to the back, as the picture's columns and rows do.
    grid.SetOrigin((centre[0] - side / 2 + step / 2, centre[1] - side / 2 + step / 2, Z))
    sampled = sitk.Resample(sitk.Cast(image, sitk.sitkFloat32), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(sampled)[0]


def rounded_tile(pixels: int) -> np.ndarray:
    """1 inside a square with round corners."""
    radius = CORNER * pixels
    distance = np.clip(np.abs(np.arange(pixels) + 0.5 - pixels / 2) - (pixels / 2 - radius), 0, None)
    return (np.hypot(distance[:, None], distance[None, :]) <= radius).astype(np.float32)


def draw() -> Image.Image:
    """The icon, RGBA."""
    mask = sitk.ReadImage(str(resource("template", "brain_mask.nii.gz")))
    t1 = sitk.ReadImage(str(resource("template", "t1.nii.gz")))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(mask[:, :, mask.TransformPhysicalPointToIndex((0.0, 0.0, Z))[2]])
    _, first_y, width, height = shape.GetBoundingBox(1)
    centre = (0.0, mask.TransformContinuousIndexToPhysicalPoint((0.0, first_y + (height - 1) / 2, 0.0))[1])
    side = max(width, height) / FILL

    brain = axial(sitk.SmoothingRecursiveGaussian(sitk.Cast(mask, sitk.sitkFloat32), 0.7), centre, side)
    inside = np.clip((brain - 0.4) / 0.2, 0, 1)[..., None]
    grey = np.clip(axial(t1, centre, side) / 245, 0, 1)[..., None] ** 1.4 * np.ones(3)
    hot = matplotlib.colormaps["inferno"](np.clip(axial(painted_regions(), centre, side) / 0.95, 0, 1))[..., :3]
    middle = grey.shape[1] // 2
    picture = grey.copy()
    picture[:, middle:] = hot[:, middle:]
    picture[:, middle - OVERSAMPLING // 2 : middle + OVERSAMPLING // 2] = 1.0
    picture = inside * picture + (1 - inside) * TILE
    alpha = rounded_tile(picture.shape[0])[..., None]
    rgba = np.round(255 * np.concatenate([picture, alpha], axis=-1)).astype(np.uint8)
    return Image.fromarray(rgba, "RGBA").resize((SIZE, SIZE), Image.Resampling.BOX)


def write_preview(icon: Image.Image, folder: Path) -> None:
    """The icon at 128, 48, 32, 24 and 16 pixels on light and dark ground, enlarged threefold."""
    sheet = Image.new("RGBA", (288, 280), (240, 240, 240, 255))
    sheet.paste((45, 45, 45, 255), (0, 140, 288, 280))
    for top in (6, 146):
        left = 6
        for size in (128, 48, 32, 24, 16):
            small = icon.resize((size, size), Image.Resampling.LANCZOS)
            sheet.alpha_composite(small, (left, top))
            left += size + 6
    folder.mkdir(parents=True, exist_ok=True)
    sheet.resize((864, 840), Image.Resampling.NEAREST).save(folder / "icon_look.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--look", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    icon = draw()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    icon.save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size} bytes")
    if arguments.look:
        write_preview(icon, arguments.look)


if __name__ == "__main__":
    main()
