"""The outlier gate: p-values that are uniform on its own kind, alarms for others, near ones counted apart."""

import numpy as np
import pytest

from RelAPETLib.evaluation.gate import ALARM, Gate, fit, p_value

DIMENSIONS = 12


@pytest.fixture(scope="module")
def law():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((DIMENSIONS, DIMENSIONS))

    def draw(n):
        return rng.standard_normal((n, DIMENSIONS)) @ mixing + 3

    return draw


@pytest.fixture(scope="module")
def gate(law):
    return fit(law(500), law(250))


def test_p_values_count_ranks():
    assert p_value(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 2.5, 4.0])).tolist() == [1.0, 0.75, 0.5, 0.25]


def test_one_in_twenty_of_its_own_kind_is_an_alarm(gate, law):
    """Goal: 5 % and 3 % around it; p-values are spread evenly."""
    p = gate.p_value(law(1000))
    assert abs((p <= ALARM).mean() - 0.05) < 0.03
    assert abs(np.mean(p) - 0.5) < 0.05


def test_near_and_far_outliers_are_told_apart(gate, law):
    """A small shift along one direction raises some alarms, none of them far; a large one is always far."""
    near, far = law(300), law(300)
    near[:, 0] += 0.8
    far[:, 0] += 60
    assert 0.03 < (gate.p_value(near) <= ALARM).mean() < 0.6 and gate.is_far(near).mean() < 0.02
    assert (gate.p_value(far) == 1 / 251).all() and gate.is_far(far).all()


def test_distances_are_mahalanobis():
    """Of features in units of their own, two of which go together; the shrinkage is slight with so many people."""
    rng = np.random.default_rng(1)
    reference = rng.standard_normal((4000, 5)) * [0.01, 1, 1, 30, 1000] + 3
    reference[:, 1] += reference[:, 2]
    gate = fit(reference, reference[:10])
    centred = reference[:50] - reference.mean(0)
    wanted = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(reference.T)), centred))
    assert np.allclose(gate.distance(reference[:50]), wanted, rtol=0.03)


def test_features_that_are_no_numbers_are_outliers(gate, law):
    strange = law(2)
    strange[0, 3], strange[1, 4] = np.nan, np.inf
    assert (gate.p_value(strange) == 1 / 251).all() and gate.is_far(strange).all()


def test_a_constant_feature_counts_for_nothing(law):
    reference, calibration = law(300), law(100)
    reference[:, 2] = calibration[:, 2] = 7.0
    gate = fit(reference, calibration)
    moved = calibration.copy()
    moved[:, 2] = 100.0
    assert np.allclose(gate.distance(moved), gate.distance(calibration))


@pytest.mark.parametrize("reference", [np.ones((20, 3)), np.ones((1, 3)), np.full((20, 3), np.nan), np.ones((20, 2))])
def test_degenerate_people_are_refused(reference):
    with pytest.raises(ValueError):
        fit(reference, np.zeros((10, 3)))


def test_a_gate_is_its_three_arrays(gate, law):
    again = Gate(*(np.asarray(array, np.float32) for array in (gate.mean, gate.whitening, gate.distances)))
    people = law(100)
    assert np.allclose(again.distance(people), gate.distance(people), rtol=1e-4)
