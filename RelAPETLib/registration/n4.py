"""N4 bias correction on a coarse grid, with B-splines as one small matrix an axis.

Tustison et al., N4ITK: Improved N3 Bias Correction, IEEE TMI 2010;29:1310-1320, after Sled et al., IEEE TMI
1998;17:87-97. The steps and constants are those of ITK's filter. Its scattered-data approximation (Lee, Wolberg, Shin,
IEEE TVCG 1997;3:228-244) adds up 64 control points for each voxel, one at a time. Voxels lie on a grid, so the weights
of a control point are a product of one factor an axis, and the same sums are three matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Most iterations of each level; a level has twice the spans of the one before along each axis, the first has one.
ITERATIONS = (50, 50, 30)
#: A level ends where the coefficient of variation of what an iteration changed falls below this.
CONVERGENCE = 1e-3
BINS = 200
#: Full width at half maximum of the Gaussian, in log intensity, that a bias field is thought to blur a histogram with.
BLUR = 0.15
WIENER_NOISE = 0.01


def _basis(places: np.ndarray, spans: int) -> np.ndarray:
    """Cubic B-splines [N, spans + 3] at places from 0 to 1 along an axis of so many spans."""
    at = np.clip(places, 0, 1) * spans
    first = np.minimum(at.astype(int), spans - 1)
    t = at - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    matrix = np.zeros((len(places), spans + 3))
    for shift in range(4):
        matrix[np.arange(len(places)), first + shift] = weights[shift]
    return matrix


def _product(matrices: Sequence[np.ndarray], array: np.ndarray) -> np.ndarray:
    """An array [i, j, k] times a matrix [n, i] an axis: [n0, n1, n2]."""
    for matrix in matrices[::-1]:
        array = np.moveaxis(array @ matrix.T, -1, 0)
    return array


@dataclass(frozen=True)
class BiasField:
    """A smooth field of log intensity over a box: the sum of its levels.

    Attributes:
        levels: control points [spans + 3] * 3 of each level.
    """

    levels: tuple[np.ndarray, ...]

    def at(self, places: Sequence[np.ndarray]) -> np.ndarray:
        """The field on a grid, float32 [N0, N1, N2].

        Args:
            places: of the grid's planes along each axis, as shares of the box, 0 to 1.
        """
        shape = [len(axis) for axis in places]
        total = np.zeros(shape, np.float32)
        for level in self.levels:
            bases = [_basis(axis, n - 3).astype(np.float32) for axis, n in zip(places, level.shape, strict=True)]
            total += _product(bases, level.astype(np.float32))
        return total


class _Level:
    """Approximation by B-splines of one fineness, at voxels of a grid that are in a mask."""

    def __init__(self, places: Sequence[np.ndarray], spans: int, mask: np.ndarray):
        self.bases = [_basis(axis, spans) for axis in places]
        squares = [basis**2 for basis in self.bases]
        self._cubes = [(basis**3 / square.sum(1, keepdims=True)).T
                       for basis, square in zip(self.bases, squares, strict=True)]  # fmt: skip
        self._weight = _product([square.T for square in squares], mask.astype(float))

    def fit(self, values: np.ndarray) -> np.ndarray:
        """Control points of values that are 0 outside the mask."""
        numerator = _product(self._cubes, values)
        return np.divide(numerator, self._weight, out=np.zeros_like(numerator), where=self._weight > 0)

    def evaluate(self, points: np.ndarray) -> np.ndarray:
        return _product(self.bases, points)


def sharpened(values: np.ndarray) -> np.ndarray:
    """Log intensities [N] as they most probably were before a bias field blurred their histogram."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return values
    slope = (high - low) / (BINS - 1)
    place = (values - low) / slope
    lower = np.minimum(place.astype(int), BINS - 2)
    share = place - lower
    counts = np.bincount(lower, 1 - share, BINS) + np.bincount(lower + 1, share, BINS)

    size = 2 ** (int(np.ceil(np.log2(BINS))) + 1)
    margin = (size - BINS) // 2
    padded = np.zeros(size)
    padded[margin : margin + BINS] = counts
    width = BLUR / slope
    distance = np.minimum(np.arange(size), size - np.arange(size))
    blur = 2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) / width**2 * distance**2)
    blur = np.fft.fft(blur)
    undone = blur.conj() / (blur.conj() * blur + WIENER_NOISE)
    sharp = np.maximum(np.fft.ifft(np.fft.fft(padded) * undone.real).real, 0)
    level = low + (np.arange(size) - margin) * slope
    above, below = (np.fft.ifft(np.fft.fft(part) * blur).real for part in (level * sharp, sharp))
    expected = np.divide(above, below, out=np.zeros(size), where=below != 0)[margin : margin + BINS]
    return expected[lower] + share * (expected[lower + 1] - expected[lower])


def fit_bias(values: np.ndarray, mask: np.ndarray, places: Sequence[np.ndarray]) -> BiasField:
    """The bias field of a scan, seen on a coarse grid.

    Args:
        values: intensities [N0, N1, N2]; those not above 0 are left out.
        mask: boolean [N0, N1, N2], where to look.
        places: of the grid's planes along each axis, as shares of the box in which the field is wanted, 0 to 1.
    """
    mask = mask & (values > 0)
    if not mask.any():
        return BiasField(())
    logs = np.log(values[mask].astype(float))
    volume, field, levels = np.zeros(mask.shape), np.zeros(len(logs)), []
    for number, iterations in enumerate(ITERATIONS):
        level = _Level(places, 2**number, mask)
        points = np.zeros([basis.shape[1] for basis in level.bases])
        for _ in range(iterations):
            corrected = logs - field
            volume[mask] = corrected - sharpened(corrected)
            step = level.fit(volume)
            points = points + step
            change = level.evaluate(step)[mask]
            field = field + change
            ratio = np.exp(change)
            if ratio.std(ddof=1) < CONVERGENCE * ratio.mean():
                break
        levels.append(points)
    return BiasField(tuple(levels))
