"""The shipped limits against the figures that the benchmark measured on people and pairs which set no limit."""

import json
from pathlib import Path

import pytest

from RelAPETLib.preprocessing import doubts
from RelAPETLib.resources import resource

FIGURES = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "quality_figures.json").read_text())
RULES = json.loads(resource("quality_thresholds.json").read_text(encoding="utf-8"))["thresholds"]
#: Those that were measured elsewhere: of a measured PET in results/reference_pet.md, the others below.
ELSEWHERE = ("pet_coverage", "pet_outline", "t1w_smoothness", "t2f_smoothness")
LIMITS = [limit for limit in RULES if limit["figure"] not in ELSEWHERE]


def chosen(kind, *halves):
    return {n: case for n, case in FIGURES.items() if case["kind"] == kind and case["half"] in halves}


def doubted(case):
    return "refused" in case or bool(doubts(case["quality"]))


def test_what_was_measured():
    same = chosen("one person", "test")
    assert len({name.split("_")[0] for name in same if not name.startswith("ph")}) >= 3
    assert sum("+" in name for name in same) > 2 and sum(name.startswith("ph") for name in same) >= 1
    assert len(chosen("two people", "test", "mixed")) >= 20
    assert len({name.partition("!")[2] for name in chosen("nonsense", "calibration", "test", "mixed")}) >= 6


@pytest.mark.parametrize("name", chosen("one person", "calibration", "test"))
def test_no_pair_of_one_person_is_doubted(name):
    assert "refused" not in FIGURES[name]
    assert doubts(FIGURES[name]["quality"]) == []


def test_nineteen_of_twenty_pairs_of_two_people_are_doubted():
    for halves in (("test",), ("test", "mixed"), ("calibration",)):
        cases = chosen("two people", *halves).values()
        assert sum(map(doubted, cases)) >= 0.95 * len(cases)


@pytest.mark.parametrize("name", chosen("nonsense", "calibration", "test", "mixed"))
def test_all_nonsense_is_doubted(name):
    assert doubted(FIGURES[name])


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: "-".join(sorted(limit)[:2]) + limit["figure"])
def test_limits_leave_brains_some_room(limit):
    """Those of the test half, which set none of the limits."""
    values = [
        c["quality"][limit["figure"]] for c in chosen("one person", "test").values() if limit["figure"] in c["quality"]
    ]
    assert values, "a limit on a figure that nobody measured"
    if "minimum" in limit:
        assert min(values) > 1.05 * limit["minimum"]
    else:
        assert max(values) < 0.95 * limit["maximum"]


SMOOTHNESS = json.loads(
    (Path(__file__).parents[1] / "benchmarks" / "results" / "smoothness.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("figure", ["t1w_smoothness", "t2f_smoothness"])
def test_smoothness_tells_a_pet_from_an_mri(figure):
    """The limit is what the calibration half gave; of the test half, no MRI is doubted and every PET is."""
    (limit,) = [rule["maximum"] for rule in RULES if rule["figure"] == figure]
    sides = [[scan["mm"] for scan in SMOOTHNESS["scans"] if scan["half"] == "calibration" and what in scan["source"]]
             for what in ("MRI", "PET")]  # fmt: skip
    assert limit == pytest.approx((max(sides[0]) * min(sides[1])) ** 0.5, abs=0.05)
    tested = [scan for scan in SMOOTHNESS["scans"] if scan["half"] == "test"]
    assert {scan["source"] for scan in tested} == {"real MRI", "real PET", "simulated MRI", "simulated PET"}
    for scan in tested:
        assert bool(doubts({figure: scan["mm"]})) is ("PET" in scan["source"]), scan
    assert not doubts({figure: 12.0}, "grid")
