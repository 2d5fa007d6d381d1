"""What a method may want to know of the training set before it learns: mean PET by tracer, and spreads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from RelAPETLib.networks.blocks import BACKGROUND

from .data.dataset import PetDataset
from .progress import counted

if TYPE_CHECKING:
    from .methods.base import Work

#: Where a run keeps them.
FILE = "statistics.pt"


@dataclass(frozen=True)
class PetStatistics:
    """Of the PET of a training set, scaled to [-1, 1].

    Attributes:
        mean: mean PET of every class label, float32 [labels, 1, X, Y, Z]; background for labels without a scan.
        sd: SD of the voxels of all PET inside the brain, around their own mean.
        residual_sd: SD of the voxels of all PET minus their tracer's mean, inside the brain.
    """

    mean: torch.Tensor
    sd: float
    residual_sd: float

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"mean": self.mean, "sd": self.sd, "residual_sd": self.residual_sd}


def pet_statistics(dataset: PetDataset, labels: int, say: Callable[[str], None] = lambda line: None) -> PetStatistics:
    """Statistics of a training set, by two passes over it. The brain is where the mean PET is not background.

    Args:
        labels: number of class labels.
        say: gets lines on how far it is.
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
    sums = torch.zeros(4, dtype=torch.float64)
    for place in counted(places, "spread of the PET", say):
        item = dataset[place]
        brain = inside[item["label"]]
        values, expected = item["pet"].double()[brain], mean[item["label"]][brain]
        sums += torch.stack(
            [values.sum(), values.square().sum(), (values - expected).square().sum(), brain.sum().double()]
        )
    first, second, residual, voxels = (sums / sums[3].clamp(min=1)).tolist()[:3] + [float(sums[3])]
    if not voxels:
        return PetStatistics(mean.float(), 1.0, 1.0)
    sd, residual_sd = max(second - first**2, 0) ** 0.5, residual**0.5
    return PetStatistics(mean.float(), max(sd, 1e-6), max(residual_sd, 1e-6))


def kept_statistics(work: Work, out: Path, key: dict[str, Any], labels: int) -> PetStatistics:
    """Statistics of a run's training set, measured once and kept in its folder.

    Args:
        key: what they depend on beside the data; a file of another key or data set is measured anew.

    Raises:
        ResumeError: the file cannot be used.
    """
    from . import checkpoints
    from .data.cache import canonical_json

    data, path = work.data, out / FILE
    whole = {**key, "split": data.split_sha256, "cache": data.train.cache.sha256, "labels": labels}
    digest = hashlib.sha256(canonical_json(whole)).hexdigest()
    if work.fabric.is_global_zero and not (
        path.is_file() and checkpoints.load(path, {"key": str, "statistics": dict})["key"] == digest
    ):
        work.fabric.print("measuring the mean PET and its spread")
        checkpoints.save(
            path, {"key": digest, "statistics": pet_statistics(data.train, labels, work.fabric.print).state()}
        )
    work.fabric.barrier()
    with checkpoints.restoring(path):
        return PetStatistics(**checkpoints.load(path)["statistics"])
