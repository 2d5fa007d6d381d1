"""Where the diffusion happens: on the voxels themselves, or in the latent of frozen autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from RelAPETLib.diffusion import along

from ...statistics import PetStatistics
from .config import RelaConfig
from .networks import condition, differences_are_diffused, seen_by_regression, sees_mean_pet


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
    """The PET itself is diffused, or its difference from its tracer's mean or from a regression's.

    Differences of each tracer are scaled to SD 1, so that one that varies little counts as much.

    Batches have ``t1w``, ``t2f`` and ``pet``, [N, 1, X, Y, Z] in [-1, 1], and ``label`` [N].

    Args:
        statistics: of the training set; needed where `needs_statistics` says so.
    """

    def __init__(self, config: RelaConfig, statistics: PetStatistics | None = None):
        self.config, self.statistics = config, statistics
        diffuses_rest = differences_are_diffused(config) and statistics is not None
        self.scale = torch.tensor(statistics.residual_sd) if diffuses_rest else None

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
        mean = self.means(batch, t1w, t2f)
        mri = torch.cat([mri, mean], 1)
        if self.scale is None:
            return Encoded(pet, mri, pet)
        scale = along(self.scale.to(device)[torch.as_tensor(batch["label"]).to(device)], pet)
        return Encoded((pet - mean) / scale, mri, pet, lambda x0: scale * x0 + mean)

    def means(self, batch: dict, t1w: torch.Tensor, t2f: torch.Tensor) -> torch.Tensor:
        """The tracers' mean PET [N, 1, X, Y, Z], or the people's, that a batch with this MRI is diffused around."""
        self.statistics = self.statistics.on(t1w.device)
        return self.statistics.means_of(batch, lambda: seen_by_regression(self.config, torch.cat([t1w, t2f], 1)))

    def prepare(self, generator: torch.nn.Module) -> None:
        """See `Space.prepare`: nothing."""

    def frozen(self) -> dict[str, Any]:
        """The statistics, where there are any."""
        return {} if self.statistics is None else {"statistics": self.statistics.state()}


def needs_statistics(config: RelaConfig) -> bool:
    """Whether a configuration's voxel form wants statistics of its training set."""
    return not config.method.latent and (sees_mean_pet(config) or config.preset.prediction == "edm")
