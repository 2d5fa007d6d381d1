"""The demo model's latent: a PET's difference from its tracer's mean is coded, a regression on the MRI predicts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from RelAPETLib.grid import image_to_array
from RelAPETLib.methods.rela.regression import FACTOR, LABELS, Cells, LatentDiffusion, robust_scale
from RelAPETLib.networks.autoencoder import space_to_depth
from RelAPETLib.regions import load_regions
from RelAPETLib.tracers import TRACERS, label_count

from ....autoencoder_config import reduction_of
from ....autoencoding import Images, PetImages
from ....data.cache import open_cache
from ....data.dataset import PetDataset
from ....errors import ConfigError
from ....progress import counted
from ..config import RelaConfig
from ..networks import schedule_arguments
from .encoded import Latents
from .ridge import Head, fit_head


class Regression:
    """What `LatentDiffusion` needs from a data set.

    Raises:
        ConfigError: a tracer without enough scans, or a cache of registered people that has none of the training's.
    """

    names = ("pet",)
    network_class: type[LatentDiffusion] = LatentDiffusion

    def __init__(self, fabric, config: RelaConfig, train: PetDataset, validation: PetDataset | None):
        self.fabric, self.config, self.train, self.validation = fabric, config, train, validation
        coder, network, components = config.autoencoder, config.network, config.latent.components
        self.labels = labels_of(train)
        asked = {item.tracer for part in (train, validation) if part is not None for item in part.items}
        for tracer in TRACERS.values():
            if tracer.name in asked and (scans := int((self.labels == tracer.label).sum())) <= components:
                raise ConfigError(
                    f"latent={config.latent.name} needs more than latent.components={components} training scans of "
                    f"every tracer; {tracer.name} has {scans}"
                )
        mask, factor = torch.from_numpy(train.cache.mask()), network.factor
        if train.cache.factor != factor:
            mask = F.avg_pool3d(mask[None].float(), factor // train.cache.factor)[0] > 0.5
        index = brain_features(mask, Cells(factor, reduction_of(coder)))
        self.arguments = {
            "latent_channels": coder.latent_channels,
            "autoencoder_channels": list(coder.channels),
            "unet_channels": list(network.channels),
            "components": components,
            "head_features": len(index),
            "brain_voxels": int(mask.sum()),
            "schedule": schedule_arguments(config),
            "labels": label_count(LABELS),
            "autoencoder": {
                "blocks": coder.blocks,
                "num_res_blocks": coder.num_res_blocks,
                "norm_num_groups": coder.norm_num_groups,
            },
            "unet": {
                "num_res_blocks": network.num_res_blocks,
                "attention_levels": list(network.attention_levels),
                "num_head_channels": network.num_head_channels,
                "norm_num_groups": network.norm_num_groups,
            },
        }
        self.arguments |= self.further_arguments() | ({"factor": factor} if factor != FACTOR else {})
        self.network = self.network_class(**self.arguments)
        self.network.mask.copy_(mask)
        self.network.head_index.copy_(index)
        self.network.to(fabric.device)

    def further_arguments(self) -> dict:
        """Arguments of the network beside those of `LatentDiffusion`."""
        return {}

    def _measure_pet(self) -> None:
        """Find the mean PET of every label and the regions' means of every scan, as shares of their tracer's window."""
        inside = self.network.mask.bool().cpu()
        regions = region_weights(inside, self.network.cells.factor)
        self.uptake = np.empty((len(self.train), len(regions)))
        total = torch.zeros(self.network.labels, int(inside.sum()), dtype=torch.float64)
        squares = torch.zeros_like(total)
        for place in counted(range(len(self.train)), "mean PET", self.fabric.print):
            item = self.train[place]
            share = (item["pet"][0][inside].double() + 1) / 2
            total[item["label"]] += share
            squares[item["label"]] += share.square()
            self.uptake[place] = regions @ share.numpy()
        counts = torch.from_numpy(np.bincount(self.labels, minlength=self.network.labels).clip(min=1))[:, None]
        mean = total / counts
        self.network.pet_mean.copy_(mean.float())
        self._scale_residuals((squares / counts - mean.square()).clamp(min=0).mean(1).sqrt().float())

    def _scale_residuals(self, sd: torch.Tensor) -> None:
        """Take note of the SD [labels] of the differences from the mean, over voxels and scans."""

    def images(self, name: str) -> Images:
        """What the PET's autoencoder learns from; finds every tracer's mean first."""
        self._measure_pet()
        region = self.network.cells.pad(self.network.mask[None, None].float()).bool()[0, 0]
        return Images(name, PetImages(self.train), self.prepared, region)

    def prepared(self, batch: dict) -> torch.Tensor:
        """Differences from the tracer's mean, scaled and padded, [N, 1, 80, 96, 80]; 0 outside the brain."""
        image = batch["image"].to(self.fabric.device)
        labels = torch.as_tensor(batch["label"])
        mean = self.network.volume(self.network.pet_mean)[labels][:, None]
        return self.network.cells.pad(
            ((image + 1) / 2 - mean) * self.network.mask * self.network.scale_of_residual(labels)
        )

    @torch.no_grad()
    def freeze(self, coders: dict[str, torch.nn.Module]) -> tuple[Latents, Latents | None]:
        """Put autoencoder, MRI statistics, head and whitening in place; latents of both parts."""
        network = self.network.eval()
        network.autoencoder.load_state_dict(coders["pet"].state_dict())
        mean, sd = mri_statistics(self.train, network.mask.bool().cpu(), self.fabric.print)
        network.mri_mean.copy_(mean), network.mri_sd.copy_(sd)
        features = self._features(self.train)
        differences = self._differences(features)
        seed = self.config.seed
        shown = as_registered(features, differences, seed)
        inside = network.head_index.long().cpu()
        rows = torch.stack([shown[item.case] for item in self.train.items]).flatten(1)[:, inside]
        raw = self._coded(self.train)
        head = fit_head(
            rows.numpy(),
            raw,
            self.labels,
            network.labels,
            self.config.latent.components,
            self.fabric.print,
            self.left_to_generator,
            [item.subject for item in self.train.items],
            self.uptake if self.config.latent.targets == "regions" else None,
        )
        self._take(head)
        scores = torch.stack(
            [network.scores(shown[item.case][None].to(self.fabric.device))[0] for item in self.train.items]
        )
        scores = left_out_of(scores.cpu(), head.scores, self.labels, [item.case for item in self.train.items])
        self._scale_scores(scores)
        train = self._rest(raw, self._whitened(head.leave_one_out, self.labels), self.labels, scores)
        train = self._with_local(train, shown, self.train)
        if self.validation is None:
            return train, None
        features = as_registered(self._features(self.validation), differences, seed + 1)
        labels = labels_of(self.validation)
        rows = torch.stack([features[item.case] for item in self.validation.items]).to(self.fabric.device)
        predicted = torch.cat([network.head(part).cpu() for part in rows.split(16)])[torch.arange(len(rows)), labels]
        scores = torch.cat([network.scores(part).cpu() for part in rows.split(16)])
        validation = self._rest(self._coded(self.validation), predicted, labels, scores)
        return train, self._with_local(validation, features, self.validation)

    @property
    def local(self) -> bool:
        """Whether the generator sees the MRI's block features."""
        return False

    def _with_local(self, latents: Latents, features: dict[str, torch.Tensor], dataset: PetDataset) -> Latents:
        """Latents with the block features of their people, by case, where the generator sees them."""
        if not self.local:
            return latents
        row = {case: number for number, case in enumerate(features)}
        case = torch.tensor([row[item.case] for item in dataset.items])
        return replace(latents, local=torch.stack(list(features.values())).half(), case=case)

    @property
    def left_to_generator(self) -> tuple[int, float]:
        """Which components the head does not predict, see `fit_head`."""
        return 0, 0.0

    def _take(self, head: Head) -> None:
        """Put a fitted head in place."""
        for name, buffer in head.buffers.items():
            getattr(self.network, name).copy_(buffer)

    def _scale_scores(self, scores: torch.Tensor) -> None:
        """Take note of the training people's scores [n, labels, components]."""

    def shown_of(self, scores: torch.Tensor) -> torch.Tensor:
        """What the generator sees of scores [n, labels, components]: numbers [n, K]."""
        return scores.new_zeros(len(scores), 0)

    def _rest(self, raw: torch.Tensor, predicted: torch.Tensor, labels: np.ndarray, scores: torch.Tensor) -> Latents:
        """What whitened predictions leave of unscaled latents, and what the generator sees of the scores."""
        mean, sd = (getattr(self.network, f"latent_{what}").cpu()[:, None, None, None] for what in ("mean", "sd"))
        rest = self._whitened((raw - mean) / sd, labels) - predicted
        return Latents(rest, self.shown_of(scores)[:, :, None, None, None], predicted)

    def _whitened(self, latents: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        parts = zip(latents.split(32), torch.from_numpy(labels).split(32), strict=True)
        device = self.fabric.device
        return torch.cat([self.network.whiten(z.to(device), c.to(device)).cpu() for z, c in parts])

    def _coded(self, dataset: PetDataset) -> torch.Tensor:
        """Unscaled latents [n, C, 10, 12, 10] of all PET."""
        found, images = [], PetImages(dataset)
        for place in counted(range(len(images)), "coding PET", self.fabric.print):
            item = images[place]
            volume = self.prepared({"image": item["image"][None], "label": [item["label"]]})
            with self.fabric.autocast():
                found.append(self.network.autoencoder.encode(volume)[0].float().cpu())
        return torch.cat(found)

    def _features(self, dataset: PetDataset) -> dict[str, torch.Tensor]:
        """Block features [24, 10, 12, 10] by case."""
        return {
            case: self.network.inner_features(mri.to(self.fabric.device))[0].cpu()
            for case, mri in cases_of(dataset, self.fabric.print)
        }

    def _differences(self, features: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Features after raw scanning and registration minus the training's own, of people who are in both caches."""
        folder = self.config.latent.registered
        if not folder:
            return []
        subjects = {item.subject: item.case for item in self.train.items}
        cache = open_cache(folder)
        both = sorted(set(subjects) & set(cache.subjects))
        if not both:
            raise ConfigError(f"latent.registered={folder}: none of the training's subjects is in it")
        registered = PetDataset(cache, both, scaling=self.config.preset.pet_intensity, factor=self.network.cells.factor)
        subject_of = {item.case: item.subject for item in registered.items}
        return [seen - features[subjects[subject_of[case]]] for case, seen in self._features(registered).items()]

    def decoder(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET at 2 mm of whole latents."""
        return self.network.decode_inner(z, labels) * 2 - 1


def left_out_of(scores: torch.Tensor, own: torch.Tensor, labels: np.ndarray, cases: Sequence[str]) -> torch.Tensor:
    """Scores of training scans as a head would give them that was fitted without the scan's person.

    Args:
        scores: [n, labels, components], of the head that was fitted to all.
        own: [n, components], the leave-one-out scores of each scan's own tracer.
        labels: of the scans' tracers, [n].
        cases: whose scans they are, [n]; a person's other scans count too.
    """
    found, number = scores.clone(), {case: k for k, case in enumerate(dict.fromkeys(cases))}
    person = torch.tensor([number[case] for case in cases])
    for label in np.unique(labels):
        row_of = torch.full((len(number),), -1)
        rows = torch.from_numpy(np.flatnonzero(labels == label))
        row_of[person[rows]] = rows
        theirs = row_of[person]
        found[theirs >= 0, label] = own[theirs[theirs >= 0]]
    return found


def labels_of(dataset: PetDataset) -> np.ndarray:
    """Tracer labels [n] of the items."""
    return np.array([TRACERS[item.tracer].label for item in dataset.items])


def cases_of(dataset: PetDataset, say: Callable[[str], None]):
    """(case, MRI [1, 2, X, Y, Z]) of every case once; `say` is told how far it is."""
    seen = set()
    for place, item in enumerate(counted(dataset.items, "reading MRI", say)):
        if item.case not in seen:
            seen.add(item.case)
            volumes = dataset[place]
            yield item.case, torch.cat([volumes["t1w"], volumes["t2f"]])[None]


def brain_features(mask: torch.Tensor, cells: Cells) -> torch.Tensor:
    """Indices of the flattened block features that lie at least half inside the brain [80, 90, 80]."""
    share = F.avg_pool3d(cells.pad(mask[None, None].float()), cells.reduction // 2)
    blocks = space_to_depth(share.expand(-1, 3, -1, -1, -1).contiguous(), 2).flatten()
    return torch.nonzero(blocks > 0.5).flatten().to(torch.int32)


def region_weights(inside: torch.Tensor, factor: int) -> np.ndarray:
    """Weights [R, voxels inside] with sum 1 of the regions of ``Resources/regions``, on blocks of `factor` voxels.

    Args:
        inside: bool [X, Y, Z], the brain in these blocks. A region without a voxel there is left out.
    """
    image, regions = load_regions()
    labels = torch.from_numpy(image_to_array(image).astype(np.int64))
    shares = [F.avg_pool3d((labels == region.label).double()[None], factor)[0][inside] for region in regions]
    return np.stack([(share / share.sum()).numpy() for share in shares if share.any()])


def mri_statistics(
    dataset: PetDataset, mask: torch.Tensor, say: Callable[[str], None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxelwise mean and SD [2, voxels] of the robustly scaled MRI over the cases."""
    total, squares, count = 0.0, 0.0, 0
    for _, mri in cases_of(dataset, say):
        scaled = robust_scale(mri, mask)[0][:, mask].double()
        total, squares, count = total + scaled, squares + scaled**2, count + 1
    mean = total / count
    return mean.float(), (squares / count - mean**2).clamp(min=0).sqrt().float()


def as_registered(
    features: dict[str, torch.Tensor], differences: list[torch.Tensor], seed: int
) -> dict[str, torch.Tensor]:
    """Half of the cases plus the difference of somebody drawn at random for each; without differences all as they are.

    The differences have a mean of their own. Were they added to all, a regression would take it for granted, and give
    people on the grid a bias; so it cannot lean on what registration changes.
    """
    if not differences:
        return features
    random = np.random.default_rng([seed, 9])
    chosen = random.integers(len(differences), size=len(features))
    changed = random.random(len(features)) < 0.5
    return {
        case: feature + differences[i] if change else feature
        for (case, feature), i, change in zip(features.items(), chosen, changed, strict=True)
    }
