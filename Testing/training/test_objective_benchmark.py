"""The screening's figures of distributions, and its tables of figures old and new."""

import numpy as np
import pytest
from benchmark_scripts import benchmark_script


@pytest.fixture(scope="module")
def objective():
    return benchmark_script("objective")


@pytest.mark.parametrize("draws", [16, 120])
def test_eight_of_ten_values_lie_in_the_intervals_of_their_own_distribution(objective, draws):
    random = np.random.default_rng(draws)
    own, narrow = [], []
    for _ in range(2000):
        predictive, measured = random.normal(size=(draws, 12)), random.normal(size=12)
        own.append(objective.covered(predictive, measured))
        narrow.append(objective.covered(0.5 * predictive, measured))
    assert np.mean(own) == pytest.approx(0.8, abs=0.02) and np.mean(narrow) < 0.55


def test_a_table_has_the_coverage_where_it_was_measured(objective):
    from objective_figures import HEAD, table

    def result(name, **more):
        rows = [{"case": f"sub-{n}", "tracer": tracer, "one": 30.0 + n, "mean": 31.0 + n, "crps": 0.1, "distance": 0.01,
                 "spread": 0.1 + n, "ideal_spread": 0.1 + n, **more}
                for n in range(3) for tracer in ("TAU", "PIB", "PBR")]  # fmt: skip
        return {"name": name, "seed": 0, "people": 5, "steps": 9, "seconds": 60, "rows": rows}

    before = [result(name) for name in ("population mean", "ridge_head", "ideal")]
    lines = table(before, [result("v"), result("noise", covered=0.75)], ["v", "noise"])
    assert HEAD[0].endswith("in 80 % intervals |") and len({line.count("|") for line in lines}) == 1
    assert [line.endswith("| 0.750 ± 0.000 |") for line in lines if line.startswith("| noise")] == [True] * 3
    assert [line.endswith("|  |") for line in lines if line.startswith("| v ")] == [True] * 3
