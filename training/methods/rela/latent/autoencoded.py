"""Section 5.2 of the paper: T1w, T2F and PET are coded; the generator sees the latents of the MRI."""

from __future__ import annotations

import torch

from RelAPETLib.methods.rela.autoencoded import BACKGROUND, AutoencodedDiffusion
from RelAPETLib.tracers import TRACERS, label_count

from ....autoencoding import Images, MriImages, PetImages
from ....data.dataset import PetDataset
from ....progress import counted
from ..config import RelaConfig
from ..networks import generator_arguments, schedule_arguments, sequences, sequences_seen
from .encoded import Latents

AUTOENCODERS = ("pet", "mri")


class Autoencoded:
    """What the latent variant of the paper does with a data set."""

    names = AUTOENCODERS

    def __init__(self, fabric, config: RelaConfig, train: PetDataset, validation: PetDataset | None):
        self.fabric, self.config, self.train, self.validation = fabric, config, train, validation
        coder = config.autoencoder
        self.arguments = {
            "latent_channels": coder.latent_channels,
            "autoencoder": {
                "channels": list(coder.channels),
                "blocks": coder.blocks,
                "num_res_blocks": coder.num_res_blocks,
                "norm_num_groups": coder.norm_num_groups,
            },
            "generator": generator_arguments(config),
            "schedule": schedule_arguments(config),
            "prediction": config.preset.prediction,
            "factor": config.network.factor,
            "sequences": sequences_seen(config),
            "mean_pet": config.preset.mean_pet,
        }
        if config.base_steps:
            self.arguments["control"] = True
        self.network = AutoencodedDiffusion(**self.arguments).to(fabric.device)

    def images(self, name: str) -> Images:
        """What the autoencoder `name` learns from."""
        dataset = PetImages(self.train) if name == "pet" else MriImages(self.train)
        return Images(name, dataset, self.prepared, None)

    def prepared(self, batch: dict) -> torch.Tensor:
        """Images with their padding."""
        return self.network.padded_volume(batch["image"].to(self.fabric.device))

    @torch.no_grad()
    def freeze(self, coders: dict[str, torch.nn.Module]) -> tuple[Latents, Latents | None]:
        """Put the autoencoders and the scale of their latents in place; latents of both parts."""
        network = self.network.eval()
        for name, coder in coders.items():
            getattr(network, f"{name}_autoencoder").load_state_dict(coder.state_dict())
        pet, mri = self._coded(self.train)
        use, labels = self.config.preset.mean_pet, _labels(self.train)
        means = tracer_means(pet, labels, label_count()) if use != "none" else None
        self._fix_scale("pet", pet - means[labels] if use == "residual" else pet)
        if use == "residual":  # differences have mean 0: it stays with the tracers' means
            network.pet_mean.zero_()
        self._fix_scale("mri", mri)
        if means is not None:
            network.mean_pet.copy_(self._scaled(means, "pet"))
        parts = [(self.train, pet, mri)]
        parts += [] if self.validation is None else [(self.validation, *self._coded(self.validation))]
        made = [Latents(self._diffused(pet, _labels(part)), self._condition(mri)) for part, pet, mri in parts]
        return made[0], made[1] if len(made) > 1 else None

    def _fix_scale(self, name: str, latents: torch.Tensor) -> None:
        """Keep mean and SD of each channel of one or two volumes' latents, [n, K C, ...]."""
        channels = latents.unflatten(1, (-1, self.config.autoencoder.latent_channels)).transpose(1, 2)
        per_channel = channels.transpose(0, 1).flatten(1)
        getattr(self.network, f"{name}_mean").copy_(per_channel.mean(1))
        getattr(self.network, f"{name}_sd").copy_(per_channel.std(1).clamp(min=1e-6))

    def _diffused(self, pet: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What is diffused of unscaled latents of PET with their tracers' labels [n]."""
        scaled = self._scaled(pet, "pet")
        return scaled - self.network.mean_pet.cpu()[labels] if self.config.preset.mean_pet == "residual" else scaled

    def _coded(self, dataset: PetDataset) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents of all PET and of their T1w and T2F, unscaled: [n, C, ...] and [n, 2 C, ...]."""
        found: tuple[list, list] = ([], [])
        mri_of: dict[str, torch.Tensor] = {}
        for place, scan in enumerate(counted(dataset.items, "coding", self.fabric.print)):
            item = dataset[place]
            if scan.case not in mri_of:
                both = torch.cat([item["t1w"], item["t2f"]])[None]
                mri_of = {scan.case: self._code("mri", both)}  # items come case by case
            found[0].append(self._code("pet", item["pet"][None]))
            found[1].append(mri_of[scan.case])
        return torch.cat(found[0]), torch.cat(found[1])

    def _code(self, name: str, volumes: torch.Tensor) -> torch.Tensor:
        """Latents [N, K C, ...] of volumes [N, K, X, Y, Z], unscaled, on the CPU."""
        padded = self.network.padded_volume(volumes.to(self.fabric.device)).flatten(0, 1)[:, None]
        with self.fabric.autocast():
            latent, _ = getattr(self.network, f"{name}_autoencoder").encode(padded)
        return latent.float().cpu().unflatten(0, (len(volumes), -1)).flatten(1, 2)

    def _scaled(self, latents: torch.Tensor, name: str) -> torch.Tensor:
        channels = self.config.autoencoder.latent_channels
        mean, sd = (getattr(self.network, f"{name}_{what}").cpu() for what in ("mean", "sd"))
        repeat = latents.shape[1] // channels
        return (latents - mean.repeat(repeat)[:, None, None, None]) / sd.repeat(repeat)[:, None, None, None]

    def _condition(self, mri: torch.Tensor) -> torch.Tensor:
        """The generator's MRI channels: of a blanked sequence, the background's latent; of a dropped one, none."""
        scaled = self._scaled(mri, "mri").unflatten(1, (2, -1))
        blocks = torch.full((1, 1, *self.network.blocks.shape), BACKGROUND)
        background = self._scaled(self._code("mri", blocks), "mri")
        fed = [
            scaled[:, number] if use else background.expand(len(mri), *background.shape[1:])
            for number, use in enumerate(sequences(self.config))
            if use is not False
        ]
        return torch.cat(fed, 1)

    def decoder(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks of what is diffused."""
        return self.network.decode_blocks(self.network.from_residual(z, labels))


def _labels(dataset: PetDataset) -> torch.Tensor:
    """Class label of every item, int64 [n]."""
    return torch.tensor([TRACERS[scan.tracer].label for scan in dataset.items])


def tracer_means(values: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of values [n, ...] with each of `count` labels [n], [count, ...]; of a label without any, that of all."""
    means = values.mean(0, keepdim=True).repeat(count, *[1] * (values.ndim - 1))
    for label in labels.unique().tolist():
        means[label] = values[labels == label].mean(0)
    return means
