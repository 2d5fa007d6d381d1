"""``train --dry-run``: a few steps of every stage in a temporary folder; what a run needs, and nothing else left."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import psutil
import torch

from . import methods
from .config import TrainConfig, layout
from .header import MIB
from .methods.base import Stage, Work
from .plans import plan_of
from .reports import clock
from .schedules import total_steps, validations
from .trainer import RunData, Trainer

#: Steps of each stage; the first are not measured, they start workers and choose algorithms.
STEPS, WARM_UP = 10, 3
#: More steps than a rehearsal has.
NEVER = 10**9


class StepTimer:
    """Times of steps: the loop asks it once a step whether to stop, in place of a `StopRequest`; it never says yes."""

    def __init__(self):
        self.times: list[float] = []

    @property
    def asked(self) -> bool:
        """Never."""
        self.times.append(time.monotonic())
        return False


def seconds_per_step(times: Sequence[float]) -> float:
    """Seconds a step of a stage that noted these times."""
    return statistics.median(b - a for a, b in pairwise(times[WARM_UP - 1 :]))


@dataclass(frozen=True)
class Measurements:
    """What a rehearsal measured.

    Attributes:
        stages: seconds a step of what comes before the training, by name.
        training: seconds a step.
        validation: seconds of one volume of a validation; None without one.
        volumes: of a validation of the run.
        peak: bytes of memory at its highest, and of what.
    """

    stages: dict[str, float]
    training: float
    validation: float | None
    volumes: int
    peak: tuple[int, str]


def rehearse(fabric, config: TrainConfig, data: RunData) -> Measurements:
    """Train `STEPS` steps of one rank's share in a temporary folder.

    Args:
        fabric: launched, one process.
        data: of the run.
    """
    ranks = config.hardware.devices * config.hardware.nodes
    volumes = min(config.run.validation_volumes, 0 if data.validation is None else len(data.validation))
    with tempfile.TemporaryDirectory(prefix="relapet-dry-run-") as folder:
        own, data = methods.objective(config).rehearsal(data, STEPS, ranks)
        config = shortened(own, Path(folder))
        objective, timer = methods.objective(config), StepTimer()
        if fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        names = [stage.name for stage in objective.trainings_before()]
        data = objective.stages(Work(fabric, data, timer, quiet=True))
        stages = {name: seconds_per_step(timer.times[n * STEPS : (n + 1) * STEPS]) for n, name in enumerate(names)}
        trainer = Trainer(fabric, objective, data, plan_of(config, len(data.train), 1), quiet=True)
        validation = None
        if data.validation is not None and volumes:
            started = time.monotonic()
            trainer.validate()
            validation = time.monotonic() - started
        timer.times.clear()
        trainer.train(timer)
        return Measurements(stages, seconds_per_step(timer.times), validation, volumes, peak(fabric.device))


def shortened(config: TrainConfig, out: Path) -> TrainConfig:
    """The configuration of one rank's share of a few steps, in another folder."""
    hardware, preset, run = config.hardware, config.preset, config.run
    accumulation = layout(config, hardware.devices * hardware.nodes)
    return replace(
        config,
        out=str(out),
        hardware=replace(hardware, devices=1, nodes=1, strategy="auto", accumulation=accumulation),
        preset=replace(preset, global_batch=hardware.micro_batch * accumulation),
        run=replace(
            run,
            steps=STEPS,
            checkpoint_every=NEVER,
            validate_every=NEVER,
            validation_volumes=min(run.validation_volumes, 1),
        ),
    )


def peak(device: torch.device) -> tuple[int, str]:
    """Most memory that was in use: of the GPU, or of this process and its workers."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(), "of the GPU's memory"
    try:
        import resource

        unit = 1 if psutil.MACOS else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "of memory, workers not counted"
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset, "of memory, workers not counted"


def lines(config: TrainConfig, stages: Sequence[Stage], images: int, measured: Measurements) -> list[str]:
    """What was measured, and what it makes of a whole run.

    Args:
        stages: of the run, at their full length.
        images: to train on.
    """
    preset, run = config.preset, config.run
    steps = total_steps(run.steps, preset.epochs, images, preset.global_batch)
    ranks = config.hardware.devices * config.hardware.nodes
    told = [f"time: {measured.stages[stage.name]:.3g} s a step of the {stage.name}" for stage in stages]
    total = sum(stage.steps * measured.stages[stage.name] for stage in stages) + steps * measured.training
    told.append(f"time: {measured.training:.3g} s a step, with every term of the losses")
    if measured.validation is not None:
        rounds = -(-measured.volumes // ranks) * validations(steps, run.validate_every)
        total += rounds * measured.validation
        told.append(f"time: {measured.validation:.3g} s a volume of a validation")
    alone = " if the ranks do not wait for one another" * (ranks > 1)
    return [
        *told,
        f"time of the whole run: about {clock(total)}{alone}",
        f"memory at its highest: {measured.peak[0] / MIB:.0f} MiB {measured.peak[1]}",
        f"{config.out} was not touched",
    ]
