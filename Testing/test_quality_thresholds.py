"""The shipped thresholds against the figures that the benchmark measured on brains and on nonsense."""

import json
from pathlib import Path

import pytest

from RelAPETLib.preprocessing import doubts
from RelAPETLib.resources import resource

FIGURES = json.loads((Path(__file__).parent / "benchmarks" / "results" / "quality_figures.json").read_text())
LIMITS = [
    limit
    for limit in json.loads(resource("quality_thresholds.json").read_text(encoding="utf-8"))["thresholds"]
    if not limit["figure"].startswith("pet_")  # of a measured PET: results/reference_pet.md
]
BRAINS, NONSENSE = FIGURES["brains"], FIGURES["nonsense"]


def test_what_was_measured():
    assert "real pair" in BRAINS and sum(name.startswith("phantom") for name in BRAINS) >= 40
    assert len({name.split(" (")[0] for name in NONSENSE}) >= 6
    assert not any("refused" in case for case in BRAINS.values())


@pytest.mark.parametrize("name", BRAINS)
def test_no_brain_is_doubted(name):
    assert doubts(BRAINS[name]) == []


@pytest.mark.parametrize("name", NONSENSE)
def test_all_nonsense_is_doubted(name):
    assert "refused" in NONSENSE[name] or doubts(NONSENSE[name])


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit["figure"])
def test_limits_leave_brains_some_room(limit):
    values = [case[limit["figure"]] for case in BRAINS.values() if limit["figure"] in case]
    assert values, "a limit on a figure that nobody measured"
    if "minimum" in limit:
        assert min(values) > 1.1 * limit["minimum"]
    else:
        assert max(values) < 0.9 * limit["maximum"]
