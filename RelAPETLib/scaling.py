"""The one place where a network's [-1, 1] and a PET's units meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: What [-1, 1] stands for where an output is relative, without a SUVR window.
RELATIVE = (0.0, 1.0)


def to_units(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """PET in its units from a network's values, which are kept inside the window.

    Args:
        values: any shape; -1 stands for the window's lower end, 1 for its upper.
        window: SUVR range; None for a relative output, 0 to 1.
    """
    low, high = window or RELATIVE
    return np.clip(low + (values + 1) / 2 * (high - low), low, high)


def deviation_to_units(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """The same for standard deviations and differences, which know no offset."""
    low, high = window or RELATIVE
    return values * (high - low) / 2


def to_network(pet: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """A network's values in [-1, 1] from a PET, clipped.

    Args:
        pet: any shape, in its own units.
        window: what -1 and 1 stand for; None: the PET's own minimum and maximum.
    """
    low, high = window or (float(pet.min()), float(pet.max()))
    return np.clip((pet - low) * (2 / max(high - low, 1e-6)) - 1, -1, 1)


def bounded(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """A network's values clamped to bounds, but NaN where they were infinite.

    Clamped, an infinite value would be a plausible one; NaN is found by whoever checks what was drawn.
    """
    return values.clamp(low, high).add_(values * 0)
