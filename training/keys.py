"""Keys of a configuration: what each does and which values it takes. ``train --help`` and the checks read these tables.

Defaults are not repeated here: they stand in the dataclasses of `training.groups` and of each method's ``config.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .schedules import COURSES


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        what: what it does, for ``--help``.
        choices: the values that it takes; empty where there are no closed ones.
        least, most: of a number, both included.
        above, below: numbers that it must lie between, themselves excluded.
        place: it is a file or folder: a leading ~ is a home folder.
        free: a resumed run may change it, since it does not touch what is learned, or is written into the metadata.
        judging: validations follow from it, and cannot be compared with those of another value.
    """

    what: str
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    place: bool = False
    free: bool = False
    judging: bool = False

    def refusal(self, value: Any) -> str | None:
        """What is wrong with a value, to be read after ``key=value``; None when nothing is."""
        if self.choices and value not in self.choices:
            return f"is not one of {', '.join(map(str, self.choices))}"
        if self.least is not None and not value >= self.least:
            return f"must be at least {self.least:g}"
        if self.above is not None and not value > self.above:
            return f"must be above {self.above:g}"
        if self.most is not None and value > self.most:
            return f"must be at most {self.most}"
        if self.below is not None and not value < self.below:
            return f"must be below {self.below:g}"
        return None


def count(what: str, least: int = 1, most: int | None = None, free: bool = False, judging: bool = False) -> Key:
    """A key of a whole number that begins at `least`."""
    return Key(what, least=least, most=most, free=free, judging=judging)


def weight(what: str, below: float | None = None) -> Key:
    """A key of a number that is not negative."""
    return Key(what, least=0, below=below)


class Rules(dict[str, Key]):
    """The table of a configuration: its keys by their place (``run.steps``)."""

    def __or__(self, other: Mapping[str, Key]) -> Rules:
        """Both; what `other` says of a key counts."""
        return Rules({**self, **other})

    @property
    def free(self) -> tuple[str, ...]:
        """The keys that a resumed run may change."""
        return tuple(name for name, key in self.items() if key.free)

    @property
    def judging(self) -> tuple[str, ...]:
        """The keys that validations follow from."""
        return tuple(name for name, key in self.items() if key.judging)

    @property
    def places(self) -> tuple[str, ...]:
        """The keys that are files or folders."""
        return tuple(name for name, key in self.items() if key.place)

    def check(self, flat: Mapping[str, Any]) -> None:
        """Raise `ConfigError` for the first key of a flat configuration whose value the table does not allow."""
        for name, value in flat.items():
            if name in self and (problem := self[name].refusal(value)):
                raise ConfigError(f"{name}={value} {problem}")


MODES = ("plain", "fast", "lean")
#: More images in a step, or more nodes, than any machine has.
MANY = 65536
#: More steps than any sampler takes.
MOST_SAMPLER_STEPS = 1000

#: Keys of earlier versions: the key that took their place, and its value for theirs; of several, the last counts.
REPLACED: Mapping[str, tuple[str, Mapping[Any, Any]]] = {
    "hardware.channels_last": ("hardware.mode", {False: "plain", True: "fast"}),
    "hardware.activation_checkpointing": ("hardware.mode", {False: "plain", True: "lean"}),
}

#: The keys that every method has.
RULES = Rules({
    "out": Key("folder of the run", place=True, free=True),
    "seed": Key("of weights, order and everything random", least=0, most=2**63 - 1),
    "method.name": Key("name of the method, for the metadata"),
    "preset.name": Key("name of the preset, for the metadata"),
    "preset.global_batch": count("images in a step, over all ranks", most=MANY, free=True),
    "preset.epochs": count("passes over the training images, where run.steps does not say how long", free=True),
    "preset.pet_intensity": Key(
        "scale of PET: suvr is a fixed SUVR window a tracer, minmax each volume's own range", ("suvr", "minmax")
    ),
    "preset.ema_decay": weight(
        "decay of the weights' moving average, which is validated and exported; 0 for none", below=1
    ),
    "preset.metrics": Key(
        "figures of evaluate: both (3-D, whole grid and brain), full_grid (paper), release (2-D SSIM, [-1, 1])",
        ("both", "full_grid", "release"),
        free=True,
    ),
    "preset.held_out": Key(
        "subjects: validation and test people are not trained on; test_only: validation people are",
        ("subjects", "test_only"),
    ),
    "network.factor": Key("side in voxels of the blocks that are averaged into one; 1 is the whole 1 mm grid"),
    "network.crop": Key("central part [X,Y,Z] of the blocks that is trained on; null is all"),
    "data.cache": Key("folder that 'prepare' wrote; a resumed run finds the same in it", place=True, free=True),
    "data.split": Key("split file; empty: the cache's own", place=True, free=True),
    "data.workers": count("processes that read data, a rank", least=0, most=1024, free=True),
    "data.augment": Key("small random changes of the training images; needs a cache of the whole grid"),
    "data.drop_t2f": Key(
        "share of the training images whose T2-FLAIR is replaced by background, so that the model can do without one",
        least=0,
        most=1,
    ),
    "hardware.accelerator": Key("where to train", ("auto", "cpu", "gpu", "cuda", "mps"), free=True),
    "hardware.devices": count("processes on each node, one a GPU", most=1024, free=True),
    "hardware.nodes": count("nodes", most=MANY, free=True),
    "hardware.strategy": Key("how ranks share the work; auto is ddp for several", ("auto", "ddp", "fsdp"), free=True),
    "hardware.precision": Key(
        "auto: bf16 with TF32 on a CUDA GPU that has them, else fp32; tf32 is fp32 with TF32's matrix products",
        ("auto", "fp32", "tf32", "bf16", "fp16"),
        free=True,
    ),
    "hardware.micro_batch": count("images that a rank works on at once", most=MANY, free=True),
    "hardware.accumulation": count(
        "micro-batches a step; 0: as many as make up preset.global_batch", least=0, most=MANY, free=True
    ),
    "hardware.mode": Key(
        "plain; fast: the same sooner (oneDNN's convolutions on a CPU, channels last on a GPU); lean: less memory, "
        "activations of the networks' blocks are computed again",
        MODES,
        free=True,
    ),
    "hardware.compile": Key("let torch.compile work on the networks; CUDA, with hardware.mode=fast", free=True),
    "run.steps": count("optimiser steps; 0: as many as preset.epochs make", least=0, free=True),
    "run.clip_gradients": weight("largest gradient norm of a network; 0: no clipping"),
    "run.learning_rate": Key(
        "course of the learning rates: constant, a cosine to 0, or linear: constant for half of the run, then straight "
        "to 0",
        COURSES,
    ),
    "run.warmup_steps": count("steps of a linear rise of the learning rates before that", least=0),
    "run.weight_decay": weight("weight decay of the network that is exported, decoupled (AdamW)"),
    "run.log_every": count("steps between two lines of the log", free=True),
    "run.checkpoint_every": count("steps between two checkpoints", free=True),
    "run.keep_last": count("checkpoints that are kept, beside the best", free=True),
    "run.validate_every": count(
        "steps between two validations; the first comes after 10 steps at the latest", free=True
    ),
    "run.validation_volumes": count(
        "volumes of a validation, spread over the validation part and its tracers; 0: no validation",
        least=0,
        free=True,
        judging=True,
    ),
    "run.validation_steps": count(
        "sampler steps of a validation", most=MOST_SAMPLER_STEPS, free=True, judging=True
    ),
    "run.largest_loss": Key("a loss above this stops the run, as does one that is no number", above=0, free=True),
})  # fmt: skip
