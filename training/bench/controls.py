"""Rows that need no network: the population mean, a ridge regression on the MRI, and the law's own answer."""

from __future__ import annotations

import numpy as np

from RelAPETLib.evaluation.scores import crps, energy_distance

from .figures import figures_of, residuals_of
from .people import IDEAL_DRAWS, Cohort, Scan

#: Principal components of the PET that the ridge regression predicts.
COMPONENTS = 24


def control_rows(cohort: Cohort) -> dict[str, list[dict]]:
    """Figures of every test scan by ``population mean``, ``ridge_head`` and ``ideal``.

    The mean and the ridge regression are of the training people, and their spread is their errors at the validation
    people. The ideal is the posterior of the law that made the people, given their MRI: its mean for images, half
    of its draws against the other half for distances.
    """
    train = cohort.scans(cohort.train)
    tracers = dict.fromkeys(scan.tracer for scan in train)
    means = {tracer: np.mean([scan.suvr for scan in train if scan.tracer == tracer], 0) for tracer in tracers}
    heads = {tracer: RidgeHead(cohort, train, tracer, means[tracer]) for tracer in tracers}
    tested = cohort.scans(cohort.test)
    found = {
        "population mean": _rows(cohort, tested, lambda scan, dataset: means[scan.tracer]),
        "ridge_head": _rows(cohort, tested, lambda scan, dataset: heads[scan.tracer].guess(dataset, scan.place)),
    }
    return found | {"ideal": [_ideal(scan, cohort) for scan in tested]}


def _rows(cohort: Cohort, tested: list[Scan], guess) -> list[dict]:
    """Figures of one guess a scan, `guess(scan, dataset)`."""
    residuals = residuals_of(
        cohort, {scan.place: guess(scan, cohort.validation) for scan in cohort.scans(cohort.validation)}
    )
    return [figures_of(scan, guess(scan, cohort.test)[None], residuals[scan.tracer], cohort) for scan in tested]


def _ideal(scan: Scan, cohort: Cohort) -> dict:
    truth, half = cohort.truth[scan.case], IDEAL_DRAWS // 2
    draws = truth[f"draws_{scan.tracer}"]
    errors = draws[:half] - cohort.regions(truth[f"mean_{scan.tracer}"])
    row = figures_of(scan, truth[f"mean_{scan.tracer}"][None], errors, cohort)
    return row | {
        "one": float("nan"),
        "crps": crps(draws, cohort.regions(scan.suvr)),
        "distance": energy_distance(draws[:half], draws[half:]),
        "spread": row["ideal_spread"],
    }


class RidgeHead:
    """A ridge regression from the MRI's blocks to the PET's first principal components.

    Args:
        cohort: for the data sets and the brain.
        train: training scans.
        tracer: whose PET.
        mean: of its training PET, SUVR [X, Y, Z].
    """

    def __init__(self, cohort: Cohort, train: list[Scan], tracer: str, mean: np.ndarray):
        from ..methods.rela.latent.ridge import ridge

        own = [scan for scan in train if scan.tracer == tracer]
        self._inside, self._mean, self._seen = cohort.inside, mean, {}
        raw = mri_features(cohort.train, [scan.place for scan in own], cohort.inside)
        self._center, self._scale = raw.mean(0), raw.std(0).clip(0.02)
        features = self._scaled(raw)
        rest = (np.stack([scan.suvr for scan in own]) - mean).reshape(len(own), -1).astype(np.float64)
        self._basis = np.linalg.svd(rest, full_matrices=False)[2][:COMPONENTS]
        self._level = features.mean(0)
        self._weights = ridge(features - self._level, rest @ self._basis.T)[0]

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        return ((raw - self._center) / self._scale).clip(-6, 6).astype(np.float64)

    def guess(self, dataset, place: int) -> np.ndarray:
        """SUVR [X, Y, Z] at an item of a data set."""
        features = self._scaled(mri_features(dataset, [place], self._inside))[0]
        return self._mean + ((features - self._level) @ self._weights.T @ self._basis).reshape(self._mean.shape)


def mri_features(dataset, places: list[int], inside: np.ndarray) -> np.ndarray:
    """Features [n, F] of items' MRI: blocks inside the brain, less their median, over their 10 to 90 % range."""
    found = []
    for place in places:
        item = dataset[place]
        values = np.concatenate([item["t1w"].numpy(), item["t2f"].numpy()])[:, inside]
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1, keepdims=True)
        found.append(((values - middle) / (high - low)).ravel())
    return np.stack(found)
