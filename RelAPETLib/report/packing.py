"""Volumes as text in an HTML page: one byte a voxel, deflated, base64; coarser where the page would grow too large."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, replace

import numpy as np

from .pictures import Volumes

#: More voxels than these are not worth the time of packing them; and a page of six such volumes is near its limit.
MAX_VOXELS = 6_500_000
#: Volumes that are not 0 outside the brain.
_EVERYWHERE = ("t1w", "t2f", "template_white", "t1w_white")
#: Maps that are exactly 0 in the brain where they know nothing: a measured PET did not see it, or norms lack it.
_PARTLY = ("reference", "difference", "departure", "reference_z")


@dataclass(frozen=True)
class Layer:
    """One volume of the viewer.

    Attributes:
        title: words for people.
        units: of its values; empty for none.
        low, high: values of the lowest and highest code.
        clear: code 0 is nothing at all (outside the brain, or not known), and `low` is code 1; otherwise `low` is
            code 0.
        codes: uint8 [X, Y, Z].
    """

    title: str
    units: str
    low: float
    high: float
    clear: bool
    codes: np.ndarray

    def packed(self) -> dict:
        """What the page's script reads; voxels with x running fastest."""
        text = base64.b64encode(zlib.compress(self.codes.transpose(2, 1, 0).tobytes(), 6)).decode("ascii")
        facts = {"title": self.title, "units": self.units, "low": self.low, "high": self.high, "clear": self.clear}
        return facts | {"voxels": text}


def grey_layer(title: str, array: np.ndarray, limits: tuple[float, float]) -> Layer:
    """An MRI; what lies outside the limits is clipped to them."""
    low, high = limits
    codes = np.clip(np.rint((array - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    return Layer(title, "", low, high, False, codes)


def where_known(name: str, array: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Where a map by that name has values, bool [X, Y, Z]: in the brain, or where in the brain it is not 0."""
    return brain & (array != 0) if name in _PARTLY else brain


def value_layer(title: str, units: str, array: np.ndarray, known: np.ndarray) -> Layer:
    """A map of values where they are known (`where_known`), rounded to 1/254 of their range."""
    inside = array[known]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 1.0)
    high = max(high, low + 1e-6)
    codes = np.where(known, 1 + np.rint((array - low) / (high - low) * 254), 0).astype(np.uint8)
    return Layer(title, units, low, high, True, codes)


def white_layer(title: str, share: np.ndarray) -> Layer:
    """What is mostly white matter; the page's script draws its edge in each plane."""
    return Layer(title, "", 1.0, 1.0, True, (share >= 0.5).astype(np.uint8))


def small_enough(volumes: Volumes, most: int = MAX_VOXELS) -> Volumes:
    """The same volumes, averaged over blocks of voxels until one has no more than `most` voxels.

    The finest axis is halved (or cut in three ...) first, so that voxels come nearer to cubes. MRI and
    shares of white matter are averaged plainly, maps of the PET over a block's voxels where they are known.
    """
    factors = np.ones(3, int)
    while np.prod(np.ceil(np.array(volumes.brain.shape) / factors)) > most:
        factors[int(np.argmin(volumes.spacing * factors))] += 1
    return volumes if (factors == 1).all() else coarser(volumes, tuple(int(f) for f in factors))


def coarser(volumes: Volumes, factors: tuple[int, int, int]) -> Volumes:
    """Volumes over blocks of so many voxels; the blocks' centres keep their places in the world."""
    brain = _blocks(volumes.brain.astype(np.float32), factors).sum(axis=(1, 3, 5))
    arrays = {}
    for name, array in volumes.arrays.items():
        blocks = _blocks(array, factors)
        if name in _EVERYWHERE:
            arrays[name] = blocks.mean(axis=(1, 3, 5))
        else:  # 0 outside, which must not thin out the edge
            known = where_known(name, array, volumes.brain).astype(np.float32)
            arrays[name] = blocks.sum(axis=(1, 3, 5)) / np.maximum(_blocks(known, factors).sum(axis=(1, 3, 5)), 1)
    affine = volumes.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * factors
    centre = tuple(int(c) // f for c, f in zip(volumes.centre, factors, strict=True))
    spacing = volumes.spacing * factors
    return replace(volumes, arrays=arrays, brain=brain > 0, spacing=spacing, affine=affine, centre=centre)


def _blocks(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """[X', f, Y', f, Z', f]; the far ends are filled up by the last voxel, which is background."""
    missing = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    array = np.pad(array, missing, mode="edge")
    sizes = [size for n, f in zip(array.shape, factors, strict=True) for size in (n // f, f)]
    return array.reshape(sizes)
