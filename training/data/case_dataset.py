"""Every case once, with the PET of all its tracers: for objectives that learn several tracers of a person together."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from RelAPETLib.networks.blocks import BACKGROUND
from RelAPETLib.tracers import TRACERS

from .cache import Item
from .dataset import PetDataset


class CaseDataset(Dataset):
    """One item per case of a data set of scans.

    An objective asks for it in `Objective.stages`, which returns the data to train on: `train` may be a `CaseDataset`
    of the `PetDataset` that it was given. `validation` stays by scan, as a validation compares scan by scan.

    An item is a dictionary: ``t1w``, ``t2f`` float32 [1, X, Y, Z] in [-1, 1]; ``pet`` float32 [K, X, Y, Z] in [-1, 1],
    background where a tracer was not scanned; ``label`` int64 [K]; ``scanned`` bool [K]; ``subject`` and ``case`` str;
    ``clinical`` float32 [3] as `PetDataset.clinical` gives it.
    The K tracers are those of the whole data set in order of their labels, the same in every item, so that items make
    batches. Augmentation moves all volumes of an item together.

    Args:
        scans: what was scanned; its scaling, factor, crop, tracers and augmentation hold here, too.

    Attributes:
        tracers: short names of the K tracers.
        items: the items of `scans`.

    Example:
        >>> cases = CaseDataset(PetDataset(open_cache("cache"), load_split("cache/split.json").train))  # doctest: +SKIP
        >>> cases[0]["pet"].shape, cases[0]["scanned"]  # doctest: +SKIP
        (torch.Size([3, 160, 180, 160]), tensor([True, False, True]))
    """

    def __init__(self, scans: PetDataset):
        self.scans, self.items = scans, scans.items
        there = {item.tracer for item in scans.items}
        self.tracers = tuple(sorted(there, key=lambda name: TRACERS[name].label))
        self._labels = torch.tensor([TRACERS[name].label for name in self.tracers])
        self._cases: dict[str, dict[str, Item]] = {}
        for item in scans.items:
            self._cases.setdefault(item.case, {})[item.tracer] = item
        self._names = list(self._cases)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        index, draw = index if isinstance(index, tuple) else (index, None)
        name = self._names[index]
        own = self._cases[name]
        t1w, t2f = self.scans.mri(name)
        pets = [self.scans.pet(own[tracer]) if tracer in own else torch.full_like(t1w, BACKGROUND)
                for tracer in self.tracers]  # fmt: skip
        volumes = self.scans.prepared([t1w, t2f, *pets], index, draw)
        return {
            "t1w": volumes[:1],
            "t2f": volumes[1:2],
            "pet": volumes[2:],
            "label": self._labels.clone(),
            "scanned": torch.tensor([tracer in own for tracer in self.tracers]),
            "subject": next(iter(own.values())).subject,
            "case": name,
            "clinical": self.scans.clinical(name),
        }
