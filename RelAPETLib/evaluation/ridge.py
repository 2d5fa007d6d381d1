"""Ridge regression from a person's MRI to the PET: what a model must beat before its network has shown anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

#: Shares of the features' mean eigenvalue.
RIDGE_PENALTIES = np.geomspace(1e-3, 1e3, 13)
#: Principal components of the PET that are predicted.
COMPONENTS = 24
#: Voxels that are taken into memory together.
_CHUNK = 100_000


def ridge(
    features: np.ndarray, targets: np.ndarray, people: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ridge regression with one penalty a target, chosen by the error at those left out.

    Args:
        features: [n, F], centred. targets: [n, k], centred.
        people: whom each row is of [n]: all rows of a person are left out together. None given: each row by itself.

    Returns:
        Weights [k, F], leave-one-out predictions [n, k], chosen penalties [k] (shares of the mean eigenvalue).
    """
    together = [np.flatnonzero([who == name for who in people]) for name, n in Counter(people).items() if n > 1]
    gram = features @ features.T
    values, vectors = np.linalg.eigh(gram)
    mean = values.mean() if gram.any() else 1.0  # features that are the same for everybody predict the mean
    rotated = vectors.T @ targets
    best = np.full(targets.shape[1], np.inf)
    weights = np.empty((targets.shape[1], features.shape[1]))
    predicted, chosen = np.empty_like(targets), np.empty(targets.shape[1])
    for penalty in RIDGE_PENALTIES:
        ratio = 1 / (values + penalty * mean)
        fitted = vectors @ ((values * ratio)[:, None] * rotated)
        # Both means were taken with the person left out in them: the intercept has leverage too, and without its 1 / n
        # a fit that goes through every point would seem to predict.
        leverage = 1 / len(features) + (vectors**2) @ (values * ratio)
        left_out = targets - (targets - fitted) / (1 - leverage)[:, None]
        for rows in together:
            own = 1 / len(features) + (vectors[rows] * (values * ratio)) @ vectors[rows].T
            left_out[rows] = targets[rows] - np.linalg.solve(np.eye(len(rows)) - own, (targets - fitted)[rows])
        errors = ((left_out - targets) ** 2).mean(0)
        better = errors < best
        best[better], chosen[better] = errors[better], penalty
        predicted[:, better] = left_out[:, better]
        weights[better] = (features.T @ (vectors @ (ratio[:, None] * rotated[:, better]))).T
    return weights, predicted, chosen


def mri_features(blocks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Features [C x voxels] of an MRI: blocks inside the brain, less their median, over their 10 to 90 % range.

    So neither the unit nor the contrast's offset of a sequence counts.

    Args:
        blocks: [C, X, Y, Z], one sequence a channel.
        inside: bool [X, Y, Z].

    Raises:
        InputError: a sequence without contrast.
    """
    values = blocks[:, inside]
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1, keepdims=True)
    if not (high > low).all():
        raise InputError("an MRI is constant inside the brain; a regression can see nothing in it")
    return ((values - middle) / (high - low)).ravel()


@dataclass(frozen=True)
class PetRidge:
    """A regression from features to the first principal components of the PET.

    Attributes:
        center, scale: [F], of the features, which are clipped to 6 scales.
        level: [F], mean of what comes of the training features.
        weights: [components, F].
        basis: [components, V], of the PET.
        mean: [V], of the training PET.
    """

    center: np.ndarray
    scale: np.ndarray
    level: np.ndarray
    weights: np.ndarray
    basis: np.ndarray
    mean: np.ndarray

    def guess(self, features: np.ndarray) -> np.ndarray:
        """PET [V] of a person with these features [F]."""
        return self.mean + (_scaled(features, self.center, self.scale) - self.level) @ self.weights.T @ self.basis


def fit_pet_ridge(
    features: np.ndarray, pets: np.ndarray, components: int = COMPONENTS, people: Sequence[str] = ()
) -> PetRidge:
    """Fit the regression; see `fit_pet_ridge_left_out`, whose first answer it is."""
    return fit_pet_ridge_left_out(features, pets, components, people)[0]


def fit_pet_ridge_left_out(
    features: np.ndarray, pets: np.ndarray, components: int = COMPONENTS, people: Sequence[str] = ()
) -> tuple[PetRidge, np.ndarray]:
    """Fit the regression, each component with the penalty of its least leave-one-out error (`ridge`).

    Args:
        features: [n, F].
        pets: [n, V]; may lie on the disk (`numpy.memmap`), and is read in parts.
        components: how many at most; n - 1 scans hold no more.
        people: as `ridge` has them.

    Returns:
        The regression, and the scores [n, components] that regressions without each person expect of them.

    Raises:
        InputError: fewer than three scans, all of one person, or all PET alike.
    """
    n = len(features)
    if n < 3 or len(set(people)) == 1:
        raise InputError(f"{n} scans{' of one person' * (n > 2)} are too few for a regression; bring three or more")
    parts = [slice(start, start + _CHUNK) for start in range(0, pets.shape[1], _CHUNK)]
    mean = np.concatenate([pets[:, part].mean(0, dtype=np.float64) for part in parts])
    gram = np.zeros((n, n))
    for part in parts:
        rest = pets[:, part] - mean[part]
        gram += rest @ rest.T
    values, vectors = np.linalg.eigh(gram)
    order = [number for number in np.argsort(values)[::-1][:components] if values[number] > 1e-9 * values.max()]
    if not values.max() > 0:
        raise InputError("all PET of the training people are alike; there is nothing to learn")
    sizes, directions = np.sqrt(values[order]), vectors[:, order]
    along = (directions / sizes).T
    basis = np.concatenate([(along @ (pets[:, part] - mean[part])).astype(pets.dtype) for part in parts], 1)
    center, scale = features.mean(0), features.std(0).clip(0.02)
    seen = _scaled(features, center, scale)
    level = seen.mean(0)
    weights, left_out, _ = ridge(seen - level, directions * sizes, people)
    return PetRidge(center, scale, level, weights, basis, mean), left_out


def _scaled(features: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return ((features - center) / scale).clip(-6, 6).astype(np.float64)


def check_apart(trained: Sequence[str], tested: Sequence[str], where: str = "the training table") -> None:
    """Refuse to fit on people who are tested.

    Args:
        trained, tested: identifiers of people, with or without BIDS' ``sub-``.
        where: what to call the first in the message.

    Raises:
        InputError: somebody is in both.
    """
    names = {name.removeprefix("sub-"): name for name in tested}
    both = sorted({names[key] for name in trained if (key := name.removeprefix("sub-")) in names})
    if both:
        shown = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
        raise InputError(
            f"{where}: {shown} {'is' if len(both) == 1 else 'are'} among the people tested; a baseline fitted on them "
            "would know the answer; remove them from one of the two"
        )
