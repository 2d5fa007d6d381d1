"""The configuration of a training run: typed Hydra groups, checked once, one line for what is wrong.

``method=``, ``preset=`` and ``ablation=`` choose groups; every key of a group can be overridden by itself, for instance
``preset=release preset.adversarial_weight=0.1``. An unknown key is an error. `training.groups` has the groups,
`training.keys` what each key does and which values it takes.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from .errors import ConfigError
from .groups import (
    ABLATIONS,
    LATENTS,
    METHODS,
    PRESETS,
    Ablation,
    Autoencoder,
    Data,
    Hardware,
    Latent,
    Method,
    Network,
    Preset,
    Run,
    TrainConfig,
    flatten,
)
from .keys import check_values

__all__ = [
    "ABLATIONS",
    "CHOSEN",
    "LATENTS",
    "METHODS",
    "PRESETS",
    "Ablation",
    "Autoencoder",
    "Data",
    "Hardware",
    "Latent",
    "Method",
    "Network",
    "Preset",
    "Run",
    "TrainConfig",
    "check",
    "differences",
    "flatten",
    "layout",
    "load_config",
]

#: Groups that a word like ``preset=paper`` chooses from; the first choice is the default.
CHOSEN = {
    "method": ("rela", METHODS),
    "preset": ("default", PRESETS),
    "ablation": ("none", ABLATIONS),
    "latent": ("autoencoded", LATENTS),
}


def load_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration that Hydra overrides (``preset=paper``, ``run.steps=100``) make, checked.

    Raises:
        ConfigError: an unknown key or choice, a value of a wrong type or out of range, a combination without sense.
    """
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _check_words(overrides)
    store = ConfigStore.instance()
    defaults = ["_self_", *({group: default} for group, (default, _) in CHOSEN.items())]
    root = OmegaConf.structured(TrainConfig)
    store.store(name="train", node=OmegaConf.merge({"defaults": defaults}, root))
    for group, (_, choices) in CHOSEN.items():
        for name, node in choices.items():
            store.store(group=group, name=name, node=node)
    try:
        with initialize(version_base=None, config_path=None):
            composed = compose("train", overrides=list(overrides))
        config = OmegaConf.to_object(OmegaConf.merge(root, composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    except (ValueError, TypeError, RecursionError) as error:  # what Hydra's parser lets through
        raise ConfigError(f"the overrides cannot be read: {_one_line(error)}") from error
    check(config)
    return config


#: Lines of Hydra that lead nowhere; keys cannot be appended here.
_NOISE = ("full_key", "object_type", "reference_type", "To append to your config")


def _one_line(error: Exception) -> str:
    """What Hydra says, with the reason it keeps in the cause, on one line."""
    lines = [*str(error).splitlines(), *str(error.__cause__ or "").splitlines()]
    useful = [line.strip() for line in lines if line.strip() and not line.strip().startswith(_NOISE)]
    return "; ".join(dict.fromkeys(useful))[:400]


#: A word that names a key plainly, and a plain choice of a group; others are left to Hydra's grammar.
_PLAIN_WORD, _PLAIN_CHOICE = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL), re.compile(r"\w*")


def _check_words(overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for keys and choices that do not exist, with the nearest that do."""
    known = [*flatten(TrainConfig()), *CHOSEN]
    groups = {key.partition(".")[0] for key in known}
    for word in overrides:
        if word.startswith(("+", "~")):
            raise ConfigError(f"{word}: keys can be changed, not added or taken away")
        if (found := _PLAIN_WORD.fullmatch(word)) is None:
            continue
        key, value = found.groups()
        if key in CHOSEN and _PLAIN_CHOICE.fullmatch(value) and value not in CHOSEN[key][1]:
            names = CHOSEN[key][1]
            near = [f"{key}={name}" for name in difflib.get_close_matches(value, names, 1)]
            said = f"{key}={value}: there is no such {key}, but {', '.join(names)}"
        elif key not in known and key not in groups:
            near = _near(key, known)
            said = f"{word[:80]}: there is no key {key[:60]}; 'python -m training train --help' lists all"
        else:
            continue
        raise ConfigError(said + (f"; did you mean {' or '.join(near[:3])}?" if near else ""))


def _near(key: str, known: Sequence[str]) -> list[str]:
    """The known key nearest to one that is none, also where its group was left out or is another's."""
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    same = [name for name in known if name.rpartition(".")[2] == last]
    return (
        difflib.get_close_matches(key, known, 1, 0.75)
        or same
        or [ends[end] for end in difflib.get_close_matches(last, ends, 1)]
        or difflib.get_close_matches(key, known, 1)
    )


def check(config: TrainConfig) -> None:
    """Raise `ConfigError` for a value out of range or a combination without sense."""
    from .sizes import check_sizes

    flat = flatten(config)
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} is no number that can be used")
        if isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise ConfigError(f"{key}={ascii(value)[:60]} holds a control character, or a byte that is no UTF-8")
    check_values(flat)
    if not config.preset.ema_decay < 1:
        raise ConfigError(f"preset.ema_decay={config.preset.ema_decay} must be below 1")
    if config.preset.relativistic_loss != "softplus":
        raise ConfigError(
            "preset.relativistic_loss: eq. 9 as printed is unbounded below for both players; only softplus can be run"
        )
    ablation, method = config.ablation, config.method
    if not method.adversarial and not (ablation.relativistic and ablation.penalty):
        raise ConfigError(f"ablation={ablation.name} takes out a part that method={method.name} does not have")
    if method.latent:
        _check_latent(config)
    if config.hardware.strategy == "fsdp":
        if config.hardware.devices * config.hardware.nodes < 2:
            raise ConfigError(
                "hardware.strategy=fsdp shares the generator out over ranks; it needs hardware.devices=2 or more"
            )
        if config.hardware.precision == "fp16":
            raise ConfigError(
                "hardware.strategy=fsdp: loss scaling of shares is not supported; use precision bf16 or fp32"
            )
        if method.latent:
            raise ConfigError("hardware.strategy=fsdp: the latent variant's networks are small; use ddp")
    if not (ablation.t1w or ablation.t2f):
        raise ConfigError("ablation: without T1w and T2F there is nothing to synthesize from")
    if method.noise_weight == 0 and method.image_weight == 0:
        raise ConfigError("method: with noise_weight=0 and image_weight=0 nothing teaches the generator")
    check_sizes(config)


def _check_latent(config: TrainConfig) -> None:
    """What cannot be in the latent variant."""
    coder, network, latent = config.autoencoder, config.network, config.latent
    if network.crop is not None:
        raise ConfigError("network.crop: the latent variant codes whole volumes; leave it out")
    if config.data.augment:
        raise ConfigError("data.augment: in the latent variant volumes are coded once, before training; leave it off")
    if coder.perceptual_weight and not coder.perceptual_network:
        raise ConfigError(
            "autoencoder.perceptual_weight needs autoencoder.perceptual_network, a state dict of a 3-D ResNet-10"
        )
    if latent.name == "regression":
        if network.factor != 2 or coder.blocks * 2 ** (len(coder.channels) - 1) != 8:
            raise ConfigError(
                "latent=regression has a latent of 10x12x10 of 2 mm voxels: it needs network.factor=2 and "
                "autoencoder.blocks x 2^(levels - 1) = 8, e.g. autoencoder.blocks=4 autoencoder.channels=[48,96]"
            )
        if latent.prediction != "v":
            raise ConfigError("latent=regression predicts v; latent.prediction=noise is for latent=autoencoded")
        if not (config.ablation.t1w and config.ablation.t2f):
            raise ConfigError(f"ablation={config.ablation.name}: latent=regression needs T1w and T2F")
    elif latent.registered:
        raise ConfigError("latent.registered is for latent=regression")


#: What a resumed run may change: it does not touch what is learned, or is written into the metadata.
_FREE = tuple(
    "hardware. run.steps run.log_every run.checkpoint_every run.keep_last run.valid run.largest_loss "
    "data.cache data.split data.workers latent.registered autoencoder.source autoencoder.perceptual_network "
    "out preset.epochs preset.metrics preset.sampler preset.global_batch".split()
)


def differences(before: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(forbidden, allowed) differences between a checkpoint's flat configuration and the one asked for.

    Each is a line ``key: old -> new``. Forbidden are those that make it another experiment.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    lines = {key: f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed}
    return [v for k, v in lines.items() if not k.startswith(_FREE)], [
        v for k, v in lines.items() if k.startswith(_FREE)
    ]


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
