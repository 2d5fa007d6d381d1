"""The parts of an evaluation together: from options and tables to files, and mistakes before the work."""

import argparse
import csv

import numpy as np
import pytest
from evaluation_study import write_scale_masks
from matplotlib.image import imread

from RelAPETLib.cli.evaluate_parts import add_options, parts_of
from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import downstream, parts, positivity, scales, uncertainty
from RelAPETLib.evaluation.tsv import as_tsv, read_tsv
from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.outputs import write_set
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import write_volume


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return parts_of(parser.parse_args([str(word) for word in words]))


def region_rows(models=("a", "b"), people=30, tracer="PIB"):
    rng, rows = np.random.default_rng(0), []
    for region in ("frontal", "parietal"):
        for n, measured in enumerate(rng.normal(1.4, 0.3, people)):
            for number, model in enumerate(models):
                made = measured + rng.normal(0, 0.1 + 0.1 * number)
                rows.append(
                    {"participant_id": f"sub-{n}", "session": "n/a", "tracer": tracer, "model": model, "region": region,
                     "atlas": "relapet", "synthetic": made, "measured": measured, "spread": 0.1, "low": made - 0.2,
                     "high": made + 0.2, "volume_ml": 10.0, "in_field": 1.0}
                )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_scale_masks(tmp_path_factory.mktemp("masks"))


def test_nothing_asked_for_gives_figures_of_regions_alone(tmp_path):
    nothing = parsed()
    assert nothing.guesses([], tmp_path) == [] and nothing.writers([]) == {}
    assert list(nothing.writers(region_rows(people=3))) == ["regions_PIB_relapet.png"]


def test_all_tables_of_regions(masks, tmp_path):
    rows = region_rows()
    rng, long = np.random.default_rng(1), []
    for row in rows:
        place = {name: row[name] for name in uncertainty.PLACE}
        long += [{**place, "sample": n, "suvr": row["synthetic"] + rng.normal(0, 0.1)} for n in range(4)]
    (tmp_path / "draws.tsv").write_bytes(as_tsv(long, uncertainty.DRAW_COLUMNS))
    words = ["--scale-masks", masks, "--cutoff", "PIB=frontal:1.4", "--cutoff", "PIB=Centiloid/cortex:20"]
    asked = parsed(*words, "--draws", tmp_path / "draws.tsv", "--nominal", 0.9)
    inside = np.ones(MNI_GRID.shape, bool)
    for n in range(6):
        measured = np.where(asked.masks["Centiloid"]["cortex"], 1 + 0.2 * n, 1).astype(np.float32)
        keys = {"participant_id": f"sub-{n}", "session": "n/a", "tracer": "PIB", "model": "a"}
        asked.pair(keys, 1.1 * measured - 0.05, measured, inside)
    asked.pair({**keys, "tracer": "PBR"}, measured, measured, inside)
    asked.pair(keys, measured, measured, inside, relative=True)
    writers = asked.writers(rows)
    write_set(tmp_path / "out", writers)
    assert set(writers) == {
        "scales.tsv", "positivity.tsv", "uncertainty.tsv", "uncertainty_summary.tsv",
        "regions_PIB_relapet.png", "regions_PIB_Centiloid.png",
    }  # fmt: skip
    told = read_tsv(tmp_path / "out" / "scales.tsv", scales.COLUMNS)
    assert len(told) == 6 and {row["kind"] for row in told} == {scales.ESTIMATED}
    on_scale = read_tsv(tmp_path / "out" / "positivity.tsv", positivity.COLUMNS)
    whose = [(row["atlas"], row["model"]) for row in on_scale]
    assert whose == [("relapet", "a"), ("relapet", "b"), ("Centiloid", "a")]
    assert on_scale[2]["scans"] == "6" and float(on_scale[2]["sensitivity"]) == 1
    assert TRACERS["PIB"].scale.source in asked.notes[0]
    assert "no values of PBR on a scale: it has none" in asked.notes
    assert "no values of relative PET on a scale: it has none" in asked.notes
    assert imread(tmp_path / "out" / "regions_PIB_Centiloid.png").shape[0] > 300


@pytest.mark.slow
def test_ssim_in_the_masks(masks, tmp_path):
    asked = parsed("--scale-masks", masks, "--regional-ssim")
    measured = np.where(asked.masks["Centiloid"]["cortex"], 2, 1).astype(np.float32)
    keys = {"participant_id": "sub-1", "session": "n/a", "tracer": "PIB", "model": "a"}
    asked.pair(keys, measured, measured, np.ones(MNI_GRID.shape, bool))
    write_set(tmp_path / "out", asked.writers([]))
    (row,) = read_tsv(tmp_path / "out" / "regional_ssim.tsv", ("ssim", "region"))
    assert float(row["ssim"]) == 1 and row["region"] == "cortex"
    with pytest.raises(InputError, match="needs the table of its masks"):
        parsed("--regional-ssim")


def volume_table(folder, people, columns):
    rng = np.random.default_rng(0)
    for name in ("t1w", "t2f", "synthetic", "measured"):
        array = rng.normal(1.5, 0.2, (16, 18, 16)).astype(np.float32).repeat(10, 0).repeat(10, 1).repeat(10, 2)
        write_volume(array_to_image(array), folder / f"{name}.nii.gz")
    path = folder / "volumes.tsv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        names = [name for name in columns if name not in ("MMSE",)]
        writer.writerow(["participant_id", "tracer", "model", *columns])
        for n in range(people):
            writer.writerow([f"sub-{n}", "TAU", "x y", *(f"{c}.nii.gz" if c in names else 20 + n % 9 for c in columns)])
    return path


@pytest.mark.slow
def test_downstream_of_a_table(tmp_path):
    table = volume_table(tmp_path, 24, ["t1w", "t2f", "synthetic", "MMSE"])
    asked = parsed("--downstream", table)
    assert asked.budget.minutes == 30 and set(asked.predicted[0].values) == {"MMSE"}
    asked.budget = parts.Budget(epochs=3, minutes=100)
    lines = []
    with pytest.warns(Warning, match="24 people have no measured PET"):
        writers = asked.writers([], progress=lines.append)
    write_set(tmp_path / "out", writers)
    assert set(writers) == {"downstream.tsv", "downstream_people.tsv", "downstream_TAU_x-y.png"}
    rows = read_tsv(tmp_path / "out" / "downstream.tsv", ("target", "arm", "warning"))
    assert {row["warning"] for row in rows} == {downstream.WARNING} and downstream.WARNING in asked.notes
    assert {row["model"] for row in rows} == {"x y"} and len(lines) == 15
    by_person = read_tsv(tmp_path / "out" / "downstream_people.tsv", ("participant_id", "MRI + synthetic", "warning"))
    assert len(by_person) == 24


def test_mistakes_show_before_the_work(tmp_path):
    empty = tmp_path / "empty.tsv"
    empty.write_text("participant_id\ttracer\tt1w\tt2f\tsynthetic\nsub-1\tTAU\tn/a\tn/a\tn/a\n")
    for words, told in (
        (["--cutoff", "PIB:1.4"], "TRACER=REGION:VALUE"),
        (["--scale-masks", tmp_path / "none.tsv"], "none.tsv: no such file"),
        (["--mri-baselines", empty], "two tables"),
        (["--downstream", empty], "no column of age, mmse, moca"),
        (["--downstream", empty, "--target", "cdr"], "no column 'cdr'"),
        (["--draws", empty], "no column 'session'"),
    ):
        with pytest.raises(InputError, match=told):
            parsed(*words)
    for words in (["--nominal", "90"], ["--downstream-minutes", "0"], ["--nominal", "x"]):
        with pytest.raises(argparse.ArgumentError, match="is wanted, not"):
            parsed(*words)
