"""Scores of predictive draws, and what a regression is shown of an MRI; for the benchmarks."""

from __future__ import annotations

import numpy as np


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared distance of two predictive distributions of regional SUVR, from draws [n, regions] and [m, regions].

    The energy distance 2 E|A - B| - E|A - A'| - E|B - B'| of each region, which is twice the integral of the squared
    difference of the distribution functions; mean over regions. Means over *different* draws of one set make it
    unbiased, so that it can fall below 0.
    """
    return 2 * _gap(a, b) - _own(a) - _own(b)


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a[:, None] - b[None]).mean())


def _own(a: np.ndarray) -> float:
    n = len(a)
    ordered = np.sort(a, 0)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float((ranks[:, None] * ordered).sum(0).mean() * 2 / (n * (n - 1)))


def crps(draws: np.ndarray, truth: np.ndarray) -> float:
    """Continuous ranked probability score of draws [n, regions], unbiased in n; mean over regions."""
    return float(np.abs(draws - truth).mean() - 0.5 * _own(draws))


def mri_blocks(dataset, inside: np.ndarray) -> np.ndarray:
    """Features [n, F] of the items' MRI: blocks inside the brain, less their median, over their 10-90 % range."""
    found: dict[str, np.ndarray] = {}
    for place, item in enumerate(dataset.items):
        if item.case not in found:
            volumes = dataset[place]
            values = np.concatenate([volumes["t1w"].numpy(), volumes["t2f"].numpy()])[:, inside]
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1, keepdims=True)
            found[item.case] = ((values - middle) / (high - low)).ravel()
    return np.stack([found[item.case] for item in dataset.items])
