"""Where a measured PET shows the brain, and that nothing else of it counts: its unit, doubts about it, the verdict."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import DoubtfulInputError, InputError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.notices import collected
from RelAPETLib.preprocessing import cautions, from_grid, reference_doubts
from RelAPETLib.regions import load_regions, regional_means
from RelAPETLib.registration.template import load_template
from RelAPETLib.registration.uptake import pet_view, seen_brain, uptake_figures, uptake_on_grid
from RelAPETLib.registration.warp import lay
from RelAPETLib.suvr import ReferenceUnits
from RelAPETLib.synthesis.reference import level_of, to_suvr
from RelAPETLib.synthesis.verdict import _check_of, unseen_references

REGION = "cerebellar_grey"
SCALED = ReferenceUnits("by its mean", REGION)


@pytest.fixture(scope="module")
def template():
    return load_template()


@pytest.fixture(scope="module")
def brain(template):
    return image_to_array(template.mask) > 0


@pytest.fixture(scope="module")
def counts(brain):
    """A PET in counts [X, Y, Z] whose SUVR are 1.5 in every region but the cerebellar grey matter."""
    labels, regions = load_regions()
    others = [region.label for region in regions if region.name != REGION]
    return np.where(brain, np.where(np.isin(image_to_array(labels), others), 7500, 5000), 0).astype(np.float32)


@pytest.fixture(scope="module")
def cut(template, counts):
    """The same of a scanner that saw nothing below plane 30, written onto the whole grid."""
    return from_grid(template.t1, None, pets={"TAU": array_to_image(below(counts, 30))})


def below(pet, plane):
    """A PET [X, Y, Z] with 0 below a plane."""
    pet = pet.copy()
    pet[:, :, :plane] = 0
    return pet


def view_above(plane):
    seen = np.zeros(MNI_GRID.shape, np.uint8)
    seen[:, :, plane:] = 1
    return array_to_image(seen)


def test_the_view_is_that_of_the_files_geometry(template, brain):
    """Oblique, flipped, with its axes in another order, cut, and exactly 0 at a place that the scanner saw."""
    turned = sitk.Euler3DTransform((0.0, -18.0, 10.0), 0.2, -0.15, 0.1, (0.0, 0.0, 12.0))
    size, spacing = np.array((72, 84, 44)), np.array((2.2, 2.1, 3.0))
    image = sitk.GetImageFromArray(np.full(size[::-1], 7, np.float32))
    image.SetSpacing(spacing.tolist())
    direction = np.reshape(turned.GetMatrix(), (3, 3)) @ np.diag((-1.0, 1.0, 1.0))
    image.SetDirection(direction.ravel().tolist())
    middle = turned.TransformPoint((0.0, -18.0, 10.0))
    image.SetOrigin((middle - direction @ ((size - 1) * spacing / 2)).tolist())
    image[30:36, 40:46, 20:24] = 0.0
    image = sitk.DICOMOrient(image, "PSL")
    laid = lay(image, sitk.Transform())
    found = pet_view(laid.values, laid.seen, template)

    few = (slice(None, None, 3),) * 3
    index = np.indices(MNI_GRID.shape)[(slice(None), *few)].reshape(3, -1)
    column, to_lps = (3, 1), np.diag((-1.0, -1.0, 1.0))
    lps = to_lps @ (index * np.reshape(MNI_GRID.spacing, column) + np.reshape(MNI_GRID.origin, column))
    point = MNI_GRID.reference_image().TransformIndexToPhysicalPoint(index[:, 12345].tolist())
    assert np.allclose(lps[:, 12345], point)
    rows = np.linalg.inv(np.reshape(image.GetDirection(), (3, 3))) / np.reshape(image.GetSpacing(), column)
    inside = rows @ (lps - np.reshape(image.GetOrigin(), column))
    far = np.minimum(inside + 0.5, np.reshape(image.GetSize(), column) - 0.5 - inside).min(0)
    clear = np.abs(far) > 1e-6
    assert np.array_equal(found[few].ravel()[clear], far[clear] > 0) and clear.mean() > 0.99
    assert 0.5 < found[brain].mean() < 0.98 and (laid.values[brain & found] == 0).any()


def test_what_was_padded_is_not_seen_but_a_masked_rim_and_a_ventricle_are(template, brain, counts):
    everywhere = np.ones(MNI_GRID.shape, bool)
    assert pet_view(counts, everywhere, template) is everywhere
    seen = pet_view(below(counts, 30), everywhere, template)
    assert seen[:, :, 32:].all() and not seen[:, :, :30][brain[:, :, :30]].any()
    assert seen[:, :, 30:32][brain[:, :, 30:32]].mean() < 0.05, "interpolation may have mixed it with uptake"
    narrower = image_to_array(sitk.BinaryErode(template.mask, [3] * 3)) > 0
    hole = np.linalg.norm(np.indices(MNI_GRID.shape).T - (80, 95, 85), axis=-1).T < 9
    assert narrower[brain].mean() < 0.9 and hole[narrower].sum() > 2000
    assert pet_view(np.where(narrower & ~hole, counts, 0), everywhere, template).all()


@pytest.mark.slow
def test_a_whole_pet_on_the_grid_is_as_it_was(template, counts):
    everywhere = np.ones(MNI_GRID.shape, bool)
    whole = uptake_on_grid(counts, everywhere, template)
    assert image_to_array(whole.view).all() and np.array_equal(image_to_array(whole.pet), counts)
    assert whole.figures == uptake_figures(counts, everywhere, template)


@pytest.mark.parametrize("plane", [20, 35])
def test_a_region_makes_suvr_of_what_is_seen(template, counts, plane):
    seen = seen_brain(template.mask, view_above(plane))
    with pytest.warns(RelAPETWarning, match=r"reference PET: \d+ % of cerebellar grey is outside its field of view"):
        suvr = to_suvr(array_to_image(below(counts, plane)), seen, SCALED, "PET", force=False)
    assert regional_means(suvr, ["frontal"], seen)["frontal"] == pytest.approx(1.5, rel=1e-5)
    ramp = array_to_image(np.indices(MNI_GRID.shape, np.float32)[2])
    level = level_of(ramp, seen, REGION)
    assert level > 1.05 * level_of(ramp, template.mask, REGION), "the synthetic PET's mean, over the same voxels"


def test_a_region_that_is_hardly_seen_makes_no_suvr(template, counts):
    pet, seen = array_to_image(below(counts, 45)), seen_brain(template.mask, view_above(45))
    with pytest.raises(DoubtfulInputError, match="PET: .*outside its field of view.*choose another"):
        to_suvr(pet, seen, SCALED, "PET", force=False)
    with pytest.warns(RelAPETWarning, match="outside its field of view"):
        forced = to_suvr(pet, seen, SCALED, "PET", force=True)
    assert regional_means(forced, ["frontal"], seen)["frontal"] == pytest.approx(1.5, rel=1e-5)
    with pytest.raises(InputError, match="mean in cerebellar_grey is nan"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        to_suvr(pet, seen_brain(template.mask, view_above(80)), SCALED, "PET", force=True)


def test_the_brains_mean_is_that_of_what_is_seen(template, brain):
    """A PET of 0.35 SUVR of which a third is missing: as plausible as the whole."""
    pet, seen = array_to_image(below(0.35 * brain, 70)), seen_brain(template.mask, view_above(70))
    with pytest.warns(RelAPETWarning, match="its brain mean is 0.35"):
        to_suvr(pet, seen, ReferenceUnits("values", plausibility_only=True), "PET", force=False)


def test_a_whole_pet_is_scaled_as_ever(template, counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert seen_brain(template.mask, None) is template.mask
        seen = seen_brain(template.mask, view_above(0))
        made, again = (to_suvr(array_to_image(counts), m, SCALED, "PET", force=False) for m in (template.mask, seen))
    assert np.array_equal(image_to_array(made), image_to_array(again))


def test_a_pets_own_view_has_doubts_and_cautions_of_its_own():
    (line,) = cautions({"pet_coverage": 0.95, "pet_outline": 0.99}, "raw")
    assert "of the brain is outside the field of view of the measured PET" in line
    assert cautions({"pet_coverage": 0.985, "pet_outline": 0.99}, "grid") == []
    ready = SimpleNamespace(in_view=None, pet_views={"TAU": view_above(45), "PIB": view_above(30)})
    assert reference_doubts(ready, REGION, "PIB") == [], "two thirds of it are seen"
    (line,) = reference_doubts(ready, REGION, "TAU")
    assert "reference region (cerebellar grey) is outside the field of view of the measured PET" in line
    assert reference_doubts(ready, "parietal", "TAU") == reference_doubts(ready, REGION) == []
    assert _check_of("pet_coverage") == "field_of_view" and _check_of("pet_outline") == "same_person"
    case = SimpleNamespace(ready=ready)
    tau, pib = (SimpleNamespace(reference_region=REGION, tracer=SimpleNamespace(name=name)) for name in ("TAU", "PIB"))
    norms = SimpleNamespace(region=REGION, tracer="TAU")
    assert unseen_references(case, tau) == []
    assert unseen_references(case, tau, {"TAU": SCALED}) == [line]
    assert unseen_references(case, tau, {"TAU": ReferenceUnits("its sidecar"), "PIB": SCALED}) == []
    assert unseen_references(case, tau, {}, norms) == [line]
    assert unseen_references(case, pib, {"TAU": SCALED, "PIB": SCALED}, norms) == [], "another tracer's business"


@pytest.mark.slow
def test_a_perfect_synthesis_of_a_cut_pet_has_no_error(template, counts, cut):
    """Maps, figures and regions of one PET whose counts become SUVR, as `finish` makes them."""
    from RelAPETLib.synthesis.intervals import regional_table
    from RelAPETLib.synthesis.maps import make_maps

    assert cut.pet_quality["TAU"]["pet_coverage"] == pytest.approx(0.945, abs=0.01)
    suvr, said = counts / 5000, []
    plan = SimpleNamespace(window=(0.0, 3.0), tracer=SimpleNamespace(name="TAU"))
    model = SimpleNamespace(departures=None, calibration=None, name="m")
    drawn = SimpleNamespace(plan=plan, model=model, mean=suvr / 1.5 - 1, deviation=None, regions=[])
    case = SimpleNamespace(ready=cut, names={"reference_TAU": "PET"})
    with collected(said), warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        maps, metrics = make_maps(case, drawn, SCALED, False, lambda *_: None)
    assert metrics["brain"]["mae"] < 1e-6 and metrics["brain"]["ssim"] > 0.9999 and metrics["whole_grid"]["mae"] < 1e-6
    assert np.abs(image_to_array(maps["difference"])).max() < 1e-5
    rows = {row["region"]: row for row in regional_table(case, drawn, maps)[0]}
    row = rows[REGION]
    assert row["reference"] == pytest.approx(1, abs=1e-5) and abs(row["difference"]) < 1e-5
    assert 0.5 < row["share_measured"] < 0.7 and row["share_in_view"] == rows["parietal"]["share_measured"] == 1
    own = {name: (row["reference"] + row["difference"], row["synthetic_pet"]) for name, row in rows.items()}
    there = seen_brain(cut.mask, cut.pet_views["TAU"])
    shown = regional_means(maps["synthetic_pet"], [REGION], there)[REGION]
    assert own[REGION][0] == pytest.approx(shown, abs=1e-6), "what the tables of a cohort pair with the measured mean"
    assert own["parietal"][0] == pytest.approx(own["parietal"][1], abs=1e-6)
    assert "reference PET: " in said[0]
    less = replace(cut, pet_views={"TAU": seen_brain(view_above(36), cut.pet_views["TAU"])})
    rows = regional_table(SimpleNamespace(ready=less), drawn, maps)[0]
    missing = [row for row in rows if row["share_measured"] < 0.5]
    assert missing and all(np.isnan([row["reference"], row["difference"]]).all() for row in missing)
    assert all(row["synthetic_pet"] > 0 for row in rows)
