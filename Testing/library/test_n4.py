"""Our N4 against ITK's on the same voxels, and what it does at its edges."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.registration import n4


@pytest.fixture(scope="module")
def shaded() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Three noisy tissues in a ball under a smooth field, its mask, and the places of the grid's planes."""
    shape = (26, 30, 28)
    rng = np.random.default_rng(0)
    places = [np.linspace(0, 1, n) for n in shape]
    z, y, x = np.meshgrid(*(2 * axis - 1 for axis in places), indexing="ij")
    tissue = np.array([60.0, 100.0, 140.0])[rng.integers(0, 3, shape)] * np.exp(rng.normal(0, 0.03, shape))
    field = np.exp(0.3 * x - 0.2 * y * z + 0.15 * z**2)
    return tissue * field, x**2 + y**2 + z**2 < 0.9, places


def itk_field(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(n4.ITERATIONS)
    corrector.Execute(image, sitk.GetImageFromArray(mask.astype(np.uint8)))
    return sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))


def test_the_field_is_itks(shaded):
    values, mask, places = shaded
    theirs, ours = itk_field(values, mask)[mask], n4.fit_bias(values, mask, places).at(places)[mask]
    assert theirs.std() > 0.1
    assert np.abs(ours - theirs).max() < 0.02 * np.ptp(theirs)


def test_a_field_found_on_few_planes_holds_between_them(shaded):
    values, mask, places = shaded
    found = n4.fit_bias(values, mask, places)
    finer = [np.linspace(0, 1, 2 * len(axis) - 1) for axis in places]
    assert found.at(finer)[::2, ::2, ::2] == pytest.approx(found.at(places), abs=1e-5)
    assert np.abs(np.diff(found.at(finer), axis=0)).max() < 0.1


def test_voxels_at_zero_and_a_flat_scan_give_a_finite_field(shaded):
    values, mask, places = shaded
    holes = np.where(np.random.default_rng(1).random(values.shape) < 0.1, 0, values)
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(n4.fit_bias(holes, mask, places).at(places)).all()
        assert np.abs(n4.fit_bias(np.full_like(values, 7), mask, places).at(places)).max() == 0
        assert np.abs(n4.fit_bias(0 * values, mask, places).at(places)).max() == 0
