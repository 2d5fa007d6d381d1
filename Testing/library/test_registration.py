"""Registration's pieces on volumes whose truth is known; the real pair and whole runs are in test_preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import InputError, RelAPETError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID, ModelGrid, array_to_image, image_to_array
from RelAPETLib.registration import copies, fields, quality, scans
from RelAPETLib.registration import warp as laying
from RelAPETLib.registration.mutual_information import fov_share, linear_parts, mask_points
from RelAPETLib.registration.template import load_template
from RelAPETLib.registration.warp import fit_warp, resample_to_grid

SMALL = ModelGrid(shape=(40, 44, 38), spacing=(2.0, 2.0, 2.0), origin=(-40.0, -46.0, -36.0))


@pytest.fixture(scope="module")
def template():
    return load_template()


def smooth_field(reference: sitk.Image, seed: int, sd_mm: float, mesh: int = 4) -> sitk.Image:
    """A random displacement field on a grid: cubic B-splines on `mesh` cells a side, SD in mm of their coefficients."""
    spline = sitk.BSplineTransformInitializer(reference, [mesh] * 3)
    spline.SetParameters(np.random.default_rng(seed).normal(0, sd_mm, len(spline.GetParameters())).tolist())
    return sitk.TransformToDisplacementField(
        spline, sitk.sitkVectorFloat64, reference.GetSize(), reference.GetOrigin(), reference.GetSpacing(),
        reference.GetDirection(),
    )  # fmt: skip


def rotation_about(centre, degrees, translation) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter([float(c) for c in centre])
    transform.SetRotation(*np.radians(degrees).tolist())
    transform.SetTranslation([float(t) for t in translation])
    return transform


def head_around(template, contrast: str = "t1w") -> sitk.Image:
    """The template inside a dark skull and a bright scalp, on 1 mm, with room around it."""
    t1 = image_to_array(template.t1)
    if contrast == "flair":
        grey, white = image_to_array(template.grey), image_to_array(template.white)
        t1 = 200 * grey + 140 * white
    brain = image_to_array(template.mask) > 0
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            sitk.GetImageFromArray(np.pad(brain, 24).astype(np.uint8)), squaredDistance=False, insideIsPositive=False
        )
    )
    volume = np.pad(t1, 24)
    volume[(distance > 9) & (distance < 16)] = 300
    rng = np.random.default_rng(1)
    volume = volume + rng.normal(0, 4, volume.shape)
    origin = tuple(o - 24 for o in MNI_GRID.origin)
    return array_to_image(volume.astype(np.float32), ModelGrid(volume.shape, (1.0, 1.0, 1.0), origin))


def thick(image: sitk.Image, transform: sitk.Transform, spacing=(1.5, 1.5, 3.0)) -> sitk.Image:
    """An image seen through a transform (output points to its own), on thick slices that cover as much."""
    size = [int(n * s / t) for n, s, t in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)]
    reference = sitk.Image(size, sitk.sitkFloat32)
    reference.SetSpacing(spacing)
    reference.SetDirection(image.GetDirection())
    reference.SetOrigin(image.GetOrigin())
    return sitk.Resample(copies.working_copy(image, 1.5), reference, transform, sitk.sitkLinear, 0.0)


def corner_error(a: sitk.Transform, b: sitk.Transform) -> float:
    """Mean distance in mm between where two transforms put the corners of the model grid."""
    mask = sitk.GetArrayFromImage(MNI_GRID.reference_image()) + 1
    corners = mask_points(sitk.GetImageFromArray(mask[:2, :2, :2])) * [159, 179, 159] - [80, 106, 72]
    return float(np.mean([np.linalg.norm(np.subtract(a.TransformPoint(c), b.TransformPoint(c))) for c in corners]))


class TestWorkingCopy:
    def test_keeps_places_and_thick_axes(self):
        array = np.zeros((60, 60, 20), np.float32)
        array[38:42, 18:22, 11:13] = 100
        image = array_to_image(array, ModelGrid((60, 60, 20), (1.0, 1.0, 5.0), (3.0, -7.0, 11.0)))
        copy = copies.working_copy(image, 3.0)
        assert copy.GetSpacing() == pytest.approx((3.0, 3.0, 5.0))
        centres = []
        for volume in (image, copy):
            weights = sitk.GetArrayFromImage(volume)
            index = np.array(np.nonzero(weights > 0))[::-1]
            weights = weights[weights > 0]
            points = [volume.TransformIndexToPhysicalPoint(tuple(int(i) for i in p)) for p in index.T]
            centres.append(np.average(points, axis=0, weights=weights))
        assert centres[1] == pytest.approx(centres[0], abs=0.05)

    def test_head_mask_finds_the_head_and_refuses_nothing(self, template):
        mask = scans.head_mask(copies.working_copy(head_around(template), 3.0))
        volume = sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1e6
        brain = image_to_array(template.mask).sum() / 1e6
        assert 1.2 * brain < volume < 3 * brain
        flat = sitk.Image([20, 20, 20], sitk.sitkFloat32)
        with pytest.raises(InputError, match="T1w: no head"):
            scans.head_mask(flat, "T1w")

    def test_bias_field_is_taken_out(self, template):
        head = copies.working_copy(head_around(template), 2.0)
        grid = np.indices(head.GetSize()[::-1])
        bias = np.exp(0.5 * (grid[0] / grid[0].max() - 0.5) + 0.4 * (grid[2] / grid[2].max() - 0.5) ** 2)
        shaded = sitk.GetImageFromArray((sitk.GetArrayFromImage(head) * bias).astype(np.float32))
        shaded.CopyInformation(head)
        corrected = scans.correct_bias(shaded, scans.head_mask(shaded))
        white = resample_to_grid(template.white, sitk.Transform())
        inside = sitk.GetArrayFromImage(sitk.Resample(white, head, sitk.Transform(), sitk.sitkLinear, 0.0)) > 0.9

        def variation(image):
            values = sitk.GetArrayFromImage(image)[inside]
            return values.std() / values.mean()

        assert variation(shaded) > 1.5 * variation(head)
        assert variation(corrected) < 0.5 * (variation(shaded) + variation(head))

    def test_a_large_scan_is_worked_on_at_about_a_millimetre(self, monkeypatch):
        array = np.zeros((64, 60, 30), np.float32)
        array[20:40, 10:40, 5:25] = 100
        image = array_to_image(array, ModelGrid((64, 60, 30), (0.5, 0.5, 2.0), (3.0, -7.0, 11.0)))
        assert scans.upright(image).GetSpacing() == (0.5, 0.5, 2.0)
        monkeypatch.setattr(scans, "LARGE_VOXELS", 100_000)
        reduced = scans.upright(sitk.DICOMOrient(image, "SPL"))
        assert reduced.GetSpacing() == pytest.approx((1.0, 1.0, 2.0))
        assert scans.centroid(reduced > 50) == pytest.approx(scans.centroid(image > 50), abs=0.1)


class TestLinear:
    def test_parts_and_field_of_view(self):
        transform = rotation_about((10, 20, 30), (5, -10, 15), (1, 2, 3))
        matrix, offset = linear_parts(transform)
        for point in ((0, 0, 0), (10, -20, 5), (-70, 30, 40)):
            assert matrix @ point + offset == pytest.approx(transform.TransformPoint([float(p) for p in point]))
        reference = MNI_GRID.reference_image()
        points = mask_points(reference + 1)
        assert fov_share(points[::1000], sitk.Transform(), reference) == 1.0
        half = sitk.TranslationTransform(3, (80.0, 0.0, 0.0))
        assert fov_share(points[::1000], half, reference) == pytest.approx(0.5, abs=0.02)

    def test_rigid_recovers_a_known_motion(self, template):
        from RelAPETLib.registration.rigid import register_rigid

        truth = rotation_about((0, 16, 10), (12, -8, 10), (20, -15, 25))
        t1w = scans.prepare(thick(head_around(template), sitk.Transform()), "T1w", bias=False)
        flair = thick(head_around(template, "flair"), truth.GetInverse(), (1.5, 3.0, 1.5))
        found = register_rigid(t1w, template.mask, scans.prepare(flair, "T2F", bias=False), "T2F")
        assert corner_error(found, truth) < 1.0

    @pytest.mark.slow
    def test_affine_recovers_a_known_head(self, template):
        from RelAPETLib.registration.affine import register_affine

        truth = sitk.AffineTransform(3)
        truth.SetMatrix((np.reshape(rotation_about((0, 0, 0), (20, -15, 22), (0, 0, 0)).GetMatrix(), (3, 3))
                         @ np.diag([0.9, 0.93, 0.88])).ravel().tolist())  # fmt: skip
        truth.SetTranslation((60.0, -70.0, 40.0))
        head = head_around(template)
        size = [int(n * 1.3) for n in head.GetSize()]
        wide = sitk.Image(size, sitk.sitkFloat32)
        wide.SetDirection(head.GetDirection())
        wide.SetOrigin(np.add(head.GetOrigin(), (30 + 60, 30 - 70, -40 + 40)).tolist())
        t1w = sitk.Resample(head, wide, truth.GetInverse(), sitk.sitkLinear, 0.0)
        found = register_affine(scans.prepare(copies.working_copy(t1w, 1.5), "T1w", bias=False), template)
        assert corner_error(found, truth) < 2.0

    def test_nothing_in_common_is_an_input_error(self, template):
        from RelAPETLib.registration.rigid import register_rigid

        t1w = scans.prepare(thick(head_around(template), sitk.Transform()), "T1w", bias=False)
        far = sitk.Image(template.mask)
        far.SetOrigin((900.0, 900.0, 900.0))
        with pytest.raises(InputError, match="T2F could not be laid over the T1w"):
            register_rigid(t1w, far, t1w, "T2F")


class TestFields:
    def test_extension_continues_the_edge(self):
        field = smooth_field(SMALL.reference_image(), 0, 3.0)
        wide = fields.extended(field, 10.0)
        assert wide.GetSize() == tuple(n + 10 for n in field.GetSize())
        assert wide.TransformIndexToPhysicalPoint((5, 5, 5)) == pytest.approx(field.GetOrigin())
        assert wide[0, 20, 20] == pytest.approx(field[0, 15, 15])
        assert wide[wide.GetWidth() - 1, 20, 20] == pytest.approx(field[field.GetWidth() - 1, 15, 15])

    def test_inverse_brings_points_back(self):
        field = fields.extended(smooth_field(SMALL.reference_image(), 1, 5.0))
        assert (fields.jacobian(field) > 0.2).all()
        forward, backward = fields.as_transform(field), fields.as_transform(fields.inverse(field))
        points = mask_points(SMALL.reference_image() + 1)[::977]
        back = np.array([backward.TransformPoint(forward.TransformPoint(p)) for p in points.tolist()])
        moved = np.array([forward.TransformPoint(p) for p in points.tolist()])
        assert np.linalg.norm(moved - points, axis=1).mean() > 2
        error = np.linalg.norm(back - points, axis=1)
        assert error.mean() < 0.1 and error.max() < 0.5

    @pytest.mark.parametrize("many", (False, True))
    @pytest.mark.parametrize(
        ("slope", "jacobian", "most"),
        [
            (lambda x: 1.8 * np.exp(-((x / 3) ** 2)) - 0.5 * np.exp(-(((abs(x) - 11) / 4) ** 2)), (0.3, 2.4), 0.3),
            (lambda x: -0.93 * np.exp(-((x / 8) ** 2)), (0.05, 0.9), 2.5),
        ],
        ids=["stretched to more than twice its length", "pressed together"],
    )
    def test_inverse_of_a_field_that_is(self, monkeypatch, slope, jacobian, most, many):
        """Full steps alone end 13 mm off in the first; steps that become ever shorter end 4.6 mm off in the second."""
        if many:
            monkeypatch.setattr(fields, "MANY_VOXELS", 60)
        reference = SMALL.reference_image()
        slope = slope(np.arange(SMALL.shape[0])[::-1] - 20.0)  # of the displacement
        shift = np.zeros((*SMALL.shape[::-1], 3))
        shift[..., 0] = -2.0 * np.cumsum(slope) + np.cumsum(slope).mean()
        field = sitk.GetImageFromArray(shift, isVector=True)
        field.CopyInformation(reference)
        field = fields.extended(field)
        stretch = fields.jacobian(field)
        assert stretch.min() > jacobian[0] and stretch.max() > jacobian[1]
        forward, backward = fields.as_transform(field), fields.as_transform(fields.inverse(field))
        points = mask_points(reference + 1, 97)
        error = [np.subtract(backward.TransformPoint(forward.TransformPoint(p)), p) for p in points.tolist()]
        assert np.linalg.norm(error, axis=1).max() < most

    def test_jacobian_of_a_known_stretch_and_of_a_fold(self):
        reference = SMALL.reference_image()
        point = sitk.PhysicalPointSource(sitk.sitkVectorFloat64, reference.GetSize(), reference.GetOrigin(),
                                         reference.GetSpacing(), reference.GetDirection())  # fmt: skip
        x, y, z = (sitk.VectorIndexSelectionCast(point, axis) for axis in range(3))
        inner = (slice(2, -2),) * 3
        stretched = fields.jacobian(sitk.Compose([x * 0.1, y * -0.2, z * 0.0]))[inner]
        assert stretched == pytest.approx(np.full_like(stretched, 1.1 * 0.8))
        mirrored = sitk.Compose([x * -2.0, y * 0.0, z * 0.0])
        assert (fields.jacobian(mirrored)[inner] < 0).all()
        figures = quality.field_figures(mirrored, reference + 1)
        assert figures["folds_percent"] > 80


class TestQuality:
    def test_mutual_information_of_same_relabelled_and_unrelated(self):
        rng = np.random.default_rng(0)
        a = rng.normal(size=40000)
        assert quality.normalised_mutual_information(a, a) == pytest.approx(1.0)
        assert quality.normalised_mutual_information(a, np.exp(-2 * a)) == pytest.approx(1.0, abs=1e-3)
        assert quality.normalised_mutual_information(a, rng.normal(size=a.size)) < 0.02
        noisy = quality.normalised_mutual_information(a, a + 0.5 * rng.normal(size=a.size))
        assert 0.1 < noisy < 0.5
        assert quality.normalised_mutual_information(a, np.zeros_like(a)) == 0.0

    def test_classes_dice_and_correlation(self):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 3, 20000)
        values = np.array([20, 100, 180])[truth] + rng.normal(0, 10, truth.size)
        values[:20] = 5000
        assert np.mean(quality.three_classes(values)[20:] == truth[20:]) > 0.99
        assert quality.dice(truth == 1, truth == 1) == 1.0
        assert quality.dice(truth == 1, truth == 2) == 0.0
        assert quality.dice(np.zeros(4, bool), np.zeros(4, bool)) == 0.0
        assert quality.correlation(values, -values) == pytest.approx(-1)
        assert quality.correlation(values, np.ones_like(values)) == 0.0

    def test_a_swapped_pair_shows_in_the_contrasts(self, template):
        where = image_to_array(template.mask) > 0
        t1w = image_to_array(template.t1)
        flair = 200 * image_to_array(template.grey) + 140 * image_to_array(template.white)
        right = quality.pair_figures(t1w, flair, where, template)
        swapped = quality.pair_figures(flair, t1w, where, template)
        assert right["t1w_contrast"] > 0.5 > 0 > right["t2f_contrast"]
        assert swapped["t1w_contrast"] < 0 < 0.5 < swapped["t2f_contrast"]
        assert right["contrast_order"] == pytest.approx(-swapped["contrast_order"])
        assert right["t2f_fluid"] < 0.5
        same = quality.pair_figures(t1w, 3 * t1w, where, template)
        assert same["pair_correlation"] == pytest.approx(1.0)
        assert same["pair_mutual_information"] == pytest.approx(1.0)

    def test_the_template_agrees_with_itself(self, template):
        where = image_to_array(template.mask) > 0
        figures = quality.template_figures(image_to_array(template.t1), where, template)
        assert figures["template_ncc"] == pytest.approx(1.0)
        assert min(figures["grey_dice"], figures["white_dice"]) > 0.8
        rng = np.random.default_rng(0)
        noise = quality.template_figures(rng.normal(size=MNI_GRID.shape), where, template)
        assert abs(noise["template_ncc"]) < 0.01 and noise["white_dice"] < 0.5

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.2, 3.0)])
    def test_smoothness_is_the_width_of_the_gaussian_that_made_it(self, spacing):
        noise = np.random.default_rng(5).normal(size=(40, 48, 56)).astype(np.float32)
        image = sitk.GetImageFromArray(noise)
        image.SetSpacing(spacing)
        smooth = sitk.SmoothingRecursiveGaussian(image, 8.0 / 2.3548)
        mask = sitk.Image(smooth.GetSize(), sitk.sitkUInt8)
        mask.CopyInformation(smooth)
        mask[4:-4, 4:-4, 4:-4] = 1
        found = quality.smoothness(smooth, mask)
        assert found == pytest.approx(8.0, rel=0.12)
        for order, flips in (((2, 0, 1), (True, False, False)), ((1, 2, 0), (False, True, True))):
            turned = (sitk.Flip(sitk.PermuteAxes(one, order), flips) for one in (smooth, mask))
            assert quality.smoothness(*turned) == pytest.approx(found, rel=1e-5)
        assert quality.smoothness(sitk.DiscreteGaussian(image, 0.01), mask) < 1.5  # noise of single voxels

    def test_smoothness_of_nothing_is_nought(self):
        flat = sitk.Image([20, 20, 20], sitk.sitkFloat32) + 3
        mask = sitk.Cast(flat > 0, sitk.sitkUInt8)
        assert quality.smoothness(flat, mask) == 0
        assert quality.smoothness(flat, mask * 0) == 0
        noise = sitk.AdditiveGaussianNoise(flat, 1.0, 0.0, 1)
        assert quality.smoothness(noise[:2, :2, :2], mask[:2, :2, :2]) == 0
        same = sitk.JoinSeries([sitk.SmoothingRecursiveGaussian(noise[:, :, 5], 2.0)] * 20)  # nothing changes along z
        assert quality.smoothness(same, mask) == pytest.approx(2.0 * 2.355, rel=0.25)

    def test_smoothness_of_large_voxels_is_a_figure_of_its_own(self):
        noise = sitk.AdditiveGaussianNoise(sitk.Image([20] * 3, sitk.sitkFloat32), 1.0, 0.0, 1)
        image = sitk.SmoothingRecursiveGaussian(noise, 2.0)
        mask = sitk.Cast(sitk.Image([20] * 3, sitk.sitkUInt8) + 1, sitk.sitkUInt8)
        for spacing, name in (((1.0, 3.0, 3.0), "t1w_smoothness"), ((3.0, 3.0, 3.0), "t1w_coarse_smoothness")):
            for one in (image, mask):
                one.SetSpacing(spacing)
            figures = quality.smoothness_figures("t1w", image, mask)
            assert list(figures) == [name] and figures[name] > 3
        assert quality.doubts(figures | {"t1w_coarse_smoothness": 12.0}) == []
        (line,) = quality.cautions({"t1w_coarse_smoothness": 12.0})
        assert "are its voxels so large" in line

    def test_every_threshold_speaks_up_just_beyond_its_limit(self):
        import json

        from RelAPETLib.resources import resource

        document = json.loads(resource("quality_thresholds.json").read_text(encoding="utf-8"))
        assert document["thresholds"]
        for rule in document["thresholds"]:
            for kind in rule["kinds"]:
                for bound, sign in (("minimum", -1), ("maximum", 1)):
                    if bound in rule:
                        beyond = {rule["figure"]: rule[bound] + sign * 1e-3}
                        lines = quality.doubts(beyond, kind)
                        assert any(rule["says"] in line and rule["figure"] in line for line in lines)
                        assert all("\n" not in line for line in lines)
                        within = {rule["figure"]: rule[bound] - sign * 1e-3}
                        assert not any(rule["says"] in line for line in quality.doubts(within, kind))
        assert quality.doubts({"unheard_of": 0.0}) == []
        assert quality.doubts({"template_ncc": float("nan")})
        with pytest.raises(RelAPETError, match="unknown kind"):
            quality.doubts({}, "other")


@pytest.fixture(scope="module")
def person(template):
    """The template as another person would have it, on the model grid."""
    coarse = copies.working_copy(template.t1, 4.0)
    field = fields.extended(smooth_field(coarse, 3, 7.0))
    assert (fields.jacobian(field) > 0.2).all()
    return resample_to_grid(template.t1, fields.as_transform(field))


def folding_field(template) -> sitk.Image:
    """A field that folds more than a hundredth of the grid."""
    field = smooth_field(copies.working_copy(template.t1, 2.0), 5, 20.0, 16)
    assert (fields.jacobian(field) <= 0).mean() > 0.01
    return field


class TestDeformable:
    def agreement(self, person, warp, template):
        where = image_to_array(template.mask) > 0
        warped = image_to_array(resample_to_grid(person, warp.to_t1w))
        return quality.template_figures(warped, where, template)

    def test_demons_fit_without_folds_and_come_back(self, template, person):
        identity = sitk.AffineTransform(3)
        warp = fit_warp(person, identity, template, "demons")
        assert warp.method == "demons" and warp.warnings == []
        assert warp.quality["folds_percent"] == 0
        before = self.agreement(person, fit_warp(person, identity, template, "affine"), template)
        after = self.agreement(person, warp, template)
        assert after["template_ncc"] > 0.93 > before["template_ncc"]
        assert after["white_dice"] > before["white_dice"] + 0.05
        points = mask_points(template.mask)[::4999].tolist()
        back = [warp.to_grid.TransformPoint(warp.to_t1w.TransformPoint(p)) for p in points]
        error = np.linalg.norm(np.subtract(back, points), axis=1)
        assert error.mean() < 0.5 and np.percentile(error, 99) < 1.5

    def test_a_folding_field_is_given_up_for_the_affine(self, template, person, monkeypatch):
        from RelAPETLib.registration import demons

        monkeypatch.setattr(demons, "register_demons", lambda warped, template: folding_field(template))
        affine = sitk.AffineTransform(3)
        affine.SetTranslation((1.0, 2.0, 3.0))
        warp = fit_warp(person, affine, template, "demons")
        assert warp.method == "affine"
        assert "folded" in warp.warnings[0] and "affine only" in warp.warnings[1]
        assert "sd_log_jacobian" not in warp.quality
        assert warp.to_grid.TransformPoint(warp.to_t1w.TransformPoint((9.0, 8.0, 7.0))) == pytest.approx((9, 8, 7))

    @pytest.mark.slow
    def test_torch_matches_an_inverted_contrast(self, template, person):
        mask = image_to_array(template.mask)
        inverted = array_to_image(((300 - image_to_array(person)) * (image_to_array(person) > 0)).astype(np.float32))
        warp = fit_warp(inverted, sitk.AffineTransform(3), template, "auto")
        assert warp.method == "torch"
        assert warp.quality["folds_percent"] < 0.01
        # the field found on the inverted volume must fit the volume itself
        before = quality.correlation(image_to_array(person)[mask > 0], image_to_array(template.t1)[mask > 0])
        after = self.agreement(person, warp, template)
        assert after["template_ncc"] > before + 0.05

    @pytest.mark.slow
    def test_a_device_that_fails_falls_back_and_says_so(self, template, person, monkeypatch):
        import torch

        from RelAPETLib.registration import local_ncc

        on_cpu, asked = local_ncc.register_local_ncc, []

        def full(*_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        def full_or_cpu(warped, template, device, fine):
            asked.append(device)
            return on_cpu(warped, template, device, fine=fine) if device == "cpu" else full()

        monkeypatch.setattr(local_ncc, "register_local_ncc", full_or_cpu)
        monkeypatch.setattr(laying, "resampled", full)
        with pytest.warns(RelAPETWarning, match="could not be resampled on cuda:0 .*out of memory"):
            warp = fit_warp(person, sitk.AffineTransform(3), template, "auto", "cuda:0")
        assert warp.method == "torch" and asked == ["cuda:0", "cpu"]
        assert "cuda:0" in warp.warnings[0] and "out of memory" in warp.warnings[0]

    def test_demons_take_over_where_torch_folds(self, template, person, monkeypatch):
        from RelAPETLib.registration import local_ncc

        monkeypatch.setattr(local_ncc, "register_local_ncc", lambda _, template, *__, fine: folding_field(template))
        warp = fit_warp(person, sitk.AffineTransform(3), template, "auto")
        assert warp.method == "demons" and warp.quality["folds_percent"] == 0

    def test_the_usual_method_takes_over_where_the_fine_one_folds_and_says_so(self, template, person, monkeypatch):
        from RelAPETLib.registration import local_ncc

        small = copies.working_copy(template.t1, 2.0)
        none = sitk.TransformToDisplacementField(
            sitk.Transform(), sitk.sitkVectorFloat64, small.GetSize(), small.GetOrigin(), small.GetSpacing(),
            small.GetDirection(),
        )  # fmt: skip
        monkeypatch.setattr(
            local_ncc, "register_local_ncc", lambda _, template, *__, fine: folding_field(template) if fine else none
        )
        warp = fit_warp(person, sitk.AffineTransform(3), template, "fine")
        assert warp.method == "torch" and warp.quality["folds_percent"] == 0
        (said,) = warp.warnings
        assert said.startswith("the fine registration folded") and said.endswith("the torch one was taken")

    @pytest.mark.slow
    def test_the_fine_level_fits_better_without_folds_and_comes_back(self, template, person):
        usual, fine = (fit_warp(person, sitk.AffineTransform(3), template, method) for method in ("torch", "fine"))
        assert (usual.method, fine.method, fine.warnings) == ("torch", "fine", [])
        assert fine.quality["folds_percent"] < 0.01
        before, after = (self.agreement(person, warp, template) for warp in (usual, fine))
        for name in ("template_ncc", "grey_dice", "white_dice"):
            assert after[name] > before[name] + 0.003
        points = mask_points(template.mask, 997).tolist()
        back = [fine.to_grid.TransformPoint(fine.to_t1w.TransformPoint(p)) for p in points]
        error = np.linalg.norm(np.subtract(back, points), axis=1)
        assert error.mean() < 0.1 and error.max() < 1.0
