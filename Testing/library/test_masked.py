"""Smoothing and interpolation inside a mask: widths beside theory, and rims that do not fall off."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_study import GRID, own_brain, paint

from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.run import measure_all
from RelAPETLib.evaluation.settings import Settings
from RelAPETLib.grid import array_to_image
from RelAPETLib.preprocessing import to_t1w_space
from RelAPETLib.registration.template import load_template
from RelAPETLib.synthesis.maps import bring_back
from RelAPETLib.volumes import write_volume
from RelAPETLib.volumes.masked import FWHM_OF_SD, interpolated, smoothed, weights_on


def image_of(array, spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0), np.float32))
    image.SetSpacing(spacing)
    return image


def array_of(image):
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(float)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 2.0, 0.7)])
@pytest.mark.parametrize(("own", "wanted"), [(6, 6.02), (6, 6.5), (6, 7), (6, 9)])
def test_the_width_that_is_added_is_that_of_theory(spacing, own, wanted):
    """Gaussians add up in squares, and so does the kernel's second moment, well below a voxel too.

    A Gaussian of the first width then has the second one.
    """
    added = np.sqrt(wanted**2 - own**2)
    sizes = [2 * int(np.ceil(16 / step)) + 1 for step in spacing]
    point = np.zeros(sizes)
    point[tuple(n // 2 for n in sizes)] = 1
    places = [(np.arange(n) - n // 2) * step for n, step in zip(sizes, spacing, strict=True)]
    found = array_of(smoothed(image_of(point, spacing), None, added))
    assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=5e-4)
    for axis, place in enumerate(places):
        line = found.sum(tuple({0, 1, 2} - {axis}))
        assert np.sqrt((line * place**2).sum()) * FWHM_OF_SD == pytest.approx(added, rel=5e-3)
    squares = sum(np.ix_(*(place**2 for place in places)))
    before, after = (np.exp(-squares / 2 * (FWHM_OF_SD / width) ** 2) * width**-3.0 for width in (own, wanted))
    inner = tuple(slice(n // 4, -(n // 4)) for n in sizes)
    found = array_of(smoothed(image_of(before, spacing), None, added))
    assert np.abs(found - after)[inner].max() < 0.06 * after.max()


def test_what_lies_outside_a_mask_weighs_nothing():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 22, 24))
    mask[5:15, 4:16, 6:20] = rng.random((10, 12, 14)) > 0.2
    inside, values = image_of(mask), rng.random(mask.shape) * mask
    for fwhm in (0.8, 2.0, 7.0):
        same = array_of(smoothed(image_of(2.5 * mask), inside, fwhm))
        np.testing.assert_allclose(same[mask > 0], 2.5, rtol=1e-6)
        found = [array_of(smoothed(image_of(values + other * (1 - mask)), inside, fwhm)) for other in (0, 100)]
        assert np.array_equal(*found) and np.ptp(found[0][mask > 0]) < np.ptp(values[mask > 0])
    assert (array_of(smoothed(image_of(values), image_of(0 * mask), 3.0)) == 0).all()
    target = sitk.Image([30, 31, 32], sitk.sitkUInt8)
    target.SetSpacing([0.61] * 3)
    target.SetOrigin([2.2, 1.3, 3.4])
    weights = weights_on(inside, target)
    constant = array_of(interpolated(image_of(2.5 * mask + 9 * (1 - mask)), inside, weights))
    near = array_of(weights) > 1e-3
    np.testing.assert_allclose(constant[near], 2.5, rtol=1e-5)
    assert near.any() and (constant[~near] == 0).all()
    plain = array_of(sitk.Resample(image_of(values), target, sitk.Transform(), sitk.sitkLinear, 0.0))
    found = array_of(interpolated(image_of(values), inside, weights))
    np.testing.assert_allclose((found * array_of(weights))[near], plain[near], atol=1e-5)


@pytest.mark.parametrize("fwhm", [None, 10])
def test_a_perfect_synthesis_is_perfect_at_any_resolution(tmp_path, fwhm):
    """The measured PET has surroundings, the synthetic one 0 outside the brain, and neither is blurred into it."""
    brain, pet = own_brain(), np.maximum(paint(1.2 + 0.1 * np.arange(12)), 0.5)
    pair = Pair("sub-1", "", "PIB", "model", tmp_path / "made.nii.gz", tmp_path / "pet.nii.gz", space="MNI")
    write_volume(array_to_image(np.where(brain, pet, 0).astype(np.float32), GRID), pair.synthetic)
    write_volume(array_to_image(pet, GRID), pair.measured)
    settings = Settings(fwhm=fwhm, **({} if fwhm is None else {"fwhm_synthetic": 6, "fwhm_measured": 6}))
    found = measure_all([pair], settings)
    assert max(row.mae for row in found.images) < 1e-6
    values = {value.region: value for value in found.regions if value.what == "suvr"}
    for value in values.values():
        assert value.synthetic == pytest.approx(value.measured, rel=1e-6)
    alone = measure_all([replace(pair, synthetic=None)], replace(settings, measured_only=True)).regions
    for value in alone:
        if value.what == "suvr":
            assert value.measured == pytest.approx(values[value.region].measured, rel=1e-6)


def test_a_brain_keeps_its_value_to_the_rim_in_the_t1ws_space():
    """A map of one value, through a turn onto other voxels: nothing lies between it and 0."""
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.15, (3.0, -5.0, 2.0))
    mask = load_template().mask
    t1w = sitk.Image([150, 180, 60], sitk.sitkUInt8)
    t1w.SetSpacing((1.3, 1.1, 3.0))
    t1w.SetOrigin((-97.0, -100.0, -85.0))
    ready = SimpleNamespace(mask=mask, t1w_to_grid=turn)
    weights = weights_on(mask, t1w, turn)
    ones = sitk.Cast(mask, sitk.sitkFloat32) * 1.7
    found = array_of(interpolated(ones, mask, weights, turn, 0.5))
    plain = array_of(to_t1w_space(ones, ready, t1w))
    assert set(np.unique(found).round(5)) == {0, 1.7} and ((plain > 0) & (plain < 1.69)).mean() > 0.005
    assert found.mean() == pytest.approx(plain.mean(), rel=2e-3), "the brain is as large as it was"
    assert np.array_equal(found > 0, array_of(weights) >= 0.5)


def test_what_is_of_the_measured_pet_keeps_its_value_to_where_its_view_ends_in_the_t1ws_space():
    """Maps of one value each: the measured PET is the synthetic one minus the difference wherever there is one."""
    mask = load_template().mask
    view = sitk.Image(mask) * 0 + 1
    view[:, :, :60] = 0
    seen = sitk.Cast(mask * view, sitk.sitkFloat32)
    maps = {
        "synthetic_pet": sitk.Cast(mask, sitk.sitkFloat32) * 1.5,
        "difference": seen * -0.2,
        "reference": seen * 1.7,
    }
    t1w = sitk.Image([150, 180, 60], sitk.sitkUInt8)
    t1w.SetSpacing((1.3, 1.1, 3.0))
    t1w.SetOrigin((-97.0, -100.0, -85.0))
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.15, (3.0, -5.0, 2.0))
    ready = SimpleNamespace(mask=mask, t1w_to_grid=turn, t1w=None, t2f=None, pet_views={"TAU": view})
    case = SimpleNamespace(ready=ready, t1w_space=t1w, raw={}, preprocessed=False)
    whole, difference, reference = (array_of(i) for i in bring_back(maps, case, "TAU", "t1w", print)[0].values())
    there = difference != 0
    assert set(np.unique(whole).round(5)) == {0, 1.5} and set(np.unique(reference).round(5)) == {0, 1.7}
    assert 0.5 < there.sum() / (whole != 0).sum() < 0.95 and np.array_equal(there, reference != 0)
    np.testing.assert_allclose((whole - difference)[there], reference[there], rtol=1e-5)
    other = bring_back(maps, case, "PIB", "t1w", print)[0]["reference"]
    assert (array_of(other) > 0).sum() > there.sum(), "whose PET has no view is taken to show all"
