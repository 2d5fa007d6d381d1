"""Split-conformal intervals of regional SUVR: how far a synthetic mean lay from the measured one in people kept aside.

Of n people whom no training saw, the errors of a region are ranked. A new person of the same kind, prepared the same
way, has an error whose rank among theirs is as likely to be any: so the k-th smallest error, k = ceil((n + 1) level),
bounds it with at least the probability `level` (Papadopoulos et al. 2002; Vovk et al. 2005; Lei et al. 2018). With too
few people no error is large enough and the interval is infinite: for 90 % fewer than 9 do not suffice, for both ends
apart fewer than 19. The probability is over calibrations: a given one covers a share that is Beta(k, n + 1 - k).

Normalised: errors in units of what the model says of its own spread. Asymmetric: each end has its own errors and half
of the misses, which takes a bias out. Joint: one factor for which all regions of a person are covered at once, from the
largest error over the regions. Weighted (Tibshirani et al. 2019): people count as often as somebody new is like them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Fewer people, counted by their weights, than this say nothing about a tail.
LEAST_EFFECTIVE = 30.0


def order_statistic(n: int, level: float) -> int:
    """k for which the k-th smallest of n errors is at least a new one with probability `level`; above n: none is.

    Raises:
        ValueError: a level that is not between 0 and 1, or a negative n.
    """
    if not 0 < level < 1 or n < 0:
        raise ValueError(f"n {n} and level {level}: n of 0 or more, and a level between 0 and 1 are wanted")
    return max(1, math.ceil((n + 1) * level - 1e-9))


def quantile(errors: np.ndarray, level: float, weights: np.ndarray | None = None) -> float:
    """The bound of a new error: an order statistic of errors [n], infinite where there are too few.

    Args:
        errors: NaN are left out.
        level: wanted probability.
        weights: positive numbers [n], how much more often somebody new is like each person; None: all alike. The new
            person's own weight is taken to be the largest of them, which can only widen.

    Raises:
        ValueError: weights that are not positive, or whose effective sample is below `LEAST_EFFECTIVE`.
    """
    errors = np.asarray(errors, float)
    known = ~np.isnan(errors)
    if weights is None:
        k, ordered = order_statistic(int(known.sum()), level), np.sort(errors[known])
        return float(ordered[k - 1]) if k <= len(ordered) else math.inf
    weights = np.asarray(weights, float)[known]
    if (size := effective_sample(weights)) < LEAST_EFFECTIVE:
        raise ValueError(f"the weights leave an effective sample of {size:.1f} people, below {LEAST_EFFECTIVE:g}")
    order = np.argsort(errors[known], kind="stable")
    share = np.cumsum(weights[order]) / (weights.sum() + weights.max())
    place = int(np.searchsorted(share, level - 1e-12))
    return float(errors[known][order][place]) if place < len(order) else math.inf


def effective_sample(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965). Raises `ValueError` for weights that are not positive numbers."""
    weights = np.asarray(weights, float)
    if not weights.size or not np.isfinite(weights).all() or (weights <= 0).any():
        raise ValueError("weights: positive numbers are wanted, one a person")
    return float(weights.sum() ** 2 / np.square(weights).sum())


def calibration_band(n: int, level: float, share: float = 0.95, ends: int = 1) -> tuple[float, float]:
    """Where the coverage of one calibration of n people lies, central `share` of its Beta(k, n + 1 - k).

    Args:
        ends: 2 where each end of the interval has its own order statistic: two-sided misses are then those of the
            lowest and the highest ranks together. Without ties the law is exact.
    """
    from scipy.stats import beta

    a, b = _beta(n, level, ends)
    if b <= 0:
        return 1.0, 1.0
    low, high = beta.ppf([(1 - share) / 2, (1 + share) / 2], a, b)
    return float(low), float(high)


def coverage_band(
    n: int, tested: int, level: float, share: float = 0.95, groups: int = 1, ends: int = 1
) -> tuple[float, float]:
    """Where the share of `tested` people inside the interval lies if it is valid: central part of the beta-binomial.

    Args:
        n: people who calibrated.
        tested: people of the test.
        groups: how many shares are looked at together; the band then holds for all at once (Bonferroni).
        ends: as for `calibration_band`.

    Returns:
        Lowest and highest share, inclusive.
    """
    from scipy.stats import betabinom

    a, b = _beta(n, level, ends)
    if b <= 0:
        return 1.0, 1.0
    tail = (1 - share) / (2 * groups)
    law = betabinom(tested, a, b)
    return float(law.ppf(tail)) / tested, float(law.isf(tail)) / tested


def _beta(n: int, level: float, ends: int) -> tuple[int, int]:
    """Parameters of the law of coverage; with b <= 0 everything is covered."""
    if ends == 1:
        k = order_statistic(n, level)
        return k, n + 1 - k
    missed = 2 * (n + 1 - order_statistic(n, (1 + level) / 2))
    return n + 1 - missed, missed


@dataclass(frozen=True)
class Intervals:
    """Intervals of R regions of one tracer.

    Attributes:
        level: wanted coverage of each region, and of all together for `joint`.
        low, high: [R], added to a synthetic mean after multiplication by its scale; infinite where people were few.
        joint: the same for all regions at once: plus and minus this, in scales.
        n: people who calibrated.
        normalised: a scale is the spread plus `floor`; else 1.
        floor: in the unit of the spread.
        asymmetric: each end has its own errors.
        effective: people counted by their weights; None without weights.
    """

    level: float
    low: np.ndarray
    high: np.ndarray
    joint: float
    n: int
    normalised: bool
    floor: float
    asymmetric: bool
    effective: float | None = None

    def scale(self, spread: np.ndarray) -> np.ndarray:
        """What errors are divided by, of spreads [..., R]."""
        return scales(spread, self.normalised, self.floor)

    def of(self, synthetic: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of each region's interval, [..., R], for synthetic means and their spreads [..., R]."""
        scale = self.scale(spread)
        return synthetic + self.low * scale, synthetic + self.high * scale

    def joint_of(self, synthetic: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends that hold in all regions of a person at once."""
        reach = self.joint * self.scale(spread)
        return synthetic - reach, synthetic + reach


def scales(spread: np.ndarray, normalised: bool, floor: float) -> np.ndarray:
    """What errors are divided by: the spread plus `floor`, so that no spread of 0 makes an error infinite; or 1."""
    return np.asarray(spread, float) + floor if normalised else np.ones_like(np.asarray(spread, float))


def calibrate(
    synthetic: np.ndarray,
    measured: np.ndarray,
    spread: np.ndarray,
    *,
    level: float = 0.9,
    normalised: bool = True,
    asymmetric: bool = True,
    floor: float = 0.05,
    weights: Sequence[float] | None = None,
) -> Intervals:
    """Intervals from people whom no training saw.

    Args:
        synthetic, measured, spread: [n, R] regional means in SUVR, and what the model says of their spread; NaN in
            `measured` where a region is not to be had of somebody.
        level: wanted coverage, 0 to 1.
        normalised, asymmetric: see the module.
        floor: added to the spread, fixed beforehand, in SUVR.
        weights: [n], see `quantile`.

    Raises:
        ValueError: arrays that do not fit together, hold infinities, or no people; see `quantile` for weights.
    """
    synthetic, measured, spread = (np.asarray(array, float) for array in (synthetic, measured, spread))
    if not synthetic.ndim == 2 or not synthetic.shape == measured.shape == spread.shape or not len(synthetic):
        raise ValueError("synthetic, measured and spread: three arrays [people, regions] of one shape are wanted")
    if not np.isfinite(synthetic).all() or not np.isfinite(spread).all() or np.isinf(measured).any():
        raise ValueError("synthetic means and spreads must be finite, measured means finite or NaN")
    if normalised and not floor > 0:
        raise ValueError(f"floor {floor}: above 0, since a spread may be 0")
    errors = (measured - synthetic) / scales(spread, normalised, floor)
    counted = None if weights is None else np.asarray(weights, float)
    if asymmetric:
        end = (1 + level) / 2
        high = np.array([quantile(column, end, counted) for column in errors.T])
        low = -np.array([quantile(-column, end, counted) for column in errors.T])
    else:
        high = np.array([quantile(np.abs(column), level, counted) for column in errors.T])
        low = -high
    # Somebody without one of the regions would seem better covered than they are, and is left out.
    joint = quantile(np.abs(errors).max(1), level, counted)
    return Intervals(
        level, low, high, joint, len(errors), normalised, floor, asymmetric,
        None if counted is None else effective_sample(counted),
    )  # fmt: skip
