"""The U-Net that a ControlNet steers: trained first on latents of PET alone, without any MRI, and then frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from RelAPETLib.diffusion import Parametrization
from RelAPETLib.networks.generator import build_generator

from .... import checkpoints
from ....config import flatten, layout
from ....plans import stage_plan
from ....stream import draw
from ....trainer import RunData, Trainer
from ...base import Losses, Objective, Place, Player, Terms, Work
from ..config import RelaConfig
from ..networks import generator_arguments, generator_player, noise_schedule
from ..steps import algorithm_1, weights_of
from .encoded import LatentDataset

FOLDER, NAME = "base", "U-Net without MRI"
#: Keys of the configuration that this training depends on, beside the coded data.
SHAPING = ("seed", "method.", "preset.", "network.", "run.weight_decay", "run.clip_gradients", "run.learning_rate",
           "run.warmup_steps")  # fmt: skip


class BaseUNet(Objective):
    """Algorithm 1 without MRI and without its adversarial part."""

    def __init__(self, config: RelaConfig):
        super().__init__(config)
        self.parametrization = Parametrization(noise_schedule(config), config.preset.prediction)

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        channels = self.config.autoencoder.latent_channels
        network = build_generator(in_channels=channels, out_channels=channels, **generator_arguments(self.config))
        return {"generator": generator_player(network, self.config)}

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        device, p = self.fabric.device, self.parametrization
        x0 = batch["x0"].to(device)
        t, eps = draw(self.config.seed, place.positions, x0.shape[1:], p.schedule.num_timesteps, device)
        labels = torch.as_tensor(batch["label"]).to(device)
        weights = weights_of(self.config, place.epoch)
        found = algorithm_1(self.modules["generator"], None, x0, x0[:, :0], labels, t, eps, p, weights)
        return {"generator": found.generator}, {"L": found.generator.detach(), **found.terms}


def trained_base(work: Work, config: RelaConfig, coded: LatentDataset, key: str) -> dict[str, torch.Tensor] | None:
    """State dict of the trained U-Net (its moving average where one is kept); None when asked to stop.

    Args:
        coded: the training scans.
        key: of the coded data.

    Raises:
        ConfigError: the batch does not divide by the ranks.
        ResumeError: the folder holds another one.
    """
    layout(config, work.fabric.world_size)
    flat, run = flatten(config), config.run
    plan = stage_plan(
        config,
        work.fabric.world_size,
        out=Path(config.out) / FOLDER,
        steps=config.base_steps,
        batch=("preset.global_batch", config.preset.global_batch),
        identity={k: v for k, v in flat.items() if k.startswith(SHAPING)} | {"coded": key},
        free=config.rules.free,
        name=NAME,
        learning_rate=run.learning_rate,
        warmup_steps=run.warmup_steps,
        workers=config.data.workers,
    )
    plan = replace(plan, micro_batch=config.hardware.micro_batch)
    work.fabric.print(f"{NAME}: {plan.steps} steps in {plan.out}")
    data = RunData(coded, None, work.data.split_sha256, volumes_sha256=work.data.volumes_sha256)
    if Trainer(work.fabric, BaseUNet(config), data, plan, work.quiet, work.origin).train(work.stop):
        return None
    path, saved = checkpoints.latest(plan.out)
    with checkpoints.restoring(path):
        return checkpoints.exported_weights(saved)["generator"]
