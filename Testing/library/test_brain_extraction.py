"""Brain extraction's network against its published one, its box, and the field of view measured from it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from RelAPETLib.grid import ModelGrid, array_to_image, image_to_array
from RelAPETLib.registration import brain_extraction, linknet
from RelAPETLib.registration.brain_extraction import Brain, extract_brain
from RelAPETLib.registration.coverage import measure_coverage, touched_faces
from RelAPETLib.registration.template import load_template

#: What deepbet 1.0.2's own TorchScript networks give for `wave`: mean probability of brain, and that of six voxels.
PUBLISHED = {
    "box": (0.16997, [0.99978, 0.0, 1.0, 1.0, 0.0, 0.0]),
    "brain": (0.33756, [1.0, 0.99709, 2e-05, 1e-05, 0.0, 0.0]),
}
VOXELS = ((3, 5, 7), (20, 31, 12), (32, 32, 32), (40, 8, 50), (60, 60, 10), (17, 45, 33))


@pytest.fixture(scope="module")
def template():
    return load_template()


def wave() -> torch.Tensor:
    """A smooth volume [1, 1, 64, 64, 64] that any version of numpy makes."""
    x, y, z = np.meshgrid(*[np.arange(64) / 10] * 3, indexing="ij")
    return torch.from_numpy((0.45 + 0.2 * np.sin(x) * np.cos(2 * y) + 0.15 * np.sin(z + x)).astype(np.float32))[
        None, None
    ]


@pytest.mark.parametrize("part", ["box", "brain"])
def test_the_network_gives_what_the_published_one_gives(part):
    with torch.inference_mode():
        found = torch.sigmoid(brain_extraction._network(part, "cpu")(wave()))[0, 0]
    mean, values = PUBLISHED[part]
    assert float(found.mean()) == pytest.approx(mean, abs=1e-3)
    assert [float(found[v]) for v in VOXELS] == pytest.approx(values, abs=5e-3)


def test_the_largest_of_neighbours_is_what_torch_gives():
    volume = torch.randn(1, 3, 8, 4, 6)
    assert torch.equal(linknet._Halved()(volume), torch.nn.functional.max_pool3d(volume, 3, 2, 1))


def test_a_small_volumes_convolution_is_torchs_own():
    conv = linknet._Conv3d(4, 6, 3, 2, 1)
    volume = torch.randn(1, 4, 8, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(conv(volume), torch.nn.Conv3d.forward(conv, volume), atol=1e-5)


def test_the_logit_is_the_difference_of_the_last_layers_two_channels():
    network, volume = brain_extraction._network("brain", "cpu"), torch.randn(1, 8, 4, 5, 6)
    with torch.inference_mode():
        both = network.tp_conv2(volume)
        assert torch.allclose(network._logit(volume), both[:, 1:] - both[:, :1], atol=1e-4)


def test_intensities_are_those_of_the_stretched_volume():
    volume = torch.rand(5, 7, 3)
    low, high, shape = torch.tensor(0.1), torch.tensor(0.9), (16, 16, 16)
    found = brain_extraction._normalised(volume, low, high, shape)
    stretched = ((brain_extraction._resized(volume, shape) - low) / (high - low)).clamp(0, 1)
    assert torch.equal(found, 0.226 * (stretched - stretched.mean()) / stretched.std() + 0.449)


def test_the_box_is_widened_and_stays_inside():
    coarse = np.zeros((128, 128, 128), bool)
    coarse[40:80, 30:110, 0:64] = True
    box = brain_extraction._box(coarse, (256, 128, 64))
    assert box == (slice(72, 168), slice(22, 118), slice(0, 35))
    assert brain_extraction._box(coarse & False, (256, 128, 64)) is None


@pytest.mark.parametrize("first", [0, 2, 60, 124])
def test_the_box_of_a_speck_in_thick_slices_holds_a_slice(first):
    coarse = np.zeros((128, 128, 128), bool)
    coarse[:, :, first : first + 4] = True
    box = brain_extraction._box(coarse, (64, 64, 10))
    assert all(0 <= part.start < part.stop <= size for part, size in zip(box, (64, 64, 10), strict=True))


def test_a_flat_volume_has_no_brain():
    found = extract_brain(sitk.Image([40, 40, 40], sitk.sitkInt16) + 7)
    assert found.volume_ml == 0 and not sitk.GetArrayViewFromImage(found.mask).any()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["RAS", "PIR"])
def test_the_templates_brain_is_found_on_the_scans_own_grid(template, order):
    scan = sitk.DICOMOrient(template.t1, order)
    found = extract_brain(scan)
    assert found.mask.GetSize() == scan.GetSize() and found.mask.GetDirection() == scan.GetDirection()
    a = image_to_array(sitk.DICOMOrient(found.mask, "RAS")) > 0
    b = image_to_array(template.mask) > 0
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.97
    assert found.volume_ml == pytest.approx(a.sum() / 1000)


class TestCoverage:
    """The template as a person, cut, so that what is missing is known."""

    unmoved = sitk.AffineTransform(3)

    @pytest.mark.parametrize(("low", "high"), [(0, 160), (45, 160), (0, 133)])
    def test_what_a_cut_takes_away_is_measured(self, template, low, high):
        whole = image_to_array(template.mask) > 0
        brain = Brain(template.mask[:, :, low:high], 1.0)
        found = measure_coverage(brain, brain.mask, template.t1, self.unmoved, self.unmoved, template)
        assert found.missing["t1w"] == pytest.approx(1 - whole[:, :, low:high].sum() / whole.sum(), abs=0.003)
        assert found.missing["t2f"] == 0
        expected = whole.copy()
        expected[:, :, :low] = expected[:, :, high:] = False
        assert np.array_equal(found.in_view, expected)

    def test_the_t2f_has_its_own_view(self, template):
        rigid = sitk.Euler3DTransform()
        rigid.SetTranslation((5.0, -3.0, 8.0))
        t2f = sitk.Image(template.t1[:, :, 40:])
        t2f.SetOrigin(np.add(t2f.GetOrigin(), rigid.GetTranslation()).tolist())
        whole = image_to_array(template.mask) > 0
        brain = Brain(template.mask, 1.0)
        found = measure_coverage(brain, template.t1, t2f, self.unmoved, rigid, template)
        assert found.missing["t1w"] == 0
        assert found.missing["t2f"] == pytest.approx(whole[:, :, :40].sum() / whole.sum(), abs=0.003)
        assert not found.in_view[:, :, :40].any() and found.in_view[:, :, 40:].sum() == whole[:, :, 40:].sum()

    def test_a_brain_that_ends_before_the_border_lacks_nothing(self, template):
        """A misplaced affine alone says nothing; without a brain mask it is all there is."""
        affine = sitk.AffineTransform(3)
        affine.SetTranslation((0.0, 0.0, 40.0))
        mask = sitk.BinaryErode(template.mask, [6] * 3)
        found = measure_coverage(Brain(mask, 1.0), template.t1, template.t1, affine, self.unmoved, template)
        assert found.missing["t1w"] == 0
        empty = Brain(mask * 0, 0.0)
        found = measure_coverage(empty, template.t1, template.t1, affine, self.unmoved, template)
        assert found.missing["t1w"] > 0.05

    def test_faces_of_any_axis(self):
        array = np.zeros((30, 40, 50), np.uint8)
        array[:, 5:35, 10:50] = 1
        grid = ModelGrid((30, 40, 50), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        assert touched_faces(array_to_image(array, grid)).tolist() == [[True, True], [False, False], [False, True]]
