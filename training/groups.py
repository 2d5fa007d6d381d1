"""The groups of a configuration that every method has, with their defaults; `training.keys` says what each key does.

A method subclasses those to which it adds keys.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Method:
    """The method that is trained; its own choices are further keys."""

    name: str = ""


@dataclass
class Preset:
    """One way to train a method, e.g. a paper's; what every preset says."""

    name: str = "default"
    global_batch: int = 3
    epochs: int = 100
    pet_intensity: str = "suvr"
    ema_decay: float = 0.999
    metrics: str = "both"
    held_out: str = "subjects"

    def arguments(self, *names: str) -> dict[str, Any]:
        """Keys of the preset as keyword arguments of the library's network, which calls them the same."""
        return {name: getattr(self, name) for name in names}


@dataclass
class Network:
    """Size of the network, and of the voxels that it works on."""

    factor: int = 1
    crop: list[int] | None = None

    def arguments(self) -> dict[str, Any]:
        """What is set, as keyword arguments of the library's network."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass
class Data:
    """What is trained on: the cache that ``python -m training prepare`` made, and its split."""

    cache: str = "???"
    split: str = ""
    workers: int = 2
    augment: bool = False
    drop_t2f: float = 0.0


@dataclass
class Hardware:
    """How the work is laid out on the machine. Nothing here changes the mathematics but the precision."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    micro_batch: int = 1
    accumulation: int = 0
    mode: str = "plain"
    compile: bool = False


@dataclass
class Run:
    """Length, rhythm and safety of the run."""

    steps: int = 0
    clip_gradients: float = 0.0
    learning_rate: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    log_every: int = 10
    checkpoint_every: int = 500
    keep_last: int = 3
    validate_every: int = 1000
    validation_volumes: int = 4
    validation_steps: int = 10
    largest_loss: float = 1e4


def flatten(config: Any) -> dict[str, Any]:
    """A configuration as ``{"preset.epochs": 100, ...}``."""
    flat = {}
    for key, value in (config if isinstance(config, dict) else asdict(config)).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[key] = value
    return flat
