"""The report: right planes, right proportions, right sides, the words on it."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from RelAPETLib.errors import InputError
from RelAPETLib.report import pictures, still, write_report
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import image_affine, image_from_array

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
    write_report(path, t1w=t1w, pet=pet, title="TAU", units="SUVR", **({"window": (0, 3)} | extra))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _slice(array, plane, centre):
    return pictures.slice_of(array, plane, centre)


def test_slices_are_radiological_and_upright():
    arrays = {"pet": pictures.array_of(pet := _head()[1]).copy()}
    assert pet.GetSize() == SHAPE
    axial, coronal, sagittal = pictures.PLANES
    picture = _slice(arrays["pet"], axial, (20, 24, 24))
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column > picture.shape[1] / 2, "the subject's left is on the right of the picture"
    assert row > picture.shape[0] / 2, "the nose is up (drawn from the lower edge)"
    picture = _slice(arrays["pet"], coronal, (20, 32, 24))
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column > picture.shape[1] / 2 and row > picture.shape[0] / 2
    picture = _slice(arrays["pet"], sagittal, (12, 24, 24))
    row, column = np.argwhere(picture == 3).mean(axis=0)
    assert column < picture.shape[1] / 2, "the nose is on the left"
    assert row > picture.shape[0] / 2
    assert axial.marks == coronal.marks == ("R", "L") and sagittal.marks == ("A", "P")


def test_the_brain_is_shown_and_no_face():
    """Of a head that fills its volume, only the brain and a thin rim stay, in place."""
    t1w, pet = _head((2.0, 4.0, 4.0))
    head = sitk.Cast(t1w * 0 + 50 + t1w, sitk.sitkFloat32)
    volumes = pictures.prepare({"t1w": head, "t2f": head, "pet": pet})
    whole = {"t1w": pictures.array_of(head), "pet": pictures.array_of(pet)}
    start = np.rint(np.linalg.solve(image_affine(pet), volumes.affine @ [0, 0, 0, 1]))[:3].astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, volumes.brain.shape, strict=True))
    np.testing.assert_array_equal(volumes.arrays["pet"], whole["pet"][box])
    np.testing.assert_array_equal(volumes.arrays["t1w"][volumes.brain], whole["t1w"][box][volumes.brain])
    assert volumes.brain.sum() == (whole["pet"] != 0).sum(), "nothing of the brain is cut off"
    places = np.argwhere(volumes.brain) * volumes.spacing
    for name in ("t1w", "t2f"):
        shown = np.argwhere(volumes.arrays[name] > volumes.arrays[name].min())
        far = [np.linalg.norm(places - voxel * volumes.spacing, axis=1).min() for voxel in shown[::7]]
        assert 2 <= max(far) <= 6, "a rim of 4 mm, or of a voxel and its diagonal"


@pytest.mark.parametrize("order", ["LPS", "PIR", "SAL"])
def test_storage_order_does_not_change_the_page(order, tmp_path):
    t1w, pet = _head()
    straight = _write(tmp_path / "a.png", t1w, pet)
    turned = _write(tmp_path / "b.png", *(sitk.DICOMOrient(image, order) for image in (t1w, pet)))
    np.testing.assert_array_equal(straight, turned)


def _picture_sizes(spacing):
    t1w, pet = _head(spacing)
    volumes = pictures.prepare({"t1w": t1w, "pet": pet})
    columns = still._columns(volumes.arrays, (0, 3), "SUVR", 1)
    figure = still.compose(columns, volumes, "title", [])
    inches = figure.get_size_inches()
    sizes = [np.round([a.get_position().width, a.get_position().height] * inches, 3) for a in figure.axes[:3]]
    return sizes, np.array(volumes.brain.shape) * spacing


def test_anisotropic_voxels_keep_their_proportions():
    sizes, (x, y, z) = _picture_sizes((2.0, 4.0, 6.0))
    for (width, height), (across, up) in zip(sizes, [(x, y), (x, z), (y, z)], strict=True):
        assert width / height == pytest.approx(across / up, rel=1e-3)
    assert sizes[0][0] == pytest.approx(sizes[1][0]), "one scale for all pictures"


def test_columns_follow_what_there_is():
    t1w, pet = _head()
    arrays = pictures.prepare({"t1w": t1w, "pet": pet}).arrays
    titles = [c.title for c in still._columns(arrays, (0, 3), "SUVR", 1)]
    assert titles == ["T1w", "Synthetic PET"]
    everything = arrays | {"t2f": arrays["t1w"], "reference": arrays["pet"]}
    everything |= {"difference": -0.33 * arrays["pet"], "uncertainty": 0.11 * arrays["pet"]}
    columns = {c.title: c for c in still._columns(everything, (0, 3), "SUVR", 4)}
    assert columns["Synthetic PET (mean of 4)"].limits == (0, 3)
    low, high = columns["Synthetic minus measured"].limits
    assert low == -high and high >= 0.33, "a difference is shown around zero"
    assert columns["Spread of 4 samples (SD)"].units == "SUVR"
    burned = {title for title, column in columns.items() if column.synthetic}
    assert "Measured PET" not in burned and len(burned) == 3
    in_sd = arrays | {"departure": 0.2 * arrays["pet"], "reference_z": -7.0 * arrays["pet"]}
    departure, z = still._columns(in_sd, (0, 3), "SUVR", 4)[-2:]
    assert departure.limits == z.limits == (-3, 3), "little looks like little, whoever it is of"
    assert departure.synthetic and not z.synthetic and "no disease map" in departure.units


def test_every_picture_says_synthetic_and_warnings_are_printed(tmp_path):
    t1w, pet = _head()
    quiet = _write(tmp_path / "a.png", t1w, pet)
    warned = _write(tmp_path / "b.png", t1w, pet, warnings=["the pair does not look like one brain"])
    assert warned.shape[0] > quiet.shape[0]
    red = (np.abs(quiet - np.array([0xB0, 0x00, 0x20])).sum(axis=2) < 40).sum()
    assert red > 3000, "the banner in the pictures and the line at the top"
    metadata = Image.open(tmp_path / "a.png").info
    assert "SYNTHETIC, research only" in metadata["Description"]
    many = still._footer([], [f"warning {n}" for n in range(12)], 80)
    assert many[-1][0].startswith("... and 4 more")


def test_a_window_of_the_tracers_shows_contrast(tmp_path):
    """Two regions that differ by 0.2 SUVR look alike in the full window and not in the tracer's own."""
    from matplotlib import colormaps

    for tracer in TRACERS.values():
        low, high = tracer.contrast_window
        middle, colours = (low + high) / 2, colormaps["inferno"]
        full, own = (
            np.abs(np.subtract(*(colours((v - a) / (b - a))[:3] for v in (middle, middle + 0.2)))).sum()
            for a, b in (tracer.display_window, (low, high))
        )
        assert own > 1.2 * full
    t1w, pet = _head()
    flat = sitk.Cast(sitk.Clamp(pet, sitk.sitkFloat32, 0.0, 1.2), sitk.sitkFloat32)
    by_itself, wide = _write(tmp_path / "a.png", t1w, flat, window=None), _write(tmp_path / "b.png", t1w, flat)
    assert by_itself.std() > wide.std(), "without a window, the PET's own percentiles"


def test_text_is_never_taken_for_formulas(tmp_path):
    t1w, pet = _head()
    _write(tmp_path / "a.png", t1w, pet, warnings=["costs $1 and \\frac $2"], notes=["$\\bad{$"])


def test_an_empty_pet_and_a_foreign_grid():
    t1w, pet = _head()
    volumes = pictures.prepare({"t1w": t1w, "pet": pet * 0})
    assert volumes.centre == tuple(n // 2 for n in SHAPE) and volumes.brain.shape == SHAPE
    with pytest.raises(InputError, match="grid"):
        pictures.prepare({"t1w": t1w, "pet": pet[:, :, 2:]})
    turned = sitk.Image(pet)
    turned.SetDirection((0.9950042, -0.0998334, 0, 0.0998334, 0.9950042, 0, 0, 0, 1))
    with pytest.raises(InputError, match="grid"):
        pictures.prepare({"t1w": t1w, "pet": turned})
