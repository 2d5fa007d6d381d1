"""Norms of departure in a bundle, and the maps that a synthesis makes with them."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from calibrated import arrays as gate_arrays
from calibrated import facts as calibration_facts
from calibrated import write_tiny_conditional
from departures import arrays, facts, inside_blocks, template_blocks, write_tiny_with_norms

from RelAPETLib import provenance
from RelAPETLib.cohort.derivatives import derived_names
from RelAPETLib.errors import ModelError
from RelAPETLib.grid import array_to_image, block_grid, image_to_array
from RelAPETLib.models import import_model, load_model, verify_bundle
from RelAPETLib.models.additions import write_calibrated, write_departures
from RelAPETLib.models.departure import DEPARTURE_FILE, Departures
from RelAPETLib.preprocessing import to_t1w_space
from RelAPETLib.synthesis import Options, draw, finish, prepare_case, synthesize
from RelAPETLib.synthesis.departure import departure_map, departure_record
from RelAPETLib.volumes import read_volume

HOW = {"steps": 2, "preprocessed": True, "device": "cpu"}


@pytest.fixture(scope="module")
def normed(tiny_latent, tmp_path_factory):
    return write_tiny_with_norms(tiny_latent, tmp_path_factory.mktemp("models") / "normed", mean=1.2, sd=0.25)


@pytest.fixture(scope="module")
def case(grid_case):
    return prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu")


@pytest.fixture(scope="module")
def drawn(case, normed):
    return draw(case, "TAU", Options("TAU", steps=2, samples=2, device="cpu", model=normed))


# The bundle


def test_norms_are_kept_beside_the_weights_and_the_calibration(tmp_path):
    plain = write_tiny_conditional(tmp_path / "plain")
    write_calibrated(plain, tmp_path / "calibrated", calibration_facts(), gate_arrays(np.linspace(-1, 1, 7)))
    write_departures(tmp_path / "calibrated", tmp_path / "both", facts(), arrays(), version="0.2.0")
    before, after = load_model(plain), load_model(tmp_path / "both")
    assert before.departures is None and after.departures.tracers == ("TAU",) and after.version == "0.2.0"
    assert len(after.calibration.arrays["distances"]) == 50
    same = zip(before.method.network.state_dict().items(), after.method.network.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and a[1].equal(b[1]) for a, b in same)
    for name, array in arrays().items():
        np.testing.assert_array_equal(after.departures.arrays[name], array)
    # Another calibration keeps the norms; importing keeps both.
    write_calibrated(tmp_path / "both", tmp_path / "again", calibration_facts(60))
    out = import_model(tmp_path / "again", tmp_path / "imported")
    assert load_model(out).departures.facts == after.departures.facts and not load_model(out).calibration.arrays


def test_changed_damaged_missing_and_strange_norms_are_refused(normed, tiny_latent, tmp_path):
    copy = shutil.copytree(normed, tmp_path / "copy")
    path = copy / DEPARTURE_FILE
    content = path.read_bytes()
    for wrong in (content[:-1] + bytes([content[-1] ^ 1]), content[:-9], b""):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="was changed"):
            load_model(copy)
    path.unlink()
    with pytest.raises(ModelError, match="cannot read"):
        load_model(copy)
    path.symlink_to(normed / DEPARTURE_FILE)
    with pytest.raises(ModelError, match="link"):
        load_model(copy)
    stray = shutil.copytree(tiny_latent, tmp_path / "stray")
    (stray / DEPARTURE_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="know of no such file"):
        load_model(stray)
    edited = shutil.copytree(normed, tmp_path / "edited")
    metadata = json.loads((edited / "configs/metadata.json").read_text())
    metadata["departure"]["population"]["people"] = 5000
    (edited / "configs/metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="changed"):
        verify_bundle(edited)


@pytest.mark.parametrize(
    ("change", "wrong", "words"),
    [
        (lambda f: f.update(code="import os"), {}, "code"),
        (lambda f: f["population"].update(description="$import os"), {}, "instruction"),
        (lambda f: f["tracers"].update(XYZ=f["tracers"]["TAU"]), {"XYZ": 1}, "no tracer XYZ"),
        (lambda f: f["tracers"]["TAU"].update(floor=0.2), {}, "SDs of TAU"),
        (lambda f: None, {"mean_TAU": np.zeros((40, 45, 41))}, "does not hold the arrays"),
        (lambda f: None, {"sd_TAU": np.full((40, 45, 40), np.nan)}, "does not hold the arrays"),
        (lambda f: None, {"sd_TAU": np.zeros((40, 45, 40))}, "SDs of TAU"),
        (lambda f: None, {"more": np.zeros((40, 45, 40))}, "does not hold the arrays"),
    ],
)
def test_what_cannot_be_is_not_written(tiny_latent, tmp_path, change, wrong, words):
    told, given = facts(), arrays()
    change(told)
    if wrong == {"XYZ": 1}:
        wrong = {f"{kind}_XYZ": given[f"{kind}_TAU"] for kind in ("mean", "sd", "noise")}
    with pytest.raises(ModelError, match=words):
        write_departures(tiny_latent, tmp_path / "out", told, given | wrong)
    assert not (tmp_path / "out").exists()


# Its SD


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 16])
def test_the_sd_is_that_of_means_of_so_many_samples(samples):
    """People of variance .09; a sample is expectation + a (odd in the noise, cancels in a pair) + b (even, stays)."""
    rng, people = np.random.default_rng(samples), 0.3
    expectation = people * rng.standard_normal(200_000)
    drawn = []
    for _ in range((samples + 1) // 2):
        a, b = (sd * rng.standard_normal(len(expectation)) for sd in (0.4, 0.2))
        drawn += [expectation + a + b, expectation - a + b]
    oracle = np.mean(drawn[:samples], axis=0).std()
    kept = arrays(sd=np.sqrt(people**2 + 0.5 * 0.2**2), noise=0.2)
    told = facts(noise=0.5, single_to_pair=(0.4**2 + 0.2**2) / 0.2**2)
    found = Departures(told, kept).sd_of_means("TAU", samples)
    assert set(np.unique(found[inside_blocks()])) == {found.max()} and not found[~inside_blocks()].any()
    assert found.max() == pytest.approx(oracle, rel=0.01)


def test_the_sd_is_not_below_the_floor():
    norms = Departures(facts(noise=1.0, floor=0.09), arrays(sd=0.1, noise=0.099))
    assert norms.sd_of_means("TAU", 64).max() == pytest.approx(0.09)


# The map


def test_the_map_is_the_mean_of_samples_against_the_norms(case, drawn):
    found = image_to_array(departure_map(case, drawn))
    brain = image_to_array(case.ready.mask) > 0
    own = template_blocks().means(np.clip((drawn.mean + 1) / 2 * 3, 0, 3))
    expected = np.where(inside_blocks(), (own - 1.2) / 0.25, 0)
    assert found.dtype == np.float32 and not found[~brain].any() and np.isfinite(found).all()
    # The middle of a block is where its value stands, up to what its neighbours give: 8 voxels around its centre.
    middle = found.reshape(40, 4, 45, 4, 40, 4)[:, 1:3, :, 1:3, :, 1:3].mean((1, 3, 5))
    deep = np.zeros_like(inside_blocks())
    deep[12:28, 14:30, 16:26] = True
    deep &= template_blocks().share == 1
    assert np.corrcoef(middle[deep], expected[deep])[0, 1] > 0.95
    assert abs((middle - expected)[deep].mean()) < 0.02 * np.abs(expected[deep]).mean() + 0.01


def test_a_flat_departure_is_flat_up_to_the_brains_edge(case, drawn):
    """Norms 2 SD below what this person has: 2 everywhere, since what lies outside the brain weighs nothing."""
    own = template_blocks().means(np.clip((drawn.mean + 1) / 2 * 3, 0, 3))
    norms = Departures(facts(), arrays(mean=own - 0.2, sd=0.1))
    shown = image_to_array(departure_map(case, replace(drawn, model=replace(drawn.model, departures=norms))))
    brain = image_to_array(case.ready.mask) > 0
    assert not shown[~brain].any()
    # Thin blocks at the rim have no norms, and their voxels none unless a neighbour has.
    assert (shown[brain] > 0).mean() > 0.99
    np.testing.assert_allclose(shown[shown != 0], 2.0, atol=1e-3)


def test_nothing_departs_outside_the_field_of_view(case, drawn):
    view = np.ones((160, 180, 160), np.uint8)
    view[:, :, :80] = 0
    cut = replace(case, ready=replace(case.ready, in_view=array_to_image(view)))
    found = image_to_array(departure_map(cut, drawn))
    assert not found[:, :, :80].any() and found[:, :, 84:].any()


GEOMETRIES = {
    "as it is": np.diag([1.0, 1.0, 1.0]),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "permuted": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "oblique": sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.4).GetMatrix(),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_marker_lies_at_its_place_whatever_the_t1ws_axes(case, drawn, name):
    """A high departure in a box left, in front and above: its centre in mm is the same on every grid."""
    own = template_blocks().means(np.clip((drawn.mean + 1) / 2 * 3, 0, 3))
    marker = np.zeros((40, 45, 40))
    marker[8:13, 26:30, 20:23] = 1.0  # inside one hemisphere, off every axis of symmetry
    marked = Departures(facts(), arrays(mean=own - 0.1 * marker, sd=0.1))
    shown = departure_map(case, replace(drawn, model=replace(drawn.model, departures=marked)))
    place = block_grid(4).affine @ [10, 27.5, 21, 1]
    direction = np.reshape(GEOMETRIES[name], (3, 3))
    t1w = sitk.Image([150, 150, 150], sitk.sitkUInt8)
    t1w.SetSpacing([1.3, 1.2, 1.4])
    t1w.SetDirection(direction.ravel().tolist())
    t1w.SetOrigin((-direction @ (np.array([1.3, 1.2, 1.4]) * 75)).tolist())
    there = to_t1w_space(shown, case.ready, t1w)
    values = sitk.GetArrayFromImage(there)
    index = np.argwhere(values > 0.5)
    points = [there.TransformIndexToPhysicalPoint([int(n) for n in reversed(voxel)]) for voxel in index]
    centre = np.mean(points, axis=0) * [-1, -1, 1]  # LPS to RAS
    np.testing.assert_allclose(centre, place[:3], atol=0.6)
    assert values.max() == pytest.approx(1.0, abs=0.02)


# The results


@pytest.fixture(scope="module")
def made(normed, grid_case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return synthesize(grid_case["t1w"], grid_case["t2f"], "TAU", model=normed, samples=2, space="both", **HOW)


def test_a_synthesis_writes_the_map_and_says_what_it_is(made, tmp_path):
    written = made.save(tmp_path / "out", report=False)
    record = json.loads(written["synthetic_pet.json"].read_text())
    provenance.check_provenance(record)
    own = record["departure"]
    assert own["withheld"] is None and own["people"] == 50 and own["meaning"] == provenance.DEPARTURE_MEANING
    assert "not a disease map" in own["says"] and "simulated training people" in own["says"]
    for name, space in (("departure.nii.gz", "T1w"), ("departure_space-MNI.nii.gz", "MNI")):
        output = record["outputs"][name]
        assert output["content"] == provenance.DEPARTURE_MEANING and output["space"] == space
        assert output["units"] == provenance.DEPARTURE_UNITS
        image = read_volume(written[name])
        pet = read_volume(written[name.replace("departure", "synthetic_pet")])
        assert image.GetSize() == pet.GetSize() and image.GetPixelID() == sitk.sitkFloat32
        assert not sitk.GetArrayFromImage(image)[sitk.GetArrayFromImage(pet) == 0].any()
    assert made.departure is made.volumes["departure"]
    header = written["regions.tsv"].read_text().splitlines()[0]
    assert "departure" not in header, "a region's mean of voxels in SD is not the region's own departure in SD"
    names = derived_names("sub-01_trc-AV1451", ["departure.nii.gz"])
    assert names == {"departure.nii.gz": "sub-01_trc-AV1451_space-T1w_desc-departure_pet.nii.gz"}


def test_an_older_bundle_is_said_to_have_none(case, tiny_latent, normed):
    for model, tracer, words in (
        (tiny_latent, "TAU", "not in this model"),
        (normed, "PIB", "has no norms of departure of PIB"),
    ):
        drawn = draw(case, tracer, Options(tracer, steps=1, samples=1, device="cpu", model=model))
        result = finish(case, drawn)
        assert not any(name.startswith("departure") for name in result.volumes) and result.departure is None
        assert words in result.provenance["departure"]["withheld"] and words in result.provenance["departure"]["says"]
        provenance.check_provenance(result.provenance)


def test_what_differs_from_the_norms_people_is_said(case, drawn):
    noisy = Departures(facts(kind="raw", noise=1.0, floored=0.03), arrays(sd=0.2, noise=0.1))
    one = replace(
        drawn, model=replace(drawn.model, departures=noisy), plan=replace(drawn.plan, sampler="ddpm", samples=1)
    )

    found = departure_record(case, one)
    # 3 / (3 + 3) of the variance: people's .03, and a sample's noise three times .01.
    assert found["noise_share"] == pytest.approx(0.5, abs=0.01) and "50 % of the variance" in found["says"]
    assert "not as this one" in found["says"] and "registered from raw scans" in found["says"]
    assert "in 3 % of the brain" in found["says"]


def test_a_refused_input_and_another_precision_are_said(case, drawn):
    plain = departure_record(case, drawn)["says"]
    assert "the input" not in plain and "fp32" not in plain
    refused = {**drawn.verdict.checks, "header": replace(drawn.verdict.checks["header"], level="refuse")}
    odd = replace(
        drawn, plan=replace(drawn.plan, precision="bf16"), verdict=replace(drawn.verdict, checks=refused, accepted=True)
    )
    said = departure_record(case, odd)["says"]
    assert "drawn in fp32, this one in bf16" in said and "the input check says refuse" in said
    assert "the input was not checked" in departure_record(case, replace(drawn, verdict=None))["says"]
