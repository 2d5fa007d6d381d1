"""The model grid in blocks of voxels: what a network sees of it, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..grid import MNI_GRID
from .shapes import central, padded_to

#: What is outside in an image scaled to [-1, 1].
BACKGROUND = -1.0


@dataclass(frozen=True)
class Blocks:
    """Means over blocks of the model grid's voxels, perhaps only the central part of them.

    Attributes:
        factor: side of a block in voxels; 1 is the model grid itself.
        crop: central part (X, Y, Z) of the blocks; None is all.

    Raises:
        ValueError: a factor that does not divide the grid, or a crop that is no part of the blocks.
    """

    factor: int = 1
    crop: Sequence[int] | None = None

    def __post_init__(self):
        if self.factor < 1 or any(n % self.factor for n in MNI_GRID.shape):
            raise ValueError(f"factor {self.factor} does not divide the grid {MNI_GRID.shape}")
        crop = self.shape
        if len(crop) != 3 or any(not 0 < n <= whole for n, whole in zip(crop, self.whole, strict=True)):
            raise ValueError(f"crop {crop} is no part of {self.whole} blocks")

    @property
    def whole(self) -> tuple[int, ...]:
        """(X, Y, Z), all blocks."""
        return tuple(n // self.factor for n in MNI_GRID.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z), those that are kept."""
        return self.whole if self.crop is None else tuple(self.crop)

    def of(self, volume: torch.Tensor) -> torch.Tensor:
        """Blocks [N, C, *shape] of a volume [N, C, 160, 180, 160]."""
        if self.factor > 1:
            volume = functional.avg_pool3d(volume, self.factor)
        return volume if self.shape == self.whole else central(volume, self.shape)

    def to_grid(self, blocks: torch.Tensor) -> torch.Tensor:
        """The volume [N, C, 160, 180, 160] of blocks, float32: interpolated, `BACKGROUND` outside the crop."""
        blocks = blocks.float()
        if self.factor == 1 and self.shape == self.whole:
            return blocks
        whole = padded_to(blocks, self.whole, BACKGROUND)
        # Centres of blocks stay where they are with align_corners=False.
        return functional.interpolate(whole, size=MNI_GRID.shape, mode="trilinear", align_corners=False)
