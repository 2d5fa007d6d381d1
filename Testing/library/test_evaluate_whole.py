"""One whole path: relapet bids, its page, relapet evaluate on what it wrote; and how volumes come from MNI and back."""

import json
import re

import numpy as np
import pytest
import scoringrules
import SimpleITK as sitk
from cases import write_tiny_latent
from cohorts import bids_data, rows
from evaluation_study import read_table, write_scale_masks, write_study, write_table

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.evaluation.reading import is_relative
from RelAPETLib.evaluation.scores import crps
from RelAPETLib.evaluation.told import read_told
from RelAPETLib.evaluation.transforms import read_transform
from RelAPETLib.evaluation.uncertainty import range_of
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.regions import load_regions
from RelAPETLib.registration.fields import coarse_field
from RelAPETLib.volumes import read_volume, write_volume


def evaluate(*arguments) -> int:
    return main(["evaluate", "--progress", "none", "--resamples", "100", *map(str, arguments)])


@pytest.mark.slow
def test_from_scans_to_the_page_without_work_by_hand(tmp_path, grid_case):
    """Three people whose measured PET differ: tables, page, figures, samples and intervals of one run each."""
    raw = bids_data(
        tmp_path / "raw", grid_case, {f"sub-0{n}/ses-1": ["T1w", "FLAIR", "trc-AV1451_pet"] for n in range(1, 4)}
    )
    for number, path in enumerate(sorted(raw.glob("sub-*/ses-1/pet/*.nii.gz"))):
        image = read_volume(path)
        write_volume(sitk.Cast(image * (0.9 + 0.1 * number), sitk.sitkFloat32), path, overwrite=True)
    lines = ["participant_id\tage\tsex", *(f"sub-0{n}\t{60 + 4 * n}\t{'FM'[n % 2]}" for n in range(1, 4))]
    (raw / "participants.tsv").write_text("\n".join(lines) + "\n")
    model, out = write_tiny_latent(tmp_path / "m", tracers=("TAU",)), tmp_path / "out"
    assert main(["bids", str(raw), str(out), "participant", "group", "--model", str(model), "--steps", "1", "--samples",
                 "4", "--preprocessed", "--skip-bids-validation", "--progress", "none"]) == 0  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("SYNTHETIC PET, measured PET and their difference") >= 3, "pictures are found by their BIDS names"
    assert 'href="sub-02/ses-1/pet/sub-02_ses-1_trc-AV1451_desc-synthetic_report.png"' in page
    group = rows(out / "regions.tsv")
    assert all(float(row["spread"]) > 0 and row["atlas"] == "relapet" for row in group)

    found = tmp_path / "figures"
    options = ("--uncertainty", "--cutoff", "TAU=frontal:1.2", "--out", found)
    assert evaluate("--bids", raw, "--derivatives", out, *options) == 0
    regions = read_table(found / "regions.tsv")
    assert {(r["session"], r["model"], r["atlas"]) for r in regions} == {("ses-1", "tiny-latent 0.0.1", "relapet")}
    for ours, theirs in zip(regions, group, strict=True):  # one brain's edge apart, on one grid
        assert ours["region"] == theirs["region"] and ours["spread"] == theirs["spread"]
        assert float(ours["synthetic"]) == pytest.approx(float(theirs["synthetic"]), rel=0.01)
        assert float(ours["measured"]) == pytest.approx(float(theirs["measured"]), rel=0.01)
    scans = read_table(found / "uncertainty.tsv")
    assert len(scans) == 36 and {(row["samples"], row["meant"]) for row in scans} == {("4", "0.666667")}
    assert all(float(row["crps"]) > 0 and float(row["low"]) < float(row["high"]) for row in scans)
    summary = json.loads((found / "summary.json").read_text())
    assert set(summary["files"]) == {path.name for path in found.iterdir()}
    assert {"regions_TAU_relapet.png", "positivity.tsv"} <= set(summary["files"])
    text = (found / "tables.md").read_text()
    assert "## Positivity" in text and "## Uncertainty" in text and "nan" not in text.lower()
    groups = {(row["covariate"], row["group"]) for row in read_table(found / "agreement.tsv")}
    assert ("sex", "M") in groups, "participants.tsv of the data set was read"

    assert main(["report", str(found), "--results", str(out), "--progress", "none"]) == 0
    assert len(re.findall("<h4>", (found / "report.html").read_text())) == 3
    assert evaluate("--bids", raw, "--derivatives", out, "--out", found, "--overwrite") == 0
    assert not (found / "uncertainty.tsv").exists(), "no mixture of two evaluations"
    assert (found / "report.html").is_file(), "what is not ours stays"


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_scale_masks(tmp_path_factory.mktemp("masks"))


@pytest.mark.slow
def test_a_scale_in_a_persons_own_space_is_that_of_mni_space(tmp_path, masks, capsys):
    """PET on permuted axes of a moved grid with its transform have the values that they have in MNI space."""
    row = write_study(tmp_path, people=1, retested=0)[1]
    words = ("--scale-masks", masks, "--regional-ssim", "--cutoff", "PIB=Centiloid/cortex:25")
    assert evaluate("--table", write_table(tmp_path / "mni.tsv", [row]), *words, "--out", tmp_path / "mni") == 0
    shift = (12.0, -8.0, 4.0)
    for name in ("synthetic", "measured"):
        image = read_volume(tmp_path / row[name])
        image.SetOrigin([o + s for o, s in zip(image.GetOrigin(), shift, strict=True)])
        write_volume(sitk.DICOMOrient(image, "PSL"), tmp_path / f"moved_{name}.nii.gz")
    case = tmp_path / "cases" / "sub-00" / "ses-1"
    case.mkdir(parents=True)
    sitk.WriteTransform(sitk.TranslationTransform(3, [-s for s in shift]), str(case / "t1w_to_grid.h5"))
    moved = {**row, "space": "T1w", "synthetic": "moved_synthetic.nii.gz", "measured": "moved_measured.nii.gz"}
    table = write_table(tmp_path / "t1w.tsv", [moved])
    capsys.readouterr()
    assert evaluate("--table", table, *words, "--cases", tmp_path / "cases", "--out", tmp_path / "t1w") == 0
    assert "no SSIM in a scale's regions" in capsys.readouterr().out
    (here,), (there,) = (read_table(tmp_path / space / "scales.tsv") for space in ("mni", "t1w"))
    for name in ("synthetic", "measured"):
        assert float(there[name]) == pytest.approx(float(here[name]), rel=1e-4)
    assert "uncalibrated, estimated" in (tmp_path / "t1w" / "tables.md").read_text()
    dseg = image_to_array(load_regions()[0])
    write_volume(array_to_image(dseg.astype(np.int16)), tmp_path / "dseg.nii.gz")
    unknown = write_table(tmp_path / "unknown.tsv", [{**moved, "dseg": "dseg.nii.gz"}])
    alone = (*words[:2], "--atlas", "dseg", "--force", "--out", tmp_path / "unknown")
    assert evaluate("--table", unknown, *alone) == 0
    assert "without a known transform to MNI" in capsys.readouterr().out
    assert not (tmp_path / "unknown" / "scales.tsv").exists()
    assert evaluate("--table", table, "--cases", tmp_path, "--out", tmp_path / "none") == 2
    assert "no saved case of the people" in capsys.readouterr().err


def test_a_coarse_field_is_the_transform_on_any_axes(tmp_path):
    space = sitk.Image([50, 70, 60], sitk.sitkUInt8)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.4, -0.2, 0.3)
    flip = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]], float)
    space.SetDirection((np.reshape(turn.GetMatrix(), (3, 3)) @ flip).ravel().tolist())
    space.SetSpacing((3.0, 2.0, 2.5))
    space.SetOrigin((20.0, -90.0, 15.0))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.05, 0, -0.04, 0.9, 0.02, 0, 0.03, 1.05))
    affine.SetTranslation((5.0, -7.0, 3.0))
    sitk.WriteImage(coarse_field(affine, space), str(tmp_path / "xfm.nii.gz"))
    back = read_transform(tmp_path / "xfm.nii.gz")
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(space.GetSize()) - 1)
    for index in [*corners, (25, 30, 20), (7, 61, 3)]:
        point = space.TransformIndexToPhysicalPoint([int(n) for n in index])
        np.testing.assert_allclose(back.TransformPoint(point), affine.TransformPoint(point), atol=1e-3)
    with pytest.raises(InputError, match="no such file"):
        read_transform(tmp_path / "none.nii.gz")
    write_volume(space + 1, tmp_path / "scalar.nii.gz")
    with pytest.raises(InputError, match="field of displacements"):
        read_transform(tmp_path / "scalar.nii.gz")


def test_mirrored_samples_score_as_independent_ones_do():
    """The fair CRPS of mirrored pairs has the expectation of the independent draws'; taken as independent it is off."""
    rng = np.random.default_rng(0)
    found = {"independent": [], "mirrored": [], "taken as independent": []}
    covered = []
    for _ in range(4000):
        truth, z = rng.normal(), rng.normal(size=2)
        mirrored = np.array([z[0], -z[0], z[1], -z[1]])
        independent = rng.normal(size=4)
        found["independent"].append(scoringrules.crps_ensemble(truth, independent, estimator="fair"))
        found["mirrored"].append(crps(mirrored[:, None], np.array([truth]), ["1", "1", "2", "2"]))
        found["taken as independent"].append(crps(mirrored[:, None], np.array([truth])))
        low, high, meant = range_of(mirrored, ["1", "1", "2", "2"])
        covered.append(low <= truth <= high)
    means = {name: np.mean(values) for name, values in found.items()}
    assert means["mirrored"] == pytest.approx(means["independent"], abs=0.03)
    assert means["taken as independent"] < means["independent"] - 0.05
    assert meant == pytest.approx(2 / 3) and np.mean(covered) == pytest.approx(meant, abs=0.03)
    assert np.isnan(crps(mirrored[:2, None], np.array([0.0]), ["1", "1"])), "one pair is no distribution"
    assert range_of(np.array([3.0, 1.0, 2.0])) == (1, 3, 0.5)
    assert range_of(np.array([3.0, 1.0, 9.0]), ["1", "1", "2"]) == (1, 3, 0.5), "the last has no twin"
    assert np.isnan(range_of(np.array([1.0]))[0])


def test_what_a_result_tells_of_itself(tmp_path):
    table = "label\tregion\tspread\tlow\thigh\n1\tfrontal\t0.1\t1.0\t1.5\n2\tparietal\tn/a\tn/a\tn/a\n"
    samples = "sample\tpair\tregion\tsuvr\n1\t1\tfrontal\t1.1\n2\t1\tfrontal\t1.3\n1\t1\tparietal\tn/a\n"
    for stem in ("", "sub-1_ses-2_trc-AV1451_desc-synthetic_"):
        (tmp_path / f"{stem}regions.tsv").write_text(table)
        (tmp_path / f"{stem}samples.tsv").write_text(samples)
    names = ("synthetic_pet.nii.gz", "synthetic_pet_space-MNI.nii.gz",
             "sub-1_ses-2_trc-AV1451_space-T1w_desc-synthetic_pet.nii.gz")  # fmt: skip
    for name in names:
        told = read_told(tmp_path / name)
        assert told.ends == {"frontal": {"spread": 0.1, "low": 1.0, "high": 1.5}}
        assert told.draws == {"frontal": [1.1, 1.3]} and told.couples == {"frontal": ["1", "1"]}
    assert read_told(tmp_path / "somebody_pet.nii.gz").ends == {}


@pytest.mark.parametrize(("told", "seconds"), [("2.5", 2.5), ("3", 3), ("true", None), ('"2"', None), ("-1", None)])
def test_how_long_a_result_took_is_what_its_record_says(tmp_path, told, seconds):
    for name in ("synthetic_pet.json", "sub-1_trc-AV1451_desc-synthetic_provenance.json"):
        (tmp_path / name).write_text(f'{{"seconds": {{"registration": 9.0, "sampling": {told}}}}}')
    for name in ("synthetic_pet.nii.gz", "sub-1_trc-AV1451_space-T1w_desc-synthetic_pet.nii.gz"):
        assert read_told(tmp_path / name).seconds == pytest.approx(seconds or np.nan, nan_ok=True)
    (tmp_path / "synthetic_pet.json").write_text("{")
    with pytest.warns(RelAPETWarning, match="how long a result took"):
        assert np.isnan(read_told(tmp_path / "synthetic_pet.nii.gz").seconds)


@pytest.mark.parametrize(("units", "relative"), [("SUVR; to cerebellar grey", False), ("relative (0 to 1)", True)])
def test_a_relative_pet_of_relapet_bids_is_known_by_its_sidecar(tmp_path, units, relative):
    """BIDS has no unit but "unitless" for either."""
    path = tmp_path / "sub-1_trc-AV1451_space-T1w_desc-synthetic_pet.nii.gz"
    sidecar = {"Units": "unitless", "QuantityDescription": units}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    assert is_relative(path) is relative
