"""Confidence intervals over people: one person's scans and regions are never taken for several people's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import RelAPETError

#: Confidence level of every interval of an evaluation, and resamples of a bootstrap.
LEVEL, RESAMPLES = 0.95, 2000
NO_EVALUATION = (
    "statistics need scipy, statsmodels and scikit-learn; install them with: pip install 'relapet[evaluation]'"
)
Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)


def needs_statistics() -> None:
    """Raise `RelAPETError`, with the command that installs them, where the packages of the statistics are missing."""
    from importlib.util import find_spec

    for module, package in (("scipy", "scipy"), ("statsmodels", "statsmodels"), ("sklearn", "scikit-learn")):
        if find_spec(module) is None:
            raise RelAPETError(NO_EVALUATION.format(package))


def over_people(
    people: Sequence[str],
    statistic: Callable[[np.ndarray], float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile interval of a statistic by resampling people with all that is theirs (`scipy.stats.bootstrap`).

    Args:
        people: [n], whose each observation is.
        statistic: of numbers of observations [m], 0 to n - 1, with repeats; NaN where it is not defined.
        seed: of the resampling.
        resamples: how many.

    Returns:
        Lower and upper end at `LEVEL`; both NaN with fewer than three people, where a tenth of the resamples or more
        has no value, or where all have the same one: such an interval would say more than the data do.
    """
    from scipy.stats import bootstrap

    names = np.unique(np.asarray(people), return_inverse=True)[1]
    order = np.argsort(names, kind="stable")
    own = np.split(order, np.flatnonzero(np.diff(names[order])) + 1)
    if len(own) < 3:
        return NONE
    once = len(own) == len(order)

    def resampled(chosen: np.ndarray) -> float:
        return statistic(order[chosen] if once else np.concatenate([own[person] for person in chosen]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a degenerate distribution, which is seen below
        found = bootstrap(
            (np.arange(len(own)),),
            resampled,
            vectorized=False,
            n_resamples=resamples,
            confidence_level=LEVEL,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
    values = found.bootstrap_distribution
    values = values[np.isfinite(values)]
    if len(values) <= 0.9 * resamples or np.ptp(values) == 0:
        return NONE
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share(
    hits: np.ndarray, people: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """A share of observations with its interval: Wilson's where nobody has two of them, else over people.

    Args:
        hits: bool [n].
        people: [n], whose each is.
        seed, resamples: as in `over_people`.

    Returns:
        Share, lower and upper end; NaN where there is nothing, or no interval (`over_people`).
    """
    from statsmodels.stats.proportion import proportion_confint

    hits = np.asarray(hits, bool)
    if not hits.size:
        return math.nan, *NONE
    if len(set(people)) == len(people):
        low, high = proportion_confint(int(hits.sum()), hits.size, 1 - LEVEL, method="wilson")
        return float(hits.mean()), float(low), float(high)
    ends = over_people(people, lambda chosen: float(hits[chosen].mean()), seed=seed, resamples=resamples)
    return float(hits.mean()), *ends
