"""How far a phantom is laid from where its anatomy has it, as the benchmark of preprocessing says."""

import sys
from pathlib import Path

import numpy as np
import pytest

from RelAPETLib.phantom.people import FIELD_GRID, displacement, make_person, sample
from RelAPETLib.phantom.scanner import LPS, pose

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_a_place_is_from_the_truth_as_far_as_it_is_moved(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import preprocessing_speed

    seed, number = preprocessing_speed.PHANTOMS[1]
    person = make_person(seed, number)
    own = np.random.default_rng(0).uniform(-40, 40, (3, 50, 1, 1))
    there = own + sample(displacement(person, "full"), own, FIELD_GRID, edge=True)
    to_scanner = pose(person, "T1w")
    t1w = own.reshape(3, -1).T @ to_scanner[:3, :3].T + to_scanner[:3, 3]
    grid = there.reshape(3, -1).T
    for moved in (0.0, 3.0):
        points = [(grid + [0, moved, 0]) @ LPS, t1w @ LPS, None, None]
        found = preprocessing_speed.from_truth(f"phantom {number}", {"points": points})
        assert found == pytest.approx(moved, abs=1e-3)
    sys.modules.pop("preprocessing_speed")
