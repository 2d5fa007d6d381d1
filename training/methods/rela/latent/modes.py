"""The perceptron of `latent=conditional`, trained by itself on the modes' coordinates: many images a step, in minutes.

The modes are orthonormal, so the error of a whole latent is that of its modes plus that of the rest, and the two
networks share no weights: apart they learn what they learn together, each at its own pace. The perceptron needs far
more images than the U-Net can be given: with few, it cannot tell two humps from one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from RelAPETLib.diffusion import Parametrization

from ....config import flatten
from ....plans import stage_plan
from ....stream import draw, jitter
from ....trainer import RunData, Trainer
from ...adversarial import penalised_player
from ...base import Losses, Objective, Place, Player, Terms, Work
from ..config import RelaConfig, judges_modes
from ..networks import generator_player, mode_network, noise_schedule
from ..steps import algorithm_1, weights_of
from .encoded import LatentDataset

FOLDER, NAME = "modes", "mode network"
#: Keys of the configuration that this training depends on, beside the coded data.
SHAPING = ("seed", "latent.", "method.", "ablation.", "preset.", "run.weight_decay", "run.clip_gradients")
#: Keys that came later: a training from before them has their defaults, so these are not said.
LATER = ("preset.beta_start", "preset.beta_end", "latent.targets")
#: Keys that training depends on all along, and whose values earlier checkpoints do not say.
UNSAID = ("run.learning_rate", "run.warmup_steps")


class ModeCritic(nn.Module):
    """Tells modes' coordinates [N, K] of people from estimated ones: a list of logits [N, 1], as `logits` takes it."""

    def __init__(self, components: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(components, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, modes: torch.Tensor) -> list[torch.Tensor]:
        """See the class."""
        return [self.layers(modes)]


class ModeDataset(Dataset):
    """Coordinates ``x0`` [K] and embedding ``mri`` [E] of coded scans."""

    def __init__(self, coded: LatentDataset, directions: torch.Tensor):
        self.labels = torch.tensor([coded.label(index) for index in range(len(coded))])
        flat = coded.latents.x0.flatten(1)
        self.modes = torch.stack([directions[c] @ z for c, z in zip(self.labels.tolist(), flat, strict=True)])
        self.mri = coded.latents.mri.flatten(1)
        self.subjects = [coded.images.items[index].subject for index in range(len(coded))]

    def __len__(self) -> int:
        return len(self.modes)

    def __getitem__(self, index: int) -> dict:
        return {
            "x0": self.modes[index],
            "mri": self.mri[index],
            "label": int(self.labels[index]),
            "subject": self.subjects[index],
        }


class Modes(Objective):
    """Algorithm 1 on the modes' coordinates; with ``latent.judged=modes`` with its adversarial part."""

    def __init__(self, config: RelaConfig):
        super().__init__(config)
        self.parametrization = Parametrization(noise_schedule(config), config.preset.prediction)

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        players = {"generator": generator_player(mode_network(self.config), self.config)}
        if judges_modes(self.config):
            critic = ModeCritic(self.config.latent.components, self.config.latent.width)
            players["discriminator"] = penalised_player(critic, self.config)
        return players

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        config, device = self.config, self.fabric.device
        x0, mri = batch["x0"].to(device), batch["mri"].to(device)
        schedule = self.parametrization.schedule
        t, eps = draw(config.seed, place.positions, x0.shape[1:], schedule.num_timesteps, device)
        mri = mri + config.latent.jitter * jitter(config.seed, place.positions, mri.shape[1:], device)
        found = algorithm_1(
            partial(_called, self.modules["generator"]),
            self.modules.get("discriminator"),
            x0,
            mri,
            torch.as_tensor(batch["label"]).to(device),
            t,
            eps,
            self.parametrization,
            weights_of(config, place.epoch),
        )
        losses = {"generator": found.generator}
        if found.discriminator is not None:
            losses["discriminator"] = found.discriminator
        return losses, {"L": found.generator.detach(), **found.terms}


def _called(network: nn.Module, x: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
    """A `ModeNetwork` called like the generator, with coordinates and embedding side by side."""
    components = getattr(network, "module", network).components
    return network(x[:, :components].float(), x[:, components:].float(), timesteps, class_labels)


def identity_of(config: RelaConfig, key: str) -> dict[str, object]:
    """What makes this training another one; `key` is that of the coded data."""
    flat, usual = flatten(config), flatten(type(config)())
    said = {k: v for k, v in flat.items() if k.startswith(SHAPING) and not (k in LATER and v == usual[k])}
    return said | {name: flat[name] for name in UNSAID} | {"coded": key}


def trained_modes(
    work: Work, config: RelaConfig, coded: LatentDataset, directions: torch.Tensor, key: str
) -> dict[str, torch.Tensor] | None:
    """State dict of the trained `ModeNetwork` (its moving average where one is kept); None when asked to stop.

    Args:
        coded: the training scans.
        directions: [labels, K, L], orthonormal.
        key: of the coded data.

    Raises:
        ConfigError: the batch does not divide by the ranks.
        ResumeError: the folder holds another one.
    """
    latent, run = config.latent, config.run
    plan = stage_plan(
        config,
        work.fabric.world_size,
        out=Path(config.out) / FOLDER,
        steps=latent.mode_steps,
        batch=("latent.mode_batch", latent.mode_batch),
        identity=identity_of(config, key),
        free=config.rules.free,
        unsaid=UNSAID,
        name=NAME,
        learning_rate=run.learning_rate,
        warmup_steps=run.warmup_steps,
    )
    work.fabric.print(f"{NAME}: {plan.steps} steps in {plan.out}")
    modes = ModeDataset(coded, directions.cpu())
    data = RunData(modes, None, work.data.split_sha256, volumes_sha256=work.data.volumes_sha256)
    trainer = Trainer(work.fabric, Modes(config), data, plan, work.quiet, work.origin)
    if trainer.train(work.stop):
        return None
    player = trainer.players["generator"]
    with player.average.in_place():
        return {name: tensor.detach().cpu().clone() for name, tensor in player.network.state_dict().items()}
