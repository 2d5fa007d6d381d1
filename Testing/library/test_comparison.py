"""Comparison metrics against scikit-image, and what they say about windows and scalings."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from RelAPETLib import comparison
from RelAPETLib.errors import InputError
from RelAPETLib.grid import ModelGrid, array_to_image, image_to_array

SMALL = ModelGrid(shape=(20, 24, 18), spacing=(2.0, 2.0, 2.0), origin=(-20.0, -24.0, -18.0))


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SMALL.shape], indexing="ij")
    mask = (x**2 + y**2 + z**2) < 0.8
    reference = (0.5 + 0.3 * np.sin(4 * x) * np.cos(3 * y)) * mask
    synthetic = np.clip(reference + 0.08 * rng.standard_normal(SMALL.shape), 0, 1) * mask
    return synthetic, reference, mask


def test_psnr_and_mae_agree_with_scikit_image(pair):
    synthetic, reference, mask = pair
    assert comparison.psnr(synthetic, reference) == pytest.approx(
        peak_signal_noise_ratio(reference, synthetic, data_range=1.0), abs=1e-6
    )
    inside = peak_signal_noise_ratio(reference[mask], synthetic[mask], data_range=1.0)
    assert comparison.psnr(synthetic, reference, mask) == pytest.approx(inside, abs=1e-6)
    assert comparison.mae(synthetic, reference, mask) == pytest.approx(np.abs(synthetic - reference)[mask].mean())
    assert comparison.psnr(reference, reference) == float("inf")


def test_ssim_agrees_with_scikit_image(pair):
    synthetic, reference, mask = pair
    half = comparison.SSIM_WINDOW // 2
    padded = [np.pad(v, half) for v in (reference, synthetic)]
    _, full = structural_similarity(
        *padded, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    expected = full[half:-half, half:-half, half:-half]
    np.testing.assert_allclose(comparison.ssim_map(synthetic, reference), expected, atol=2e-4)
    assert comparison.ssim(synthetic, reference) == pytest.approx(expected.mean(), abs=2e-5)
    assert comparison.ssim(synthetic, reference, mask) == pytest.approx(expected[mask].mean(), abs=2e-5)
    assert comparison.ssim(reference, reference) == pytest.approx(1.0, abs=1e-5)


def test_ssim_agrees_with_monai(pair):
    """The window as three matrix products is the window of 11^3 taps, at the edges of an uneven grid too."""
    from monai.metrics.regression import compute_ssim_and_cs

    half = comparison.SSIM_WINDOW // 2
    padded = [torch.nn.functional.pad(torch.from_numpy(v).float()[None, None], (half,) * 6) for v in pair[:2]]
    window = {"kernel_size": [comparison.SSIM_WINDOW] * 3, "kernel_sigma": [comparison.SSIM_SIGMA] * 3}
    expected, _ = compute_ssim_and_cs(*padded, spatial_dims=3, **window)
    np.testing.assert_allclose(comparison.ssim_map(*pair[:2]), expected[0, 0].numpy(), atol=1e-4)


def _images(pair):
    synthetic, reference, mask = pair
    return [array_to_image(v.astype(np.float32), SMALL) for v in (3 * synthetic, 3 * reference, mask)]


def test_compare_maps_suvr_by_the_window(pair):
    synthetic, reference, mask = pair
    difference, metrics = comparison.compare(*_images(pair), window=(0.0, 3.0), grid=SMALL)
    np.testing.assert_allclose(image_to_array(difference, SMALL), 3 * (synthetic - reference) * mask, atol=1e-5)
    assert metrics["brain"]["mae"] == pytest.approx(comparison.mae(synthetic, reference, mask), abs=1e-6)
    assert metrics["whole_grid"]["psnr"] == pytest.approx(comparison.psnr(synthetic, reference), abs=1e-4)
    assert metrics["brain"]["psnr"] < metrics["whole_grid"]["psnr"]


def test_values_beyond_the_window_count_as_its_end(pair):
    made, measured, mask = _images(pair)
    _, within = comparison.compare(made, measured, mask, window=(0.0, 1.0), grid=SMALL)
    array = image_to_array(measured, SMALL)
    beyond = array_to_image(np.where(array > 1.0, array + 5.0, array), SMALL)
    difference, clipped = comparison.compare(made, beyond, mask, window=(0.0, 1.0), grid=SMALL)
    assert clipped == within
    assert image_to_array(difference, SMALL).min() < -4, "the difference map itself is not clipped"


def test_relative_comparison_ignores_scale_but_not_pattern(pair):
    made, measured, mask = _images(pair)
    difference, metrics = comparison.compare(made, measured * 1000.0, mask, window=None, grid=SMALL)
    same, again = comparison.compare(made, measured, mask, window=None, grid=SMALL)
    assert metrics["scaling"] == "minmax"
    assert metrics["brain"]["psnr"] == pytest.approx(again["brain"]["psnr"], abs=1e-3)
    np.testing.assert_allclose(image_to_array(difference, SMALL), image_to_array(same, SMALL), atol=1e-5)
    _, identical = comparison.compare(measured, measured * 7.0, mask, window=None, grid=SMALL)
    assert identical["brain"]["psnr"] is None or identical["brain"]["psnr"] > 100
    assert metrics["brain"]["psnr"] < 60


@pytest.mark.parametrize("window", [(0.0, 3.0), None])
def test_outside_a_references_view_nothing_is_compared(pair, window):
    """A perfect synthesis stays one; whatever is there, of either, changes nothing; SSIM too, and the whole grid."""
    made, measured, mask = _images(pair)
    view = np.ones(SMALL.shape, np.uint8)
    view[:, :, :6] = 0
    seen, brain = view > 0, image_to_array(mask, SMALL) > 0
    given = {"window": window, "grid": SMALL, "view": array_to_image(view, SMALL)}
    cut = array_to_image(np.where(seen, image_to_array(measured, SMALL), 0), SMALL)
    difference, metrics = comparison.compare(measured, cut, mask, **given)
    assert not image_to_array(difference, SMALL).any()
    assert metrics["brain"] == {"psnr": None, "ssim": pytest.approx(1), "mae": 0} == metrics["whole_grid"]
    _, blind = comparison.compare(measured, cut, mask, window=window, grid=SMALL)
    assert blind["brain"]["psnr"] < 30
    difference, metrics = comparison.compare(made, cut, mask, **given)
    other = array_to_image(np.where(seen | ~brain, image_to_array(made, SMALL), 9), SMALL)
    again, same = comparison.compare(other, measured, mask, **given)
    assert same == metrics and np.array_equal(image_to_array(again, SMALL), image_to_array(difference, SMALL))
    assert not image_to_array(difference, SMALL)[~seen].any() and image_to_array(difference, SMALL)[seen & brain].all()
    if window:
        both = [image_to_array(image, SMALL) / 3 for image in (made, measured)]
        assert metrics["brain"]["mae"] == pytest.approx(comparison.mae(*both, brain & seen), rel=1e-5)
        assert metrics["whole_grid"]["mae"] == pytest.approx(comparison.mae(*both, ~brain | seen), rel=1e-5)


def test_a_view_of_the_whole_brain_changes_no_byte(pair):
    made, measured, mask = _images(pair)
    plain, figures = comparison.compare(made, measured, mask, window=(0.0, 3.0), grid=SMALL)
    seen, again = comparison.compare(made, measured, mask, window=(0.0, 3.0), grid=SMALL, view=mask)
    assert figures == again and np.array_equal(image_to_array(plain, SMALL), image_to_array(seen, SMALL))


def test_what_cannot_be_compared_is_refused(pair):
    synthetic, reference, mask = pair
    with pytest.raises(InputError, match="shapes"):
        comparison.psnr(synthetic, reference[1:])
    with pytest.raises(InputError, match="empty"):
        comparison.mae(synthetic, reference, np.zeros_like(mask))
    with pytest.raises(InputError, match="constant"):
        comparison.minmax(np.ones((3, 3, 3)))
