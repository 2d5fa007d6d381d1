"""Confidence intervals over people: one person's scans and regions are never taken for several people's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import RelAPETError

#: Confidence level of every interval of an evaluation, and resamples of a bootstrap.
LEVEL, RESAMPLES = 0.95, 2000
#: Fewer people than this have no interval.
LEAST_PEOPLE = 3
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
        Lower and upper end at `LEVEL`; both NaN with fewer than `LEAST_PEOPLE`, where a tenth of the resamples or more
        has no value, or where all have the same one: such an interval would say more than the data do.
    """
    names = np.unique(np.asarray(people), return_inverse=True)[1]
    order = np.argsort(names, kind="stable")
    own = np.split(order, np.flatnonzero(np.diff(names[order])) + 1)
    once = len(own) == len(order)

    def resampled(chosen: np.ndarray) -> float:
        return statistic(order[chosen] if once else np.concatenate([own[person] for person in chosen]))

    drawn = _bootstrap(len(own), resampled, seed, resamples, vectorized=False)
    return NONE if drawn is None else _ends(drawn)


def over_weighted_people(
    people: Sequence[str],
    statistics: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Interval]:
    """The same intervals of several statistics at once that are known of weighted observations, all draws together.

    Args:
        people: [n], whose each observation is.
        statistics: of weights [draws, n], how often each observation counts; gives [count, draws].
        count: how many statistics.
        seed, resamples: as in `over_people`.
    """
    names, whose = np.unique(list(people), return_inverse=True)
    number = len(names)

    def weighted(chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        chosen = np.moveaxis(np.atleast_2d(chosen).astype(int), axis, -1)
        flat = chosen.reshape(-1, number)
        places = (np.arange(len(flat))[:, None] * number + flat).ravel()
        weights = np.bincount(places, minlength=len(flat) * number).reshape(len(flat), number)[:, whose].astype(float)
        return statistics(weights).reshape(count, *chosen.shape[:-1])

    drawn = _bootstrap(number, weighted, seed, resamples, vectorized=True, batch=resamples)
    return [NONE] * count if drawn is None else [_ends(values) for values in drawn]


def _bootstrap(number: int, statistic: Callable, seed: int, resamples: int, **how) -> np.ndarray | None:
    """Values of a statistic of resampled numbers of people, [..., resamples]; None of too few people."""
    from scipy.stats import bootstrap

    if number < LEAST_PEOPLE:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a degenerate distribution, which `_ends` sees
        found = bootstrap(
            (np.arange(number),),
            statistic,
            n_resamples=resamples,
            confidence_level=LEVEL,
            method="percentile",
            random_state=np.random.default_rng(seed),
            **how,
        )
    return found.bootstrap_distribution


def _ends(drawn: np.ndarray) -> Interval:
    values = drawn[np.isfinite(drawn)]
    if len(values) <= 0.9 * drawn.size or np.ptp(values) == 0:
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
        # Of none and of all, rounding alone keeps Wilson's ends from being 0 and 1.
        return float(hits.mean()), float(low) if hits.any() else 0.0, 1.0 if hits.all() else float(high)
    ends = over_people(people, lambda chosen: float(hits[chosen].mean()), seed=seed, resamples=resamples)
    return float(hits.mean()), *ends
