"""What relapet evaluate takes and refuses: grids, BIDS, labels of a person's own, dynamic and blurred PET, real PET."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_study import GRID, nearest_indices, paint, read_table, write_study, write_table

from RelAPETLib.cli import main
from RelAPETLib.cohort.pairs import read_pairs
from RelAPETLib.evaluation.brains import Brains
from RelAPETLib.evaluation.pairs import Pair, recordable
from RelAPETLib.evaluation.reading import load_pair
from RelAPETLib.evaluation.settings import Settings
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.notices import listening
from RelAPETLib.regions import load_regions
from RelAPETLib.volumes import file_sha256, read_volume, write_volume


def evaluate(*arguments) -> int:
    return main(["evaluate", "--progress", "none", "--resamples", "100", *map(str, arguments)])


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Folder with one person's PET, and the row of the table."""
    folder = tmp_path_factory.mktemp("person")
    rows = write_study(folder, people=1, retested=0)
    row = {**rows[1], "synthetic": folder / rows[1]["synthetic"], "measured": folder / rows[1]["measured"]}
    return folder, row


def tables_of(folder, row, *options) -> dict[str, list[dict]]:
    table = write_table(folder / "table.tsv", [row])
    assert evaluate("--table", table, "--out", folder / "out", "--overwrite", *options) == 0
    return {path.name: read_table(path) for path in (folder / "out").glob("*.tsv")}


def values(tables, table, *columns) -> np.ndarray:
    return np.array([[float(row[c]) if row[c] != "n/a" else np.nan for c in columns] for row in tables[table]])


@pytest.fixture(scope="module")
def plain(person, tmp_path_factory):
    return tables_of(tmp_path_factory.mktemp("plain"), person[1])


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
def test_permuted_and_flipped_pet_give_the_same(person, plain, tmp_path, axes):
    folder, row = person
    moved = tmp_path / "measured.nii.gz"
    write_volume(sitk.DICOMOrient(read_volume(row["measured"]), axes), moved)
    tables = tables_of(tmp_path, {**row, "measured": moved})
    for table, columns in (("volumes.tsv", ("psnr", "ssim", "mae")), ("regions.tsv", ("synthetic", "measured"))):
        np.testing.assert_allclose(values(tables, table, *columns), values(plain, table, *columns), rtol=1e-4)


def test_a_measured_pet_on_an_oblique_grid_is_resampled_to_its_place(person, plain, tmp_path):
    folder, row = person
    image = read_volume(row["measured"])
    turned = sitk.Image([90, 100, 90], sitk.sitkUInt8)
    angle = 0.3
    turned.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1))
    turned.SetSpacing((2.5, 2.5, 2.5))
    centre = image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()])
    corner = turned.TransformContinuousIndexToPhysicalPoint([45, 50, 45])
    turned.SetOrigin([c - p for c, p in zip(centre, corner, strict=True)])
    oblique = tmp_path / "oblique.nii.gz"
    write_volume(sitk.Resample(image, turned, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32), oblique)
    tables = tables_of(tmp_path, {**row, "measured": oblique})
    found, wanted = (values(t, "regions.tsv", "measured")[:, 0] for t in (tables, plain))
    np.testing.assert_allclose(found, wanted, rtol=0.05)
    assert np.abs(wanted - wanted.mean()).max() > 0.1 * wanted.mean(), "regions swapped would be seen"


def test_pet_that_lie_apart_are_refused(person, tmp_path, capsys):
    folder, row = person
    image = read_volume(row["measured"])
    for shift, words in ((150, "do not lie in one space"), (40, "hardly lies where the synthetic PET does")):
        moved = sitk.Image(image)
        moved.SetOrigin([o + s for o, s in zip(image.GetOrigin(), (0, 0, shift), strict=True)])
        write_volume(moved, tmp_path / "moved.nii.gz", overwrite=True)
        table = write_table(tmp_path / "table.tsv", [{**row, "measured": tmp_path / "moved.nii.gz"}])
        assert evaluate("--table", table, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert words in error and "bring the measured PET to MNI space first" in error
        assert not (tmp_path / "out").exists()
    assert evaluate("--table", table, "--out", tmp_path / "out", "--force") == 0


def test_a_measured_pet_of_another_tracer_is_refused(person, tmp_path, capsys):
    folder, row = person
    shutil.copy(row["measured"], tmp_path / "sub-01_trc-PBR111_pet.nii.gz")
    table = write_table(tmp_path / "table.tsv", [{**row, "measured": "sub-01_trc-PBR111_pet.nii.gz"}])
    assert evaluate("--table", table, "--out", tmp_path / "out") == 2
    assert "(trc-PBR111) says PBR, not PIB; name its own; --force takes it" in capsys.readouterr().err


def test_one_bad_file_is_a_failure_and_the_rest_goes_on(person, plain, tmp_path, capsys):
    folder, row = person
    (tmp_path / "damaged.nii.gz").write_bytes(b"no volume")
    constant = array_to_image(np.ones(GRID.shape, np.float32), GRID)
    write_volume(constant, tmp_path / "constant.nii.gz")
    rows = [row] + [
        {**row, "participant_id": name, "measured": tmp_path / f"{name}.nii.gz"} for name in ("damaged", "constant")
    ]
    table = write_table(tmp_path / "table.tsv", rows)
    assert evaluate("--table", table, "--out", tmp_path / "out") == 3
    failures = {row["participant_id"]: row["reason"] for row in read_table(tmp_path / "out" / "failures.tsv")}
    assert set(failures) == {"damaged", "constant"} and "every voxel is 1" in failures["constant"]
    assert failures["damaged"].startswith("the measured PET: ") and ".nii" not in " ".join(failures.values())
    assert read_table(tmp_path / "out" / "regions.tsv") == plain["regions.tsv"]
    assert "left out damaged" in capsys.readouterr().err


def test_bad_tables_and_options_are_one_line(person, tmp_path, capsys):
    folder, row = person
    table = write_table(tmp_path / "table.tsv", [row])
    twice = write_table(tmp_path / "twice.tsv", [row, row])
    lacking = write_table(tmp_path / "lacking.tsv", [{"participant_id": "a", "tracer": "PIB"}])
    unknown = write_table(tmp_path / "unknown.tsv", [{**row, "tracer": "FANCY"}])
    for options, words in (
        (["--table", twice], "two rows are of one participant"),
        (["--table", lacking], "no column 'synthetic'"),
        (["--table", unknown], "give --data-range"),
        (["--table", tmp_path / "none.tsv"], "no such file"),
        (["--table", table, "--atlas", "nowhere"], "no regions 'nowhere'"),
        (["--table", table, "--atlas", "dseg"], "no label image of its own"),
        (["--table", table, "--reference-region", "pons"], "no region 'pons' to refer to"),
        (["--table", table, "--against", "nobody"], "no such model"),
        (["--table", table, "--fwhm", "8"], "--fwhm-measured"),
        (["--table", table, "--fwhm", "8", "--fwhm-measured", "9", "--fwhm-synthetic", "6"], "only be made blurrier"),
        (["--table", table, "--data-range", "3,0"], "the first has to be the smaller"),
        (["--table", table, "--resamples", "3"], "--resamples 3"),
        ([], "give --table FILE"),
        (["--bids", tmp_path], "name the synthetic ones by --derivatives"),
    ):
        assert evaluate(*options, "--out", tmp_path / "out") == 2, options
        error = capsys.readouterr().err
        assert words in error and error.count("\n") <= 1 + error.count("warning"), error
        assert not (tmp_path / "out").exists()


def test_any_unit_becomes_suvr_by_a_reference_region(person, plain, tmp_path, capsys):
    """A PET in Bq/mL is refused as it is, and with a reference region gives what the SUVR gives, over its own mean."""
    folder, row = person
    becquerel = tmp_path / "bq.nii.gz"
    write_volume(read_volume(row["measured"]) * 7000, becquerel)
    (tmp_path / "bq.json").write_text(json.dumps({"Units": "Bq/mL"}))
    table = write_table(tmp_path / "table.tsv", [{**row, "measured": becquerel}])
    assert evaluate("--table", table, "--out", tmp_path / "out") == 2
    assert "Bq/mL" in capsys.readouterr().err
    tables = tables_of(tmp_path, {**row, "measured": becquerel}, "--reference-region", "tracer")
    made, measured = values(tables, "regions.tsv", "synthetic", "measured").T
    cerebellum = [r["region"] for r in tables["regions.tsv"]].index("cerebellar_grey")
    assert measured[cerebellum] == made[cerebellum] == 1, "each is divided by its own mean"
    for name, found in (("measured", measured), ("synthetic", made)):
        before = values(plain, "regions.tsv", name)[:, 0]
        np.testing.assert_allclose(found, before / before[cerebellum], rtol=1e-4)


def test_both_pet_come_to_one_resolution(tmp_path):
    """A point that was blurred by 6 mm, and by 10 mm, are alike at 10 mm."""
    from RelAPETLib.evaluation.reading import _smoothed

    array = np.zeros((61, 61, 61), np.float32)
    array[30, 30, 30] = 1000
    point = sitk.GetImageFromArray(array)
    point.SetSpacing((2.0, 2.0, 2.0))
    sharp = _smoothed(point, None, 6.0, 0.0)
    images = _smoothed(sharp, None, 10.0, 6.0), _smoothed(point, None, 10.0, 0.0)
    twice, once = map(sitk.GetArrayFromImage, images)
    assert np.abs(twice - once).max() < 0.02 * once.max()
    half = np.interp(0.5 * once.max(), once[30, 30, 30:50][::-1], np.arange(20)[::-1]) * 2 * 2
    assert half == pytest.approx(10, rel=0.03), "full width at half maximum, mm"


def test_smoothing_is_applied_to_the_pair(person, plain, tmp_path):
    options = ("--fwhm", "12", "--fwhm-measured", "0", "--fwhm-synthetic", "0")
    tables = tables_of(tmp_path, person[1], *options)
    found, before = (values(t, "volumes.tsv", "psnr") for t in (tables, plain))
    assert (found > before + 0.5).all(), "noise is gone"


def test_dynamic_pet_are_averaged_by_their_frames(person, plain, tmp_path, capsys):
    folder, row = person
    still = nib.load(row["measured"])
    frames = np.stack([still.get_fdata() * factor for factor in (5, 0.8, 1.1)], -1).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, still.affine), tmp_path / "dynamic.nii.gz")
    sidecar = {
        "Units": "unitless", "FrameTimesStart": [0, 3000, 3600], "FrameDuration": [3000, 600, 1200],
        "InjectionStart": 0, "ImageDecayCorrected": True,
    }  # fmt: skip
    (tmp_path / "dynamic.json").write_text(json.dumps(sidecar))
    moving = {**row, "measured": tmp_path / "dynamic.nii.gz"}
    table = write_table(tmp_path / "table.tsv", [moving])
    assert evaluate("--table", table, "--out", tmp_path / "out") == 2
    assert "--frames PIB=80-100" in capsys.readouterr().err
    tables = tables_of(tmp_path, moving, "--frames", "PIB=50-80")
    found, before = (values(t, "regions.tsv", "measured")[:, 0] for t in (tables, plain))
    np.testing.assert_allclose(found, before * (600 * 0.8 + 1200 * 1.1) / 1800, rtol=1e-5)


def test_labels_of_a_persons_own(person, tmp_path):
    """A FreeSurfer-like dseg with BIDS's table: regions by name, a reference of two of them, left against right."""
    folder, row = person
    grid_x = np.indices(GRID.shape)[0] * 4 + GRID.origin[0]
    brain = paint(np.ones(12)) > 0
    labels = np.where(brain, np.where(grid_x < 0, 17, 53), 0)
    labels[:, :, :8] = np.where(brain, np.where(grid_x < 0, 8, 47), 0)[:, :, :8]
    write_volume(array_to_image(labels.astype(np.int16), GRID), tmp_path / "sub-00_dseg.nii.gz")
    names = {
        8: "Left-Cerebellum-Cortex",
        47: "Right-Cerebellum-Cortex",
        17: "Left-Hippocampus",
        53: "Right-Hippocampus",
    }
    lines = ["index\tname", *(f"{label}\t{name}" for label, name in names.items())]
    (tmp_path / "sub-00_dseg.tsv").write_text("\n".join(lines) + "\n")
    made = nib.load(row["synthetic"]).get_fdata()
    made = np.where(brain, np.where(grid_x < 0, made * 1.2, made), 0).astype(np.float32)
    write_volume(array_to_image(made, GRID), tmp_path / "made.nii.gz")
    own = {**row, "space": "T1w", "dseg": "sub-00_dseg.nii.gz", "synthetic": "made.nii.gz"}
    reference = "Left-Cerebellum-Cortex+Right-Cerebellum-Cortex"
    both = tables_of(tmp_path, own, "--atlas", "dseg", "relapet", "--other-references", "frontal", "Left-Hippocampus")
    assert {row["region"] for row in both["regions.tsv"]} == set(names.values()), "those of MNI space are left out"
    tables = tables_of(tmp_path, own, "--atlas", "dseg", "--reference-region", reference)
    measured = nib.load(row["measured"]).get_fdata()
    cerebellum = np.isin(labels, (8, 47))
    for entry in tables["regions.tsv"]:
        where = labels == next(label for label, name in names.items() if name == entry["region"])
        for name, volume in (("synthetic", made), ("measured", measured)):
            assert float(entry[name]) == pytest.approx(volume[where].mean() / volume[cerebellum].mean(), rel=1e-4)
        assert float(entry["volume_ml"]) == pytest.approx(where.sum() * 0.064, rel=1e-5)
    (hippocampus,) = [r for r in tables["agreement.tsv"] if r["what"] == "asymmetry" and r["region"] == "Hippocampus"]
    left, right = (made[labels == label].mean() for label in (17, 53))
    assert float(hippocampus["mean_synthetic"]) == pytest.approx(200 * (left - right) / (left + right), rel=1e-3)


def test_a_transform_brings_regions_to_a_persons_own_space(person, tmp_path):
    """PET moved by a known shift, with the transform from its space to MNI: means in the labels nearest to voxels."""
    folder, row = person
    shift = (12.0, -8.0, 4.0)
    moved = {}
    for name in ("synthetic", "measured"):
        image = read_volume(row[name])
        image.SetOrigin([o + s for o, s in zip(image.GetOrigin(), shift, strict=True)])
        write_volume(image, tmp_path / f"{name}.nii.gz")
        moved[name] = f"{name}.nii.gz"
    sitk.WriteTransform(sitk.TranslationTransform(3, [-s for s in shift]), str(tmp_path / "to_mni.tfm"))
    tables = tables_of(tmp_path, {**row, **moved, "space": "T1w", "to_mni": "to_mni.tfm"})
    labels = image_to_array(load_regions()[0])[nearest_indices()]
    wanted = [
        [nib.load(row[name]).get_fdata()[labels == number].mean() for name in ("synthetic", "measured")]
        for number in range(1, 13)
    ]
    np.testing.assert_allclose(values(tables, "regions.tsv", "synthetic", "measured"), wanted, rtol=1e-4)


def test_pet_of_an_unknown_place_have_figures_of_images_and_no_regions(person, plain, tmp_path, capsys):
    """As `relapet synthesize` leaves them by default; regions are refused only where the unit hangs on them."""
    folder, row = person
    options = "--other-references", "white_matter", "--uncertainty"
    tables = tables_of(tmp_path, {**row, "space": "T1w"}, *options)
    found, wanted = (values(each, "volumes.tsv", "psnr", "ssim", "mae") for each in (tables, plain))
    np.testing.assert_allclose(found, wanted, rtol=0.01, err_msg="what differs is where the brain is taken to be")
    assert not tables["regions.tsv"]
    words = "regions are left out of PET that lie in T1w space without a known transform to MNI"
    assert words in capsys.readouterr().out and words in (tmp_path / "out" / "tables.md").read_text()
    assert words in (tmp_path / "out" / "summary.json").read_text()
    for options in (("--reference-region", "tracer"), ("--cutoff", "PIB=frontal:1.4")):
        assert evaluate("--table", tmp_path / "table.tsv", "--out", tmp_path / "none", *options) == 2
        assert "regions 'relapet' are in MNI space and the PET is not" in capsys.readouterr().err


def bids(folder, person, tracer="PIB"):
    """A data set with measured PET, and derivatives as ``relapet bids`` writes them."""
    _, row = person
    raw, derived = folder / "raw" / "sub-01" / "ses-1" / "pet", folder / "derived" / "sub-01" / "ses-1" / "pet"
    for place in (raw, derived):
        place.mkdir(parents=True)
    shutil.copy(row["measured"], raw / f"sub-01_ses-1_trc-{tracer}_pet.nii.gz")
    content = {"Units": "unitless", "Manufacturer": "Siemens", "ManufacturersModelName": "Biograph"}
    (folder / "raw" / f"trc-{tracer}_pet.json").write_text(json.dumps(content))
    (folder / "raw" / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    (folder / "raw" / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t70\tF\n")
    name = f"sub-01_ses-1_trc-{tracer}_space-T1w_desc-synthetic_pet.nii.gz"
    shutil.copy(row["synthetic"], derived / name)
    (derived / "sub-01_ses-1_trc-AV1451_space-T1w_desc-synthetic_pet.nii.gz").write_bytes((derived / name).read_bytes())
    anatomy = derived.parent / "anat"
    anatomy.mkdir()
    where = paint(np.arange(1, 13)).round().astype(np.int16)
    write_volume(array_to_image(where, GRID), anatomy / "sub-01_ses-1_dseg.nii.gz")
    (folder / "derived" / "dseg.tsv").write_text("index\tname\n1\tfrontal\n2\tparietal\n10\tcerebellum\n")
    return folder / "raw", folder / "derived"


def test_bids_derivatives_beside_the_data_set(person, tmp_path):
    raw, derived = bids(tmp_path, person)
    assert evaluate("--bids", raw, "--derivatives", derived, "--out", tmp_path / "out") == 3, "no TAU was measured"
    regions = read_table(tmp_path / "out" / "regions.tsv")
    assert [(r["participant_id"], r["session"], r["tracer"], r["model"]) for r in regions] == [
        ("sub-01", "ses-1", "PIB", "derived")
    ] * 3
    assert [r["region"] for r in regions] == ["frontal", "parietal", "cerebellum"]
    (failure,) = read_table(tmp_path / "out" / "failures.tsv")
    assert failure["tracer"] == "TAU" and "no measured PET" in failure["reason"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pairs"][0]["units_from"] == "its sidecar: Units 'unitless'"
    assert summary["pairs"][0]["brain_from"] == "dseg"


def test_pet_in_the_scanners_space_are_taken_as_relapet_bids_registered_them(person, plain, tmp_path, capsys, caplog):
    """Only where sidecar and provenance prove that it is the very file, unscaled, and all of the brain is there."""
    raw, derived = bids(tmp_path, person)
    measured = raw / "sub-01" / "ses-1" / "pet" / "sub-01_ses-1_trc-PIB_pet.nii.gz"
    pet = derived / "sub-01" / "ses-1" / "pet"
    registered = pet / "sub-01_ses-1_trc-PIB_space-T1w_desc-reference_pet.nii.gz"
    image = read_volume(measured)
    synthetic = read_volume(pet / "sub-01_ses-1_trc-PIB_space-T1w_desc-synthetic_pet.nii.gz")
    write_volume(sitk.Mask(image, sitk.Cast(synthetic != 0, sitk.sitkUInt8)), registered)
    image.SetOrigin([coordinate + 60 for coordinate in image.GetOrigin()])
    write_volume(image, measured, overwrite=True)
    shutil.rmtree(pet.parent / "anat")
    said = {"QuantityDescription": "SUVR", "Provenance": "made.json"}
    said["InputSHA256"] = {"reference": file_sha256(measured)}
    sidecar = registered.with_name(registered.name.replace(".nii.gz", ".json"))

    def code(said, region=None):
        sidecar.write_text(json.dumps(said))
        (pet / "made.json").write_text(json.dumps({"reference": {"reference_region": region}}))
        return evaluate("--bids", raw, "--derivatives", derived, "--out", tmp_path / "out", "--overwrite")

    assert code(said) == 3, "TAU has no measured PET"
    assert "1 measured PET are taken as 'relapet bids' registered them" in capsys.readouterr().out
    tables = {"volumes.tsv": read_table(tmp_path / "out" / "volumes.tsv")}
    figures = "psnr", "ssim", "mae"
    found, wanted = (values(each, "volumes.tsv", *figures)[0] for each in (tables, plain))
    np.testing.assert_allclose(found, wanted, rtol=0.01, err_msg="what differs is where the brain is taken to be")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pairs"][0]["registered"] and summary["pairs"][0]["units_from"] == "its sidecar: Units 'unitless'"
    other, relative = {**said, "InputSHA256": {"reference": "0" * 64}}, {**said, "QuantityDescription": "relative"}
    for given, region in ((other, None), (said, "cerebellar_grey"), (relative, None)):
        assert code(given, region) == 2 and "or use --register" in capsys.readouterr().err
    half = nib.load(registered)
    array = half.get_fdata()
    array[: len(array) // 2] = 0
    nib.save(nib.Nifti1Image(array.astype(np.float32), half.affine), registered)
    assert code(said) == 2 and "field of view may have ended" in caplog.text
    assert "or use --register" in capsys.readouterr().err, "its own file lies elsewhere"


def test_a_registered_pet_serves_all_models_whatever_their_brain(tmp_path):
    """It is 0 outside the brain of the run that made it, and where a reconstruction gave nothing less."""
    brain = array_to_image(((truth := paint(np.linspace(1, 2, 12))) > 0).astype(np.uint8), GRID)
    inner = image_to_array(sitk.BinaryErode(brain, [3] * 3), GRID) > 0
    hole = inner & (np.linalg.norm(np.indices(GRID.shape).T - (20, 25, 18), axis=-1).T < 4)
    assert hole.sum() > 0.005 * (truth > 0).sum()
    half = truth.copy()
    half[:, :, : GRID.shape[2] // 3] = 0
    wider = np.where(image_to_array(sitk.BinaryDilate(brain, [1] * 3), GRID) > 0, np.maximum(truth, 0.5), 0)
    volumes = {"own": truth, "registered": np.where(hole, 0, truth), "half": half, "wider": wider, "all": truth + 0.01}
    files = {name: tmp_path / f"{name}.nii.gz" for name in volumes}
    for name, array in volumes.items():
        write_volume(array_to_image(array.astype(np.float32), GRID), files[name])
    pairs = [Pair("sub-1", "", "PIB", name, files[name], files["own"], space="T1w", registered=files["registered"])
             for name in ("own", "wider", "all")]  # fmt: skip
    brains = Brains(pairs)
    for pair in pairs:
        loaded = load_pair(pair, Settings(), brains)
        assert loaded.registered and (image_to_array(loaded.measured, GRID)[hole] == 0).all()
    cut, said = [replace(pair, registered=files["half"]) for pair in pairs], []
    with listening(said.append):
        found = [load_pair(pair, Settings(), brains) for brains in [Brains(cut)] for pair in cut]
    assert len([line for line in said if "half.nii.gz: 0 in" in line and "own file is read" in line]) == len(cut)
    for loaded in found:
        assert not loaded.registered and np.array_equal(image_to_array(loaded.measured, GRID), truth)


def test_the_name_of_a_registered_pet_is_not_recorded():
    folder = Path("/data/derived/sub-01/ses-1/pet")
    file = folder / "sub-01_ses-1_trc-PIB_desc-reference_pet.nii.gz"
    pair = Pair("sub-01", "ses-1", "PIB", "m", folder / "made.nii.gz", folder / "own.nii.gz", registered=file)
    words = f"{file}: not a volume; {file.name} is empty, {file.with_name(file.name.replace('nii.gz', 'json'))} not"
    assert recordable(words, pair.files) == (
        "the registered measured PET: not a volume; the registered measured PET is empty, "
        "the registered measured PET's sidecar not"
    )


def test_a_folder_of_synthesize_knows_its_model(person, tmp_path):
    folder, row = person
    made = tmp_path / "result"
    made.mkdir()
    shutil.copy(row["synthetic"], made / "synthetic_pet.nii.gz")
    record = {"model": {"name": "demo", "version": "3.1"}, "tracer": {"name": "PIB"}, "pet": {"units": "SUVR"}}
    (made / "synthetic_pet.json").write_text(json.dumps(record))
    tables = tables_of(tmp_path, {**row, "synthetic": "result", "model": "", "tracer": ""})
    assert {row["model"] for row in tables["regions.tsv"]} == {"demo 3.1"}
    (made / "synthetic_pet.json").write_text(json.dumps({**record, "pet": {"units": "relative"}}))
    table = write_table(tmp_path / "table.tsv", [{**row, "synthetic": "result"}])
    assert evaluate("--table", table, "--out", tmp_path / "relative") == 2, "relative PET need a reference region"
    relative = tables_of(tmp_path, {**row, "synthetic": "result"}, "--reference-region", "tracer")
    cerebellum = next(r for r in relative["regions.tsv"] if r["region"] == "cerebellar_grey")
    assert float(cerebellum["synthetic"]) == float(cerebellum["measured"]) == 1


@pytest.mark.slow
def test_registration_is_there_for_who_asks(tmp_path):
    """A simulated person's PET of another scanner space: laid over the T1w it is the true one, left alone not."""
    from RelAPETLib.phantom.bids import write_case

    case = write_case(tmp_path / "case", 3, oracle=True)
    truth = nib.load(case["oracle_PIB"])
    array = truth.get_fdata()
    brain = array > 0.3
    nib.save(nib.Nifti1Image(np.where(brain, array, 0).astype(np.float32), truth.affine), tmp_path / "made.nii.gz")
    labels = np.where(brain, np.digitize(array, np.quantile(array[brain], (0.3, 0.7))) + 1, 0).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, truth.affine), tmp_path / "labels.nii.gz")
    row = {
        "participant_id": "sub-01", "tracer": "PIB", "synthetic": "made.nii.gz", "measured": case["pet_PIB"],
        "t1w": case["t1w"], "dseg": "labels.nii.gz",
    }  # fmt: skip
    apart = tables_of(tmp_path, row, "--atlas", "dseg", "--force")
    there = tables_of(tmp_path, row, "--atlas", "dseg", "--register")
    before, after = (values(tables, "volumes.tsv", "ssim") for tables in (apart, there))
    assert (after > before + 0.02).all() and after[0] > 0.97
    table = write_table(tmp_path / "table.tsv", [{**row, "t1w": ""}])
    assert evaluate("--table", table, "--atlas", "dseg", "--register", "--out", tmp_path / "none") == 2


#: Means of regional SUVR over cerebellar grey of real people, as read from the volumes beforehand by other code:
#: `Testing/benchmarks/law_vs_real.py`, whose table is `results/pbr28_regions.tsv`.
REAL = {
    "control": (0.87, 0.81, 0.92, 0.85, 1.03, 0.95, 0.94, 1.11, 1.17, 0.89, 1.09),
    "huntington": (0.90, 0.81, 0.92, 0.91, 1.05, 0.98, 1.09, 1.21, 1.20, 0.93, 1.12),
}


def test_real_pbr28_has_the_known_regional_means(shared, tmp_path):
    """Measured 11C-PBR28 of 14 people (CC0, Lois et al.), which is not 18F-PBR111 and never called so."""
    files = sorted((shared / "data" / "pbr28").glob("*.nii.gz"))
    if len(files) != 14:
        pytest.skip(f"the 14 volumes of 11C-PBR28 are not in {shared / 'data' / 'pbr28'}")
    rows = [
        {
            "participant_id": file.name.removesuffix(".nii.gz"), "tracer": "11C-PBR28", "measured": file,
            "space": "MNI", "group": "control" if file.name.startswith("control") else "huntington",
        }
        for file in files
    ]  # fmt: skip
    table = write_table(tmp_path / "real.tsv", rows)
    options = ("--measured-only", "--reference-region", "cerebellar_grey", "--out", tmp_path / "out")
    assert evaluate("--table", table, *options) == 0
    rows = [r for r in read_table(tmp_path / "out" / "agreement.tsv") if r["what"] == "suvr"]
    for group, wanted in REAL.items():
        own = [r for r in rows if r["group"] == group]
        means = [float(r["mean_measured"]) for r in own if r["region"] != "cerebellar_grey"]
        np.testing.assert_allclose(means, wanted, atol=0.01)
    with open(shared_table(), newline="", encoding="utf-8") as stream:
        known = {row["person"]: row for row in csv.DictReader(stream, delimiter="\t")}
    for row in read_table(tmp_path / "out" / "regions.tsv"):
        assert float(row["measured"]) == pytest.approx(float(known[row["participant_id"]][row["region"]]), abs=2e-3)
        assert row["tracer"] == "11C-PBR28" and row["synthetic"] == "n/a"
    for path in (tmp_path / "out").iterdir():
        assert "PBR111" not in path.read_text(encoding="utf-8")
    assert read_table(tmp_path / "out" / "volumes.tsv") == []


def shared_table():
    return Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "pbr28_regions.tsv"


def test_a_line_that_cannot_be_used_is_recorded_without_names_of_files(tmp_path):
    (tmp_path / "Jane_Doe.json").write_text("{")
    row = {"participant_id": "1", "tracer": "TAU", "model": "m", "synthetic": "a.nii", "measured": "Jane_Doe.nii"}
    table = write_table(tmp_path / "table.tsv", [row, {**row, "participant_id": "2", "measured": "b.nii"}])
    told = []
    with listening(told.append):
        pairs, (failure,) = read_pairs(table)
    assert [pair.participant for pair in pairs] == ["2"] and "Doe" not in failure["reason"]
    assert failure["reason"].startswith("line 2: the measured PET's sidecar") and "Jane_Doe.json" in told[0]
