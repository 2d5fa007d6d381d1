"""How long a training is and in which rhythm: the configuration's own, and those of stages before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import TrainConfig, flatten, layout
from .errors import ConfigError
from .schedules import total_steps


@dataclass(frozen=True)
class Plan:
    """How long a run is, in which rhythm, and when it is another one.

    Attributes:
        out: its folder.
        steps: optimiser steps.
        batch: images in a step, over all ranks.
        micro_batch: images in a pass of a rank.
        seed: of the order of images and all noise.
        identity: flat configuration; a checkpoint of another one is not gone on with,
        free: unless it differs only in these keys.
        unsaid: keys of the identity that came later: a stage's checkpoint without them had the same as now.
        judging: keys that validations follow from.
        name: of a stage, for messages; empty for the training itself.
        images: to be seen in all, where these and not steps say how long; a run that goes on with another batch makes
            as many steps as are left of them.
        learning_rate: one of `training.schedules.COURSES`, after a linear rise over `warmup_steps`.
        log_every, checkpoint_every, validate_every: steps.
        keep_last: checkpoints that are kept.
        validation_volumes: 0 for no validation.
        workers: processes that load data.
        largest_loss: a term beyond it stops the run.
        skips_overflow: fp16, whose overflowing gradients are no sign of anything: such steps are skipped.
        drop_t2f: share of the images whose T2-FLAIR is replaced by background.
        mode, compiled: of the wrapped players, see `training.modes.prepare`.
    """

    out: Path
    steps: int
    batch: int
    micro_batch: int
    seed: int
    identity: dict[str, Any]
    free: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    judging: tuple[str, ...] = ()
    name: str = ""
    images: int = 0
    learning_rate: str = "constant"
    warmup_steps: int = 0
    log_every: int = 10
    checkpoint_every: int = 500
    validate_every: int = 1000
    keep_last: int = 3
    validation_volumes: int = 0
    workers: int = 0
    largest_loss: float = 1e4
    skips_overflow: bool = False
    drop_t2f: float = 0.0
    mode: str = "plain"
    compiled: bool = False


def plan_of(config: TrainConfig, images: int, ranks: int) -> Plan:
    """The plan of a configuration's training on so many images.

    Raises:
        ConfigError: the layout does not make up the global batch.
    """
    run, hardware, preset = config.run, config.hardware, config.preset
    layout(config, ranks)
    return Plan(
        out=Path(config.out),
        steps=total_steps(run.steps, preset.epochs, images, preset.global_batch),
        batch=preset.global_batch,
        micro_batch=hardware.micro_batch,
        seed=config.seed,
        identity=flatten(config),
        images=0 if run.steps else preset.epochs * images,
        free=config.rules.free,
        judging=config.rules.judging,
        learning_rate=run.learning_rate,
        warmup_steps=run.warmup_steps,
        log_every=run.log_every,
        checkpoint_every=run.checkpoint_every,
        validate_every=run.validate_every,
        keep_last=run.keep_last,
        validation_volumes=run.validation_volumes,
        workers=config.data.workers,
        largest_loss=run.largest_loss,
        skips_overflow=hardware.precision == "fp16",
        drop_t2f=config.data.drop_t2f,
        mode=hardware.mode,
        compiled=hardware.compile,
    )


def stage_plan(
    config: TrainConfig, ranks: int, *, out: Path, steps: int, batch: tuple[str, int], identity: dict[str, Any], **more
) -> Plan:
    """The plan of a training that comes before the configuration's own, in its rhythm.

    Args:
        out: the stage's own folder.
        batch: the key that says it, for messages, and its value.
        more: further fields of `Plan`, as its name and learning rate.

    Raises:
        ConfigError: the batch does not divide by the ranks.
    """
    run, (key, size) = config.run, batch
    if size % ranks:
        raise ConfigError(f"{key}={size} is no multiple of {ranks} ranks")
    return Plan(
        out=out,
        steps=steps,
        batch=size,
        micro_batch=size // ranks,
        seed=config.seed,
        identity=identity,
        log_every=run.log_every,
        checkpoint_every=run.checkpoint_every,
        keep_last=run.keep_last,
        largest_loss=run.largest_loss,
        skips_overflow=config.hardware.precision == "fp16",
        drop_t2f=config.data.drop_t2f,
        mode=config.hardware.mode,
        compiled=config.hardware.compile,
        **more,
    )
