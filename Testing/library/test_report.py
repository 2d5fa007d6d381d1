"""The report: right planes, right proportions, right sides, the words on it."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from RelAPETLib import report
from RelAPETLib.errors import InputError
from RelAPETLib.volumes import image_from_array

SHAPE = (40, 48, 36)


def _head(spacing=(4.0, 4.0, 4.0)):
    """T1w and PET on one RAS grid: an ellipsoid, with a hot ball on the subject's left, in front, and high."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(SHAPE) / 2 * spacing
    x, y, z = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    brain = ((x - 20) / 14) ** 2 + ((y - 24) / 18) ** 2 + ((z - 18) / 13) ** 2 < 1
    t1w = 100.0 * brain + 10 * np.random.default_rng(0).random(SHAPE)
    pet = 1.0 * brain
    ball = (x - 12) ** 2 + (y - 32) ** 2 + (z - 24) ** 2 < 9
    pet[ball & brain] = 3.0
    return [image_from_array(v.astype(np.float32), affine) for v in (t1w, pet)]


def _write(path, t1w, pet, **extra):
    report.write_report(path, t1w=t1w, pet=pet, title="TAU", window=(0, 3), units="SUVR", **extra)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_slices_are_radiological_and_upright():
    t1w, pet = _head()
    arrays, spacing = report._arrays({"t1w": t1w, "pet": pet})
    box = [slice(0, n) for n in SHAPE]
    axial, coronal, sagittal = report._PLANES
    picture = report._slice(arrays["pet"], axial, [20, 24, 24], box)
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column > picture.shape[1] / 2, "the subject's left is on the right of the picture"
    assert row > picture.shape[0] / 2, "the nose is up (drawn from the lower edge)"
    picture = report._slice(arrays["pet"], coronal, [20, 32, 24], box)
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column > picture.shape[1] / 2 and row > picture.shape[0] / 2
    picture = report._slice(arrays["pet"], sagittal, [12, 24, 24], box)
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column < picture.shape[1] / 2, "the nose is on the left"
    assert row > picture.shape[0] / 2
    assert axial.marks == coronal.marks == ("R", "L") and sagittal.marks == ("A", "P")


@pytest.mark.parametrize("order", ["LPS", "PIR", "SAL"])
def test_storage_order_does_not_change_the_page(order, tmp_path):
    t1w, pet = _head()
    straight = _write(tmp_path / "a.png", t1w, pet)
    turned = _write(tmp_path / "b.png", *(sitk.DICOMOrient(image, order) for image in (t1w, pet)))
    np.testing.assert_array_equal(straight, turned)


def _picture_sizes(spacing):
    t1w, pet = _head(spacing)
    arrays, spacing = report._arrays({"t1w": t1w, "pet": pet})
    columns = report._columns(arrays, (0, 3), "SUVR", 1)
    box = [slice(0, n) for n in SHAPE]
    figure = report._page(columns, [20, 24, 18], box, spacing, "title", [])
    inches = figure.get_size_inches()
    return [np.round([a.get_position().width, a.get_position().height] * inches, 3) for a in figure.axes[:3]]


def test_anisotropic_voxels_keep_their_proportions():
    sizes = _picture_sizes((2.0, 4.0, 6.0))
    x, y, z = np.array(SHAPE) * (2.0, 4.0, 6.0)
    for (width, height), (across, up) in zip(sizes, [(x, y), (x, z), (y, z)], strict=True):
        assert width / height == pytest.approx(across / up, rel=1e-3)
    assert sizes[0][0] == pytest.approx(sizes[1][0]), "one scale for all pictures"


def test_columns_follow_what_there_is():
    t1w, pet = _head()
    arrays, _ = report._arrays({"t1w": t1w, "pet": pet})
    titles = [c.title for c in report._columns(arrays, (0, 3), "SUVR", 1)]
    assert titles == ["T1w", "Synthetic PET"]
    everything = arrays | {"t2f": arrays["t1w"], "reference": arrays["pet"]}
    everything |= {"difference": -0.33 * arrays["pet"], "uncertainty": 0.11 * arrays["pet"]}
    columns = {c.title: c for c in report._columns(everything, (0, 3), "SUVR", 4)}
    assert columns["Synthetic PET (mean of 4)"].limits == (0, 3)
    low, high = columns["Synthetic minus reference"].limits
    assert low == -high and high >= 0.33, "a difference is shown around zero"
    assert columns["Spread of 4 samples (SD)"].units == "SUVR"
    burned = {title for title, column in columns.items() if column.synthetic}
    assert "Reference PET" not in burned and len(burned) == 3


def test_every_picture_says_synthetic_and_warnings_are_printed(tmp_path):
    t1w, pet = _head()
    quiet = _write(tmp_path / "a.png", t1w, pet)
    warned = _write(tmp_path / "b.png", t1w, pet, warnings=["the pair does not look like one brain"])
    assert warned.shape[0] > quiet.shape[0]
    red = (np.abs(quiet - np.array([0xB0, 0x00, 0x20])).sum(axis=2) < 40).sum()
    assert red > 3000, "the banner in the pictures and the line at the top"
    metadata = Image.open(tmp_path / "a.png").info
    assert "SYNTHETIC, research only" in metadata["Description"]
    many = report._footer([], [f"warning {n}" for n in range(12)], 80)
    assert many[-1][0].startswith("... and 4 more")


def test_an_empty_pet_and_a_foreign_grid():
    t1w, pet = _head()
    arrays, spacing = report._arrays({"t1w": t1w, "pet": pet * 0})
    centre, box = report._place(arrays["pet"], spacing)
    assert centre == [n // 2 for n in SHAPE] and [b.stop for b in box] == list(SHAPE)
    with pytest.raises(InputError, match="grid"):
        report._arrays({"t1w": t1w, "pet": pet[:, :, 2:]})
