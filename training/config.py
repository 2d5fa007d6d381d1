"""The configuration of a training run: typed Hydra groups, checked once, one line for what is wrong.

``method=`` chooses the method and with it the configuration: a subclass of `TrainConfig` in the method's folder, with
groups and choices of its own. Every key of a group can be overridden by itself, for instance
``preset=release preset.adversarial_weight=0.1``. An unknown key is an error. Here is what every method has.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, get_type_hints

from .errors import ConfigError


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
    #: suvr (fixed SUVR window a tracer) | minmax (each volume's own minimum and maximum)
    pet_intensity: str = "suvr"
    #: Decay of the moving average of the weights that are validated and exported; 0: the weights themselves.
    ema_decay: float = 0.999
    #: both (3-D, data range 1, whole grid and inside the mask) | full_grid (paper) | release (2-D SSIM, [-1, 1])
    metrics: str = "both"
    #: subjects (train / validation / test) | test_only (no validation: those subjects are trained on too)
    held_out: str = "subjects"


@dataclass
class Network:
    """Size of the network, and of the voxels that it works on."""

    #: Side in voxels of the blocks that are averaged into one; 1 is the whole 1 mm grid.
    factor: int = 1
    #: Central part (X, Y, Z) of the blocks that is trained on; null is all of them.
    crop: list[int] | None = None


@dataclass
class Data:
    """What is trained on: the cache that ``python -m training prepare`` made, and its split."""

    cache: str = "???"
    #: Split file; empty: the one in the cache.
    split: str = ""
    workers: int = 2
    augment: bool = False


@dataclass
class Hardware:
    """How the work is laid out on the machine. Nothing here changes the mathematics but the precision."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    #: auto | ddp | fsdp
    strategy: str = "auto"
    #: fp32 | bf16 | fp16
    precision: str = "fp32"
    micro_batch: int = 1
    #: 0: as many as make up the global batch.
    accumulation: int = 0
    activation_checkpointing: bool = False
    channels_last: bool = False


@dataclass
class Run:
    """Length, rhythm and safety of the run."""

    #: Optimiser steps; 0: as many as the preset's epochs make.
    steps: int = 0
    #: Largest gradient norm of generator and discriminator; 0: no clipping.
    clip_gradients: float = 0.0
    #: Of both learning rates: constant | cosine (to 0 at the last step), after a linear rise over `warmup_steps`.
    learning_rate: str = "constant"
    warmup_steps: int = 0
    #: Of the generator, decoupled (AdamW).
    weight_decay: float = 0.0
    log_every: int = 10
    checkpoint_every: int = 500
    keep_last: int = 3
    validate_every: int = 1000
    validation_volumes: int = 4
    validation_steps: int = 10
    #: A loss above this stops the run, as does one that is not a number.
    largest_loss: float = 1e4


@dataclass(frozen=True)
class Rules:
    """What values a configuration's keys can have, each key by its place (``run.steps``).

    Attributes:
        choices: closed lists of values.
        at_least_one, not_negative, positive: keys of numbers.
        at_most: highest values.
        free: beginnings of the keys that a resumed run may change, since they do not touch what is learned, or are
            written into the metadata.
    """

    choices: Mapping[str, tuple] = field(default_factory=dict)
    at_least_one: tuple[str, ...] = ()
    not_negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    at_most: Mapping[str, float] = field(default_factory=dict)
    free: tuple[str, ...] = ()

    def __or__(self, other: Rules) -> Rules:
        """Both."""
        return Rules(*(
            {**mine, **theirs} if isinstance(mine, Mapping) else (*mine, *theirs)
            for mine, theirs in ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        ))  # fmt: skip


#: The numbers of `at_most` are what a machine or a cluster can have; the longest schedule has 1000 timesteps.
RULES = Rules(
    choices={
        "preset.pet_intensity": ("suvr", "minmax"),
        "preset.metrics": ("both", "full_grid", "release"),
        "preset.held_out": ("subjects", "test_only"),
        "run.learning_rate": ("constant", "cosine"),
        "hardware.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
        "hardware.strategy": ("auto", "ddp", "fsdp"),
        "hardware.precision": ("fp32", "bf16", "fp16"),
    },
    at_least_one=tuple(
        "preset.global_batch preset.epochs hardware.devices hardware.nodes hardware.micro_batch run.log_every "
        "run.checkpoint_every run.keep_last run.validate_every run.validation_steps".split()
    ),
    not_negative=tuple(
        "preset.ema_decay hardware.accumulation data.workers run.steps run.clip_gradients run.validation_volumes "
        "run.warmup_steps run.weight_decay seed".split()
    ),
    positive=("run.largest_loss",),
    at_most={
        "run.validation_steps": 1000,
        "preset.global_batch": 65536,
        "hardware.micro_batch": 65536,
        "hardware.accumulation": 65536,
        "hardware.devices": 1024,
        "hardware.nodes": 65536,
        "data.workers": 1024,
        "seed": 2**63 - 1,
    },
    free=tuple(
        "hardware. run.steps run.log_every run.checkpoint_every run.keep_last run.valid run.largest_loss data.cache "
        "data.split data.workers out preset.epochs preset.metrics preset.global_batch".split()
    ),
)


@dataclass
class TrainConfig:
    """Everything a run is made of. A method subclasses it.

    Class attributes:
        groups: by group, its choices by name, the default one first.
        rules: see `Rules`; a method adds its own: ``rules = TrainConfig.rules | Rules(...)``.
        renamed: keys of earlier versions, and what they are called now.
    """

    groups: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    rules: ClassVar[Rules] = RULES
    renamed: ClassVar[Mapping[str, str]] = {}

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    hardware: Hardware = field(default_factory=Hardware)
    run: Run = field(default_factory=Run)
    out: str = "???"
    seed: int = 0

    def check(self) -> None:
        """Raise `ConfigError` for a combination without sense or sizes that make no network; the method's own."""

    def check_ranks(self, ranks: int) -> None:
        """Raise `ConfigError` for a layout over `ranks` that the method cannot do, beyond `layout`."""


def load_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration that Hydra overrides (``preset=paper``, ``run.steps=100``) make, checked.

    Returns:
        An instance of the method's subclass.

    Raises:
        ConfigError: an unknown key or choice, a value of a wrong type or out of range, a combination without sense.
    """
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for word in overrides:
        if word.startswith(("+", "~")):
            raise ConfigError(f"{word}: keys can be changed, not added or taken away")
    kind = _kind(overrides)
    for word in overrides:
        key = word.partition("=")[0]
        if key in kind.renamed:
            raise ConfigError(f"{word}: this key is called {kind.renamed[key]} now")
    store = ConfigStore.instance()
    defaults = ["_self_", *({group: next(iter(choices))} for group, choices in kind.groups.items())]
    root = OmegaConf.structured(kind)
    store.store(name="train", node=OmegaConf.merge({"defaults": defaults}, root))
    for group, choices in kind.groups.items():
        store.repo.pop(group, None)  # choices of a method loaded before
        for name, node in choices.items():
            store.store(group=group, name=name, node=node)
    try:
        with initialize(version_base=None, config_path=None):
            composed = compose("train", overrides=list(overrides))
        config = OmegaConf.to_object(OmegaConf.merge(root, composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error) + _meant(overrides, kind)) from error
    except (ValueError, TypeError, RecursionError) as error:  # what Hydra's parser lets through
        raise ConfigError(f"the overrides cannot be read: {_one_line(error)}") from error
    check(config)
    return config


def _kind(overrides: Sequence[str]) -> type[TrainConfig]:
    """The configuration of the method that the overrides name."""
    from .methods import DEFAULT, config_class

    names = [word.partition("=")[2].strip(" '\"") for word in overrides if word.startswith("method=")]
    return config_class(names[-1] if names else DEFAULT)


def typed(config: Mapping[str, Any]) -> TrainConfig:
    """A configuration as a checkpoint has it, flat or nested, as an instance of its method's subclass; not checked.

    Raises:
        ConfigError: no method that is known.
        TypeError, KeyError: keys that the method does not have.
    """
    from .methods import config_class

    content = nested(config)
    kind = config_class(content["method"]["name"])
    content = nested(upgraded(flatten(content), kind))
    types = get_type_hints(kind)
    return kind(**{
        name: types[name](**value) if is_dataclass(types[name]) else value for name, value in content.items()
    })  # fmt: skip


def upgraded(config: Mapping[str, Any], kind: type[TrainConfig]) -> dict[str, Any]:
    """A flat configuration of an earlier version with today's keys.

    Renamed keys are moved; new ones get their field's default, which is what was done before there was a choice.
    """
    flat = dict(config)
    for old, new in kind.renamed.items():
        if old in flat:
            flat[new] = flat.pop(old)
    return flatten(kind()) | flat


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with ``a.b`` keys taken apart; one that is nested already is returned as it is."""
    result: dict = {}
    for key, value in config.items():
        group, _, rest = key.partition(".")
        if rest:
            result.setdefault(group, {})[rest] = value
        else:
            result[key] = value
    return result


#: Lines of Hydra that lead nowhere; keys cannot be appended here.
_NOISE = ("full_key", "object_type", "reference_type", "To append to your config")


def _one_line(error: Exception) -> str:
    """What Hydra says, with the reason it keeps in the cause, on one line."""
    lines = [*str(error).splitlines(), *str(error.__cause__ or "").splitlines()]
    useful = [line.strip() for line in lines if line.strip() and not line.strip().startswith(_NOISE)]
    return "; ".join(dict.fromkeys(useful))[:400]


def _meant(overrides: Sequence[str], kind: type[TrainConfig]) -> str:
    """Words for the error: the nearest key to the first one that is none."""
    known = [*flatten(kind()), *kind.groups]
    for word in overrides:
        key = word.partition("=")[0]
        if key not in known and (near := difflib.get_close_matches(key, known, 1)):
            return f"; did you mean {near[0]}?"
    return ""


def check(config: TrainConfig) -> None:
    """Raise `ConfigError` for a value out of range or a combination without sense."""
    from .sizes import check_grid

    flat, rules = flatten(config), config.rules
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} is no number that can be used")
        if isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise ConfigError(f"{key}={ascii(value)[:60]} holds a control character, or a byte that is no UTF-8")
    for key, allowed in rules.choices.items():
        if flat[key] not in allowed:
            raise ConfigError(f"{key}={flat[key]} is not one of {', '.join(map(str, allowed))}")
    for keys, lowest in ((rules.at_least_one, 1), (rules.not_negative, 0)):
        for key in keys:
            if not flat[key] >= lowest:
                raise ConfigError(f"{key}={flat[key]} must be at least {lowest}")
    for key in rules.positive:
        if not flat[key] > 0:
            raise ConfigError(f"{key}={flat[key]} must be above 0")
    for key, highest in rules.at_most.items():
        if flat[key] > highest:
            raise ConfigError(f"{key}={flat[key]} must be at most {highest}")
    if not config.preset.ema_decay < 1:
        raise ConfigError(f"preset.ema_decay={config.preset.ema_decay} must be below 1")
    if config.hardware.strategy == "fsdp":
        if config.hardware.devices * config.hardware.nodes < 2:
            raise ConfigError(
                "hardware.strategy=fsdp shares the generator out over ranks; it needs hardware.devices=2 or more"
            )
        if config.hardware.precision == "fp16":
            raise ConfigError(
                "hardware.strategy=fsdp: loss scaling of shares is not supported; use precision bf16 or fp32"
            )
    check_grid(config.network)
    config.check()


def flatten(config: Any) -> dict[str, Any]:
    """A configuration as ``{"preset.epochs": 100, ...}``."""
    flat = {}
    for key, value in (config if isinstance(config, dict) else asdict(config)).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def differences(before: dict[str, Any], now: dict[str, Any], free: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """(forbidden, allowed) differences between a checkpoint's flat configuration and the one asked for.

    Each is a line ``key: old -> new``. Forbidden are those that make it another experiment: all but keys that begin
    with one of `free`.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    lines = {key: f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed}
    return [v for k, v in lines.items() if not k.startswith(free)], [v for k, v in lines.items() if k.startswith(free)]


def layout(config: TrainConfig, ranks: int) -> int:
    """Accumulation steps with which `ranks` x micro-batch x accumulation is the global batch.

    Raises:
        ConfigError: there is none, or another was asked for; lists the layouts that would do.
    """
    total, hardware = config.preset.global_batch, config.hardware
    accumulation = hardware.accumulation or max(total // (ranks * hardware.micro_batch), 1)
    if ranks * hardware.micro_batch * accumulation == total:
        return accumulation
    fitting = [
        f"{r} x {m} x {total // (r * m)}"
        for r in range(1, total + 1)
        if total % r == 0
        for m in range(1, total // r + 1)
        if total // r % m == 0
    ]
    same = [line for line in fitting if line.startswith(f"{ranks} x ")]
    raise ConfigError(
        f"{ranks} ranks x micro-batch {hardware.micro_batch} x accumulation {accumulation} is "
        f"{ranks * hardware.micro_batch * accumulation}, not preset.global_batch={total}; "
        f"these would do (ranks x hardware.micro_batch x hardware.accumulation): {', '.join((same or fitting)[:12])}"
    )
