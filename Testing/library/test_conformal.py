"""Split-conformal intervals: exact order statistics, coverage within its band, shift, bias, weights, and an oracle."""

import math

import numpy as np
import pytest
from crepes import ConformalRegressor

from RelAPETLib.evaluation.conformal import (
    calibrate,
    calibration_band,
    coverage_band,
    effective_sample,
    order_statistic,
    quantile,
)

REGIONS = 5


def people(rng, n, bias=0.0, skew=False):
    """Synthetic and measured regional means and spreads [n, R]; errors grow with the spread."""
    spread = rng.uniform(0.05, 0.4, (n, REGIONS))
    noise = rng.gamma(2.0, 1.0, (n, REGIONS)) - 2 if skew else rng.standard_normal((n, REGIONS))
    synthetic = rng.uniform(0.8, 2.0, (n, REGIONS))
    return synthetic, synthetic + bias + spread * noise, spread


@pytest.mark.parametrize("n", [1, 8, 9, 10, 19, 99, 200])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_the_bound_is_the_order_statistic_that_exact_counting_gives(n, level):
    """k is the smallest for which a new error's rank is at most k with probability k / (n + 1) >= level."""
    wanted = next(k for k in range(1, n + 2) if k / (n + 1) >= level - 1e-9)
    assert order_statistic(n, level) == wanted
    errors = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert quantile(errors, level) == (wanted if wanted <= n else math.inf)


def test_eight_people_give_an_infinite_90_percent_interval_and_nine_do_not():
    rng = np.random.default_rng(0)
    for n, infinite in ((8, True), (9, False)):
        found = calibrate(*people(rng, n), asymmetric=False)
        low, high = found.of(np.ones(REGIONS), np.full(REGIONS, 0.1))
        assert np.isinf(high).all() == infinite and np.isinf(low).all() == infinite
    assert calibration_band(8, 0.9) == (1.0, 1.0)
    assert np.isinf(calibrate(*people(rng, 18)).high).all() and np.isfinite(calibrate(*people(rng, 19)).high).all()


def test_nan_means_are_left_out_region_by_region():
    synthetic, measured, spread = people(np.random.default_rng(1), 40)
    measured[:25, 0] = np.nan
    found = calibrate(synthetic, measured, spread, asymmetric=True)
    assert np.isinf(found.high[0]) and np.isfinite(found.high[1:]).all()
    whole = calibrate(synthetic[25:], measured[25:], spread[25:])
    assert found.joint == whole.joint  # those with every region count


def test_crepes_gives_the_same_intervals():
    rng = np.random.default_rng(2)
    synthetic, measured, spread = people(rng, 150)
    new, _, new_spread = people(rng, 30)
    for normalised in (False, True):
        found = calibrate(synthetic, measured, spread, normalised=normalised, asymmetric=False, floor=0.05)
        low, high = found.of(new, new_spread)
        for region in range(REGIONS):
            oracle = ConformalRegressor()
            sigmas = spread[:, region] + 0.05 if normalised else None
            oracle.fit(measured[:, region] - synthetic[:, region], sigmas=sigmas)
            wanted = oracle.predict_int(
                new[:, region], sigmas=new_spread[:, region] + 0.05 if normalised else None, confidence=0.9
            )
            assert np.allclose(np.column_stack([low[:, region], high[:, region]]), wanted)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("skew", [False, True])
def test_coverage_lies_within_the_simultaneous_band(normalised, asymmetric, skew):
    """New people of the same law; a band of 95 % for all regions and the joint interval at once, on fixed seeds."""
    rng = np.random.default_rng(3 + 4 * normalised + 2 * asymmetric + skew)
    found = calibrate(*people(rng, 220, skew=skew), normalised=normalised, asymmetric=asymmetric)
    synthetic, measured, spread = people(rng, 400, skew=skew)
    low, high = found.of(synthetic, spread)
    inside = (low <= measured) & (measured <= high)
    least, most = coverage_band(220, 400, 0.9, groups=REGIONS + 1, ends=2 if asymmetric else 1)
    assert 0.8 < least < 0.9 < most < 0.98
    assert (inside.mean(0) >= least).all() and (inside.mean(0) <= most).all()
    low, high = found.joint_of(synthetic, spread)
    together = ((low <= measured) & (measured <= high)).all(1).mean()
    least, most = coverage_band(220, 400, 0.9, groups=REGIONS + 1)
    assert least <= together <= most
    assert inside.all(1).mean() < least  # regions one by one are not covered together


@pytest.mark.parametrize("ends", [1, 2])
def test_the_band_is_the_law_of_simulated_coverage(ends):
    """Of many calibrations, coverage of new people: 95 % within the band, and mean and SD as the beta-binomial's."""
    rng, n, tested = np.random.default_rng(7), 60, 100
    shares = []
    for _ in range(3000):
        errors, new = np.sort(rng.random(n)), rng.random(tested)
        if ends == 1:
            shares.append((new <= errors[order_statistic(n, 0.9) - 1]).mean())
        else:
            k = order_statistic(n, 0.95)
            shares.append(((new <= errors[k - 1]) & (new >= errors[n - k])).mean())
    least, most = coverage_band(n, tested, 0.9, ends=ends)
    within = np.mean((np.array(shares) >= least - 1e-9) & (np.array(shares) <= most + 1e-9))
    assert 0.945 < within < 0.985
    assert np.mean(shares) >= 0.9 - 0.003


def test_a_shift_breaks_coverage_and_is_seen():
    rng = np.random.default_rng(8)
    found = calibrate(*people(rng, 220))
    synthetic, measured, spread = people(rng, 300, bias=0.35)
    low, high = found.of(synthetic, spread)
    least, _ = coverage_band(220, 300, 0.9, groups=REGIONS, ends=2)
    assert (((low <= measured) & (measured <= high)).mean(0) < least).all()


def test_a_bias_is_taken_out_by_the_asymmetric_interval():
    """With a bias both cover; the asymmetric one is shorter and lies where the measured values are."""
    rng = np.random.default_rng(9)
    known, new = people(rng, 400, bias=0.6), people(rng, 400, bias=0.6)
    widths = {}
    for asymmetric in (True, False):
        found = calibrate(*known, normalised=False, asymmetric=asymmetric)
        low, high = found.of(new[0], new[2])
        assert ((low <= new[1]) & (new[1] <= high)).mean() > 0.87
        widths[asymmetric] = (high - low).mean()
        centre = ((low + high) / 2 - new[0]).mean()
        assert (abs(centre - 0.6) < 0.1) == asymmetric
    assert widths[True] < 0.75 * widths[False]


def test_weights_restore_coverage_under_a_known_shift():
    """Old people are common among the new, rare in the calibration, and have larger errors."""
    rng = np.random.default_rng(10)

    def cohort(n, share):
        old = rng.random(n) < share
        return old, rng.standard_normal(n) * np.where(old, 3.0, 1.0)

    old, errors = cohort(3000, 0.1)
    _, new = cohort(4000, 0.8)
    weights = np.where(old, 0.8 / 0.1, 0.2 / 0.9)
    plain = np.mean(np.abs(new) <= quantile(np.abs(errors), 0.9))
    weighted = np.mean(np.abs(new) <= quantile(np.abs(errors), 0.9, weights))
    assert plain < 0.75 and 0.87 < weighted < 0.94  # an effective sample of 400 people


def test_equal_weights_are_no_weights():
    errors = np.random.default_rng(11).random(79)
    assert quantile(errors, 0.9, np.full(79, 2.5)) == quantile(errors, 0.9)
    assert effective_sample(np.full(79, 2.5)) == pytest.approx(79)


def test_too_small_an_effective_sample_is_refused():
    errors, weights = np.random.default_rng(12).random(200), np.ones(200)
    weights[:5] = 500.0
    assert effective_sample(weights) < 30
    with pytest.raises(ValueError, match="effective sample of 5"):
        quantile(errors, 0.9, weights)
    with pytest.raises(ValueError, match="positive"):
        quantile(errors, 0.9, np.zeros(200))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s, m, u: (s[:0], m[:0], u[:0]), "three arrays"),
        (lambda s, m, u: (s, m[:, :2], u), "one shape"),
        (lambda s, m, u: (s * np.inf, m, u), "finite"),
    ],
)
def test_degenerate_people_are_refused_in_one_line(change, words):
    with pytest.raises(ValueError, match=words):
        calibrate(*change(*people(np.random.default_rng(13), 20)))


def test_a_constant_spread_and_no_error_give_an_interval_of_no_width():
    found = calibrate(np.ones((30, 2)), np.ones((30, 2)), np.zeros((30, 2)))
    low, high = found.of(np.ones(2), np.zeros(2))
    assert np.array_equal(low, high) and found.joint == 0
