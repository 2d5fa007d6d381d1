"""What comes before Algorithm 1, for the header of a run, and all of it shortened, for ``train --dry-run``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ...autoencoding import name_of_stage, players_of
from ...data.dataset import few_of_each_tracer
from ..base import Stage
from .adversary import RelativisticAdversary
from .config import REGRESSIONS, RelaConfig
from .spaces import needs_statistics

if TYPE_CHECKING:
    from ...trainer import RunData

#: Enough scans of each tracer for so few components of the regression.
SCANS, COMPONENTS = 4, 2


def trainings_before(config: RelaConfig) -> list[Stage]:
    """See `Objective.trainings_before`: autoencoders, where this run trains them, and networks that come before."""
    if not config.method.latent:
        return []
    from .latent.base import NAME as BASE
    from .latent.base import BaseUNet
    from .latent.modes import NAME as MODES
    from .latent.modes import Modes
    from .latent.stages import autoencoders

    coder, found = config.autoencoder, []
    if not coder.source:
        players = players_of(coder, config.seed, RelativisticAdversary(config.preset))
        found += [Stage(name_of_stage(name), players, coder.steps) for name in autoencoders(config)]
    if config.trains_modes:
        found.append(Stage(MODES, Modes(config).build(), config.latent.mode_steps))
    if config.base_steps:
        found.append(Stage(BASE, BaseUNet(config).build(), config.base_steps))
    return found


def rehearsal(config: RelaConfig, data: RunData, steps: int, ranks: int) -> tuple[RelaConfig, RunData]:
    """See `Objective.rehearsal`."""
    config = replace(config, preset=replace(config.preset, adversarial_start_epoch=0))
    if not config.method.latent:
        few = needs_statistics(config)  # which two passes over all scans would measure
        return config, replace(data, train=few_of_each_tracer(data.train, SCANS)) if few else data
    coder, latent = config.autoencoder, replace(config.latent, registered="")
    if not _scarce(config, data):  # else the regression gets all scans and says itself that they are too few
        components = min(latent.components, COMPONENTS)
        latent = replace(latent, components=components, embedding=min(latent.embedding, components))
        validation = data.validation and few_of_each_tracer(data.validation, SCANS)
        data = replace(data, train=few_of_each_tracer(data.train, SCANS), validation=validation)
    if config.trains_modes:
        latent = replace(latent, mode_steps=steps, mode_batch=max(latent.mode_batch // ranks, 1))
    if config.base_steps:
        config = replace(config, method=replace(config.method, base_steps=steps))
    coder = replace(coder, steps=steps, batch=max(coder.batch // ranks, 1))
    return replace(config, autoencoder=coder, latent=latent), data


def _scarce(config: RelaConfig, data: RunData) -> bool:
    """Whether a tracer has too few scans for the regression."""
    if config.latent.name not in REGRESSIONS:
        return False
    counts = Counter(item.tracer for item in data.train.items)
    return min(counts.values()) <= config.latent.components
