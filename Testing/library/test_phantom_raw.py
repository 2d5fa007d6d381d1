"""Raw scans of simulated people: geometry, look, uptake, and the BIDS data set they are written to."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import InputError, OutputError
from RelAPETLib.grid import ModelGrid
from RelAPETLib.phantom import bids, truth
from RelAPETLib.phantom.factors import COMPONENTS, REGIONS
from RelAPETLib.phantom.head import COARSE_GRID, HEAD_GRID, make_head
from RelAPETLib.phantom.people import make_person, template_maps, warp_to
from RelAPETLib.phantom.render import PET_NOISE_SUVR, blur_pet
from RelAPETLib.phantom.scanner import ScanGrid, acquire, pose, rotation, scan_mri, scan_pet, true_pet
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import file_sha256, image_affine, read_volume

SEED = 12  # subject 0 has every tracer, subject 1 lacks some


@pytest.fixture(scope="module")
def head():
    return make_head(make_person(SEED, 0))


@pytest.fixture(scope="module")
def t1w(head):
    return scan_mri(head, "T1w")


@pytest.fixture(scope="module")
def flair(head):
    return scan_mri(head, "FLAIR")


def grid_of(image):
    """The scan's grid, from the image alone."""
    affine = image_affine(image)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = (affine @ [*(np.subtract(image.GetSize(), 1) / 2), 1])[:3]
    return ScanGrid(image.GetSize(), tuple(spacing), centre, affine[:3, :3] / spacing)


def as_scanned(array, scan):
    """A map of the person's space on a scan's grid, in the scan's storage order."""
    return acquire(array, HEAD_GRID, scan.to_scanner, grid_of(scan.image), int(np.argmax(scan.image.GetSpacing())))


def voxels(image):
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float64)


@pytest.mark.parametrize("case", range(12))
def test_marker_lands_where_the_affine_says(case):
    """A small blob in the person's space appears, by the scan's affine, at pose @ point: any order, flip, tilt."""
    rng = np.random.default_rng(case)
    space = ModelGrid(shape=(60, 70, 50), spacing=(1.0, 1.0, 1.0), origin=(-31.0, -36.0, -20.0))
    index = rng.integers(18, 32, 3)
    point = np.add(space.origin, index)
    offsets = np.indices(space.shape) - index[:, None, None, None]
    blob = np.exp(-np.sum(offsets**2, axis=0) / (2 * 2.5**2))
    to_scanner = np.eye(4)
    to_scanner[:3, :3], to_scanner[:3, 3] = rotation(rng.uniform(-20, 20, 3)), rng.uniform(-40, 40, 3)
    expected = to_scanner @ [*point, 1]
    order, slab = rng.permutation(3), int(rng.integers(3))
    spacing = rng.uniform(0.8, 1.2, 3)
    spacing[slab] = rng.uniform(2.5, 5)
    axes = rotation(rng.uniform(-15, 15, 3))[:, order] * rng.choice((-1.0, 1.0), 3)
    grid = ScanGrid(
        tuple(np.ceil(60 / spacing).astype(int).tolist()), tuple(spacing), expected[:3] + rng.uniform(-4, 4, 3), axes
    )
    array = acquire(blob, space, to_scanner, grid, slab)
    assert array.shape == grid.size
    centroid = [np.average(i, weights=array) for i in np.indices(array.shape)]
    found = image_affine(grid.reference()) @ [*centroid, 1]
    assert np.allclose(found, expected, atol=0.25)
    assert array.sum() * np.prod(spacing) == pytest.approx(blob.sum(), rel=0.05)  # slices tile space


def test_slices_average_over_their_thickness():
    """A plate thinner than a slice shows in proportion to its share of the slice."""
    space = ModelGrid(shape=(40, 40, 40), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    plate = np.zeros(space.shape)
    plate[:, :, 19:21] = 1
    grid = ScanGrid((20, 20, 8), (1.0, 1.0, 4.0), np.array([19.5, 19.5, 19.5]), np.eye(3))
    profile = acquire(plate, space, np.eye(4), grid, 2)[10, 10]
    assert profile.sum() * 4 == pytest.approx(2, rel=0.02)
    assert profile.max() < 0.5


def test_scans_lie_in_spaces_of_their_own(head, t1w, flair):
    corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-105, 70) for z in (-65, 80)]).T
    person = head.person
    moved = {scan: np.abs((pose(person, scan) - pose(person, "T1w")) @ corners).max() for scan in ("FLAIR", *TRACERS)}
    assert 0.1 < moved["FLAIR"] < 12
    assert all(moved[tracer] > 5 for tracer in TRACERS)
    assert np.array_equal(t1w.to_scanner, pose(person, "T1w"))
    assert image_affine(t1w.image).shape == (4, 4)
    assert not np.allclose(image_affine(t1w.image), image_affine(flair.image))


def test_field_of_view_holds_the_brain(head, t1w, flair):
    volume = head.maps.brain.sum()
    for scan in (t1w, flair, scan_pet(head, "TAU")):
        voxel = np.prod(scan.image.GetSpacing())
        assert as_scanned(head.maps.brain, scan).sum() * voxel == pytest.approx(volume, rel=0.01)


def test_scans_look_like_head_mri(head, t1w, flair):
    """Tissue contrasts of each sequence; scalp bright in T1w, skull dark in both, air darkest."""
    maps = head.maps
    csf = np.clip(maps.brain - maps.grey - maps.white, 0, 1)
    around = head.surroundings
    outside = {name: _at_1mm(getattr(around, name)) for name in ("bone", "fat")}
    tissue = {"grey": maps.grey, "white": maps.white * (1 - maps.lesion) * (1 - maps.halo), "csf": csf, **outside}
    anything = maps.brain + sum(_at_1mm(getattr(around, field.name)) for field in dataclasses.fields(around))
    mean = {}
    for name, scan in (("T1w", t1w), ("FLAIR", flair)):
        values = voxels(scan.image)
        assert scan.image.GetPixelID() == sitk.sitkInt16
        assert len(np.unique(values)) > 100
        shares = {key: as_scanned(array, scan) for key, array in tissue.items()}
        air = as_scanned(anything, scan) < 0.01
        mean[name] = {key: values[share > 0.9 * share.max()].mean() for key, share in shares.items()}
        mean[name]["air"] = values[air].mean()
    a, b = mean["T1w"], mean["FLAIR"]
    assert a["fat"] > a["white"] > 1.2 * a["grey"] > 1.8 * a["csf"]
    assert b["grey"] > 1.05 * b["white"] > 2 * b["csf"]
    for means in mean.values():
        assert means["air"] < means["bone"] < 0.5 * means["white"]


def _at_1mm(coarse):
    return coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)


def test_lesions_are_bright_in_flair_and_dark_in_t1w(head, t1w, flair):
    lesion = head.maps.lesion
    for scan, sign in ((t1w, -1), (flair, 1)):
        share, white = as_scanned(lesion, scan), as_scanned(head.maps.white, scan)
        inside = share > 0.6 * share.max()
        near = (white > 0.95) & (share < 0.02)
        values = voxels(scan.image)
        assert inside.sum() >= 5
        assert sign * (values[inside].mean() - values[near].mean()) > 0.05 * values[near].mean()


def test_pet_follows_the_law(head):
    """SUVR near 1 in pure reference tissue; scanner noise is the only difference to the true PET; none is negative."""
    for tracer in TRACERS:
        scan = scan_pet(head, tracer)
        values = voxels(scan.image)
        brain = as_scanned(head.maps.brain, scan) > 0.99
        own = voxels(true_pet(head, tracer, scan.image, tracer, expected=False))
        assert scan.image.GetPixelID() == sitk.sitkFloat32
        assert values.min() >= 0
        assert np.std((values - own)[brain]) == pytest.approx(PET_NOISE_SUVR, rel=0.25)
        assert abs(np.mean((values - own)[brain])) < 0.005
        oracle = voxels(true_pet(head, tracer, scan.image, tracer))
        assert 0.005 < np.abs(oracle - own)[brain].mean() < 0.8
    template = template_maps(1)
    assert REGIONS[template["region"][79 + 30, 106 - 65, 72 - 40]] == "cerebellar_grey"
    assert head.person.uptake["TAU"].regional["cerebellar_grey"] == 1
    centre = pose(head.person, "TAU") @ [30, -65, -40, 1]
    scan = scan_pet(head, "TAU")
    index = np.round(np.linalg.solve(image_affine(scan.image), centre)[:3]).astype(int)
    around = voxels(scan.image)[tuple(slice(i - 4, i + 5) for i in index)]
    assert 0.8 < around.mean() < 1.1  # below 1 by partial volume with fluid between the folia


def test_truth_is_what_the_images_show(head):
    """Regional SUVR of the truth table, sampled at 2 mm, beside those of the image that the PET is scanned from."""
    matrix = truth.own_space_matrix(head.person, COARSE_GRID)
    known = truth.truth_of(head.person, matrix, draws=0).suvr
    assert matrix.shape == (len(REGIONS), len(COMPONENTS))
    regions = dict(zip(REGIONS, truth.region_weights(1), strict=True))
    chosen = ("frontal", "occipital", "brainstem", "cerebellar_grey", "cerebellar_white")
    weights = warp_to(head.person, HEAD_GRID, {n: regions[n] for n in chosen}, kind="full", spacing=1)
    for tracer in ("PIB", "TAU"):
        shown = blur_pet(head.maps.activity[tracer], 1.0)
        for region, weight in weights.items():
            mean = np.vdot(shown.astype(float), weight) / weight.sum(dtype=float)
            assert known[tracer][REGIONS.index(region)] == pytest.approx(mean, abs=0.003), (tracer, region)


def test_true_pet_refuses_an_unknown_scan(head, t1w):
    with pytest.raises(ValueError, match="T2w"):
        true_pet(head, "TAU", t1w.image, "T2w")


def test_repeatable(head, flair):
    again = scan_mri(head, "FLAIR")
    assert np.array_equal(voxels(again.image), voxels(flair.image))
    assert np.array_equal(image_affine(again.image), image_affine(flair.image))
    other = scan_mri(dataclasses.replace(head, person=make_person(SEED, 1)), "FLAIR")
    assert other.settings != flair.settings


@pytest.mark.slow
def test_variety_of_geometry(head, tmp_path):
    """Twelve scanners for one anatomy: orientations, storage orders, handedness, thick and thin; files keep it all."""
    seen = {"orientation": set(), "order": set(), "handed": set(), "thick": set(), "tilted": set()}
    for index in range(12):
        patient = dataclasses.replace(head, person=make_person(SEED, index))
        scan = scan_mri(patient, ("T1w", "FLAIR")[index % 2])
        affine = image_affine(scan.image)
        seen["orientation"].add(scan.settings["orientation"])
        seen["order"].add(tuple(np.abs(affine[:3, :3]).argmax(axis=0)))
        seen["handed"].add(np.sign(np.linalg.det(affine[:3, :3])))
        seen["thick"].add(scan.settings["slice_thickness_mm"] > 2)
        seen["tilted"].add(scan.settings["tilt_degrees"] > 1)
        spacing = sorted(scan.image.GetSpacing())
        assert 0.8 <= spacing[0] <= 1.2
        assert 1 <= scan.settings["slice_thickness_mm"] <= 5
        path = tmp_path / f"{index}.nii.gz"
        bids._volume_writer(scan.image)(path)
        assert np.allclose(image_affine(read_volume(path)), affine, atol=1e-3)
    assert seen["orientation"] == {"sagittal", "coronal", "axial"}
    assert len(seen["order"]) >= 4
    assert all(len(seen[key]) == 2 for key in ("handed", "thick", "tilted"))


def test_some_lack_some_tracers():
    scanned = [make_person(SEED, index).scanned for index in range(300)]
    assert all(scanned)
    for tracer in TRACERS:
        assert 0.7 < np.mean([tracer in s for s in scanned]) < 0.9
    assert scanned[0] == tuple(TRACERS) and set(scanned[1]) < set(TRACERS)


@pytest.fixture
def quick(monkeypatch, head):
    """Make subject 0's head once for all tests that write it."""
    monkeypatch.setattr(bids, "make_head", lambda p, **_: head if (p.seed, p.index) == (SEED, 0) else make_head(p))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    messages = []
    out = bids.write_cohort(tmp_path_factory.mktemp("raw") / "Köhorte 2", 2, SEED, lambda f, m: messages.append((f, m)))
    return out, messages


def rows_of(folder):
    with open(folder / "participants.tsv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.mark.slow
def test_cohort(cohort):
    out, messages = cohort
    fractions = [fraction for fraction, _ in messages]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert not list(out.glob(".*"))
    rows = rows_of(out)
    assert [row["participant_id"] for row in rows] == ["sub-0000", "sub-0001"]
    assert set(json.loads((out / "participants.json").read_text())) == set(rows[0]) - {"participant_id"}
    for index, row in enumerate(rows):
        person, folder = make_person(SEED, index), out / row["participant_id"]
        names = {f"anat/{folder.name}_{suffix}" for suffix in ("T1w", "FLAIR")}
        names |= {f"pet/{folder.name}_trc-{TRACERS[t].bids[0]}_pet" for t in person.scanned}
        found = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
        assert found == {f"{name}{ending}" for name in names for ending in (".nii.gz", ".json")}
        for tracer in TRACERS:
            assert row[f"scanned_{tracer}"] == ("yes" if tracer in person.scanned else "no")
            assert float(row[f"suvr_{tracer}_cerebellar_grey"]) == 1
            assert float(row[f"suvr_{tracer}_frontal"]) == pytest.approx(
                person.uptake[tracer].regional["frontal"], abs=1e-4
            )
            assert 0.1 <= float(row[f"predictable_share_{tracer}"]) <= 0.5
        for sidecar in folder.rglob("*.json"):
            content = json.loads(sidecar.read_text())
            assert "imulated" in content["SimulationDescription"]
            if "pet" in sidecar.name:
                assert content["Units"] == "unitless" and content["InjectedRadioactivity"] == 0
            image = read_volume(sidecar.with_suffix("").with_suffix(".nii.gz"))
            assert image.GetDimension() == 3


@pytest.mark.slow
def test_subject_is_the_same_whatever_the_number(cohort, tmp_path):
    out, _ = cohort
    alone = bids.write_cohort(tmp_path / "one", 1, SEED)
    for path in sorted((alone / "sub-0000").rglob("*.*")):
        assert file_sha256(path) == file_sha256(out / path.relative_to(alone)), path.name
    assert rows_of(alone)[0] == rows_of(out)[0]


@pytest.mark.slow
def test_bids_validator_accepts_it(cohort):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    command = [str(validator), str(cohort[0]), "--format", "json", "--ignoreWarnings"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0
    (cohort[0] / "sub-0000" / "anat" / "sub-0000_T1w.json").rename(cohort[0] / "sub-0000" / "notes.txt")
    try:  # the validator does find fault when there is one
        assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0
    finally:
        (cohort[0] / "sub-0000" / "notes.txt").rename(cohort[0] / "sub-0000" / "anat" / "sub-0000_T1w.json")


def test_refusals(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="another --out"):
            bids.write_cohort(tmp_path / "mine", 1, 0, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="not a folder"):
        bids.write_cohort(tmp_path / "mine" / "thesis.txt", 1, 0)
    with pytest.raises(InputError, match="number of subjects"):
        bids.write_cohort(tmp_path / "new", 0, 0)
    with pytest.raises(InputError, match="seed"):
        bids.write_case(tmp_path / "new", -1)
    with pytest.raises(InputError, match="below 2"):
        bids.write_cohort(tmp_path / "new", 1, 2**64)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_case(quick, tmp_path):
    paths = bids.write_case(tmp_path / "case", SEED, oracle=True)
    assert {path.name for path in paths.values()} < {path.name for path in (tmp_path / "case").iterdir()}
    t1w = read_volume(paths["t1w"])
    for tracer in TRACERS:
        assert json.loads((tmp_path / "case" / f"pet_{tracer}.json").read_text())["Units"] == "unitless"
        oracle = read_volume(paths[f"oracle_{tracer}"])
        assert oracle.GetSize() == t1w.GetSize()
        assert np.allclose(image_affine(oracle), image_affine(t1w), atol=1e-4)
    known = json.loads(paths["truth"].read_text())
    assert known["suvr_TAU_cerebellar_grey"] == 1
    with pytest.raises(OutputError, match="exists already"):
        bids.write_case(tmp_path / "case", SEED)
    bids.write_case(tmp_path / "case", SEED, overwrite=True)
    assert not list((tmp_path / "case").glob("oracle_*"))
