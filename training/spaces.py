"""Where the diffusion happens: on the voxels themselves, or in the latent of frozen autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from .config import TrainConfig
from .networks import condition


@dataclass(frozen=True)
class Encoded:
    """A batch as Algorithm 1 takes it: what is diffused, its condition, and the image D compares with."""

    x0: torch.Tensor
    mri: torch.Tensor
    image: torch.Tensor


class Space(Protocol):
    """Turns a batch into `Encoded`, and what is diffused back into an image (None: it is one)."""

    decode: Callable[[torch.Tensor], torch.Tensor] | None

    def encode(self, batch: dict) -> Encoded: ...


class VoxelSpace:
    """The PET itself is diffused."""

    decode = None

    def __init__(self, config: TrainConfig):
        self.config = config

    def encode(self, batch: dict) -> Encoded:
        """Of ``t1w``, ``t2f`` and ``pet``, [N, 1, X, Y, Z] in [-1, 1]."""
        return Encoded(batch["pet"], condition(self.config, batch["t1w"], batch["t2f"]), batch["pet"])
