"""Is this MRI like those a model knows? A distance of its features, and its rank among people kept aside.

The distance is Mahalanobis's, from the mean of reference people in units of their covariance; people who are none of
them (the calibration) say which distances are usual. The share of them at least as far away is a conformal p-value
(Vovk et al. 2005; Laxhammar and Falkman 2010): somebody of their kind gets one of at most alpha with probability alpha,
whatever the features. It tells MRI that look strange to the model. It cannot tell a person whose PET is not what is
usual for such an MRI.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A p-value at most this is an alarm: one in twenty of the calibration's kind gets it.
ALARM = 0.05
#: Farther than this many times the farthest calibration person is far.
FAR = 1.5
#: A direction in which few reference people hardly differ counts as if they did by this share of the mean variance.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Gate:
    """What is usual.

    Attributes:
        mean: [D], of the reference people's features.
        whitening: [K, D]; a distance is the norm of ``whitening @ (features - mean)``.
        distances: [n], of the calibration people, rising.
    """

    mean: np.ndarray
    whitening: np.ndarray
    distances: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Distances [...] of features [..., D]; infinite where a feature is no finite number."""
        return distances(self.mean, self.whitening, features)

    def p_value(self, features: np.ndarray) -> np.ndarray:
        """Conformal p-values [...] of features [..., D]."""
        return p_value(self.distances, self.distance(features))

    def is_far(self, features: np.ndarray) -> np.ndarray:
        """Whether features [..., D] lie beyond `FAR` times the farthest calibration person."""
        return self.distance(features) > FAR * self.distances[-1]


def fit(reference: np.ndarray, calibration: np.ndarray) -> Gate:
    """A gate from features of reference people [m, D] and of calibration people [n, D], nobody in both.

    The covariance of the standardised features is shrunk as Ledoit and Wolf (2004) do.

    Raises:
        ValueError: arrays that do not fit together, values that are not finite, or fewer than two reference people.
    """
    from sklearn.covariance import LedoitWolf

    reference, calibration = np.asarray(reference, float), np.asarray(calibration, float)
    if reference.ndim != 2 or calibration.ndim != 2 or reference.shape[1] != calibration.shape[1]:
        raise ValueError("features of reference and calibration people: two arrays [people, features] are wanted")
    if len(reference) < 2 or not len(calibration):
        raise ValueError("a gate needs two reference people and one calibration person at least")
    if not np.isfinite(reference).all() or not np.isfinite(calibration).all():
        raise ValueError("features must be finite")
    mean, sd = reference.mean(0), reference.std(0)
    used = sd > 1e-6 * max(float(sd.max()), 1e-12)  # a feature that is the same for everybody says nothing
    if not used.any():
        raise ValueError("all reference people have the same features; they tell nothing")
    covariance = LedoitWolf(assume_centered=True).fit((reference[:, used] - mean[used]) / sd[used]).covariance_
    values, vectors = np.linalg.eigh(covariance)
    values = values.clip(LEAST_VARIANCE * float(values.mean()))
    whitening = np.zeros((len(values), len(mean)))
    whitening[:, used] = (vectors / np.sqrt(values)).T / sd[used]
    return Gate(mean, whitening, np.sort(distances(mean, whitening, calibration)))


def distances(mean: np.ndarray, whitening: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Mahalanobis distances [...] of features [..., D]; infinite where a feature is not finite."""
    features = np.asarray(features, float)
    known = np.isfinite(features).all(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.linalg.norm((features - mean) @ whitening.T, axis=-1)
    return np.where(known, found, np.inf)


def p_value(calibration: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(1 + how many of the calibration's distances [n] are at least as large) / (n + 1), of distances [...]."""
    ordered = np.sort(np.asarray(calibration, float))
    larger = len(ordered) - np.searchsorted(ordered, np.asarray(distance, float), side="left")
    return (1 + larger) / (len(ordered) + 1)
