"""Positivity by a cut-off: figures by hand, intervals over people, and what cannot be said."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import positivity as p
from RelAPETLib.evaluation.resampling import over_people, share


def region_rows(made, measured, model="a", atlas="own", region="frontal", tracer="PIB"):
    return [
        {"participant_id": f"sub-{n}", "session": "n/a", "tracer": tracer, "model": model, "atlas": atlas,
         "region": region, "synthetic": a, "measured": b}
        for n, (a, b) in enumerate(zip(made, measured, strict=True))
    ]  # fmt: skip


def test_figures_by_hand():
    """Wilson's interval of 3 of 4 and of 4 of 5 (R: binom::binom.wilson)."""
    measured = [1.6, 1.7, 1.8, 1.5, 1.0, 1.1, 1.2, 1.3, 1.4]
    made = [1.6, 1.4, 1.7, 1.9, 1.0, 1.2, 1.1, 1.55, 1.3]
    found = p.positivity(made, measured, list("abcdefghi"), 1.5)
    assert (found["people"], found["scans"], found["positive"], found["negative"]) == (9, 9, 4, 5)
    assert found["sensitivity"] == 0.75 and found["specificity"] == 0.8
    assert (found["sensitivity_low"], found["sensitivity_high"]) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert (found["specificity_low"], found["specificity_high"]) == pytest.approx((0.3755, 0.9638), abs=1e-4)
    assert found["auc"] == pytest.approx(19 / 20)  # of 20 pairs one is the wrong way round
    assert found["auc_low"] < found["auc"] <= found["auc_high"] and not found["note"]


def test_resamples_are_scored_as_the_whole_is():
    rng = np.random.default_rng(3)
    for _ in range(20):
        score, status = rng.integers(0, 6, 25).astype(float), rng.random(25) < 0.4  # with ties
        if status.any() and not status.all():
            assert p._quick_auc(score, status) == pytest.approx(roc_auc_score(status, score))
    assert math.isnan(p._quick_auc(np.ones(3), np.ones(3, bool)))


def test_who_reaches_the_cutoff_is_positive_on_both():
    found = p.positivity([1.5, 1.49], [1.5, 1.49], ["a", "b"], 1.5)
    assert found["sensitivity"] == found["specificity"] == 1


def test_scans_of_one_person_are_not_several_people():
    rng = np.random.default_rng(0)
    measured, made = rng.normal(1.4, 0.3, (2, 40))
    once = p.positivity(made, measured, [str(n) for n in range(40)], 1.4, resamples=500)
    again = p.positivity(np.tile(made, 4), np.tile(measured, 4), [str(n) for n in range(40)] * 4, 1.4, resamples=500)
    for name in ("sensitivity", "specificity", "auc"):
        assert again[name] == pytest.approx(once[name])
        wide = [found[f"{name}_high"] - found[f"{name}_low"] for found in (once, again)]
        assert wide[1] == pytest.approx(wide[0], rel=0.3), "four scans each must not halve the interval"
    assert again["people"] == 40 and again["scans"] == 160


def test_what_cannot_be_said_is_missing_with_its_reason():
    none = p.positivity([1.0, 1.2, 1.1], [1.0, 1.1, 1.2], list("abc"), 1.5)
    assert math.isnan(none["sensitivity"]) and math.isnan(none["auc"]) and none["specificity"] == 1
    assert "all measured PET are negative" in none["note"]
    apart = p.positivity([1.0] * 5 + [2.0] * 5, [1.0] * 5 + [2.0] * 5, list("abcdefghij"), 1.5)
    assert apart["auc"] == 1 and math.isnan(apart["auc_low"]) and "no interval of the AUC" in apart["note"]
    one = p.positivity([1.0, 2.0, 2.0], [1.0, 2.0, 2.0], ["a", "a", "a"], 1.5)
    assert one["people"] == 1 and math.isnan(one["sensitivity_low"]) and "no interval of the sensitivity" in one["note"]


def test_rows_of_the_table():
    rng = np.random.default_rng(1)
    measured = rng.normal(1.4, 0.2, 30)
    rows = region_rows(measured + rng.normal(0, 0.05, 30), measured)
    rows += region_rows(rng.normal(1.4, 0.2, 30), measured, "b")
    rows += region_rows([1.0], ["n/a"]) + region_rows(measured, measured, tracer="TAU")
    good, chance = p.positivity_rows(rows, [p.parse_cutoff("pib=frontal:1.4")], resamples=300)
    assert (good["model"], chance["model"], good["cutoff"], good["scans"]) == ("a", "b", 1.4, 30)
    assert good["auc"] > 0.9 and good["auc_low"] > chance["auc"] and chance["auc_low"] < 0.5 < chance["auc_high"]
    assert set(p.COLUMNS) == set(good)
    with pytest.raises(InputError, match="region 'cortex'.*use one of frontal"):
        p.positivity_rows(rows, [p.parse_cutoff("PIB=cortex:1.4")])
    with pytest.raises(InputError, match="no pair of PBR"):
        p.positivity_rows(rows, [p.parse_cutoff("PBR=frontal:1.4")])
    rows += region_rows(measured, measured, atlas="other")
    with pytest.raises(InputError, match="write one of other/frontal, own/frontal"):
        p.positivity_rows(rows, [p.parse_cutoff("PIB=frontal:1.4")])
    (row,) = p.positivity_rows(rows, [p.parse_cutoff("PIB=other/frontal:1.4")], resamples=100)
    assert row["atlas"] == "other" and row["sensitivity"] == 1


@pytest.mark.parametrize("text", ["", "PIB", "PIB=frontal", "PIB=:1.4", "PIB=frontal:high", "PIB=frontal:nan", "X=a:1"])
def test_a_cutoff_that_cannot_be_read(text):
    with pytest.raises(InputError, match="TRACER=REGION:VALUE|unknown tracer"):
        p.parse_cutoff(text)


def test_intervals_cover():
    """Of 200 experiments of 40 people with two scans each, about 95 % of the intervals hold the truth."""
    rng, held = np.random.default_rng(2), 0
    people = [str(n) for n in range(40)] * 2
    for number in range(200):
        values = np.tile(rng.normal(0, 1, 40), 2) + rng.normal(0, 0.3, 80)
        low, high = over_people(people, lambda chosen, v=values: float(v[chosen].mean()), seed=number, resamples=200)
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.99


@pytest.mark.parametrize("people", range(3, 40))
def test_the_ends_of_none_and_of_all_are_0_and_1(people):
    none, every = (share(np.full(people, hit), range(people)) for hit in (False, True))
    assert none[:2] == (0, 0) and 0 < none[2] < 1
    assert every[0] == every[2] == 1 and 0 < every[1] < 1


def test_a_share_of_nothing():
    assert all(map(math.isnan, share(np.array([], bool), [])))
