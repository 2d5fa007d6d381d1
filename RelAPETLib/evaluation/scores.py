"""Scores of predictive draws of regional SUVR, and of a guess at a status."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared distance of two predictive distributions, from draws [n, regions] and [m, regions] of them.

    The energy distance 2 E|A - B| - E|A - A'| - E|B - B'| of each region (Székely and Rizzo), which is twice the
    integral of the squared difference of the distribution functions; mean over regions. Means over *different* draws of
    one set make it unbiased, so that it can fall below 0.

    Raises:
        ValueError: fewer than two draws of either.
    """
    gap = float(np.abs(a[:, None] - b[None]).mean())
    return 2 * gap - _own(a) - _own(b)


def crps(draws: np.ndarray, truth: np.ndarray, couples: Sequence[str] = ()) -> float:
    """Continuous ranked probability score of draws [n, regions] of a truth [regions], unbiased in n; mean over regions.

    Args:
        draws, truth: see above.
        couples: [n] names of the pairs that draws belong to which are not independent (mirrored noise): two of one pair
            are not compared with each other, which keeps the score unbiased. Empty: all are independent.

    Returns:
        The score; NaN where all draws are of one pair.

    Raises:
        ValueError: fewer than two draws.
    """
    return float(np.abs(draws - truth).mean() - 0.5 * (_apart(draws, couples) if len(couples) else _own(draws)))


def _apart(a: np.ndarray, couples: Sequence[str]) -> float:
    """Mean |A - A'| over draws [n, regions] of different couples, mean over regions; NaN with one couple."""
    names = np.asarray(couples)
    other = names[:, None] != names[None]
    gaps = np.abs(a[:, None] - a[None]).mean(-1)
    return float(gaps[other].mean()) if other.any() else float("nan")


def _own(a: np.ndarray) -> float:
    """Mean |A - A'| over different draws [n, regions] of one set, mean over regions."""
    n = len(a)
    if n < 2:
        raise ValueError("one draw is no distribution; draw two or more")
    ordered = np.sort(a, 0)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float((ranks[:, None] * ordered).sum(0).mean() * 2 / (n * (n - 1)))


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores [n] for a status (bool [n]); ties count half. NaN where all are alike."""
    above, below = score[positive][:, None], score[~positive][None]
    return float((above > below).mean() + 0.5 * (above == below).mean()) if above.size and below.size else float("nan")
