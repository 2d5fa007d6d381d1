"""Reference regions: the measured PET's SUVR is its own, whatever model it is compared with."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_study import GRID, paint, write_table

from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.parts import read_parts
from RelAPETLib.evaluation.positivity import parse_cutoff, positivity_rows
from RelAPETLib.evaluation.run import measure_all
from RelAPETLib.evaluation.settings import Settings
from RelAPETLib.evaluation.uncertainty import DRAW_COLUMNS
from RelAPETLib.grid import array_to_image
from RelAPETLib.regions import load_regions
from RelAPETLib.volumes import write_volume

CUTOFF, REGION, REFERENCE = 1.2, "frontal", "cerebellar_grey"
TRUE = {"sub-0": 1.15, "sub-1": 1.35}
#: What two models have in the reference region, where the truth is 1.
LEVELS = {"level": 1.0, "low": 0.85}
SETTINGS = Settings(reference_region=REFERENCE)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two people's PET in Bq/mL beside two models that are right but for the reference region, and a table of draws."""
    folder = tmp_path_factory.mktemp("reference")
    reference = [region.name for region in load_regions()[1]].index(REFERENCE)
    pairs, draws = [], []
    for who, value in TRUE.items():
        truth = np.where(np.arange(12) == reference, 1, value)
        write_volume(array_to_image(paint(truth) * np.float32(7000), GRID), measured := folder / f"{who}.nii.gz")
        for model, level in LEVELS.items():
            own = folder / f"{who}_{model}"
            own.mkdir()
            made = np.where(np.arange(12) == reference, level, value)
            write_volume(array_to_image(paint(made), GRID), own / "synthetic_pet_space-MNI.nii.gz")
            (own / "regions.tsv").write_text(
                f"region\tspread\tlow\thigh\n{REGION}\t0.1\t{value - 0.2}\t{value + 0.2}\n"
            )
            samples = [(n, value + 0.1 * n) for n in (1, 2)]
            lines = [f"{n}\t{REGION}\t{suvr}" for n, suvr in samples]
            (own / "samples.tsv").write_text("\n".join(["sample\tregion\tsuvr", *lines, ""]))
            pairs.append(Pair(who, "", "PIB", model, own / "synthetic_pet_space-MNI.nii.gz", measured, space="MNI"))
            draws += [dict(zip(DRAW_COLUMNS, (who, "n/a", "PIB", model, "relapet", REGION, *sample), strict=True))
                      for sample in samples]  # fmt: skip
    given = write_table(folder / "draws.tsv", draws)
    return pairs, measure_all(pairs, SETTINGS, parts=(parts := read_parts(uncertain=True))), parts, given


def column(found, model, name, region=REGION):
    rows = [value.row() for value in found.regions if value.what == "suvr"]
    return np.array([row[name] for row in rows if (row["region"], row["model"]) == (region, model)])


def test_who_is_positive_is_the_measured_pets_business(study):
    pairs, found, *_ = study
    alone = [replace(pair, synthetic=None, model="") for pair in pairs if pair.model == "low"]
    alone = column(measure_all(alone, replace(SETTINGS, measured_only=True)), "n/a", "measured")
    for model in LEVELS:
        assert np.array_equal(column(found, model, "measured"), alone)
    assert [value >= CUTOFF for value in alone] == [False, True]
    rows = [value.row() for value in found.regions if value.what == "suvr"]
    by_model = {row["model"]: row for row in positivity_rows(rows, [parse_cutoff(f"PIB={REGION}:{CUTOFF}")])}
    assert {(row["positive"], row["negative"]) for row in by_model.values()} == {(1, 1)}
    # The synthetic PET that is low in the reference region is high elsewhere, and that is its own fault.
    assert by_model["level"]["specificity"] == 1 and by_model["low"]["specificity"] == 0


def test_the_synthetic_pet_is_divided_by_its_own_mean_with_all_that_it_tells(study):
    _, found, *_ = study
    for model in LEVELS:
        assert (column(found, model, "synthetic", REFERENCE) == 1).all()
    ratio = column(found, "low", "synthetic") / column(found, "level", "synthetic")
    assert (ratio > 1.1).all(), "0.85 in the region, and less than that low at its rim on voxels of 4 mm"
    for name in ("spread", "low", "high"):
        np.testing.assert_allclose(column(found, "low", name) / column(found, "level", name), ratio, rtol=1e-5)
    level = 0.1 / column(found, "level", "spread")
    np.testing.assert_allclose(column(found, "level", "high"), (np.array(list(TRUE.values())) + 0.2) / level, rtol=1e-5)
    images = {row.method: row.mae for row in found.images if row.region == "brain"}
    assert images["low"] > images["level"], "images have the levels of the tables"
    assert {fact["units_from"] for fact in found.facts} == {f"divided by its mean in {REFERENCE}"}


def test_samples_are_divided_as_their_pet_is_whoever_brings_them(study):
    pairs, found, told, table = study
    given = read_parts(draws=table)
    measure_all(pairs[-1:], SETTINGS, parts=given)
    key = (*pairs[-1].key.values(), "relapet", REGION)
    level = 0.1 / column(found, "low", "spread")[-1]
    np.testing.assert_allclose(told.draws[key], (TRUE["sub-1"] + np.array([0.1, 0.2])) / level, rtol=1e-5)
    np.testing.assert_allclose(given.draws[key], told.draws[key], rtol=1e-5)
