"""Downstream prediction: what is in the third channel decides, and only where the MRI lacks it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from RelAPETLib.errors import InputError, LongRunError, RelAPETWarning
from RelAPETLib.evaluation import downstream
from RelAPETLib.evaluation.downstream import people, results, training
from RelAPETLib.evaluation.tsv import as_tsv, read_tsv
from RelAPETLib.evaluation.volume_table import VolumeRow
from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.volumes import write_volume

SHAPE = (8, 8, 8)
PEOPLE = 40


def made_up(people_count=PEOPLE, scans=1, seed=0):
    """Age shows in the MRI, memory in the measured PET alone; the synthetic PET is a function of the MRI."""
    rng, n = np.random.default_rng(seed), people_count * scans
    age, memory = (np.repeat(values, scans) for values in rng.normal(size=(2, people_count)))
    noise = rng.normal(0, 0.3, (4, n, *SHAPE))
    half = np.arange(SHAPE[0])[:, None, None] < SHAPE[0] // 2
    bright = [np.where(half, v[:, None, None, None], -v[:, None, None, None]) for v in (age, memory)]
    mri = np.stack([bright[0] + noise[0], noise[1]], 1)
    names = tuple(f"sub-{number:02d}" for number in range(people_count) for _ in range(scans))
    return people.Cohort(names, mri, 0.5 * mri[:, 0], bright[1] + noise[2], {"age": age, "memory": memory})


@pytest.fixture(scope="module")
def outcome():
    return training.run(made_up(), training.Budget(epochs=14, minutes=100))


@pytest.fixture(scope="module")
def rows(outcome):
    return results.summary_rows(outcome, "TAU", "demo")


def value(rows, target, arm, what, against=None):
    (row,) = [r for r in rows if (r["target"], r["arm"], r["what"], r["against"]) == (target, arm, what, against)]
    return row


def test_only_what_the_mri_lacks_helps(rows):
    synthetic, measured = people.SYNTHETIC, people.MEASURED
    for arm in (people.MRI, synthetic, people.SHUFFLED, measured):
        assert value(rows, "age", arm, "correlation")["low"] > 0.2, arm
    assert value(rows, "memory", measured, "correlation")["low"] > 0.5
    for arm in (people.MRI, synthetic, people.SHUFFLED):
        assert abs(value(rows, "memory", arm, "correlation")["value"]) < 0.5, arm
    assert value(rows, "memory", measured, "difference of MAE", people.MRI)["high"] < 0
    assert value(rows, "memory", synthetic, "difference of MAE", people.MRI)["low"] < 0.05
    assert value(rows, "age", people.MRI, "MAE")["high"] < value(rows, "age", training.NOBODY, "MAE")["value"]


def test_figures_are_those_of_the_predictions(outcome, rows):
    truth, made = outcome.targets["age"], outcome.predicted[people.MRI]["age"]
    assert value(rows, "age", people.MRI, "MAE")["value"] == pytest.approx(np.abs(made - truth).mean())
    assert value(rows, "age", people.MRI, "RMSE")["value"] == pytest.approx(math.sqrt(((made - truth) ** 2).mean()))
    assert value(rows, "age", people.MRI, "correlation")["value"] == pytest.approx(np.corrcoef(made, truth)[0, 1])
    other = np.abs(outcome.predicted[people.SYNTHETIC]["age"] - truth).mean()
    row = value(rows, "age", people.SYNTHETIC, "difference of MAE", people.MRI)
    assert row["value"] == pytest.approx(other - np.abs(made - truth).mean())
    assert {row["people"] for row in rows} == {PEOPLE} and outcome.epochs == 14
    parts = people.folds_of(outcome.people, 0)
    for part in range(people.FOLDS):
        nobody = outcome.predicted[training.NOBODY]["age"][parts == part]
        assert nobody == pytest.approx(truth[parts != part].mean())


def test_tables_and_picture_carry_the_warning(outcome, rows, tmp_path):
    (tmp_path / "d.tsv").write_bytes(as_tsv(rows, results.COLUMNS))
    (tmp_path / "p.tsv").write_bytes(as_tsv(results.person_rows(outcome), results.person_columns(outcome)))
    read = read_tsv(tmp_path / "d.tsv", results.COLUMNS), read_tsv(tmp_path / "p.tsv", results.person_columns(outcome))
    assert len(read[1]) == 2 * PEOPLE and float(read[1][0]["truth"]) == pytest.approx(
        outcome.targets["age"][0], rel=1e-4
    )
    for table in read:
        assert all("no new information" in row["warning"] and "outcome" in row["warning"] for row in table)
    results.draw(rows, tmp_path / "d.png")
    from matplotlib.image import imread

    picture = imread(tmp_path / "d.png")
    red = (picture[..., 0] > 0.6) & (picture[..., 1] < 0.3)
    assert red[int(0.85 * len(picture)) :].sum() > 200, "the warning stands at the foot"


def test_the_same_seed_is_the_same_experiment():
    cohort = made_up(20)
    outcomes = [training.run(cohort, training.Budget(epochs=3, minutes=100), seed=seed) for seed in (4, 4, 5)]
    for arm in (people.MRI, people.SHUFFLED):
        first, again, other = (found.predicted[arm]["age"] for found in outcomes)
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)


def test_arms_differ_in_the_third_channel_alone():
    """With nothing in the third channel all arms are the same network, trained in the same order."""
    cohort = made_up(20)
    empty = replace(cohort, synthetic=0 * cohort.synthetic, measured=0 * cohort.measured)
    found = training.run(empty, training.Budget(epochs=3, minutes=100)).predicted
    for arm in (people.SYNTHETIC, people.SHUFFLED, people.MEASURED):
        np.testing.assert_array_equal(found[arm]["age"], found[people.MRI]["age"])


def test_nobody_is_in_two_parts_and_nobody_gets_his_own():
    names = [f"sub-{n}" for n in range(23) for _ in range(1 + n % 3)]
    parts = people.folds_of(names, 1)
    by_person = {name: {part for other, part in zip(names, parts, strict=True) if other == name} for name in names}
    assert all(len(own) == 1 for own in by_person.values()) and len(np.unique(parts)) == people.FOLDS
    other = people.somebody_else(names, parts, 1)
    assert sorted(other) == list(range(len(names)))
    for row, taken in enumerate(other):
        assert names[row] != names[taken] and parts[row] == parts[taken]
    with pytest.raises(InputError, match="more than half"):
        people.somebody_else(["a", "a", "a", "b"], np.zeros(4, int), 0)


def test_missing_values_are_left_out():
    cohort = made_up(24)
    cohort.targets["age"][:4] = np.nan
    few = np.full(24, np.nan)
    few[:5] = range(5)
    cohort.targets.update(moca=few, mmse=np.full(24, 30.0))
    with pytest.warns(RelAPETWarning, match="moca was left out: known of 5|mmse was left out: all alike"):
        found = training.run(cohort, training.Budget(epochs=3, minutes=100))
    assert list(found.targets) == ["age", "memory"]
    rows = results.summary_rows(found, "TAU", "demo")
    assert value(rows, "age", people.MRI, "MAE")["people"] == 20
    assert value(rows, "memory", people.MRI, "MAE")["people"] == 24
    assert all(np.isfinite(values).all() for arm in found.predicted.values() for values in arm.values())
    with pytest.warns(RelAPETWarning), pytest.raises(InputError, match="nothing to predict"):
        people.usable_targets(replace(cohort, targets={"mmse": few}))


def test_too_few_people_and_too_little_time():
    with pytest.raises(InputError, match="19 people are too few"):
        made_up(19)
    with pytest.raises(LongRunError, match="minutes allow no training"):
        training.run(made_up(20), training.Budget(minutes=1e-6))


def test_fewer_epochs_where_the_minutes_are_few(monkeypatch):
    times = iter([0.0, 0.1])
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(times))
    inputs = {arm: np.zeros((64, 3, *SHAPE), np.float32) for arm in "abcd"}
    # 0.1 s for 64 of 64 people: a pass of four arms over four fifths, five times, takes 1.6 s.
    with pytest.warns(RelAPETWarning, match="7 epochs in place of 30"):
        assert training._epochs(training.Budget(minutes=0.2), inputs, np.zeros((64, 1))) == 7


@pytest.mark.slow
def test_people_of_a_table(tmp_path):
    coarse = np.random.default_rng(0).normal(100, 10, (2, 16, 18, 16)).astype(np.float32)
    for name, array in zip(("t1w", "t2f"), coarse.repeat(10, 1).repeat(10, 2).repeat(10, 3), strict=True):
        write_volume(array_to_image(array), tmp_path / f"{name}.nii.gz")
    marked = np.ones(MNI_GRID.shape, np.float32)
    marked[:8, 2:10, :8] = 3
    write_volume(array_to_image(marked), tmp_path / "synthetic.nii.gz")
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("t1w", "t2f", "synthetic")}
    rows = [VolumeRow(f"sub-{n:02d}", "n/a", "TAU", files, {"age": n}) for n in range(25)]
    with pytest.warns(RelAPETWarning, match="20 of 25 people|20 people have no measured"):
        cohort = people.load_cohort(rows, most=20)
    assert cohort.mri.shape == (20, 2, 20, 22, 20) and cohort.measured is None
    assert cohort.synthetic[0, 0, 0, 0] == 3 and (cohort.synthetic[0].ravel()[1:] == 1).all()
    assert len(people.arms_of(cohort, people.folds_of(cohort.people, 0), 0)) == 3
    for change, told in (
        ({"tracer": "PIB"}, "one tracer at a time"),
        ({"files": {**files, "measured": files["t1w"], "t2f": files["synthetic"]}}, "sub-00: an MRI is constant"),
        ({"files": {"t1w": files["t1w"], "measured": files["t1w"]}}, "sub-00 has no t2f"),
    ):
        bad = VolumeRow("sub-00", "n/a", **{"tracer": "TAU", "files": {**files, "measured": files["t1w"]}, **change})
        others = [replace(row, files=bad.files) for row in rows[1:3]]
        with pytest.raises(InputError, match=told):
            people.load_cohort([bad, *(rows[1:3] if told.startswith("one") else others)])


def test_the_warning_says_it():
    assert "function of the MRI" in downstream.WARNING and "no new information" in downstream.WARNING
