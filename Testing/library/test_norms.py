"""z-scores of a measured PET against norms that somebody has: known answers, and what is refused."""

import json
import math
import shutil
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from norms_cases import SD, smooth_mean, write_norms

from RelAPETLib import provenance
from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.regions import load_regions
from RelAPETLib.synthesis import Options, prepare_case, run_case, synthesize
from RelAPETLib.synthesis.norms import read_norms, z_map
from RelAPETLib.volumes import read_volume, write_volume


@pytest.fixture(scope="module")
def mean():
    return smooth_mean()


@pytest.fixture(scope="module")
def folder(mean, tmp_path_factory):
    return write_norms(tmp_path_factory.mktemp("norms") / "norms", mean)


def labels():
    image, regions = load_regions()
    return image_to_array(image), {region.name: region.label for region in regions}


def case_of(grid_case, pet):
    image = array_to_image(pet.astype(np.float32))
    return prepare_case(grid_case["t1w"], grid_case["t2f"], references={"TAU": image}, preprocessed=True, force=True)


@pytest.fixture(scope="module")
def person(grid_case, mean):
    """Half a SD above the norms in one hemisphere's frontal lobe, as the norms elsewhere, and in another unit."""
    where, label = labels()
    pet = mean.copy()
    high = (where == label["frontal"]) & (np.arange(160)[:, None, None] < 79)
    pet[high] += 5 * SD
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        return case_of(grid_case, 17.0 * pet), high


def test_z_is_five_where_the_pet_is_five_sd_higher(person, folder):
    case, high = person
    with pytest.warns(RelAPETWarning, match="own resolution is not stated"):
        image, record = z_map(case, read_norms(folder))
    z, brain = image_to_array(image), image_to_array(case.ready.mask) > 0
    np.testing.assert_allclose(z[high & brain], 5.0, atol=1e-3)
    np.testing.assert_allclose(z[~high], 0.0, atol=1e-3)
    assert not z[~brain].any() and record["share_of_brain"] == 1
    assert record["own_fwhm_mm"] is None and "unknown resolution" in record["says"] and "40 people" in record["says"]


def test_norms_on_another_grid_give_the_same_scores(person, mean, tmp_path):
    """2 mm, axes flipped and swapped, farther than the brain."""
    case, high = person
    target = sitk.Image([95, 85, 100], sitk.sitkUInt8)
    target.SetSpacing([2.0, 2.0, 2.0])
    target.SetDirection([0, 1, 0, -1, 0, 0, 0, 0, -1])
    target.SetOrigin((-81.0, 110.0, 105.0))
    # Beyond the model grid the norms go on as at its edge.
    padded = np.pad(mean, 30, mode="edge")
    wider = sitk.GetImageFromArray(padded.transpose(2, 1, 0))
    wider.CopyInformation(sitk.ConstantPad(array_to_image(mean), [30] * 3, [30] * 3))
    moved = sitk.Resample(wider, target, sitk.Transform(), sitk.sitkLinear, 0.0)
    sd = sitk.GetImageFromArray(np.full(sitk.GetArrayFromImage(moved).shape, SD, np.float32))
    sd.CopyInformation(moved)
    with pytest.warns(RelAPETWarning):
        image, record = z_map(case, read_norms(write_norms(tmp_path / "norms", moved, sd)))
    z, brain = image_to_array(image), image_to_array(case.ready.mask) > 0
    np.testing.assert_allclose(z[high & brain], 5.0, atol=0.05)
    np.testing.assert_allclose(z[~high & brain], 0.0, atol=0.05)
    assert record["share_of_brain"] > 0.99


def test_a_stated_resolution_is_brought_to_the_norms(grid_case, mean, folder):
    """A point in a flat PET becomes a Gaussian of variance (8^2 - 5^2) / (8 ln 2) mm^2 with the same sum."""
    pet, at, height = np.ones(MNI_GRID.shape, np.float32), (95, 100, 100), 200.0
    pet[at] += height
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        case = case_of(grid_case, pet)
    norms = read_norms(folder, own_fwhm=5.0)
    image, record = z_map(case, norms)
    found = image_to_array(image) * SD + np.where(image_to_array(case.ready.mask) > 0, mean, 0)
    blob = (found - found[40, 60, 60])[80:111, 85:116, 85:116]
    assert blob.sum() == pytest.approx(height, rel=0.02)
    steps = np.arange(-15, 16)
    for axis in range(3):
        along = blob.sum(axis=tuple(a for a in range(3) if a != axis))
        variance = (along * steps**2).sum() / along.sum()
        assert variance == pytest.approx((8**2 - 5**2) / (8 * math.log(2)), rel=0.05)
    # What lies outside the brain does not darken its edge: a flat PET stays flat there.
    brain = image_to_array(case.ready.mask) > 0
    brain[75:116, 80:121, 80:121] = False
    assert np.abs(found[brain] - found[40, 60, 60]).max() < 0.01
    assert record["own_fwhm_mm"] == 5.0 and "from 5 to 8 mm" in record["says"]


def test_outside_the_pets_field_and_where_norms_say_nothing_there_is_no_score(grid_case, mean, tmp_path):
    pet, sd = mean * 1.5, np.full(MNI_GRID.shape, SD, np.float32)
    pet[:, :, 120:] = 0
    sd[100:105], sd[105:110] = 0, np.nan
    mean = mean.copy()
    mean[50:53], mean[53:56] = np.nan, 0  # a mean that is masked more tightly than its SD
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        image, record = z_map(case_of(grid_case, pet), read_norms(write_norms(tmp_path / "norms", mean, sd)))
    z = image_to_array(image)
    assert not z[:, :, 120:].any() and not z[100:110].any() and not z[50:56].any() and np.isfinite(z).all()
    assert 0.5 < record["share_of_brain"] < 0.95


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fwhm_mm": None}, "states no fwhm_mm"),
        ({"reference_region": None}, "states no reference_region"),
        ({"tracer": None}, "states no tracer"),
        ({"sd": None}, "states no sd"),
        ({"tracer": "FOO"}, "FOO"),
        ({"reference_region": "moon"}, "unknown reference_region 'moon'"),
        ({"reference_region": "frontal"}, "not about 1"),
        ({"fwhm_mm": "8 mm"}, "is no resolution"),
        ({"fwhm_mm": 0}, "is no resolution"),
        ({"mean": "none.nii.gz"}, "none.nii.gz"),
    ],
)
def test_norms_that_do_not_say_enough_are_refused(folder, tmp_path, changes, words, mean):
    copy = shutil.copytree(folder, tmp_path / "norms")
    facts = json.loads((copy / "norms.json").read_text())
    facts = {key: value for key, value in (facts | changes).items() if value is not None}
    if "frontal" in changes.values():
        write_volume(array_to_image(np.where(labels()[0] == labels()[1]["frontal"], 3, mean)), copy / "mean.nii.gz",
                     overwrite=True)  # fmt: skip
    (copy / "norms.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=words) as caught:
        read_norms(copy)
    assert "\n" not in str(caught.value)


def test_impossible_images_are_refused(mean, tmp_path, folder):
    away = array_to_image(mean)
    away.SetOrigin([coordinate + 400 for coordinate in away.GetOrigin()])
    sd = sitk.Image(away) * 0 + SD
    with pytest.raises(InputError, match="cover 0 % of the brain"):
        read_norms(write_norms(tmp_path / "away", away, sd))
    with pytest.raises(InputError, match="different grids"):
        read_norms(write_norms(tmp_path / "two", away))
    with pytest.raises(InputError, match="no SD"):
        read_norms(write_norms(tmp_path / "negative", mean, np.full(MNI_GRID.shape, -0.1, np.float32)))
    with pytest.raises(InputError, match="no norms at"):
        read_norms(tmp_path / "nowhere")
    for own in (9.0, 0.0, -1.0):
        with pytest.raises(InputError, match="only be made blurrier"):
            read_norms(folder, own)


def test_a_synthesis_scores_the_measured_pet_alone(grid_case, tiny_latent, folder, tmp_path):
    result = synthesize(
        grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=grid_case["pet"], norms=folder,
        reference_fwhm=6.0, steps=1, samples=1, preprocessed=True, device="cpu", space="mni",
    )  # fmt: skip
    pet, measured, z = (
        image_to_array(result.volumes[f"{name}_space-MNI"]) for name in ("synthetic_pet", "reference", "reference_z")
    )
    record = result.provenance
    assert record["reference"]["z"]["norms_sha256"].keys() == {"mean", "sd"} and z.any()
    written = result.save(tmp_path / "out", report="png")
    output = json.loads(written["synthetic_pet.json"].read_text())["outputs"]["reference_z_space-MNI.nii.gz"]
    assert output["content"] == provenance.Z_MEANING and "not of the synthetic" in output["content"]
    inside = z != 0
    assert np.corrcoef(z[inside], measured[inside])[0, 1] > 0.4 > abs(np.corrcoef(z[inside], pet[inside])[0, 1])


def test_norms_need_a_measured_pet_of_their_tracer(grid_case, tiny_latent, folder, tmp_path, capsys):
    scans = [f"--{name}={grid_case[name]}" for name in ("t1w", "t2f")] + [f"--out={tmp_path / 'out'}"]
    assert main(["synthesize", *scans, "--tracer", "TAU", "--norms", str(folder)]) == 2
    assert "give it as --reference" in capsys.readouterr().err
    case = prepare_case(grid_case["t1w"], grid_case["t2f"], references={"PIB": read_volume(grid_case["pet"])},
                        preprocessed=True)  # fmt: skip
    with pytest.raises(InputError, match="norms of TAU, but the measured PET is of PIB"):
        list(run_case(case, Options("PIB", model=tiny_latent, norms=folder, steps=1, samples=1)))
    with pytest.raises(InputError, match="give --norms too"):
        Options("PIB", reference_fwhm=5.0)
    assert not (tmp_path / "out").exists()


def test_norms_unit_and_region_are_checked_before_a_scan_is_read(grid_case, tiny_latent, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("RelAPETLib.synthesis.pipeline.read", lambda *_: pytest.fail("scans were read"))
    shutil.copytree(folder, tmp_path / "norms")
    (tmp_path / "norms" / "mean.nii.gz").unlink()
    scans, model = (grid_case["t1w"], grid_case["t2f"], "TAU"), {"model": tiny_latent, "reference": grid_case["pet"]}
    with pytest.raises(InputError, match=r"mean\.nii\.gz: no such file"):
        synthesize(*scans, norms=tmp_path / "norms", **model)
    pet = tmp_path / "pet.nii.gz"
    shutil.copy(grid_case["pet"], pet)
    pet.with_name("pet.json").write_text('{"Units": "Bq/mL"}')
    with pytest.raises(InputError, match="gives the unit 'Bq/mL', not SUVR"):
        synthesize(*scans, **model | {"reference": pet})
    with pytest.raises(InputError, match="unknown reference region 'cerebelum'"):
        synthesize(*scans, reference_region="cerebelum", **model)
