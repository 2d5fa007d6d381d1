"""Where the diffusion happens: on the voxels themselves, or in the latent of frozen autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from .config import RelaConfig
from .networks import condition


@dataclass(frozen=True)
class Encoded:
    """A batch as Algorithm 1 takes it.

    Attributes:
        x0: what is diffused, [N, C, X, Y, Z].
        mri: the generator's other channels.
        image: the PET that D compares with; None where the batch has none, because there is no D.
        decode: what is diffused to such a PET; None: it is one.
    """

    x0: torch.Tensor
    mri: torch.Tensor
    image: torch.Tensor | None
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None


class Space(Protocol):
    """Turns batches of its data set into `Encoded`."""

    def encode(self, batch: dict, device: torch.device) -> Encoded: ...

    def frozen(self) -> dict[str, Any]:
        """What goes into a checkpoint beside the generator, to make a bundle of it."""


class VoxelSpace:
    """The PET itself is diffused. Batches have ``t1w``, ``t2f`` and ``pet``, [N, 1, X, Y, Z] in [-1, 1]."""

    def __init__(self, config: RelaConfig):
        self.config = config

    def encode(self, batch: dict, device: torch.device) -> Encoded:
        """The volumes on the device."""
        t1w, t2f, pet = (batch[name].to(device, non_blocking=True) for name in ("t1w", "t2f", "pet"))
        return Encoded(pet, condition(self.config, t1w, t2f), pet)

    def frozen(self) -> dict[str, Any]:
        """Nothing."""
        return {}
