"""Baselines as models of an evaluation: what they learn, against oracles, and whom they may not be fitted on."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.evaluation import mri_baselines as baselines
from RelAPETLib.evaluation.baselines import MEAN
from RelAPETLib.evaluation.ridge import RIDGE_PENALTIES, check_apart, fit_pet_ridge, mri_features, ridge
from RelAPETLib.evaluation.volume_table import VolumeRow, read_on_grid, read_volume_table
from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.volumes import write_volume


def simulated(people=60, voxels=400, seed=0):
    """PET that follow from two of thirty features of the MRI, and noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(people, 30))
    maps = rng.normal(size=(2, voxels))
    pets = 1.2 + features[:, :2] @ maps * 0.3 + rng.normal(0, 0.05, (people, voxels))
    return features, pets.astype(np.float32)


def test_ridge_is_that_of_an_oracle():
    """scikit-learn's ridge with the penalty of the least leave-one-out error of each target."""
    features, pets = simulated()
    features, targets = features - features.mean(0), pets[:, :5].astype(float)
    targets = targets - targets.mean(0)
    weights, _, chosen = ridge(features, targets)
    level = np.linalg.eigvalsh(features @ features.T).mean()
    oracle = RidgeCV(RIDGE_PENALTIES * level, alpha_per_target=True).fit(features, targets)
    np.testing.assert_allclose(chosen * level, oracle.alpha_)
    np.testing.assert_allclose(weights, oracle.coef_, atol=1e-8)


def test_the_regression_knows_new_people_and_the_mean_does_not():
    features, pets = simulated(120)
    train, test = slice(0, 60), slice(60, None)
    model = fit_pet_ridge(features[train], pets[train])
    guess = np.stack([model.guess(row) for row in features[test]])
    ours, mean = (np.abs(made - pets[test]).mean() for made in (guess, pets[train].mean(0)))
    assert ours < 0.3 * mean
    others = np.stack([model.guess(row) for row in np.roll(features[test], 1, 0)])
    assert np.abs(others - pets[test]).mean() > mean, "with another person's MRI it is worse than the mean"


def test_components_are_those_of_the_pet_however_it_is_read(tmp_path, monkeypatch):
    features, pets = simulated(20)
    on_disk = np.memmap(tmp_path / "pets", np.float32, "w+", shape=pets.shape)
    on_disk[:] = pets
    monkeypatch.setattr("RelAPETLib.evaluation.ridge._CHUNK", 37)
    model = fit_pet_ridge(features, on_disk)
    rest = pets - pets.mean(0)
    basis = np.linalg.svd(rest, full_matrices=False)[2][:19]
    np.testing.assert_allclose(np.abs((model.basis * basis).sum(1)), 1, atol=1e-4)
    assert len(model.basis) == 19, "20 scans have 19 components"


def test_what_carries_no_regression_is_refused():
    features, pets = simulated(10)
    with pytest.raises(InputError, match="too few"):
        fit_pet_ridge(features[:2], pets[:2])
    with pytest.raises(InputError, match="10 scans of one person are too few"):
        fit_pet_ridge(features, pets, people=["a"] * 10)
    pets = pets.astype(float)
    weights, left_out, _ = ridge(np.zeros_like(features), pets - pets.mean(0))
    assert not weights.any(), "features that are the same for everybody tell nothing"
    np.testing.assert_allclose(left_out[0], pets[1:].mean(0) - pets.mean(0), atol=1e-9)
    with pytest.raises(InputError, match="alike"):
        fit_pet_ridge(features, np.ones_like(pets))
    inside = np.ones((3, 3, 3), bool)
    with pytest.raises(InputError, match="constant"):
        mri_features(np.ones((2, 3, 3, 3)), inside)


def test_units_and_offsets_of_an_mri_do_not_count():
    blocks, inside = np.random.default_rng(0).normal(size=(2, 6, 6, 6)), np.ones((6, 6, 6), bool)
    np.testing.assert_allclose(mri_features(blocks * 40 + 700, inside), mri_features(blocks, inside))


@pytest.mark.parametrize("trained", [["sub-02", "sub-03"], ["02", "03"]])
def test_nobody_is_in_both(trained):
    check_apart(trained, ["sub-01", "sub-04"])
    with pytest.raises(InputError, match="sub-02 is among the people tested"):
        check_apart(trained, ["sub-01", "sub-02"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Twelve people on the grid: where the T1w is brighter on the left, so is the PET; the last two are for tests."""
    folder = tmp_path_factory.mktemp("volumes")
    rng, lines = np.random.default_rng(0), []
    inside, left = baselines.brain(), np.arange(MNI_GRID.shape[0])[:, None, None] < 79
    coarse = rng.normal(size=(16, 18, 16)).repeat(10, 0).repeat(10, 1).repeat(10, 2)
    for number in range(12):
        level = rng.normal()
        side = np.where(left, level, -level)
        arrays = {
            "t1w": 100 + 10 * (coarse + side),
            "t2f": 50 - 5 * coarse,
            "measured": np.where(inside, 1.3 + 0.1 * side + 0.05 * coarse, 0),
        }
        row = {"participant_id": f"sub-{number:02d}", "tracer": "AV1451", "age": 60 + number}
        for name, array in arrays.items():
            row[name] = f"{number}-{name}.nii.gz"
            write_volume(array_to_image(array.astype(np.float32)), folder / row[name])
        lines.append(row)
    path = folder / "volumes.tsv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_baselines_of_a_table(table, tmp_path):
    rows = read_volume_table(table, ("t1w", "t2f", "measured"), ["age"])
    assert rows[3].tracer == "TAU" and rows[3].values == {"age": 63} and rows[3].session == "n/a"
    twice = [*rows[:10], rows[0]]  # as a second session; people count once in their mean
    (regression,) = baselines.fit_baselines(twice, ["sub-10", "sub-11"], tmp_path)
    assert regression.tracer == "TAU" and regression.people == tuple(f"sub-{n:02d}" for n in range(10))
    assert not list(tmp_path.iterdir())
    np.testing.assert_allclose(regression.mean, np.mean([row.array("measured") for row in rows[:10]], 0), atol=1e-6)
    inside, left = baselines.brain(), np.arange(160)[:, None, None] < 79
    for row in rows[10:]:
        truth, mri = row.array("measured"), [row.array("t1w"), row.array("t2f")]
        made = regression.guess(mri)
        ours, mean = (np.abs(guess - truth)[inside].mean() for guess in (made, regression.mean))
        assert ours < 0.5 * mean
        assert made.shape == MNI_GRID.shape and not made[~inside].any()
        sides = [volume[inside & left].mean() - volume[inside & ~left].mean() for volume in (made, truth)]
        assert np.sign(sides[0]) == np.sign(sides[1]), "left and right are where they were"
    with pytest.raises(InputError, match="sub-09 is among the people tested"):
        baselines.fit_baselines(rows[:10], ["sub-09"])
    pairs = [{"participant_id": "sub-10", "session": "n/a", "tracer": tracer} for tracer in ("TAU", "TAU", "PIB")]
    (written,) = baselines.write_guesses([regression], pairs, rows[10:], tmp_path)
    assert written["model"] == baselines.RIDGE
    made = regression.guess([rows[10].array("t1w"), rows[10].array("t2f")])
    np.testing.assert_allclose(read_on_grid(written["synthetic"]), made, atol=1e-5)
    for person, told in (("sub-03", "among the people tested"), ("sub-77", "sub-77 is not in the table of MRI")):
        with pytest.raises(InputError, match=told):
            baselines.write_guesses([regression], [{**pairs[0], "participant_id": person}], rows[10:], tmp_path)


def test_few_people_carry_no_regression(table):
    rows = read_volume_table(table, ("t1w", "t2f", "measured"))
    with pytest.warns(RelAPETWarning, match="ridge regression on the MRI of TAU was left out: 2"):
        assert baselines.fit_baselines(rows[:2], []) == []
    with pytest.raises(InputError, match="no row"):
        baselines.fit_baselines([], [])
    with pytest.raises(InputError, match="sub-01 has no measured"):
        baselines.fit_baselines([VolumeRow("sub-01", "n/a", "TAU", {"t1w": "a", "t2f": "b"})], [])


def test_tables_that_cannot_be_used(table, tmp_path):
    text = table.read_text()
    wanted = ("t1w", "t2f", "measured")
    for change, told in (
        (lambda t: t.replace("0-t1w.nii.gz", "none.nii.gz"), "no file .*none.nii.gz"),
        (lambda t: t.replace("sub-01", "sub-00"), "stands there twice"),
        (lambda t: t.replace("AV1451", "FDG"), "unknown tracer"),
        (lambda t: t.replace("\tt2f\t", "\tflair\t"), "no column 't2f'"),
        (lambda t: t.replace("\t", ","), "separated by tabs"),
    ):
        path = table.with_name("bad.tsv")
        path.write_text(change(text))
        with pytest.raises(InputError, match=told):
            read_volume_table(path, wanted)
    path.unlink()
    small = array_to_image(np.zeros(MNI_GRID.shape, np.float32))[1:]
    write_volume(small, tmp_path / "small.nii.gz")
    with pytest.raises(InputError, match="small.nii.gz: .*not on the model grid"):
        VolumeRow("a", "n/a", "TAU", {"t1w": tmp_path / "small.nii.gz"}).array("t1w")


@pytest.mark.slow
def test_the_command_evaluates_the_baselines_beside_a_model(table, tmp_path, capsys):
    """A table of training people gives the regression, their mean, and no third answer; nobody may be in both."""
    from evaluation_study import read_table, write_table

    from RelAPETLib.cli import main

    rows = [{k: str(table.parent / v) if k in ("t1w", "t2f", "measured") else v for k, v in row.items()}
            for row in read_table(table)]  # fmt: skip
    train = write_table(tmp_path / "train.tsv", rows[:10])
    tested = [row | {"synthetic": other["measured"], "model": "other", "space": "MNI"}
              for row, other in zip(rows[10:], rows[9:11], strict=True)]  # fmt: skip
    pairs, mri = write_table(tmp_path / "pairs.tsv", tested), write_table(tmp_path / "mri.tsv", rows[10:])
    words = ["evaluate", "--table", str(pairs), "--mri", str(mri), "--progress", "none", "--resamples", "100"]
    assert main([*words, "--mri-baselines", str(train), "--out", str(tmp_path / "out")]) == 0
    found = read_table(tmp_path / "out" / "regions.tsv")
    assert list(dict.fromkeys(row["model"] for row in found)) == ["other", baselines.RIDGE, MEAN]
    errors = {
        model: np.mean([abs(float(r["synthetic"]) - float(r["measured"])) for r in found if r["model"] == model])
        for model in (baselines.RIDGE, MEAN)
    }
    assert errors[baselines.RIDGE] < 0.7 * errors[MEAN]
    assert "2 PET of 2 people measured" in capsys.readouterr().out, "baselines are nobody's PET"
    both = write_table(tmp_path / "both.tsv", rows[:11])
    assert main([*words, "--mri-baselines", str(both), "--out", str(tmp_path / "none")]) == 2
    assert "sub-10 is among the people tested" in capsys.readouterr().err
