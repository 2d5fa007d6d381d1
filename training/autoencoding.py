"""An autoencoder of volumes, a stage of methods that code them first; trained by the same loop as everything else.

Loss: mean absolute error, `l2_weight` mean squared error, `kl_weight` KL divergence of the latent to a standard normal
one, `perceptual_weight` distance of features, `adversarial_weight` loss of an adversary that the method brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from RelAPETLib.networks.autoencoder import VolumeAutoencoder

from . import checkpoints
from .autoencoder_config import Autoencoder
from .config import TrainConfig
from .errors import ConfigError
from .methods.base import Losses, Objective, Place, Player, Terms, Work
from .plans import stage_plan
from .stream import draw
from .trainer import RunData, Trainer

FOLDER = "autoencoder"
WARM_UP_STEPS, LARGEST_GRADIENT, WEIGHT_DECAY = 100, 1.0, 1e-4


@dataclass(frozen=True)
class Images:
    """What an autoencoder learns from.

    Attributes:
        name: ``pet`` or ``mri``.
        dataset: items with ``image`` [1, X, Y, Z], ``label`` and ``subject``.
        prepared: turns a batch of them into what is coded, [N, 1, X', Y', Z'].
        region: bool [X', Y', Z'], the voxels whose errors count; None for all.
    """

    name: str
    dataset: Dataset
    prepared: Callable[[dict], torch.Tensor]
    region: torch.Tensor | None


class Adversary(Protocol):
    """A network that is to tell volumes from reconstructions, and its losses."""

    def build(self) -> Player:
        """The network, as a player."""

    def autoencoder_loss(self, network: torch.nn.Module, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """The autoencoder's loss, without gradient to the network."""

    def discriminator_loss(self, network: torch.nn.Module, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """The network's own loss; `made` is detached."""


class PetImages(Dataset):
    """The PET of a `PetDataset`."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        return {"image": item["pet"], "label": item["label"], "subject": item["subject"]}


class MriImages(Dataset):
    """T1w and T2F of every case of a `PetDataset`, one after the other."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.places = list({item.case: place for place, item in reversed(list(enumerate(dataset.items)))}.values())

    def __len__(self) -> int:
        return 2 * len(self.places)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[self.places[index // 2]]
        return {"image": item["t2f" if index % 2 else "t1w"], "label": item["label"], "subject": item["subject"]}


def build_autoencoder(how: Autoencoder) -> VolumeAutoencoder:
    """An autoencoder of the configured size."""
    return VolumeAutoencoder(
        how.latent_channels,
        how.channels,
        blocks=how.blocks,
        num_res_blocks=how.num_res_blocks,
        norm_num_groups=how.norm_num_groups,
    )


def players_of(how: Autoencoder, seed: int, adversary: Adversary | None = None) -> dict[str, Player]:
    """Those of an autoencoder's training by name, initialised from `seed`."""
    torch.manual_seed(seed)
    players = {
        "autoencoder": Player(
            build_autoencoder(how),
            partial(torch.optim.AdamW, weight_decay=WEIGHT_DECAY),
            how.learning_rate,
            clip=LARGEST_GRADIENT,
        )
    }
    if adversary and how.adversarial_weight:
        players["discriminator"] = adversary.build()
    return players


def name_of_stage(images: str) -> str:
    """What the training of an autoencoder of such images is called."""
    return f"{images} autoencoder"


class Autoencoding(Objective):
    """One autoencoder as an objective.

    Args:
        how: its configuration.
        images: what it learns from.
        seed: of its weights and of all noise.
        adversary: None for none.
    """

    def __init__(self, how: Autoencoder, images: Images, seed: int, adversary: Adversary | None = None):
        self.how, self.images, self.seed = how, images, seed
        self.adversary = adversary if how.adversarial_weight else None
        self.region, self.features = None, None

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        if self.how.perceptual_weight:
            self.features = PerceptualFeatures(self.how.perceptual_network)
        return players_of(self.how, self.seed, self.adversary)

    def bind(self, fabric, modules) -> None:
        """See `Objective.bind`."""
        super().bind(fabric, modules)
        self.region = None if self.images.region is None else self.images.region.to(fabric.device)
        if self.features is not None:
            self.features.to(fabric.device)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`; ``image`` is what is coded."""
        how, coder = self.how, self.modules["autoencoder"]
        volume = self.images.prepared(batch)
        latent = (how.latent_channels, *(n // coder.module.reduction for n in volume.shape[2:]))
        coins, noise = draw(self.seed, place.positions, latent, 2, self.fabric.device)
        if how.mirror:
            mirrored = coins.bool().to(volume.device)[:, None, None, None, None]
            volume = torch.where(mirrored, volume.flip(2), volume)
        output, mean, sd = (part.float() for part in coder(volume, noise))
        loss, terms = self._coder_loss(volume, output, mean, sd)
        losses = {"autoencoder": loss}
        if self.adversary:
            network = self.modules["discriminator"]
            losses["discriminator"] = self.adversary.discriminator_loss(network, volume, output.detach())
        return losses, {name: term.detach() for name, term in terms.items()}

    def _coder_loss(self, volume, output, mean, sd) -> tuple[torch.Tensor, Terms]:
        """The loss, and its terms unweighted."""
        how, error = self.how, output - volume
        if self.region is not None:
            error = error[:, :, self.region]
        terms = {
            "L1": error.abs().mean(),
            "L2": error.square().mean(),
            "KL": 0.5 * (mean.square() + sd.square() - 2 * sd.log() - 1).mean(),
        }
        loss = terms["L1"] + how.l2_weight * terms["L2"] + how.kl_weight * terms["KL"]
        if self.features is not None:
            terms["perceptual"] = sum(
                F.mse_loss(a, b) for a, b in zip(self.features(output), self.features(volume), strict=True)
            )
            loss = loss + how.perceptual_weight * terms["perceptual"]
        if self.adversary:
            terms["adversarial"] = self.adversary.autoencoder_loss(self.modules["discriminator"], volume, output)
            loss = loss + how.adversarial_weight * terms["adversarial"]
        return loss, terms


def trained_autoencoder(
    work: Work,
    config: TrainConfig,
    how: Autoencoder,
    images: Images,
    identity: dict[str, Any],
    adversary: Adversary | None = None,
    unsaid: tuple[str, ...] = (),
) -> torch.nn.Module | None:
    """A trained and frozen autoencoder on the device, of the run's folder or of the run that it is taken from.

    Args:
        config: of the run, for its folder, seed and rhythm.
        identity: flat keys of the configuration that make the autoencoder another one.
        unsaid: of them, as `training.plans.Plan` has them.

    Returns:
        It in evaluation mode; None when asked to stop before the end.

    Raises:
        ConfigError: no usable autoencoder where `how.source` says, no usable perceptual network, or `how.batch` does
            not divide by the ranks.
        ResumeError: the folder holds another autoencoder.
    """
    if how.source:
        return _of_another_run(work, how, images)
    plan = stage_plan(
        config,
        work.fabric.world_size,
        out=Path(config.out) / FOLDER / images.name,
        steps=how.steps,
        batch=("autoencoder.batch", how.batch),
        identity=identity,
        unsaid=unsaid,
        name=name_of_stage(images.name),
        learning_rate="cosine",
        warmup_steps=WARM_UP_STEPS,
        workers=config.data.workers,
    )
    work.fabric.print(f"{plan.name}: {how.steps} steps in {plan.out}")
    data = RunData(images.dataset, None, work.data.split_sha256, volumes_sha256=work.data.volumes_sha256)
    objective = Autoencoding(how, images, config.seed, adversary)
    trainer = Trainer(work.fabric, objective, data, plan, work.quiet, work.origin)
    if trainer.train(work.stop):
        return None
    return trainer.players["autoencoder"].network.eval().requires_grad_(False)


def _of_another_run(work: Work, how: Autoencoder, images: Images) -> torch.nn.Module:
    """The autoencoder of the run that `how.source` names."""
    found = checkpoints.latest(Path(how.source) / FOLDER / images.name)
    if found is None:
        raise ConfigError(f"autoencoder.source={how.source}: no {images.name} autoencoder there")
    path, saved = found
    with checkpoints.restoring(path):
        unfinished = saved["step"] < saved["config"]["autoencoder.steps"]
        weights = saved["players"]["autoencoder"]["weights"]
    if unfinished:
        raise ConfigError(f"{path}: that autoencoder is not trained to its end yet")
    if saved["split_sha256"] != work.data.split_sha256:
        raise ConfigError(f"{path}: trained on another split; its test subjects may be among this one's training")
    checkpoints.check_cache(path, saved, work.data.volumes_sha256)
    coder = build_autoencoder(how)
    try:
        coder.load_state_dict(weights)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not the autoencoder that the configuration describes") from error
    return coder.to(work.fabric.device).eval().requires_grad_(False)


class PerceptualFeatures(torch.nn.Module):
    """Features of a 3-D ResNet-10 (MONAI's, one input channel) at its four depths, of volumes [N, 1, X, Y, Z].

    Args:
        path: its state dict, e.g. MedicalNet's ``resnet_10_23dataset.pth``; nothing in it is executed.

    Raises:
        ConfigError: it cannot be read or is of another network.
    """

    def __init__(self, path: str):
        from monai.networks.nets import resnet10

        super().__init__()
        self.network = resnet10(
            spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False
        )
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
            state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
            self.network.load_state_dict(state, strict=True)
        except Exception as error:  # torch raises whatever the damaged byte leads to
            why = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"autoencoder.perceptual_network={path} is no state dict of a 3-D ResNet-10: {why}"
            ) from error
        self.eval().requires_grad_(False)

    def forward(self, volume: torch.Tensor) -> list[torch.Tensor]:
        """The features, each normalised over its channels."""
        network, found = self.network, []
        x = network.maxpool(network.act(network.bn1(network.conv1(volume))))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
            found.append(x / x.square().mean(1, keepdim=True).add(1e-6).sqrt())
        return found
