"""Known answers of Testing/benchmarks/estimators.py."""

import numpy as np
import pytest
from benchmark_scripts import benchmark_script


@pytest.fixture(scope="module")
def estimators():
    return benchmark_script("estimators")


@pytest.fixture(scope="module")
def people():
    """Features of 120 people to fit to and 60 others, and uptake of three tracers that is linear in three of them."""
    generator = np.random.default_rng(0)
    features, seen = generator.normal(size=(120, 20)), generator.normal(size=(60, 20))
    effects = {name: generator.normal(size=(3, 12)) for name in ("TAU", "PIB", "PBR")}
    scans = {}
    for place, (name, effect) in enumerate(effects.items()):
        scans[name] = 1.2 + features[:, :3] @ effect + generator.normal(0, 0.3, (120, 12))
        scans[name][place::3] = np.nan
    return features, seen, scans, {name: 1.2 + seen[:, :3] @ effect for name, effect in effects.items()}


@pytest.mark.slow
def test_every_kind_predicts_strangers(estimators, people):
    """And what it says of one does not depend on who else is measured."""
    features, seen, scans, truth = people
    own = ~np.isnan(scans["PIB"][:, 0])
    spread = truth["PIB"].std(0).mean()
    for name, kind in estimators.KINDS.items():
        predict = kind(features[own], scans["PIB"][own], features, scans)
        guess = predict(seen)
        error = np.sqrt(np.square(guess - truth["PIB"]).mean())
        assert guess.shape == (60, 12) and error < (0.9 if "trees" in name else 0.5) * spread, name
        np.testing.assert_allclose(predict(seen[:3]), guess[:3], rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_gain_is_of_root_mean_squares_with_its_error_over_people(estimators):
    control, errors = np.full(50, 4.0), np.full(50, 1.0)
    assert estimators.gain(errors, control) == pytest.approx(50)
    assert estimators.jackknifed(errors, control) == pytest.approx(0)
    generator = np.random.default_rng(0)
    found = [estimators.gain(1 + generator.random(400), np.full(400, 4.0)) for _ in range(300)]
    one = estimators.jackknifed(1 + generator.random(400), np.full(400, 4.0))
    assert one == pytest.approx(np.std(found), rel=0.2)
