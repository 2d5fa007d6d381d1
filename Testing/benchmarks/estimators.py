"""Whether another estimator reads more off an MRI than the ridge regression that is the models' control.

``python Testing/benchmarks/estimators.py --cache CACHE --test CACHE2`` with the caches of `objective.py` fits several
kinds of regression to the same pairs of MRI, in blocks of 10 mm, and true regional uptake, and measures each on people
whom no fit saw by what could at best be expected of them, as `people.py` does. What a kind leaves open is chosen by
five-fold cross-validation among the people it is fitted to, anew in each fold of whatever is put on top of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from people import REGIONS, TRACERS, asked, tell, uptake  # noqa: E402

from RelAPETLib.evaluation.ridge import ridge  # noqa: E402

#: People to fit to, and how many sets of them.
SIZES = {500: 3, 1000: 1}
FOLDS, LEADING = 5, 40
#: The estimator that the others are compared with: that of `ridge_head` and of the library.
CONTROL = "ridge of the uptake's components"
#: Fits features [n, F] and uptake [n, 12] of a tracer's people, given features [N, F] and uptake of everybody by tracer
#: with NaN where there is none; predicts from features [m, F].
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, Mapping[str, np.ndarray]], Callable[[np.ndarray], np.ndarray]]


def ridge_by_region(features, targets, everybody, scans):
    """A penalty for each region, as `people.py` has it."""
    weights, _, _ = ridge(features - features.mean(0), targets - targets.mean(0))
    return lambda seen: (seen - features.mean(0)) @ weights.T + targets.mean(0)


def ridge_of_components(features, targets, everybody, scans):
    """A penalty for each principal component of the uptake."""
    _, _, axes = np.linalg.svd(targets - targets.mean(0), full_matrices=False)
    return _along(axes, targets, ridge_by_region(features, (targets - targets.mean(0)) @ axes.T, everybody, scans))


def partial_least_squares(features, targets, everybody, scans):
    """Directions of the MRI that vary with the uptake."""
    from sklearn.cross_decomposition import PLSRegression

    search = _search(PLSRegression(scale=False), {"n_components": [1, 2, 3, 4, 6, 8, 12]}).fit(features, targets)
    return search.predict


def shared_least_squares(features, targets, everybody, scans):
    """Directions of the MRI that vary with any tracer's uptake in whoever has it, then a ridge regression on them.

    Both are fitted anew in each fold, without its people, so that nobody's own uptake helps to predict it.
    """
    best, wanted = (np.inf, 0), [3, 6, 10, 15]
    folds = np.arange(len(features)) % FOLDS
    places = _places(features, everybody)
    for number in wanted:
        error = 0.0
        for fold in range(FOLDS):
            out = folds == fold
            kept = np.setdiff1d(np.arange(len(everybody)), places[out])
            fitted = _shared(
                features[~out], targets[~out], everybody[kept], {t: s[kept] for t, s in scans.items()}, number
            )
            error += np.square(fitted(features[out]) - targets[out]).sum()
        best = min(best, (error, number))
    return _shared(features, targets, everybody, scans, best[1])


def _shared(features, targets, everybody, scans, number):
    from sklearn.cross_decomposition import PLSRegression

    standard = [np.nan_to_num((one - np.nanmean(one, 0)) / np.nanstd(one, 0)) for one in scans.values()]
    directions = PLSRegression(number, scale=False).fit(everybody, np.hstack(standard))
    scores = directions.transform(features)
    predict = ridge_of_components(scores, targets, everybody, scans)
    return lambda seen: predict(directions.transform(seen))


def _places(features, everybody) -> np.ndarray:
    """Which of everybody each row of `features` is."""
    known = {row.tobytes(): place for place, row in enumerate(everybody)}
    return np.array([known[row.tobytes()] for row in features])


def kernel_ridge(features, targets, everybody, scans):
    """Gaussian kernel over all blocks, its width and a penalty for each of the uptake's components."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics.pairwise import rbf_kernel

    _, _, axes = np.linalg.svd(targets - targets.mean(0), full_matrices=False)
    scores, size = (targets - targets.mean(0)) @ axes.T, np.square(features).sum(1).mean()
    penalties, best = {"alpha": list(np.geomspace(1e-4, 10, 9))}, [(np.inf, 0.0, None)] * len(axes)
    for width in np.array([0.03, 0.1, 0.3]) / size:
        kernel = rbf_kernel(features, gamma=width)
        for place, one in enumerate(scores.T):
            search = _search(KernelRidge(kernel="precomputed"), penalties).fit(kernel, one)
            best[place] = min(best[place], (-search.best_score_, width, search), key=lambda found: found[0])

    def predict(seen):
        kernels = {width: rbf_kernel(seen, features, gamma=width) for width in {width for _, width, _ in best}}
        return np.stack([search.predict(kernels[width]) for _, width, search in best], 1)

    return _along(axes, targets, predict)


def trees(features, targets, everybody, scans):
    """Extremely randomised trees on the MRI's leading components."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesRegressor

    leading = PCA(min(LEADING, *everybody.shape), random_state=0).fit(everybody)
    forest = ExtraTreesRegressor(300, min_samples_leaf=3, max_features=0.5, random_state=0)
    forest.fit(leading.transform(features), targets)
    return lambda seen: forest.predict(leading.transform(seen))


def mean_of_three(features, targets, everybody, scans):
    """The mean of the control, partial least squares and the Gaussian kernel, chosen before any was measured."""
    fits = [
        kind(features, targets, everybody, scans) for kind in (ridge_of_components, partial_least_squares, kernel_ridge)
    ]
    return lambda seen: np.mean([fit(seen) for fit in fits], 0)


KINDS: Mapping[str, Fit] = {
    CONTROL: ridge_of_components,
    "ridge of each region": ridge_by_region,
    "partial least squares": partial_least_squares,
    "the same of all tracers' people, then ridge": shared_least_squares,
    "kernel ridge, Gaussian": kernel_ridge,
    "extremely randomised trees": trees,
    "mean of ridge, least squares and kernel": mean_of_three,
}


def _along(axes, targets, predict):
    return lambda seen: predict(seen) @ axes + targets.mean(0)


def _search(model, grid):
    from sklearn.model_selection import GridSearchCV, KFold

    folds = KFold(FOLDS, shuffle=True, random_state=0)
    return GridSearchCV(model, grid, scoring="neg_mean_squared_error", cv=folds)


def measured(train: tuple, test: tuple, chosen: np.ndarray, tracer: str) -> dict[str, tuple[np.ndarray, float]]:
    """By kind: squared errors [test people], mean over regions, and CPU seconds of the fit."""
    people, tracers, features = train
    centre, scale = features[chosen].mean(0), features[chosen].std(0).clip(0.02)
    everybody, seen = (((f - centre) / scale).clip(-6, 6).astype(float) for f in (features[chosen], test[2]))
    # The same distances and products in as many numbers as there are people.
    _, _, turn = np.linalg.svd(np.vstack([everybody, seen]), full_matrices=False)
    everybody, seen = everybody @ turn.T, seen @ turn.T
    scans = {}
    for name in TRACERS:
        there = np.array([name in tracers[place] for place in chosen])
        scans[name] = np.full((len(chosen), REGIONS), np.nan)
        scans[name][there] = uptake([people[place] for place in chosen[there]], name, expected=False)
    own = ~np.isnan(scans[tracer][:, 0])
    wanted, found = uptake(test[0], tracer, expected=True), {}
    for name, kind in KINDS.items():
        begun = time.process_time()
        guess = kind(everybody[own], scans[tracer][own], everybody, scans)(seen)
        found[name] = np.square(guess - wanted).mean(1), time.process_time() - begun
    return found


def table(train: tuple, test: tuple) -> list[str]:
    """A row for each tracer, number of people and kind: root mean squares in SUVR x 1000, beside the control's."""
    lines = [
        "| tracer | people | estimator | error | less than the control's, % | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for tracer in reversed(TRACERS):
        for size, count in SIZES.items():
            sets = [np.random.default_rng(n).permutation(len(train[0]))[:size] for n in range(count)]
            runs = [measured(train, test, chosen, tracer) for chosen in sets]
            for name in KINDS:
                errors = [1000 * np.sqrt(run[name][0].mean()) for run in runs]
                gains = [gain(run[name][0], run[CONTROL][0]) for run in runs]
                # Over the sets where there are several, else over the people who are measured.
                spread = np.std(gains, ddof=1) if count > 1 else jackknifed(runs[0][name][0], runs[0][CONTROL][0])
                told = "" if name == CONTROL else f"{np.mean(gains):.1f} ± {spread:.1f}"
                seconds = np.mean([run[name][1] for run in runs])
                lines.append(f"| {tracer} | {size} | {name} | {np.mean(errors):.1f} | {told} | {seconds:.1f} |")
    return lines


def gain(errors: np.ndarray, control: np.ndarray) -> float:
    """By how many per cent the root mean square of squared errors lies below the control's."""
    return float(100 * (1 - np.sqrt(errors.mean() / control.mean())))


def jackknifed(errors: np.ndarray, control: np.ndarray) -> float:
    """Standard error over people of `gain`."""
    count = len(errors)
    without = [gain(np.delete(errors, n), np.delete(control, n)) for n in range(count)]
    return float(np.sqrt(count - 1) * np.std(without))


def main() -> None:
    options, train, test = asked(__doc__)
    tell("Other estimators than the ridge regression", table(train, test), train, test, options.out)


if __name__ == "__main__":
    main()
