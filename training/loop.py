"""The training run: ``python -m training train data.cache=DIR out=DIR [key=value ...] [@FILE of such lines]``.

One process a device. Started by hand it starts its other processes itself (``hardware.devices=8``); ``torchrun`` and
Slurm's ``srun`` are recognised by Lightning Fabric, see ``training/README.md``. The same command goes on where an
interrupted run stopped. It ends with 0 when done, 75 when asked to stop (SIGTERM; start it again), 2 for a bad
configuration, 3 when it diverged, 4 when another rank failed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import checkpoints, methods, origins
from .asked import asked_config
from .config import TrainConfig, load_config
from .data.cache import alone_in, sweep
from .errors import EXIT_REQUEUE, ConfigError, user_error
from .faults import FailureBoard, StopRequest
from .header import header
from .machine import check_machine, device_kind
from .methods.base import Objective, Work
from .options import help_text, read_words
from .plans import plan_of
from .precision import chosen, use
from .trainer import RunData, Trainer
from .words import complain, one_line, say
from .words_of_config import as_words

#: A killed run's lock goes with it; on a network's file system that may take a moment.
LOCK_SECONDS = 5.0


def main(argv: Sequence[str], pretraining: bool = False) -> int:
    """Do what the words behind ``train`` say; returns the exit code. A failing rank ends all, each with its cause.

    Args:
        argv: the words.
        pretraining: they stand behind ``pretrain``: only the method's pre-training on MRI is wanted.
    """
    try:
        asked = read_words(argv)
        if asked.action == "help":
            say(help_text(asked.overrides))
            return 0
        if asked.action == "cfg":
            say("\n".join(shown_config(asked.overrides)))
            return 0
        config = asked_config(asked.overrides)
        if pretraining:
            check_pretraining(methods.objective(config), asked.action)
        check_machine(config)
        data = load_data(config)
        if asked.action == "dry-run":
            return dry_run(config, data)
    except Exception as error:
        return end_with(error, None)
    return run(config, data, words=argv, pretraining=pretraining)


def check_pretraining(objective: Objective, action: str) -> None:
    """Raise `ConfigError` unless the configuration has a pre-training on MRI, and running it is what is asked for."""
    objective.check_pretraining()
    if action == "dry-run":
        raise ConfigError("--dry-run: 'train --dry-run' with the same words rehearses the pre-training too")


def shown_config(overrides: Sequence[str]) -> list[str]:
    """The configuration that overrides make, as words; `out` and the cache may still be missing."""
    missing = [key for key in ("out", "data.cache") if not any(word.startswith(f"{key}=") for word in overrides)]
    config = load_config([*overrides, *(f"{key}=missing" for key in missing)])
    return as_words(config, without=tuple(missing))


def dry_run(config: TrainConfig, data: RunData) -> int:
    """Say what the run is and what it would need."""
    from .rehearsal import lines, rehearse

    hardware, objective = config.hardware, methods.objective(config)
    kind = device_kind(hardware.accelerator)
    precision = chosen(hardware.precision, kind)
    done = checkpoints.progress(Path(config.out))
    say("\n".join(header(objective, data, kind, hardware.devices * hardware.nodes, precision, done)))
    alone = replace(config, hardware=replace(hardware, devices=1, nodes=1, strategy="auto"))
    found = rehearse(start_fabric(alone), config, data)
    say("\n".join(lines(config, objective.trainings_before(), objective.images(data), found)))
    return 0


def load_data(config: TrainConfig) -> RunData:
    """Data sets of the cache and split that the configuration names."""
    from .data.cache import open_cache
    from .data.dataset import Augmentation, PetDataset
    from .data.split import FILE, load_split

    cache = open_cache(config.data.cache)
    split = load_split(config.data.split or Path(config.data.cache) / FILE, cache)
    how = {"scaling": config.preset.pet_intensity, "factor": config.network.factor, "crop": config.network.crop}
    augmentation = Augmentation() if config.data.augment else None
    training, validation = split.part("train"), split.validation
    if config.preset.held_out == "test_only":
        training, validation = [*training, *validation], []
    train = PetDataset(cache, training, **how, augmentation=augmentation, seed=config.seed)
    held_out = PetDataset(cache, validation, **how) if validation else None
    volumes = cache.volumes_sha256(split.train, split.validation)
    return RunData(train, held_out, split.sha256, draws=config.data.augment, volumes_sha256=volumes)


def run(
    config: TrainConfig, data: RunData, quiet: bool = False, words: Sequence[str] = (), pretraining: bool = False
) -> int:
    """Train until the end, a signal or a failure; returns the exit code.

    Args:
        config, data: of the run.
        quiet: no console.
        words: the command line's, to be kept.
        pretraining: only the method's pre-training on MRI.
    """
    board = None
    try:
        check_machine(config)
        fabric = start_fabric(config)
        token = fabric.broadcast(str(time.time_ns()))
        board = FailureBoard(Path(config.out), token, fabric.global_rank)
        if fabric.world_size > 1:
            board.watch()
        with StopRequest() as stop, ExitStack() as held:
            if fabric.is_global_zero:
                held.enter_context(alone_in(Path(config.out), wait=LOCK_SECONDS))
                clean(Path(config.out), board, quiet)
            fabric.barrier()
            objective, start = methods.objective(config), {}
            if fabric.is_global_zero:
                start = origins.origin(words, "pretrain" if pretraining else "train")
                if not quiet:
                    kind = fabric.device.type
                    precision = chosen(config.hardware.precision, kind)
                    done = (0, 0) if pretraining else checkpoints.progress(Path(config.out))
                    say("\n".join(header(objective, data, kind, fabric.world_size, precision, done)))
            check_cache(Path(config.out), data)
            work = Work(fabric, data, stop, quiet, start)
            if pretraining:
                objective.check_pretraining()
                ready = objective.pretrain(work)
                if ready and fabric.is_global_zero:
                    origins.write(Path(config.out), config, start, 0)
                return 0 if ready else EXIT_REQUEUE
            ready = objective.stages(work)
            if ready is None:
                return EXIT_REQUEUE
            ready = replace(ready, volumes_sha256=data.volumes_sha256)  # also of coded data, which are in no cache
            plan = plan_of(config, len(ready.train), fabric.world_size)
            trainer = Trainer(fabric, objective, ready, plan, quiet, start)
            if fabric.is_global_zero:
                origins.write(Path(config.out), config, start, trainer.state.step)
            return trainer.train(stop)
    except Exception as error:
        return end_with(error, board)
    finally:
        if board:
            board.close()


def check_cache(out: Path, data: RunData) -> None:
    """Raise `ResumeError` where a folder's run was trained on another cache: before any stage measures this one."""
    found = checkpoints.latest(out, mapped=True)
    if found:
        checkpoints.check_cache(*found, data.volumes_sha256)


def clean(out: Path, board: FailureBoard, quiet: bool) -> None:
    """Remove what a killed or failed start of the run left, and say so."""
    below = [path.relative_to(out) for path in out.glob("**/checkpoints") if path.is_dir()]
    # Not the hidden ones: other ranks write to the board's already.
    stages = [path.relative_to(out) for path in out.glob("[!.]*") if path.is_dir() and path.name != "checkpoints"]
    sweep(out, (lambda message: None) if quiet else say, map(str, [*below, *stages]))
    for folder in out.glob(".failures-*"):
        if folder != board.folder:
            shutil.rmtree(folder, ignore_errors=True)


def end_with(error: Exception, board: FailureBoard | None) -> int:
    """Say why on stderr, tell the other ranks, and give the exit code; with other ranks there, end at once."""
    told = user_error(error)
    message = one_line(str(told)) if told else f"{type(error).__name__}: {error}"
    alone = board is None or not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    if not told:
        if not alone and (other := board.explain()):
            # The collective operation failed because its partner is gone: that one's word is the cause.
            board.end(other)
        complain(traceback.format_exc().rstrip())
    complain(f"training: {message}")
    code = told.exit_code if told else 1
    if not alone:
        with contextlib.suppress(OSError):  # of a full disk the others see that this process is gone
            board.report(message)
        os._exit(code)  # without waiting for the others in the process group's clean-up
    return code


def start_fabric(config: TrainConfig):
    """Lightning Fabric for the configured hardware, with its processes started."""
    from lightning_fabric import Fabric

    # On a machine that has Slurm, a run by hand or by torchrun is as good as one by srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    hardware = config.hardware
    strategy = hardware.strategy
    ranks = hardware.devices * hardware.nodes
    if strategy == "auto" and ranks > 1:
        strategy = "ddp"
    if strategy == "fsdp":
        from .sharding import strategy as sharded

        strategy = sharded(ranks)
    kind = device_kind(hardware.accelerator)
    precision = chosen(hardware.precision, kind)
    use(precision)
    how: dict[str, Any] = {"precision": precision.fabric}
    if precision.mixed:
        from .mixed_precision import PlayersPrecision

        how = {"plugins": [PlayersPrecision(precision.fabric, "cpu" if kind == "cpu" else "cuda")]}
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=strategy,
        **how,
    )
    fabric.launch()
    return fabric
