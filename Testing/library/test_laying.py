"""One resampling for values and field of view, and when the extracted brain may start the affine search."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.grid import ModelGrid, array_to_image, image_to_array
from RelAPETLib.registration import affine, quality
from RelAPETLib.registration.brain_extraction import Brain
from RelAPETLib.registration.coverage import face_areas
from RelAPETLib.registration.template import load_template
from RelAPETLib.registration.warp import lay, resample_to_grid

SMALL = ModelGrid(shape=(30, 34, 28), spacing=(2.0, 2.0, 3.0), origin=(-31.0, -36.0, -40.0))


def test_an_image_is_laid_as_resampling_and_field_of_view_have_it():
    image = array_to_image(np.random.default_rng(0).normal(size=SMALL.shape).astype(np.float32), SMALL)
    turned = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.1, 0.3, (5.0, -3.0, 2.0))
    laid = lay(image, turned)
    seen = quality.field_of_view(image, turned)
    assert 0 < seen.mean() < 1 and np.array_equal(laid.seen, seen)
    assert np.array_equal(laid.values, image_to_array(resample_to_grid(image, turned)))


def ball(radius_mm: float, height_mm: float) -> Brain:
    """A ball whose centre lies `height_mm` above the lowest plane of its scan, 2 mm voxels."""
    grid = np.indices((90, 90, 90), np.float32) * 2.0
    inside = (grid[0] - 90) ** 2 + (grid[1] - 90) ** 2 + (grid[2] - height_mm) ** 2 < radius_mm**2
    mask = array_to_image(inside.astype(np.uint8), ModelGrid((90, 90, 90), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)))
    return Brain(mask, float(inside.sum()) * 8 / 1000)


def test_a_brain_that_is_cut_or_too_small_does_not_start_the_search():
    whole, cut = ball(70, 90), ball(70, 40)
    assert face_areas(whole.mask).sum() == 0
    assert face_areas(cut.mask)[2] == pytest.approx([np.pi * (70**2 - 40**2), 0], rel=0.05)
    assert affine._whole(whole) and not affine._whole(cut)
    assert affine._whole(ball(70, 65))  # a cap of 5 mm
    assert not affine._whole(ball(40, 90))
    template = load_template()
    assert affine._size_of(ball(60, 90), template.t1, template.mask) == pytest.approx(
        max(affine.PERSON_SIZE - 0.1, 60 / np.cbrt(image_to_array(template.mask).sum() * 3 / (4 * np.pi))), abs=0.01
    )
