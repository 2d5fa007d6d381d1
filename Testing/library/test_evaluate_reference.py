"""Reference regions: the measured PET's SUVR is its own, whatever model it is compared with."""

import json

import numpy as np
import pytest
from evaluation_study import GRID, paint, read_table, write_table

from RelAPETLib.cli import main
from RelAPETLib.evaluation.uncertainty import DRAW_COLUMNS
from RelAPETLib.grid import array_to_image
from RelAPETLib.regions import load_regions
from RelAPETLib.volumes import write_volume

CUTOFF, REGION = 1.2, "frontal"
TRUE = {f"sub-{n}": value for n, value in enumerate((1.15, 1.18, 1.3, 1.45))}
#: What two models have in the reference region, where the truth is 1.
LEVELS = {"level": 1.0, "low": 0.85}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tables of four people's PET in Bq/mL beside two models that are right but for the reference region."""
    folder = tmp_path_factory.mktemp("reference")
    names = [region.name for region in load_regions()[1]]
    rows, draws = [], []
    for who, value in TRUE.items():
        truth = np.full(12, value)
        truth[names.index("cerebellar_grey")] = 1
        write_volume(array_to_image(paint(truth) * np.float32(7000), GRID), folder / f"{who}.nii.gz")
        for model, level in LEVELS.items():
            own = folder / f"{who}_{model}"
            own.mkdir()
            made = truth.copy()
            made[names.index("cerebellar_grey")] = level
            write_volume(array_to_image(paint(made), GRID), own / "synthetic_pet_space-MNI.nii.gz")
            (own / "regions.tsv").write_text(
                f"region\tspread\tlow\thigh\n{REGION}\t0.1\t{value - 0.2}\t{value + 0.2}\n"
            )
            lines = [f"{n}\t{REGION}\t{value + 0.1 * n}" for n in (1, 2)]
            (own / "samples.tsv").write_text("\n".join(["sample\tregion\tsuvr", *lines, ""]))
            rows.append({"participant_id": who, "tracer": "PIB", "model": model, "space": "MNI", "measured":
                         f"{who}.nii.gz", "synthetic": f"{who}_{model}/synthetic_pet_space-MNI.nii.gz"})  # fmt: skip
            draws += [dict(zip(DRAW_COLUMNS, (who, "n/a", "PIB", model, "relapet", REGION, n, value + 0.1 * n),
                               strict=True)) for n in (1, 2)]  # fmt: skip
    table, drawn = write_table(folder / "table.tsv", rows), write_table(folder / "draws.tsv", draws)

    def tables(name, *options):
        words = ("--reference-region", "cerebellar_grey", "--resamples", "100", "--out", folder / name, *options)
        assert main(["evaluate", "--progress", "none", "--table", *map(str, (table, *words))]) == 0
        return {path.name: read_table(path) for path in (folder / name).glob("*.tsv")}

    return folder, tables("all", "--cutoff", f"PIB={REGION}:{CUTOFF}", "--uncertainty"), tables, drawn


def column(tables, model, name, region=REGION):
    rows = [row for row in tables["regions.tsv"] if row["region"] == region and row["model"] == model]
    return np.array([float(row[name]) for row in rows])


def test_who_is_positive_is_the_measured_pet_s_business(study):
    _, found, tables, _ = study
    alone = column(tables("alone", "--measured-only"), "n/a", "measured")
    for model in LEVELS:
        assert np.array_equal(column(found, model, "measured"), alone)
    assert [value >= CUTOFF for value in alone] == [value >= CUTOFF for value in TRUE.values()]
    by_model = {row["model"]: row for row in found["positivity.tsv"]}
    assert {(row["positive"], row["negative"]) for row in by_model.values()} == {("2", "2")}
    # The synthetic PET that is low in the reference region is high elsewhere, and its own fault.
    assert float(by_model["level"]["specificity"]) == 1 and float(by_model["low"]["specificity"]) == 0


def test_the_synthetic_pet_is_divided_by_its_own_mean_with_all_that_it_tells(study):
    folder, found, *_ = study
    for model in LEVELS:
        level = 1 / column(found, model, "synthetic", "cerebellar_grey")
        assert np.array_equal(level, np.ones(4))
    ratio = column(found, "low", "synthetic") / column(found, "level", "synthetic")
    assert (ratio > 1.1).all(), "0.85 in the region, less sharply where its neighbours are blurred in"
    for name, offset in (("spread", None), ("low", -0.2), ("high", 0.2)):
        own = column(found, "low", name) / column(found, "level", name)
        np.testing.assert_allclose(own, ratio, rtol=1e-4)
        told = 0.1 if offset is None else np.array(list(TRUE.values())) + offset
        divided = told / column(found, "level", name)
        np.testing.assert_allclose(divided, (column(found, "level", "spread") / 0.1) ** -1, rtol=1e-3)
    images = {row["model"]: float(row["mae"]) for row in found["volumes.tsv"] if row["region"] == "brain"}
    assert images["low"] > images["level"], "images have the same levels as tables"
    facts = json.loads((folder / "all" / "summary.json").read_text())["pairs"]
    assert {fact["units_from"] for fact in facts} == {"divided by its mean in cerebellar_grey"}


def test_the_users_own_samples_go_the_same_way(study):
    _, found, tables, drawn = study
    again = tables("drawn", "--draws", drawn)
    for ours, theirs in zip(found["uncertainty.tsv"], again["uncertainty.tsv"], strict=True):
        assert ours["samples"] == theirs["samples"] and ours["crps"] == theirs["crps"]
    assert {row["samples"] for row in found["uncertainty.tsv"] if row["region"] == REGION} == {"2"}
