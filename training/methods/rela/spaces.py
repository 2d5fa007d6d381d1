"""Where the diffusion happens: on the voxels themselves, or in the latent of frozen autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...statistics import PetStatistics
from .config import RelaConfig
from .networks import condition, sees_mean_pet


@dataclass(frozen=True)
class Encoded:
    """A batch as Algorithm 1 takes it.

    Attributes:
        x0: what is diffused, [N, C, X, Y, Z].
        mri: the generator's other channels.
        image: the PET that D compares with; None where the batch has none, because there is no D.
        decode: what is diffused to such a PET; None: it is one.
        judged: D compares decoded images; else what is diffused.
    """

    x0: torch.Tensor
    mri: torch.Tensor
    image: torch.Tensor | None
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None
    judged: bool = True


class Space(Protocol):
    """Turns batches of its data set into `Encoded`."""

    def encode(self, batch: dict, device: torch.device) -> Encoded: ...

    def prepare(self, generator: torch.nn.Module) -> None:
        """Tell a generator what it must know of the space before it is used."""

    def frozen(self) -> dict[str, Any]:
        """What goes into a checkpoint beside the generator, to make a bundle of it."""


class VoxelSpace:
    """The PET itself is diffused, or its difference from its tracer's mean, scaled to SD 1.

    Batches have ``t1w``, ``t2f`` and ``pet``, [N, 1, X, Y, Z] in [-1, 1], and ``label`` [N].

    Args:
        statistics: of the training set; needed where `needs_statistics` says so.
    """

    def __init__(self, config: RelaConfig, statistics: PetStatistics | None = None):
        self.config, self.statistics = config, statistics
        self.mean = statistics.mean if statistics is not None else None
        self.scale = statistics.residual_sd if config.preset.mean_pet == "residual" and statistics is not None else None

    @property
    def sigma_data(self) -> float:
        """SD of what is diffused."""
        return 1.0 if self.scale is not None or self.statistics is None else self.statistics.sd

    def encode(self, batch: dict, device: torch.device) -> Encoded:
        """The volumes on the device."""
        t1w, t2f, pet = (batch[name].to(device, non_blocking=True) for name in ("t1w", "t2f", "pet"))
        mri = condition(self.config, t1w, t2f)
        if not sees_mean_pet(self.config):
            return Encoded(pet, mri, pet)
        if self.mean.device != device:
            self.mean = self.mean.to(device)
        mean, scale = self.mean[torch.as_tensor(batch["label"]).to(device)], self.scale
        mri = torch.cat([mri, mean], 1)
        if scale is None:
            return Encoded(pet, mri, pet)
        return Encoded((pet - mean) / scale, mri, pet, lambda x0: scale * x0 + mean)

    def prepare(self, generator: torch.nn.Module) -> None:
        """See `Space.prepare`: nothing."""

    def frozen(self) -> dict[str, Any]:
        """The statistics, where there are any."""
        return {} if self.statistics is None else {"statistics": self.statistics.state()}


def needs_statistics(config: RelaConfig) -> bool:
    """Whether a configuration's voxel form wants statistics of its training set."""
    return not config.method.latent and (sees_mean_pet(config) or config.preset.prediction == "edm")
