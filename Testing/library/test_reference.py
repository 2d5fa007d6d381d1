"""How a reference PET's unit becomes known, and becomes SUVR."""

import json
import warnings

import numpy as np
import pytest

from RelAPETLib.errors import DoubtfulInputError, InputError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.provenance import RELATIVE_UNITS
from RelAPETLib.regions import load_regions, regional_means
from RelAPETLib.synthesis.reference import ReferenceUnits, reference_units, sidecar_units, to_suvr


@pytest.fixture(scope="module")
def mask():
    labels = image_to_array(load_regions()[0])
    return array_to_image((labels > 0).astype(np.uint8))


def _pet(mask, level):
    inside = image_to_array(mask) > 0
    ramp = np.linspace(0.8, 1.2, MNI_GRID.shape[1], dtype=np.float32)[None, :, None]
    return array_to_image((level * ramp * inside).astype(np.float32))


def _file(folder, sidecar=None, name="sub-01_pet.nii.gz"):
    if sidecar is not None:
        (folder / name.replace(".nii.gz", ".json")).write_text(sidecar)
    return folder / name


def test_the_sidecar_beside_the_file_is_read(tmp_path):
    assert sidecar_units(_file(tmp_path)) is None
    assert sidecar_units(_file(tmp_path, json.dumps({"Units": " Bq/mL "}))) == "Bq/mL"
    assert sidecar_units(_file(tmp_path, json.dumps({"TracerName": "x"}))) is None
    assert sidecar_units(tmp_path / "dicom_folder") is None
    for broken in ("{", "[1]"):
        with pytest.raises(InputError, match="sidecar"):
            sidecar_units(_file(tmp_path, broken))


@pytest.mark.parametrize("units", ["SUVR", "suvr", "unitless", "1"])
def test_suvr_spellings_are_accepted(tmp_path, units):
    known = reference_units(_file(tmp_path, json.dumps({"Units": units})), None, relative=False)
    assert units in known.known_from and not known.plausibility_only


@pytest.mark.parametrize("units", ["Bq/mL", "kBq/mL", "SUV", "g/mL", "counts"])
def test_other_units_need_a_reference_region(tmp_path, units):
    path = _file(tmp_path, json.dumps({"Units": units}))
    with pytest.raises(InputError, match="--reference-region"):
        reference_units(path, None, relative=False)
    assert reference_units(path, "cerebellar_grey", relative=False).region == "cerebellar_grey"
    assert reference_units(path, None, relative=True).region is None


def test_a_measured_pet_in_a_relative_models_units_is_no_suvr(tmp_path):
    """`relapet bids` lays it beside the model's own as "unitless", and says what that is."""
    said = {"Units": "unitless", "QuantityDescription": RELATIVE_UNITS}
    with pytest.raises(InputError, match=r"'relative \(0 to 1\)', not SUVR"):
        reference_units(_file(tmp_path, json.dumps(said)), None, relative=False)
    said["QuantityDescription"] = "SUVR"
    assert not reference_units(_file(tmp_path, json.dumps(said)), None, relative=False).plausibility_only


def test_an_unknown_region_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="cerebellar_grey"):
        reference_units(None, "cerebelum", relative=False)


def test_a_region_makes_any_unit_suvr(mask):
    counts = _pet(mask, 21_345.0)
    made = to_suvr(counts, mask, ReferenceUnits("", "cerebellar_grey"), "PET", force=False)
    assert regional_means(made, ["cerebellar_grey"], mask=mask)["cerebellar_grey"] == pytest.approx(1.0, abs=1e-4)
    again = to_suvr(_pet(mask, 1.0), mask, ReferenceUnits("", "cerebellar_grey"), "PET", force=False)
    np.testing.assert_allclose(image_to_array(made), image_to_array(again), rtol=1e-4)
    with pytest.raises(InputError, match="choose another"):
        to_suvr(counts * 0, mask, ReferenceUnits("", "cerebellar_grey"), "PET", force=False)


def test_without_a_sidecar_the_values_decide(mask):
    unknown = ReferenceUnits("values", plausibility_only=True)
    with pytest.warns(RelAPETWarning, match="taken to be SUVR"):
        to_suvr(_pet(mask, 1.1), mask, unknown, "PET", force=False)
    for level in (0.05, 12.0, 20_000.0):
        with pytest.raises(InputError, match="--reference-region"):
            to_suvr(_pet(mask, level), mask, unknown, "PET", force=True)


def test_a_sidecar_that_the_values_contradict(mask):
    said = ReferenceUnits("its sidecar: Units 'unitless'")
    with pytest.raises(DoubtfulInputError, match="--force"):
        to_suvr(_pet(mask, 900.0), mask, said, "PET", force=False)
    with pytest.warns(RelAPETWarning, match="said to be SUVR"):
        to_suvr(_pet(mask, 900.0), mask, said, "PET", force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_suvr(_pet(mask, 1.0), mask, said, "PET", force=False)


@pytest.fixture(scope="module")
def brain_pet(mask):
    """A blurred PET of the template's own brain, [X, Y, Z]."""
    import SimpleITK as sitk

    from RelAPETLib.registration.template import load_template

    template = load_template()
    sharp = template.grey * 1.0 + template.white * 0.7
    return image_to_array(sitk.SmoothingRecursiveGaussian(sharp, 2.5))


def test_a_pet_of_this_brain_fits_its_outline(brain_pet):
    from RelAPETLib.registration.template import load_template
    from RelAPETLib.registration.uptake import uptake_figures

    template, seen = load_template(), np.ones(MNI_GRID.shape, bool)
    own = uptake_figures(brain_pet, seen, template)
    assert own["pet_coverage"] == 1.0 and own["pet_outline"] > 0.97
    scaled = uptake_figures(21_345 * brain_pet, seen, template)
    assert scaled["pet_outline"] == pytest.approx(own["pet_outline"], abs=1e-3), "whatever the unit"
    lower = np.indices(MNI_GRID.shape)[2] >= 70
    half = uptake_figures(np.where(lower, brain_pet, 0), lower, template)
    assert half["pet_coverage"] < 0.8


@pytest.mark.parametrize(
    "wrong",
    [lambda pet: pet[:, :, ::-1], lambda pet: np.roll(pet, 12, axis=1), lambda pet: np.ones_like(pet), np.zeros_like],
    ids=["upside down", "12 mm off", "no brain", "empty"],
)
def test_a_pet_that_is_not_of_this_brain_is_doubted(brain_pet, wrong):
    from RelAPETLib.preprocessing import doubts
    from RelAPETLib.registration.template import load_template
    from RelAPETLib.registration.uptake import uptake_figures

    figures = uptake_figures(wrong(brain_pet), np.ones(MNI_GRID.shape, bool), load_template())
    assert any("measured PET" in line for line in doubts(figures, "raw"))
    assert any("measured PET" in line for line in doubts(figures, "grid"))


def test_a_pet_that_fits_a_little_less_is_a_caution():
    from RelAPETLib.preprocessing import cautions, doubts

    figures = {"pet_outline": 0.95, "pet_coverage": 1.0}
    assert doubts(figures, "raw") == [] and "is it of this person?" in cautions(figures, "raw")[0]
    assert cautions(figures | {"pet_outline": 0.98}, "raw") == []
    assert cautions(figures | {"pet_outline": 0.5}, "raw") == [], "a doubt already"
