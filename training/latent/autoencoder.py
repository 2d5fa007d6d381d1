"""First stage of the latent variant: an autoencoder of PET or of MRI, resumable like the run it belongs to.

Loss: mean absolute error, `l2_weight` mean squared error, `kl_weight` KL divergence of the latent to a standard normal
one, `perceptual_weight` distance of features, `adversarial_weight` relativistic loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from RelAPETLib.networks.autoencoder import VolumeAutoencoder
from RelAPETLib.networks.discriminator import build_discriminator

from .. import checkpoints
from ..config import TrainConfig, flatten
from ..data.dataset import StreamSampler, build_loader
from ..errors import ConfigError, DivergedError, ResumeError
from ..faults import StopRequest
from ..losses import relativistic_generator_loss
from ..reports import Report
from ..schedules import learning_rate_share
from ..steps import Objective, discriminator_loss, frozen, logits
from ..stream import draw, places
from ..trainer import average_gradients

WARM_UP_STEPS, LARGEST_GRADIENT = 100, 1.0
#: Keys of the configuration that make an autoencoder another one; with where its images come from.
SHAPING = ("autoencoder.", "latent.name", "network.factor", "seed", "preset.pet_intensity")
_NOT_SHAPING = ("autoencoder.source", "autoencoder.perceptual_network")


@dataclass(frozen=True)
class Images:
    """What an autoencoder learns from.

    Attributes:
        name: ``pet`` or ``mri``.
        dataset: items with ``image`` [1, X, Y, Z], ``label`` and ``subject``.
        prepared: turns a batch of them into what is coded, [N, 1, X', Y', Z'].
        region: bool [X', Y', Z'], the voxels whose errors count; None for all.
        split_sha256: who is in it.
    """

    name: str
    dataset: Dataset
    prepared: Callable[[dict], torch.Tensor]
    region: torch.Tensor | None
    split_sha256: str


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


def build_autoencoder(config: TrainConfig) -> VolumeAutoencoder:
    """An autoencoder of the configured size."""
    coder = config.autoencoder
    return VolumeAutoencoder(
        coder.latent_channels,
        coder.channels,
        blocks=coder.blocks,
        num_res_blocks=coder.num_res_blocks,
        norm_num_groups=coder.norm_num_groups,
    )


def shaping(config: TrainConfig) -> dict:
    """The part of a configuration that an autoencoder depends on, flat."""
    flat = flatten(config)
    return {key: value for key, value in flat.items() if key.startswith(SHAPING) and key not in _NOT_SHAPING}


class AutoencoderTrainer:
    """One autoencoder's training, in a folder of its own.

    Args:
        fabric: launched.
        folder: of its checkpoints and log.
        quiet: no console.

    Raises:
        ConfigError: `autoencoder.batch` does not divide by the ranks, or there is no usable perceptual network.
        ResumeError: the folder holds another autoencoder.
    """

    def __init__(self, fabric, config: TrainConfig, images: Images, folder: Path, quiet: bool = False):
        self.fabric, self.config, self.images, self.folder = fabric, config, images, folder
        how = config.autoencoder
        self.batch, rest = divmod(how.batch, fabric.world_size)
        if rest:
            raise ConfigError(f"autoencoder.batch={how.batch} is no multiple of {fabric.world_size} ranks")
        torch.manual_seed(config.seed)
        coder = build_autoencoder(config)
        optimizer = torch.optim.AdamW(coder.parameters(), lr=how.learning_rate, weight_decay=1e-4)
        self.coder, self.optimizer = fabric.setup(coder, optimizer)
        self.region = None if images.region is None else images.region.to(fabric.device)
        self.features = perceptual_features(how.perceptual_network, fabric.device) if how.perceptual_weight else None
        self.D = self.optimizer_D = None
        if how.adversarial_weight:
            self.D = build_discriminator(config.preset.discriminator_norm).to(fabric.device)
            self.optimizer_D = torch.optim.Adam(self.D.parameters(), lr=config.preset.discriminator_learning_rate)
        self.sampler = StreamSampler(
            len(images.dataset), seed=config.seed, rank=fabric.global_rank, ranks=fabric.world_size
        )
        self.step = 0
        self.resume()
        self.report = Report(folder, self.step, how.steps, quiet) if fabric.is_global_zero else None

    def train(self, stop: StopRequest) -> VolumeAutoencoder | None:
        """Steps until the end; the autoencoder in evaluation mode, or None when asked to stop before."""
        how, run = self.config.autoencoder, self.config.run
        if self.step < how.steps:
            loader = build_loader(
                self.images.dataset,
                self.sampler,
                batch_size=self.batch,
                workers=self.config.data.workers,
                pin_memory=self.fabric.device.type == "cuda",
            )
            batches, first = iter(loader), self.step
            while self.step < how.steps:
                terms, asked = self.update(next(batches), stop)
                last = self.step == how.steps
                if self.report and (self.step % run.log_every == 0 or last):
                    epoch = self.position / self.sampler.size
                    self.report.scalars(self.step, epoch, terms, (self.step - first) * how.batch)
                if asked or last or self.step % run.checkpoint_every == 0:
                    self.save()
                if asked and not last:
                    if self.report:
                        self.report.say(f"asked to stop: saved the {self.images.name} autoencoder's step {self.step}")
                    return None
        if self.report:
            self.report.close()
        return self.coder.module.eval().requires_grad_(False)

    @property
    def position(self) -> int:
        """Images used by all ranks since the beginning."""
        return self.sampler.epoch * self.sampler.size + self.sampler.position

    def update(self, batch: dict, stop: StopRequest) -> tuple[dict[str, float], bool]:
        """One step; its terms, mean over ranks, and whether to stop."""
        how, fabric = self.config.autoencoder, self.fabric
        volume = self.images.prepared(batch)
        positions = places(self.position, fabric.global_rank, fabric.world_size, len(volume))
        latent = (how.latent_channels, *(n // self.coder.module.reduction for n in volume.shape[2:]))
        coins, noise = draw(self.config.seed, positions, latent, 2, fabric.device)
        if how.mirror:
            mirrored = coins.bool().to(volume.device)[:, None, None, None, None]
            volume = torch.where(mirrored, volume.flip(2), volume)
        output, mean, sd = (part.float() for part in self.coder(volume, noise))
        loss, terms = self.losses(volume, output, mean, sd)
        for group in self.optimizer.param_groups:
            group["lr"] = how.learning_rate * learning_rate_share(self.step, how.steps, WARM_UP_STEPS, "cosine")
        fabric.backward(loss)
        norm = fabric.clip_gradients(self.coder, self.optimizer, max_norm=LARGEST_GRADIENT, error_if_nonfinite=False)
        terms["grad"] = norm.detach()
        shared, asked = self.check(terms, batch["subject"], stop)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.D is not None:
            self.update_discriminator(volume, output.detach())
        self.sampler.advance(how.batch)
        self.step += 1
        return shared, asked

    def losses(self, volume, output, mean, sd) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and its terms unweighted."""
        how, error = self.config.autoencoder, output - volume
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
        if self.D is not None:
            with frozen(self.D):
                terms["adversarial"] = relativistic_generator_loss(logits(self.D, volume), logits(self.D, output))
            loss = loss + how.adversarial_weight * terms["adversarial"]
        return loss, {name: term.detach() for name, term in terms.items()}

    def update_discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        """The discriminator's step on the same images."""
        preset = self.config.preset
        weights = Objective(
            adversarial_weight=1.0,
            penalty_gamma=preset.penalty_gamma,
            penalty_reduction=preset.penalty_reduction,
            penalty_one_by_one=preset.penalty_one_by_one,
        )
        loss, _ = discriminator_loss(self.D, real, fake, weights)
        loss.backward()
        average_gradients(self.fabric, self.D)
        self.optimizer_D.step()
        self.optimizer_D.zero_grad()

    def check(self, terms: dict[str, torch.Tensor], subjects, stop) -> tuple[dict[str, float], bool]:
        """Terms averaged over ranks, and whether any was asked to stop. Raises `DivergedError`."""
        values = torch.stack([term.double() for term in terms.values()])
        limit, skips = self.config.run.largest_loss, self.config.hardware.precision == "fp16"
        judged = values[:-1] if skips else values
        bad = not bool((judged.abs() <= limit).all())
        flags = values.new_tensor([bad, stop.asked])
        *sums, anywhere, asked = self.fabric.all_reduce(
            torch.cat([values.nan_to_num(), flags]), reduce_op="sum"
        ).tolist()
        if anywhere:
            whose = f" for {', '.join(subjects)}" if bad else " on another rank"
            saved = checkpoints.saved(self.folder)
            last = saved[-1] if saved else "none yet"
            raise DivergedError(
                f"step {self.step + 1} of the {self.images.name} autoencoder diverged{whose}; "
                f"last good checkpoint: {last}"
            )
        return dict(zip(terms, (value / self.fabric.world_size for value in sums), strict=True)), bool(asked)

    def save(self) -> None:
        """Checkpoint of this step; all ranks call it, rank 0 writes."""
        if self.fabric.is_global_zero:
            state = {
                "step": self.step,
                "shaping": shaping(self.config),
                "split_sha256": self.images.split_sha256,
                "sampler": self.sampler.state_dict(),
                "autoencoder": self.coder.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "discriminator": self.D.state_dict() if self.D is not None else {},
                "optimizer_D": self.optimizer_D.state_dict() if self.D is not None else {},
                "scaler": self.fabric.strategy.precision.state_dict(),
            }
            checkpoints.save(checkpoints.path_of(self.folder, self.step), state)
            checkpoints.prune(self.folder, self.config.run.keep_last)
        self.fabric.barrier()

    def resume(self) -> None:
        """Go on from the folder's newest checkpoint."""
        found = checkpoints.latest(self.folder, checkpoints.AUTOENCODER)
        if found is None:
            return
        path, saved = found
        now = shaping(self.config)
        other = [
            f"{key}: {saved['shaping'].get(key)} -> {now[key]}" for key in now if saved["shaping"].get(key) != now[key]
        ]
        if other or saved["split_sha256"] != self.images.split_sha256:
            what = "; ".join(other[:5]) or "another split"
            raise ResumeError(f"{path} is of another autoencoder: {what}; use another out")
        with checkpoints.restoring(path):
            self.sampler.load_state_dict(saved["sampler"])
            self.coder.load_state_dict(saved["autoencoder"])
            self.optimizer.load_state_dict(saved["optimizer"])
            if self.D is not None:
                self.D.load_state_dict(saved["discriminator"])
                self.optimizer_D.load_state_dict(saved["optimizer_D"])
            self.fabric.strategy.precision.load_state_dict(saved["scaler"])
        self.step = saved["step"]


def perceptual_features(path: str, device: torch.device) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Features of a 3-D ResNet-10 (MONAI's, one input channel) at its four depths, of volumes [N, 1, X, Y, Z].

    Args:
        path: its state dict, e.g. MedicalNet's ``resnet_10_23dataset.pth``; nothing in it is executed.

    Raises:
        ConfigError: it cannot be read or is of another network.
    """
    from monai.networks.nets import resnet10

    network = resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        network.load_state_dict(state, strict=True)
    except Exception as error:  # torch raises whatever the damaged byte leads to
        why = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"autoencoder.perceptual_network={path} is no state dict of a 3-D ResNet-10: {why}"
        ) from error
    network.to(device).eval().requires_grad_(False)

    def features(volume: torch.Tensor) -> list[torch.Tensor]:
        x = network.maxpool(network.act(network.bn1(network.conv1(volume))))
        found = []
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
            found.append(x / x.square().mean(1, keepdim=True).add(1e-6).sqrt())
        return found

    return features
