"""What a method may want to know of the training set before it learns: mean PET by tracer, spreads, a regression."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from RelAPETLib.networks.blocks import BACKGROUND

from .data.dataset import PetDataset
from .expectation import Expectation, fit_expectation
from .progress import counted

if TYPE_CHECKING:
    from RelAPETLib.methods.mean_pet import MeanPetNetwork

    from .methods.base import Work

#: Where a run keeps them.
FILE = "statistics.pt"
#: Scans of a tracer that tell how far PET are from their mean.
FEWEST = 3
#: Counts changes of what is measured; a file of an earlier one is measured anew.
REVISION = 1


@dataclass(frozen=True)
class PetStatistics:
    """Of the PET of a training set, scaled to [-1, 1].

    Attributes:
        mean: mean PET of every class label, float32 [labels, 1, X, Y, Z]; background for labels without a scan.
        sd: SD of the voxels of all PET inside the brain, around their own mean.
        residual_sd: of every class label, SD of the voxels of its PET minus their mean, or minus what `expectation`
            says, inside the brain; that of all tracers for labels of fewer than `FEWEST` scans, which are their mean.
        expectation: a regression on the MRI, where that is asked for.
    """

    mean: torch.Tensor
    sd: float
    residual_sd: tuple[float, ...]
    expectation: Expectation | None = None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        found = {"mean": self.mean.cpu(), "sd": self.sd, "residual_sd": list(self.residual_sd)}
        return found if self.expectation is None else {**found, "expectation": self.expectation.state()}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> PetStatistics:
        """What `state` gave, also of a run from before there was an SD for each tracer."""
        expectation, scales = state.get("expectation"), state["residual_sd"]
        scales = (scales,) * len(state["mean"]) if isinstance(scales, float) else tuple(scales)
        expectation = None if expectation is None else Expectation.of_state(expectation)
        return cls(**{**state, "residual_sd": scales, "expectation": expectation})

    def on(self, device: torch.device) -> PetStatistics:
        """The same on a device."""
        if self.mean.device == device:
            return self
        if self.expectation is not None:
            self.expectation.network.to(device)
        return replace(self, mean=self.mean.to(device))

    def means_of(self, batch: dict, mri: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Mean PET [N, 1, X, Y, Z] of a batch's tracers, or what is expected of its people, on the statistics' device.

        Args:
            batch: with ``label``, and ``case`` and ``tracer`` of training people, whom the regression then forgets.
            mri: gives T1w and T2F [N, 2, X, Y, Z] that the method sees, in [-1, 1] there; asked for a regression alone.
        """
        device = self.mean.device
        labels = torch.as_tensor(batch["label"]).to(device)
        if self.expectation is None:
            return self.mean[labels]
        expected = self.expectation.network(mri(), self.mean, self.expectation.shift_of(batch, device))
        return expected[torch.arange(len(labels), device=device), labels][:, None]

    def tell(self, network: MeanPetNetwork) -> None:
        """Put mean PET and regression into a network that has room for them."""
        network.mean_pet.copy_(self.mean)
        if self.expectation is not None:
            network.expectation.load_state_dict(self.expectation.network.state_dict())


def both_sequences(item: dict) -> torch.Tensor:
    """T1w and T2F [2, X, Y, Z] of an item of a data set."""
    return torch.cat([item["t1w"], item["t2f"]])


def pet_statistics(
    dataset: PetDataset,
    labels: int,
    say: Callable[[str], None] = lambda line: None,
    see: Callable[[dict], torch.Tensor] | None = None,
) -> PetStatistics:
    """Statistics of a training set, by two passes over it. The brain is where the mean PET is not background.

    Args:
        labels: number of class labels.
        say: gets lines on how far it is.
        see: what a method sees of an item's MRI, [2, X, Y, Z]: a regression on it is fitted, by another pass.
    """
    total, counts = None, torch.zeros(labels)
    places = range(len(dataset))
    for place in counted(places, "mean PET", say):
        item = dataset[place]
        if total is None:
            total = torch.zeros(labels, *item["pet"].shape, dtype=torch.float64)
        total[item["label"]] += item["pet"]
        counts[item["label"]] += 1
    mean = total / counts.clamp(min=1)[:, None, None, None, None]
    mean[counts == 0] = BACKGROUND
    inside = mean > BACKGROUND + 1e-3
    expectation = fit_expectation(dataset, mean.float(), see, say) if see else None
    found = PetStatistics(mean.float(), 1.0, (1.0,) * labels, expectation)
    sums = torch.zeros(labels, 4, dtype=torch.float64)
    for place in counted(places, "spread of the PET", say):
        item = dataset[place]
        brain = inside[item["label"]]
        values, expected = item["pet"].double()[brain], _mean_of(found, mean, item, see)[brain]
        sums[item["label"]] += torch.stack(
            [values.sum(), values.square().sum(), (values - expected).square().sum(), brain.sum().double()]
        )
    if not float(sums[:, 3].sum()):
        return found
    first, second, whole, _ = (sums.sum(0) / sums[:, 3].sum()).tolist()
    each = [float(own[2] / own[3]) if n >= FEWEST else whole for own, n in zip(sums, counts, strict=True)]
    sd = max(second - first**2, 0) ** 0.5
    return replace(found, sd=max(sd, 1e-6), residual_sd=tuple(max(square**0.5, 1e-6) for square in each))


def _mean_of(found: PetStatistics, mean: torch.Tensor, item: dict, see) -> torch.Tensor:
    """Mean PET [1, X, Y, Z] of an item's tracer, or what is expected of its person; float64."""
    if found.expectation is None:
        return mean[item["label"]]
    batch = {"label": [item["label"]], "case": [item["case"]], "tracer": [item["tracer"]]}
    return found.means_of(batch, lambda: see(item)[None])[0].double()


def kept_statistics(
    work: Work, out: Path, key: dict[str, Any], labels: int, see: Callable[[dict], torch.Tensor] | None = None
) -> PetStatistics:
    """Statistics of a run's training set, measured once and kept in its folder.

    Args:
        key: what they depend on beside the data; a file of another key or data set is measured anew.
        see: as `pet_statistics` has it.

    Raises:
        ResumeError: the file cannot be used.
    """
    from . import checkpoints
    from .data.cache import canonical_json

    data, path = work.data, out / FILE
    whole = {
        **key,
        "revision": REVISION,
        "split": data.split_sha256,
        "cache": data.train.cache.sha256,
        "labels": labels,
    }
    digest = hashlib.sha256(canonical_json(whole)).hexdigest()
    if work.fabric.is_global_zero and not (
        path.is_file() and checkpoints.load(path, {"key": str, "statistics": dict})["key"] == digest
    ):
        work.fabric.print("measuring the mean PET and its spread")
        checkpoints.save(
            path, {"key": digest, "statistics": pet_statistics(data.train, labels, work.fabric.print, see).state()}
        )
    work.fabric.barrier()
    with checkpoints.restoring(path):
        return PetStatistics.of_state(checkpoints.load(path)["statistics"])
