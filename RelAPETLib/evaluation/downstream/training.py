"""The small network of a downstream experiment, trained for every arm on the same people in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import LongRunError
from ...notices import warn
from .people import FOLDS, Cohort, arms_of, folds_of, usable_targets

if TYPE_CHECKING:
    import torch

#: Channels of the ResNet's four stages, of one basic block each.
WIDTHS = (8, 16, 32, 64)
BATCH, RATE, DECAY = 16, 2e-3, 1e-2
#: What a prediction is called that sees nobody: the mean of the training people.
NOBODY = "training mean"
#: Fewer epochs than this are no training.
LEAST_EPOCHS = 3


@dataclass(frozen=True)
class Budget:
    """How much training an experiment may cost.

    Attributes:
        epochs: of every network.
        minutes: of the whole experiment; where the first steps show that the epochs would take longer, all networks get
            fewer, the same for all, and results then depend on the machine's pace.
        seeds: networks of every arm and fold that differ in weights and order; their predictions are averaged.
    """

    epochs: int = 30
    minutes: float = 30.0
    seeds: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        people: [n], whose row each is.
        targets: truth [n] by name, NaN where unknown.
        predicted: by arm, and `NOBODY`, [n] by target; each row by networks that did not see its person.
        epochs, seeds, folds: of the training.
        parameters: of one network.
    """

    people: tuple[str, ...]
    targets: dict[str, np.ndarray]
    predicted: dict[str, dict[str, np.ndarray]]
    epochs: int
    seeds: int
    folds: int
    parameters: int


def build_network(targets: int) -> torch.nn.Module:
    """A 3-D ResNet (`monai.networks.nets.ResNet`) of three channels and one output a target."""
    from monai.networks.nets import ResNet

    return ResNet(
        "basic", [1, 1, 1, 1], list(WIDTHS), spatial_dims=3, n_input_channels=3, conv1_t_size=3, conv1_t_stride=2,
        no_max_pool=True, num_classes=targets,
    )  # fmt: skip


def run(
    cohort: Cohort,
    budget: Budget = Budget(),
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Cross-validate every arm.

    Folds, first weights and the order of people are the same for all arms: they follow from `seed` alone.

    Args:
        cohort: of one tracer.
        budget: of the training.
        seed: of everything random.
        progress: called with a line for every fold.

    Raises:
        InputError: too few people, or nothing to predict.
        LongRunError: the minutes allow no training.
    """
    targets = usable_targets(cohort)
    parts = folds_of(cohort.people, seed)
    arms = arms_of(cohort, parts, seed)
    truth = np.stack(list(targets.values()), 1)
    epochs = _epochs(budget, arms, truth)
    made = {arm: np.zeros(truth.shape) for arm in (NOBODY, *arms)}
    for part in range(FOLDS):
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        made[NOBODY][test] = np.nanmean(truth[train], 0)
        for arm, inputs in arms.items():
            for number in range(budget.seeds):
                guess = _fold(inputs, truth, train, test, epochs, [seed, part, number])
                made[arm][test] += guess / budget.seeds
            progress(f"downstream: fold {part + 1} of {FOLDS}, {arm}")
    parameters = sum(weight.numel() for weight in build_network(len(targets)).parameters())
    by_target = {arm: dict(zip(targets, values.T, strict=True)) for arm, values in made.items()}
    return Outcome(cohort.people, targets, by_target, epochs, budget.seeds, FOLDS, parameters)


def _epochs(budget: Budget, arms: dict[str, np.ndarray], truth: np.ndarray) -> int:
    """Epochs that fit the minutes, from a few steps of one network; at most those of the budget."""
    inputs = next(iter(arms.values()))
    few = np.arange(min(4 * BATCH, len(inputs)))
    _fold(inputs, truth, few, few[:1], 1, [0, 0, 0])  # the first steps are slower
    begin = time.perf_counter()
    _fold(inputs, truth, few, few[:1], 1, [0, 0, 0])
    one = (time.perf_counter() - begin) / len(few) * len(inputs) * (FOLDS - 1) * len(arms) * budget.seeds
    affordable = int(budget.minutes * 60 / one)
    if affordable < LEAST_EPOCHS:
        raise LongRunError(
            f"downstream: {budget.minutes:g} minutes allow no training here; {LEAST_EPOCHS} epochs take about "
            f"{LEAST_EPOCHS * one / 60:.3g}; give more minutes or fewer people"
        )
    if affordable < budget.epochs:
        warn(f"downstream: {affordable} epochs in place of {budget.epochs} fit {budget.minutes:g} minutes")
    return min(affordable, budget.epochs)


def _fold(
    inputs: np.ndarray, truth: np.ndarray, train: np.ndarray, test: np.ndarray, epochs: int, seed: list[int]
) -> np.ndarray:
    """Predictions [test, targets] of one network trained on the rows `train`."""
    import torch

    words = np.random.SeedSequence(seed).generate_state(2)
    known = np.isfinite(truth[train])
    center, scale = np.nanmean(truth[train], 0), np.nanstd(truth[train], 0)
    scale = np.where(scale > 0, scale, 1)
    wanted = torch.from_numpy(np.where(known, (truth[train] - center) / scale, 0)).float()
    known = torch.from_numpy(known).float()
    seen, shown = (torch.from_numpy(part) for part in _normalized(inputs[train], inputs[test]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(words[0]))
        network = build_network(truth.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = np.random.default_rng(words[1])
    network.train()
    for _ in range(epochs):
        rows = torch.from_numpy(order.permutation(len(train)))
        for batch in rows.split(BATCH):
            error = (network(seen[batch]) - wanted[batch]) * known[batch]
            loss = error.square().sum() / known[batch].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        guess = torch.cat([network(batch) for batch in shown.split(BATCH)]).double().numpy()
    return guess * scale + center


def _normalized(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs less the training people's mean in every voxel, over the SD of what is left in the channel."""
    mean = train.mean(0)
    scale = (train - mean).std((0, 2, 3, 4)).reshape(-1, 1, 1, 1)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return (train - mean) / scale, (test - mean) / scale
