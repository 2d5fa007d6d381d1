"""Cropping and padding of volumes to shapes that a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def central(volume: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The central part of `shape` (X, Y, Z) of a tensor [..., X, Y, Z]; of an odd gap, one more falls off the end."""
    starts = [(n - wanted) // 2 for n, wanted in zip(volume.shape[-3:], shape, strict=True)]
    x, y, z = (slice(start, start + wanted) for start, wanted in zip(starts, shape, strict=True))
    return volume[..., x, y, z]


def padded_shape(shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    """The smallest shape with this one in it whose sides are multiples of a number."""
    return tuple(-(-n // multiple) * multiple for n in shape)


def padded(volume: torch.Tensor, multiple: int, value: float) -> torch.Tensor:
    """A tensor [N, C, X, Y, Z] with `value` around it, to the smallest sides that are multiples of a number.

    `central` takes it back.
    """
    return padded_to(volume, padded_shape(volume.shape[2:], multiple), value)


def padded_to(volume: torch.Tensor, shape: Sequence[int], value: float) -> torch.Tensor:
    """The same to sides (X, Y, Z) that are no smaller."""
    from torch.nn import functional

    gaps = [wanted - n for wanted, n in zip(shape, volume.shape[2:], strict=True)]
    sides = [side for gap in reversed(gaps) for side in (gap // 2, gap - gap // 2)]
    return functional.pad(volume, sides, value=value) if any(gaps) else volume
