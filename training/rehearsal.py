"""``train --dry-run``: a few steps of every stage in a temporary folder; what a run needs, and nothing else left."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import psutil
import torch

from RelAPETLib.tracers import TRACERS

from .config import TrainConfig, layout
from .header import MIB
from .reports import clock
from .schedules import total_steps
from .trainer import RunData, Trainer

#: Steps of each stage; the first are not measured, they start workers and choose algorithms.
STEPS, WARM_UP = 10, 3
#: Enough scans of each tracer for the regression's few components here.
SCANS, COMPONENTS = 4, 2


class Metronome:
    """Stands where a request to stop would, is asked once a step, and notes when."""

    def __init__(self):
        self.times: list[float] = []

    @property
    def asked(self) -> bool:
        """Never."""
        self.times.append(time.monotonic())
        return False

    def take(self) -> float | None:
        """Seconds a step of the last stage, which is forgotten then; None where there were too few."""
        times, self.times = self.times[WARM_UP - 1 :], []
        return statistics.median(b - a for a, b in pairwise(times)) if len(times) > 1 else None


@dataclass(frozen=True)
class Found:
    """What a rehearsal measured.

    Attributes:
        seconds: a step, by stage; autoencoders first, ``training`` last.
        validation: seconds of one volume of a validation; None without one.
        peak: bytes of memory at its highest, and of what.
    """

    seconds: dict[str, float]
    validation: float | None
    peak: tuple[int, str]


def rehearse(fabric, config: TrainConfig, data: RunData, stages: Callable) -> Found:
    """Train `STEPS` steps of one rank's share in a temporary folder.

    Args:
        fabric: launched, one process.
        stages: `training.loop.prepared`: what comes before the generator.
    """
    with tempfile.TemporaryDirectory(prefix="relapet-dry-run-") as folder:
        # Where the regression would find too few scans, it gets them all and says so itself.
        whole = scarce(config, data)
        data = data if whole else few(config, data)
        config = shortened(config, Path(folder), config.latent.components if whole else COMPONENTS)
        beat, seconds = Metronome(), {}
        if fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        space, data = stages(fabric, config, data, beat, True)
        if beat.times:
            seconds["autoencoder"] = beat.take()
        trainer = Trainer(fabric, config, data, space, quiet=True)
        validation = None
        if data.validation is not None and config.run.validation_volumes:
            started = time.monotonic()
            trainer.validate()
            validation = time.monotonic() - started
        trainer.train(beat)
        seconds["training"] = beat.take()
        return Found(seconds, validation, peak(fabric.device))


def scarce(config: TrainConfig, data: RunData) -> bool:
    """Whether a tracer has too few scans for the regression."""
    if not config.method.latent or config.latent.name != "regression":
        return False
    counts = Counter(item.tracer for item in data.train.items)
    return min(counts[tracer] for tracer in TRACERS) <= config.latent.components


def shortened(config: TrainConfig, out: Path, components: int) -> TrainConfig:
    """The configuration of one rank's share of a few steps, with every term of the objective from the first on."""
    hardware, preset, coder = config.hardware, config.preset, config.autoencoder
    ranks = hardware.devices * hardware.nodes
    accumulation = layout(config, ranks)
    return replace(
        config,
        out=str(out),
        hardware=replace(hardware, devices=1, nodes=1, strategy="auto", accumulation=accumulation),
        preset=replace(preset, global_batch=hardware.micro_batch * accumulation, adversarial_start_epoch=0),
        run=replace(
            config.run,
            steps=STEPS,
            checkpoint_every=10**9,
            validate_every=10**9,
            validation_volumes=min(config.run.validation_volumes, 1),
        ),
        autoencoder=replace(coder, steps=STEPS, batch=max(coder.batch // ranks, 1)),
        latent=replace(config.latent, components=min(config.latent.components, components), registered=""),
    )


def few(config: TrainConfig, data: RunData) -> RunData:
    """The same data; where all of it would be coded first, only some scans of each tracer."""
    if not config.method.latent:
        return data
    chosen = []
    for dataset in (data.train, data.validation):
        if dataset is not None:
            dataset, items = copy.copy(dataset), dataset.items
            by_tracer = {item.tracer: [other for other in items if other.tracer == item.tracer] for item in items}
            dataset.items = [item for own in by_tracer.values() for item in own[:SCANS]]
        chosen.append(dataset)
    return replace(data, train=chosen[0], validation=chosen[1])


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


def lines(config: TrainConfig, images: int, found: Found) -> list[str]:
    """What was measured, and what it makes of a whole run."""
    preset, run = config.preset, config.run
    steps = total_steps(run.steps, preset.epochs, images, preset.global_batch)
    ranks = config.hardware.devices * config.hardware.nodes
    told, total = [], 0.0
    if found.seconds.get("autoencoder"):
        coders = 1 if config.latent.name == "regression" else 2
        total += coders * config.autoencoder.steps * found.seconds["autoencoder"]
        told.append(f"time: {found.seconds['autoencoder']:.3g} s a step of an autoencoder")
    total += steps * found.seconds["training"]
    whole = ", adversarial part included" * config.method.adversarial
    told.append(f"time: {found.seconds['training']:.3g} s a step{whole}")
    if found.validation is not None:
        rounds = -(-run.validation_volumes // ranks) * (steps // run.validate_every + 1)
        total += rounds * found.validation
        told.append(f"time: {found.validation:.3g} s a volume of a validation")
    alone = " if the ranks do not wait for one another" * (ranks > 1)
    return [
        *told,
        f"time of the whole run: about {clock(total)}{alone}",
        f"memory at its highest: {found.peak[0] / MIB:.0f} MiB {found.peak[1]}",
        f"{config.out} was not touched",
    ]
