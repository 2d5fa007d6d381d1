"""Rows that need no network: the population's mean and median, a ridge regression on the MRI, the law's own answer."""

from __future__ import annotations

import numpy as np

from RelAPETLib.evaluation import ridge
from RelAPETLib.evaluation.ridge import fit_pet_ridge
from RelAPETLib.evaluation.scores import crps, energy_distance

from .figures import figures_of, residuals_of
from .people import IDEAL_DRAWS, Cohort, Scan


def control_rows(cohort: Cohort) -> dict[str, list[dict]]:
    """Figures of every test scan by ``population mean``, ``population median``, ``ridge_head`` and ``ideal``.

    Mean, median and the ridge regression are of the training people, and their spread is their errors at the validation
    people. The ideal is the posterior of the law that made the people, given their MRI: its mean for images, half
    of its draws against the other half for distances.
    """
    train = cohort.scans(cohort.train)
    tracers = dict.fromkeys(scan.tracer for scan in train)
    each = {tracer: [scan.suvr for scan in train if scan.tracer == tracer] for tracer in tracers}
    means, medians = ({tracer: of(each[tracer], 0) for tracer in tracers} for of in (np.mean, np.median))
    heads = {tracer: RidgeHead(cohort, train, tracer) for tracer in tracers}
    tested = cohort.scans(cohort.test)
    found = {
        "population mean": _rows(cohort, tested, lambda scan, dataset: means[scan.tracer]),
        "population median": _rows(cohort, tested, lambda scan, dataset: medians[scan.tracer]),
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
    """A ridge regression from the MRI's blocks to the PET's first principal components (`evaluation.ridge`).

    Args:
        cohort: for the data sets and the brain.
        train: training scans.
        tracer: whose PET.
    """

    def __init__(self, cohort: Cohort, train: list[Scan], tracer: str):
        own = [scan for scan in train if scan.tracer == tracer]
        self._inside, self._shape = cohort.inside, own[0].suvr.shape
        features = mri_features(cohort.train, [scan.place for scan in own], cohort.inside)
        self._ridge = fit_pet_ridge(features, np.stack([scan.suvr.ravel() for scan in own]))

    def guess(self, dataset, place: int) -> np.ndarray:
        """SUVR [X, Y, Z] at an item of a data set."""
        return self._ridge.guess(mri_features(dataset, [place], self._inside)[0]).reshape(self._shape)


def mri_features(dataset, places: list[int], inside: np.ndarray) -> np.ndarray:
    """Features [n, F] of items' MRI, as `RelAPETLib.evaluation.ridge.mri_features` has them."""
    items = (dataset[place] for place in places)
    return np.stack([ridge.mri_features(np.concatenate([i["t1w"].numpy(), i["t2f"].numpy()]), inside) for i in items])
