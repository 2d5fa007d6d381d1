"""Resampling by torch, as on a GPU, beside ITK's on the same images: here torch computes on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.grid import ModelGrid, array_to_image
from RelAPETLib.registration import on_device, warp
from RelAPETLib.registration.fields import as_transform

SCAN = ModelGrid(shape=(26, 31, 17), spacing=(1.1, 1.0, 2.3), origin=(-14.0, -15.0, -20.0))
TARGET = ModelGrid(shape=(40, 36, 45), spacing=(1.0, 1.0, 1.0), origin=(-20.0, -18.0, -22.0))
#: Largest difference from ITK, as a share of the image's SD: places are float32 there.
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def image():
    smooth = sitk.SmoothingRecursiveGaussian(
        array_to_image(np.random.default_rng(0).normal(size=SCAN.shape).astype(np.float32), SCAN), 1.5
    )
    turned = sitk.Image(smooth)
    turned.SetDirection(sitk.Euler3DTransform((0.0,) * 3, 0.1, 0.2, -0.15, (0.0,) * 3).GetMatrix())
    middle = turned.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in turned.GetSize()])
    turned.SetOrigin((np.asarray(turned.GetOrigin()) - middle).tolist())
    return turned


@pytest.fixture(scope="module")
def chain():
    """Rigid after affine after a field that ends within the target, as scans are laid over the grid."""
    shifts = np.random.default_rng(1).normal(0, 1.5, size=(9, 8, 10, 3))
    field = sitk.GetImageFromArray(shifts, isVector=True)
    field.SetSpacing((4.0, 3.5, 4.0))
    field.SetOrigin((-16.0, -15.0, -17.0))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.05, 0.02, 0.0, -0.03, 0.95, 0.04, 0.01, 0.0, 1.1))
    affine.SetTranslation((1.0, -2.0, 0.5))
    affine.SetCenter((3.0, 1.0, -2.0))
    rigid = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.05, 0.2, (0.4, 1.3, -2.1))
    return sitk.CompositeTransform([rigid, sitk.CompositeTransform([affine, as_transform(field)])])


def by_itk(image, transform, like):
    """Values with 0 outside, and the field of view."""
    outside = -1e6
    there = sitk.GetArrayFromImage(sitk.Resample(image, like, transform, sitk.sitkLinear, outside, sitk.sitkFloat32))
    return np.where(there == outside, 0, there), there != outside


def test_it_is_itks_up_to_rounding(image, chain, monkeypatch):
    monkeypatch.setattr(on_device, "PLANES", 7)  # in parts that do not go into the target
    like = TARGET.reference_image()
    for transform in (chain, sitk.Transform(), chain.GetNthTransform(0)):
        (values, seen), (wanted, in_view) = on_device.resampled(image, transform, like, "cpu"), by_itk(
            image, transform, like
        )  # fmt: skip
        assert values.dtype == np.float32 and 0.05 < in_view.mean() < 0.95
        assert (seen == in_view).all() and np.abs(values - wanted).max() < TOLERANCE * wanted[in_view].std()


@pytest.mark.parametrize("size", [(26, 31, 17), (1, 31, 17), (26, 1, 17), (26, 31, 1)])
@pytest.mark.parametrize("direction", [(-1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1, 1, 0, 0)])
def test_flipped_and_permuted_scans_and_single_slices(chain, size, direction):
    image = sitk.GetImageFromArray(np.random.default_rng(2).normal(size=size[::-1]).astype(np.float32))
    image.SetSpacing([1.3 if n > 1 else 20.0 for n in size])
    image.SetDirection(direction)
    middle = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size])
    image.SetOrigin((np.asarray(image.GetOrigin()) - middle).tolist())
    like = TARGET.reference_image()
    values, seen = on_device.resampled(image, chain, like, "cpu")
    wanted, in_view = by_itk(image, chain, like)
    assert in_view.sum() > 1000 and (seen == in_view).all()
    assert np.abs(values - wanted).max() < TOLERANCE * wanted[in_view].std()


def test_what_a_gpu_lays_is_what_the_cpu_lays(image, chain, monkeypatch):
    asked = []

    def here(image, transform, like, device):
        asked.append(device)
        return on_device.resampled(image, transform, like, "cpu")

    monkeypatch.setattr(warp, "resampled", here)
    ours, itks = warp.lay(image, chain, "cuda:1"), warp.lay(image, chain)
    assert asked == ["cuda:1"] and itks.seen.any()
    assert np.array_equal(ours.seen, itks.seen)
    assert np.abs(ours.values - itks.values).max() < TOLERANCE * itks.values[itks.seen].std()


def test_a_full_gpu_leaves_it_to_the_cpu(image, chain, monkeypatch):
    def full(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(warp, "resampled", full)
    with pytest.warns(RelAPETWarning, match=r"could not be resampled on cuda:0 \(CUDA out of memory\); it was on the"):
        laid = warp.lay(image, chain, "cuda:0")
    assert np.array_equal(laid.values, warp.lay(image, chain).values)


def test_a_transform_of_another_kind_is_refused_rather_than_taken_for_affine(image):
    with pytest.raises(TypeError, match="BSplineTransform is neither affine nor a field"):
        on_device.resampled(image, sitk.BSplineTransform(3), TARGET.reference_image(), "cpu")
