"""Fits the regression of `RelAPETLib.methods.expected_pet` to a training set.

What it says of a training person it has seen that person for. A network that learned from it would learn errors that
are too small, so in training each scan gets what a regression without its person would have said (in closed form).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from RelAPETLib.evaluation.ridge import fit_pet_ridge_left_out
from RelAPETLib.methods.expected_pet import COMPONENTS, ExpectedPet, coarse_shape
from RelAPETLib.networks.blocks import BACKGROUND

from .data.dataset import PetDataset
from .progress import counted

#: Scans of a tracer from which on it has a regression; of fewer, or of one person, the mean PET is expected.
LEAST_SCANS = 3


@dataclass(frozen=True)
class Expectation:
    """A fitted regression and what it must forget of each training scan.

    Attributes:
        network: in evaluation mode.
        shifts: [labels, components] by case and tracer: what is added to a training scan's scores, 0 for other tracers.
    """

    network: ExpectedPet
    shifts: dict[str, torch.Tensor]

    def shift_of(self, batch: dict, device: torch.device) -> torch.Tensor | None:
        """What regressions that have not seen a batch's people add to its scores, [N, labels, components].

        Args:
            batch: with ``case`` and ``tracer``, of the training set's own cache; people who are not of the training
                set have nothing to forget, and where nobody has, this is None. See `strangers`.
        """
        names = zip(batch.get("case", ()), batch.get("tracer", ()), strict=True)
        found = [self.shifts.get(name_of(case, tracer)) for case, tracer in names]
        if all(shift is None for shift in found):
            return None
        nothing = torch.zeros(len(self.network.center), COMPONENTS)
        return torch.stack([nothing if shift is None else shift for shift in found]).to(device)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        network = self.network
        return {
            "shape": list(network.shape),
            "coarse": list(network.coarse),
            "network": {name: value.cpu() for name, value in network.state_dict().items()},
            "shifts": self.shifts,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Expectation:
        """What `state` gave."""
        network = ExpectedPet(state["shape"], state["coarse"], len(state["network"]["center"])).eval()
        network.load_state_dict(state["network"])
        return cls(network, state["shifts"])


def strangers(batch: dict) -> dict:
    """A batch to draw from, of which nothing is forgotten: other people may have the names of training people."""
    return {name: value for name, value in batch.items() if name not in ("case", "tracer")}


def name_of(case: str, tracer: str) -> str:
    """Name of a scan among the shifts."""
    return f"{case} {tracer}"


def fit_expectation(
    dataset: PetDataset, mean: torch.Tensor, see: Callable[[dict], torch.Tensor], say: Callable[[str], None]
) -> Expectation:
    """Fit a regression for every tracer with enough scans.

    Args:
        dataset: the training set, not augmented.
        mean: mean PET of every class label [labels, 1, X, Y, Z] in [-1, 1].
        see: T1w and T2F [2, X, Y, Z] that the method sees of an item.
        say: gets lines on how far it is, and what the MRI explains.
    """
    shape, labels = tuple(mean.shape[2:]), len(mean)
    network = ExpectedPet(shape, coarse_shape(shape, dataset.factor), labels).eval()
    brain = (mean > BACKGROUND + 1e-3).any(0, keepdim=True)
    network.inside.copy_((network.pooled(brain.float())[0, 0] > 0.5).float())
    features: dict[int, list] = {}
    pets: dict[int, list] = {}
    names: dict[int, list] = {}
    for place in counted(range(len(dataset)), "regression on the MRI", say):
        item = dataset[place]
        label = item["label"]
        change = torch.where(mean[label] > BACKGROUND + 1e-3, item["pet"] - mean[label], 0.0)
        features.setdefault(label, []).append(network.features(see(item)[None])[0].numpy())
        pets.setdefault(label, []).append(network.pooled(change[None])[0, 0].numpy())
        names.setdefault(label, []).append((item["case"], item["tracer"], item["subject"]))
    shifts = {}
    for label, own in sorted(names.items()):
        changes = np.stack(pets[label])
        alone = len({who for *_, who in own}) == 1  # without whom nobody is left
        if len(own) < LEAST_SCANS or alone or not changes.std(0).any():
            say(f"{own[0][1]}: {len(own)} scans are too few, or too much alike, for a regression; the mean is expected")
            continue
        seen = np.stack(features[label])
        fitted, left_out = fit_pet_ridge_left_out(seen, changes, COMPONENTS, [who for *_, who in own])
        count = len(fitted.weights)
        for name, value in (("center", fitted.center), ("scale", fitted.scale), ("level", fitted.level)):
            getattr(network, name)[label] = torch.from_numpy(value)
        network.weight[label, :count] = torch.from_numpy(fitted.weights)
        network.basis[label, :count] = torch.from_numpy(fitted.basis)
        scores = (changes - fitted.mean) @ fitted.basis.T.astype(np.float64)
        explained = 1 - np.square(left_out - scores).sum() / np.square(scores).sum()
        say(f"{own[0][1]}: the MRI explains {explained:.0%} of the variance of the PET's {count} main components")
        said = network.scores(torch.from_numpy(seen))[:, label].numpy()
        for (case, tracer, _), row, guess in zip(own, left_out, said, strict=True):
            shift = torch.zeros(labels, COMPONENTS)
            shift[label, :count] = torch.from_numpy(row - guess[:count]).float()
            shifts[name_of(case, tracer)] = shift
    return Expectation(network, shifts)
