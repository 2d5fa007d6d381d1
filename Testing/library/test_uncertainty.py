"""Scores of stated uncertainty: against an oracle, on honest and on dishonest intervals."""

import math

import numpy as np
import pytest
import scoringrules
from scipy.stats import spearmanr

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import uncertainty as u
from RelAPETLib.evaluation.parts import Parts
from RelAPETLib.evaluation.tsv import as_tsv, read_tsv


def simulated(people=90, samples=20, told=1.0, seed=0, regions=("frontal", "parietal")):
    """Rows of regions and draws of a model that knows the truth but for noise of a SD that it states `told` times."""
    rng, rows, draws = np.random.default_rng(seed), [], {}
    for n in range(people):
        sd = rng.uniform(0.05, 0.2)
        for region in regions:
            known = rng.normal(1.4, 0.3)
            own = known + told * sd * rng.normal(size=samples)
            row = {"participant_id": f"sub-{n}", "session": "n/a", "tracer": "TAU", "model": "m", "atlas": "a"}
            row |= {"region": region, "synthetic": own.mean(), "measured": known + sd * rng.normal(), "spread": "n/a"}
            row |= dict(zip(("low", "high"), known + np.array([-1, 1]) * 1.6449 * told * sd, strict=True))
            rows.append(row)
            draws[tuple(row[name] for name in u.PLACE)] = own
    return rows, draws


def line(rows, what, region="all"):
    (found,) = [row for row in rows if row["what"] == what and row["region"] == region]
    return found


def test_crps_is_the_fair_one_of_an_oracle():
    rows, draws = simulated(people=5)
    for row in u.uncertainty_rows(rows, draws):
        own = draws[tuple(row[name] for name in u.PLACE)]
        assert row["crps"] == pytest.approx(scoringrules.crps_ensemble(row["measured"], own, estimator="fair"))
        assert row["spread"] == pytest.approx(own.std(ddof=1)) and row["samples"] == 20
        assert row["error"] == pytest.approx(own.mean() - row["measured"])


def test_an_honest_model_and_one_that_is_too_sure():
    found = {}
    for told in (1.0, 0.4):
        rows, draws = simulated(told=told)
        found[told] = u.summary_rows(u.uncertainty_rows(rows, draws), nominal=0.9, resamples=300)
    honest, sure = found[1.0], found[0.4]
    assert line(honest, "coverage")["value"] == pytest.approx(0.9, abs=0.05)
    assert line(honest, "coverage")["low"] < 0.9 < line(honest, "coverage")["high"]
    assert line(sure, "coverage")["high"] < 0.7 and line(sure, "coverage")["note"].startswith("meant: 90%")
    ratio = line(honest, "spread / error")
    assert ratio["low"] < 1 < ratio["high"] and line(sure, "spread / error")["high"] < 0.7
    assert line(honest, "rank correlation")["low"] > 0
    rows, draws = simulated()
    scans = u.uncertainty_rows(rows, draws)
    oracle = spearmanr([row["spread"] for row in scans], [abs(row["error"]) for row in scans]).statistic
    assert line(honest, "rank correlation")["value"] == pytest.approx(oracle)
    assert line(honest, "crps")["value"] < line(sure, "crps")["value"]
    assert line(honest, "crps")["people"] == 90 and line(honest, "crps")["scans"] == 180


def test_coverage_by_tercile_shows_what_the_mean_hides():
    """Intervals that hold everybody but the highest third."""
    rows, _ = simulated(regions=("frontal",))
    edge = np.quantile([row["measured"] for row in rows], 2 / 3)
    for row in rows:
        ends = (0, 9) if row["measured"] <= edge else (0, 0.1)
        row |= dict(zip(("low", "high"), ends, strict=True))
    found = u.summary_rows(u.uncertainty_rows(rows), resamples=200)
    assert line(found, "coverage", "frontal")["value"] == pytest.approx(2 / 3)
    shares = [line(found, f"coverage, {third}", "frontal")["value"] for third in u.TERCILES]
    assert shares == [1, 1, 0] and line(found, "coverage, high", "frontal")["scans"] == 30
    assert not [row for row in found if row["region"] == "all"], "one region alone is all of them"
    assert not [row for row in found if row["what"] == "crps"], "without draws there is no CRPS"


def test_a_reference_region_is_no_success_of_anybody():
    """Both PET are 1 in it by definition: its rows would be errors of 0 that every interval covers."""
    rows, draws = simulated(people=12)
    plain = u.summary_rows(u.uncertainty_rows(rows, draws), resamples=100)
    reference = [
        {**row, "region": "cerebellar_grey", "synthetic": 1.0, "measured": 1.0, "low": 0.9, "high": 1.1}
        for row in rows
        if row["region"] == "frontal"
    ]
    draws |= {tuple(row[name] for name in u.PLACE): np.ones(20) for row in reference}
    scans = u.uncertainty_rows([*rows, *reference], draws)
    assert len(scans) == 36, "its rows stay in uncertainty.tsv"
    assert u.summary_rows(scans, resamples=100) == plain
    reference[0] |= {"measured": 1.2}  # it is none
    both = u.summary_rows(u.uncertainty_rows([*rows, *reference], draws), resamples=100)
    assert line(both, "coverage", "cerebellar_grey")["scans"] == 12 and line(both, "coverage")["scans"] == 36


def test_thirds():
    assert u.terciles([5, 1, 3, 2, 6, 4]).tolist() == [2, 0, 1, 0, 2, 1]
    assert u.terciles([1, 1, 1]).tolist() == [0, 0, 0]


def test_degenerate_tables_are_said():
    rows, _ = simulated(people=2, regions=("frontal",))
    for row in rows:
        row |= {"spread": 0.1, "synthetic": row["measured"]}
    found = u.summary_rows(u.uncertainty_rows(rows), resamples=200)
    assert "no interval" in line(found, "coverage", "frontal")["note"] or line(found, "coverage", "frontal")["low"] > 0
    ratio, ranks = line(found, "spread / error", "frontal"), line(found, "rank correlation", "frontal")
    assert math.isnan(ratio["value"]) and math.isnan(ranks["value"]) and "the same everywhere" in ranks["note"]
    without = [{**row, "low": "n/a", "high": "n/a", "spread": "n/a"} for row in rows]
    (first, *_) = u.uncertainty_rows(without)
    assert first["covered"] is None and u.summary_rows(u.uncertainty_rows(without)) == []
    assert u.uncertainty_rows([{**row, "measured": "n/a"} for row in rows]) == []


def test_tables_there_and_back(tmp_path):
    rows, draws = simulated(people=3)
    table = tmp_path / "draws.tsv"
    long = [
        dict(zip(u.PLACE, place, strict=True)) | {"sample": n, "suvr": value}
        for place, own in draws.items()
        for n, value in enumerate(own)
    ]
    table.write_bytes(as_tsv(long, u.DRAW_COLUMNS))
    read = u.draws_of(read_tsv(table, u.DRAW_COLUMNS))
    assert read.keys() == draws.keys()
    np.testing.assert_allclose(*[np.array(list(d.values())) for d in (read, draws)], rtol=1e-5)
    (tmp_path / "u.tsv").write_bytes(as_tsv(u.uncertainty_rows(rows, read), u.COLUMNS))
    back = read_tsv(tmp_path / "u.tsv", u.COLUMNS)
    assert {row["covered"] for row in back} <= {"yes", "no"} and len(back) == 6
    with pytest.raises(InputError, match="no number"):
        u.draws_of([{**long[0], "suvr": "much"}])


def test_draws_find_their_regions_or_a_note_says_that_they_do_not():
    """A table of draws may leave a session empty and call the tracer by another of its names."""
    rows, draws = simulated(people=3, samples=4)
    places = [dict(zip(u.PLACE, place, strict=True)) | {"session": "", "tracer": "AV1451"} for place in draws]
    long = [place | {"suvr": value, "pair": "1"} for place, own in zip(places, draws.values(), strict=True)
            for value in own]  # fmt: skip
    assert u.draws_of(long).keys() == u.couples_of(long).keys() == draws.keys()
    parts = Parts(uncertain=True, draws=dict(draws), asked=frozenset(draws))
    parts._figures = lambda regions: {}
    parts.writers(rows)
    assert not parts.notes
    parts.writers(rows[:4])
    (note,) = parts.notes
    assert note.startswith("draws of 2 of 6 places in the table are of no person")
