"""The training run: ``python -m training train data.cache=DIR out=DIR [key=value ...] [@FILE of such lines]``.

One process a device. Started by hand it starts its other processes itself (``hardware.devices=8``); ``torchrun`` and
Slurm's ``srun`` are recognised by Lightning Fabric, see ``training/README.md``. The same command goes on where an
interrupted run stopped. It ends with 0 when done, 75 when asked to stop (SIGTERM; start it again), 2 for a bad
configuration, 3 when it diverged, 4 when another rank failed.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from RelAPETLib.errors import InputError

from .config import TrainConfig, load_config
from .data.cache import alone_in, sweep
from .errors import EXIT_REQUEUE, as_told
from .faults import FailureBoard, StopRequest
from .machine import check_machine
from .trainer import RunData, Trainer
from .words import one_line, say

#: A killed run's lock goes with it; on a network's file system that may take a moment.
LOCK_SECONDS = 5.0
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def main(argv: Sequence[str]) -> int:
    """Run with Hydra overrides; returns the exit code. A failing rank ends the process and tells the others."""
    try:
        config = load_config(expanded(argv))
        check_machine(config)
        data = load_data(config)
    except Exception as error:
        return end_with(error, None)
    return run(config, data)


def expanded(words: Sequence[str]) -> list[str]:
    """The words, each ``@FILE`` replaced by the file's lines; empty lines and those that begin with # are left out.

    Raises:
        InputError: the file cannot be read.
    """
    found: list[str] = []
    for word in words:
        if not word.startswith("@"):
            found.append(word)
            continue
        try:
            lines = Path(word[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:  # UnicodeDecodeError, and a path with NUL
            raise InputError(f"{word[1:]!r}: cannot be read ({error})") from error
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def load_data(config: TrainConfig) -> RunData:
    """Data sets of the cache and split that the configuration names."""
    from .data.cache import open_cache
    from .data.dataset import Augmentation, PetDataset
    from .data.split import FILE, load_split

    cache = open_cache(config.data.cache)
    split = load_split(config.data.split or Path(config.data.cache) / FILE, cache)
    how = {"scaling": config.preset.pet_intensity, "factor": config.network.factor, "crop": config.network.crop}
    augmentation = Augmentation() if config.data.augment else None
    learnt, judged = split.part("train"), split.validation
    if config.preset.held_out == "test_only":
        learnt, judged = [*learnt, *judged], []
    train = PetDataset(cache, learnt, **how, augmentation=augmentation, seed=config.seed)
    validation = PetDataset(cache, judged, **how) if judged else None
    return RunData(train, validation, split.sha256, draws=config.data.augment)


def run(config: TrainConfig, data: RunData, quiet: bool = False) -> int:
    """Train until the end, a signal or a failure; returns the exit code."""
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
            space = None
            if config.method.latent:
                from .latent.stages import prepare_latents

                coded = prepare_latents(fabric, config, data, stop, quiet)
                if coded is None:
                    return EXIT_REQUEUE
                space, data = coded
            return Trainer(fabric, config, data, space, quiet).train(stop)
    except Exception as error:
        return end_with(error, board)
    finally:
        if board:
            board.close()


def clean(out: Path, board: FailureBoard, quiet: bool) -> None:
    """Remove what a killed or failed start of the run left, and say so."""
    below = [path.relative_to(out) for path in out.glob("**/checkpoints") if path.is_dir()]
    sweep(out, (lambda message: None) if quiet else say, map(str, [*below, "latent"]))
    for folder in out.glob(".failures-*"):
        if folder != board.folder:
            shutil.rmtree(folder, ignore_errors=True)


def end_with(error: Exception, board: FailureBoard | None) -> int:
    """Say why on stderr, tell the other ranks, and give the exit code; with other ranks there, end at once."""
    told = as_told(error)
    message = one_line(str(told)) if told else f"{type(error).__name__}: {error}"
    alone = board is None or not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    if not told:
        if not alone and (other := board.explain()):
            # The collective operation failed because its partner is gone: that one's word is the cause.
            board.end(other)
        traceback.print_exc()
    sys.stderr.write(f"training: {message}\n")
    sys.stderr.flush()
    code = told.exit_code if told else 1
    if not alone:
        board.report(message)
        os._exit(code)  # without waiting for the others in the process group's clean-up
    return code


def start_fabric(config: TrainConfig):
    """Lightning Fabric for the configured hardware, with its processes started."""
    from lightning_fabric import Fabric

    hardware = config.hardware
    strategy = hardware.strategy
    ranks = hardware.devices * hardware.nodes
    if strategy == "auto" and ranks > 1:
        strategy = "ddp"
    if strategy == "fsdp":
        from .sharding import strategy as sharded

        strategy = sharded(ranks)
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=strategy,
        precision=PRECISION[hardware.precision],
    )
    fabric.launch()
    return fabric
