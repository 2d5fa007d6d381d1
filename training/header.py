"""What a run is, in a few lines: said when it starts, and by ``--dry-run``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from .methods.base import Objective, Player
from .precision import Precision
from .schedules import total_steps
from .trainer import RunData

MIB = 2**20
#: Weights, gradients and the two moments of Adam are four copies of a network.
COPIES = 4


@dataclass(frozen=True)
class Size:
    """Parameters of a network, and bytes of all that a rank keeps of them in training."""

    parameters: int
    kept: int


def header(
    objective: Objective,
    data: RunData,
    kind: str,
    ranks: int,
    precision: Precision,
    done: tuple[int, int] = (0, 0),
) -> list[str]:
    """Lines about device, networks, people, images, steps and memory.

    Args:
        objective: not at work yet.
        data: what is trained on, before any stage.
        kind: cpu, cuda or mps.
        done: steps and images of it before, see `checkpoints.progress`.
    """
    config, images = objective.config, objective.images(data)
    players, stages = sizes(objective, ranks)
    what = "images" if images == len(data.train) else "cases with all their PET"
    counts = [f"{name} {size.parameters:,}" for name, size in {**players, **stages}.items()]
    validation = f", {_images(data.validation)} to validate on" if data.validation is not None else ", no validation"
    steps, epochs = _course(config, images, *done)
    before = f", {done[0]} of them done, the others" if done[0] else ""
    return [
        f"device: {device_name(kind)}, {ranks} rank{'s' * (ranks > 1)}, {precision.name}"
        f"{' with TF32' * (precision.tf32 and precision.name != 'tf32')}",
        f"parameters: {', '.join(counts)}",
        f"subjects: {_subjects(data.train)} to train on"
        + (f", {_subjects(data.validation)} to validate on" if data.validation is not None else ""),
        f"images: {_images(data.train)} to train on{validation}",
        f"steps: {steps}{before} of {config.preset.global_batch} {what} ({epochs:.1f} epochs)",
        *objective.unreached(epochs),
        *_rising(config, steps),
        f"memory a rank: {memory(players, stages) / MIB:.0f} MiB of weights, gradients, optimiser states and "
        "averages; activations come on top, --dry-run measures them",
    ]


def _course(config, images: int, done: int, used: int) -> tuple[int, float]:
    """Steps and epochs of the whole run; one that goes on may have had another batch before."""
    batch = config.preset.global_batch
    steps = max(done, total_steps(config.run.steps, config.preset.epochs, images, batch, done, used))
    return steps, (used + (steps - done) * batch) / images


def _rising(config, steps: int) -> list[str]:
    """A line where the learning rate is still on its way up when the run ends."""
    rise = config.run.warmup_steps
    if rise <= steps:
        return []
    share = steps / rise
    return [f"the learning rate comes to {share:.0%} of what is set: it rises over {rise} steps (run.warmup_steps)"]


def sizes(objective: Objective, ranks: int) -> tuple[dict[str, Size], dict[str, Size]]:
    """The players of the training by name, and the stages before it, each with all of its players."""
    sharded = ranks if objective.config.hardware.strategy == "fsdp" else 1
    with torch.random.fork_rng(devices=[]):
        players = {name: _size([player], sharded) for name, player in objective.build().items()}
        stages = {stage.name: _of_stage(stage.players, sharded) for stage in objective.trainings_before()}
    return players, stages


def _of_stage(players: Mapping[str, Player], ranks: int) -> Size:
    return _size(list(players.values()), ranks)


def _size(players: list[Player], ranks: int) -> Size:
    """Players together; `ranks` share what Fabric sets up, and a moving average is one more copy of the weights."""
    number = kept = 0
    for player in players:
        parameters = list(player.module.parameters())
        copies = COPIES + (player.ema_decay > 0)
        own = copies * sum(p.numel() * p.element_size() for p in parameters)
        own += sum(b.nbytes for b in player.module.buffers())
        number, kept = number + sum(p.numel() for p in parameters), kept + own // (ranks if player.wrapped else 1)
    return Size(number, kept)


def memory(players: Mapping[str, Size], stages: Mapping[str, Size]) -> int:
    """Bytes that a rank keeps of networks at once; the stages are over before the players are built."""
    return max([sum(size.kept for size in players.values()), *(size.kept for size in stages.values())])


def device_name(kind: str) -> str:
    """The device in words."""
    if kind == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        return f"{torch.cuda.get_device_name(0)} ({total / 2**30:.0f} GiB)"
    return f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads a rank)" if kind == "cpu" else kind


def _subjects(dataset: Dataset) -> str:
    items = getattr(dataset, "items", None)
    return str(len({item.subject for item in items})) if items else "unknown"


def _images(dataset: Dataset) -> str:
    items = getattr(dataset, "items", None)
    counts = Counter(item.tracer for item in items or ())
    by = f" ({', '.join(f'{count} {tracer}' for tracer, count in sorted(counts.items()))})" if counts else ""
    return f"{len(dataset)}{by}"
