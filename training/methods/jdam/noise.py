"""The largest noise that JDAM learns to remove, measured on the training set."""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from RelAPETLib.networks.blocks import BACKGROUND

from ... import checkpoints
from ...data.cache import canonical_json
from ...validation import fixed_subset

if TYPE_CHECKING:
    from ..base import Work

#: Where a run keeps it.
FILE = "sigma_max.pt"
#: PET that are compared with each other.
SCANS = 32


def largest_distance(dataset: Dataset, scans: int = SCANS) -> float:
    """Largest Euclidean distance between two PET in [-1, 1] among up to `scans`, spread over a data set.

    Technique 1 of Song and Ermon (NeurIPS 2020): noise of that SD leads from any image to any other. Where all are the
    same, the distance to an empty image is taken; it is 1 at least.
    """
    pets = [dataset[place]["pet"].flatten() for place in fixed_subset(dataset, scans)]
    largest = max((float((a - b).norm()) for a, b in combinations(pets, 2)), default=0.0)
    return max(largest or float((pets[0] - BACKGROUND).norm()), 1.0)


def kept_distance(work: Work, out: Path, key: dict[str, Any]) -> float:
    """`largest_distance` of a run's training set, measured once and kept in its folder.

    Args:
        key: what it depends on beside the data; a file of another key or split is measured anew.

    Raises:
        ResumeError: the file cannot be used.
    """
    train, path = work.data.train, out / FILE
    whole = {**key, "split": work.data.split_sha256, "scans": [SCANS, len(train)]}
    if hasattr(train, "cache"):
        whole["cache"] = train.cache.sha256
    digest = hashlib.sha256(canonical_json(whole)).hexdigest()
    wanted = {"key": str, "sigma_max": float}
    if work.fabric.is_global_zero and not (path.is_file() and checkpoints.load(path, wanted)["key"] == digest):
        if not work.quiet:
            work.fabric.print("measuring the largest distance between two PET")
        checkpoints.save(path, {"key": digest, "sigma_max": largest_distance(train)})
    work.fabric.barrier()
    return checkpoints.load(path, wanted)["sigma_max"]
