"""The configuration of a training run: typed Hydra groups, checked once, one line for what is wrong.

``method=``, ``preset=`` and ``ablation=`` choose groups; every key of a group can be overridden by itself, for instance
``preset=release preset.adversarial_weight=0.1``. An unknown key is an error. Fields of `Preset` are the rows of the
table in which paper, published implementation and our default differ.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import ConfigError


@dataclass
class Preset:
    """What paper (arXiv 2602.21345) and published implementation do differently, one key a difference."""

    name: str = "default"
    #: linear | scaled-linear (linear in sqrt beta)
    beta_schedule: str = "scaled-linear"
    #: Number that the first timestep has in the generator's embedding: 1 (the paper's 1..T) or 0 (0..T-1).
    first_timestep: int = 0
    #: Weight of L_R + L_G.
    adversarial_weight: float = 0.1
    #: Epochs before the adversarial part begins.
    adversarial_start_epoch: int = 20
    #: softplus | printed. Eq. 9 as printed is unbounded below for both players and is refused.
    relativistic_loss: str = "softplus"
    #: gamma of gamma / 2 (R1 + R2).
    penalty_gamma: float = 6.25e-6
    #: full (squared norm of the whole gradient) | release (averaged over the last axis)
    penalty_reduction: str = "full"
    #: Give the discriminator one image at a time for the penalty; matters with batch norm.
    penalty_one_by_one: bool = False
    #: group | batch
    discriminator_norm: str = "group"
    global_batch: int = 3
    #: Clamp the clean estimate to [-1, 1] in the losses; no gradient where it is clamped.
    clamp_clean_estimate: bool = True
    #: suvr (fixed SUVR window a tracer) | minmax (each volume's own minimum and maximum)
    pet_intensity: str = "suvr"
    generator_learning_rate: float = 5e-5
    discriminator_learning_rate: float = 5e-6
    epochs: int = 100
    #: Decay of the generator's moving average that is validated and exported; 0: the weights themselves.
    ema_decay: float = 0.999
    sampler: str = "dpmpp"
    sampler_steps: int = 20
    #: Clamp the clean estimate to [-1, 1] while sampling: a network that learned from clamped ones needs it.
    sampler_clip: bool = True
    #: both (3-D, data range 1, whole grid and inside the mask) | full_grid (paper) | release (2-D SSIM, [-1, 1])
    metrics: str = "both"
    #: subjects (train / validation / test) | test_only (no validation: those subjects are trained on too)
    held_out: str = "subjects"
    #: Ablations w/oT1w and w/oT2F: drop (two input channels) | blank (three, the missing one all background).
    missing_sequence: str = "drop"


_PAPER = Preset(
    name="paper",
    beta_schedule="linear",
    first_timestep=1,
    adversarial_start_epoch=0,
    discriminator_norm="batch",
    clamp_clean_estimate=False,
    pet_intensity="minmax",
    ema_decay=0.0,
    sampler="ddpm",
    sampler_steps=1000,
    sampler_clip=False,
    metrics="full_grid",
    held_out="test_only",
    missing_sequence="blank",
)
_RELEASE = Preset(
    name="release",
    adversarial_weight=1.0,
    penalty_gamma=1e-3,
    penalty_reduction="release",
    penalty_one_by_one=True,
    discriminator_norm="batch",
    global_batch=1,
    pet_intensity="minmax",
    ema_decay=0.0,
    sampler="ddpm",
    sampler_steps=1000,
    metrics="release",
    held_out="test_only",
)
PRESETS = {"paper": _PAPER, "release": _RELEASE, "default": Preset()}


@dataclass
class Method:
    """Which terms the objective has, and where the diffusion happens."""

    name: str = "rela"
    noise_weight: float = 1.0
    image_weight: float = 1.0
    adversarial: bool = True
    latent: bool = False


METHODS = {
    "rela": Method(),
    "rela_latent": Method(name="rela_latent", latent=True),
    "ficd": Method(name="ficd", adversarial=False),
    "ddpm": Method(name="ddpm", image_weight=0.0, adversarial=False),
}


@dataclass
class Ablation:
    """What is taken out of the full method (section 5.3 of the paper)."""

    name: str = "none"
    relativistic: bool = True
    penalty: bool = True
    t1w: bool = True
    t2f: bool = True


ABLATIONS = {
    "none": Ablation(),
    "wo_ra": Ablation("wo_ra", relativistic=False),
    "wo_gp": Ablation("wo_gp", penalty=False),
    "wo_ra_gp": Ablation("wo_ra_gp", relativistic=False, penalty=False),
    "wo_t2f": Ablation("wo_t2f", t2f=False),
    "wo_t1w": Ablation("wo_t1w", t1w=False),
}


@dataclass
class Network:
    """Size of the generator; the defaults are the published one."""

    channels: list[int] = field(default_factory=lambda: [16, 32, 64])
    num_res_blocks: int = 2
    attention_levels: list[bool] = field(default_factory=lambda: [False, False, True])
    num_head_channels: int = 64
    norm_num_groups: int = 8
    cross_attention_dim: int = 64
    #: Side in voxels of the blocks that are averaged into one; 1 is the whole 1 mm grid.
    factor: int = 1
    #: Central part (X, Y, Z) of the blocks that is trained on; null is all of them.
    crop: list[int] | None = None


@dataclass
class Latent:
    """How the latent variant makes its latents and shows the MRI to the generator."""

    name: str = "autoencoded"
    #: What the generator learns to predict: noise (the paper) | v (arXiv 2202.00512), whose error is L_N then.
    prediction: str = "noise"
    #: Regression: principal components of the latent that it predicts, and directions that are whitened.
    components: int = 24
    #: Regression: cache of some of the training subjects from raw scans, whose features show what registration does.
    registered: str = ""


#: ``autoencoded`` is section 5.2 of the paper: T1w, T2F and PET are coded, the generator sees their latents.
#: ``regression`` is the demo model: a PET's difference from the tracer's mean is coded, a ridge regression on the MRI
#: predicts its latent, and what that leaves is diffused; works on 2 mm voxels (network.factor=2).
LATENTS = {"autoencoded": Latent(), "regression": Latent(name="regression", prediction="v")}


@dataclass
class Autoencoder:
    """Autoencoders of the latent variant, trained first and then frozen: AdamW, warm-up, cosine, norm clipped at 1."""

    #: Folder of another run whose autoencoders are taken; empty: train them here.
    source: str = ""
    steps: int = 20000
    #: Images in a step, over all ranks.
    batch: int = 2
    learning_rate: float = 1e-4
    latent_channels: int = 4
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 64, 64])
    #: Side of the blocks of voxels that become channels before the first level; 1 for none.
    blocks: int = 1
    num_res_blocks: int = 1
    norm_num_groups: int = 8
    #: Mean squared error beside the mean absolute one.
    l2_weight: float = 0.0
    kl_weight: float = 1e-6
    #: Distance of the features of a ResNet-10 (MedicalNet's) whose state dict `perceptual_network` is.
    perceptual_weight: float = 0.0
    perceptual_network: str = ""
    #: Relativistic loss of a discriminator of its own, with the preset's penalty.
    adversarial_weight: float = 0.0
    #: Mirror half of the images left to right.
    mirror: bool = False


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


@dataclass
class TrainConfig:
    """Everything a run is made of."""

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    ablation: Ablation = field(default_factory=Ablation)
    network: Network = field(default_factory=Network)
    latent: Latent = field(default_factory=Latent)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    data: Data = field(default_factory=Data)
    hardware: Hardware = field(default_factory=Hardware)
    run: Run = field(default_factory=Run)
    out: str = "???"
    seed: int = 0


#: Closed lists of values, by the key's place.
CHOICES = {
    "preset.beta_schedule": ("linear", "scaled-linear"),
    "preset.first_timestep": (0, 1),
    "preset.penalty_reduction": ("full", "release"),
    "preset.discriminator_norm": ("group", "batch"),
    "preset.pet_intensity": ("suvr", "minmax"),
    "preset.sampler": ("dpmpp", "ddim", "ddpm"),
    "preset.metrics": ("both", "full_grid", "release"),
    "preset.held_out": ("subjects", "test_only"),
    "preset.missing_sequence": ("drop", "blank"),
    "latent.prediction": ("noise", "v"),
    "run.learning_rate": ("constant", "cosine"),
    "hardware.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "hardware.strategy": ("auto", "ddp", "fsdp"),
    "hardware.precision": ("fp32", "bf16", "fp16"),
}
_AT_LEAST_ONE = (
    "preset.global_batch preset.epochs preset.sampler_steps hardware.devices hardware.nodes hardware.micro_batch "
    "run.log_every run.checkpoint_every run.keep_last run.validate_every run.validation_steps autoencoder.steps "
    "autoencoder.batch autoencoder.latent_channels autoencoder.blocks latent.components"
).split()
_NOT_NEGATIVE = (
    "preset.adversarial_weight preset.adversarial_start_epoch preset.penalty_gamma preset.ema_decay "
    "method.noise_weight method.image_weight hardware.accumulation data.workers run.steps run.clip_gradients "
    "run.validation_volumes run.warmup_steps run.weight_decay autoencoder.l2_weight autoencoder.kl_weight "
    "autoencoder.perceptual_weight autoencoder.adversarial_weight seed"
).split()
_POSITIVE = (
    "preset.generator_learning_rate preset.discriminator_learning_rate autoencoder.learning_rate run.largest_loss"
).split()
#: The schedule has 1000 timesteps; the rest is what a machine or a cluster can have.
_AT_MOST = {
    "preset.sampler_steps": 1000,
    "run.validation_steps": 1000,
    "preset.global_batch": 65536,
    "hardware.micro_batch": 65536,
    "hardware.accumulation": 65536,
    "autoencoder.batch": 65536,
    "hardware.devices": 1024,
    "hardware.nodes": 65536,
    "data.workers": 1024,
    "seed": 2**63 - 1,
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

    for word in overrides:
        if word.startswith(("+", "~")):
            raise ConfigError(f"{word}: keys can be changed, not added or taken away")
    store = ConfigStore.instance()
    defaults = ["_self_", {"method": "rela"}, {"preset": "default"}, {"ablation": "none"}, {"latent": "autoencoded"}]
    root = OmegaConf.structured(TrainConfig)
    store.store(name="train", node=OmegaConf.merge({"defaults": defaults}, root))
    groups = (("method", METHODS), ("preset", PRESETS), ("ablation", ABLATIONS), ("latent", LATENTS))
    for group, choices in groups:
        for name, node in choices.items():
            store.store(group=group, name=name, node=node)
    try:
        with initialize(version_base=None, config_path=None):
            composed = compose("train", overrides=list(overrides))
        config = OmegaConf.to_object(OmegaConf.merge(root, composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error) + _meant(overrides)) from error
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


def _meant(overrides: Sequence[str]) -> str:
    """Words for the error: the nearest key to the first one that is none."""
    flat = flatten(TrainConfig())
    known = [*flat, "method", "preset", "ablation", "latent"]
    for word in overrides:
        key = word.partition("=")[0]
        if key not in known and (near := difflib.get_close_matches(key, known, 1)):
            return f"; did you mean {near[0]}?"
    return ""


def check(config: TrainConfig) -> None:
    """Raise `ConfigError` for a value out of range or a combination without sense."""
    from .sizes import check_sizes

    flat = flatten(config)
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} is no number that can be used")
        if isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise ConfigError(f"{key}={ascii(value)[:60]} holds a control character, or a byte that is no UTF-8")
    for key, allowed in CHOICES.items():
        if flat[key] not in allowed:
            raise ConfigError(f"{key}={flat[key]} is not one of {', '.join(map(str, allowed))}")
    for keys, lowest in ((_AT_LEAST_ONE, 1), (_NOT_NEGATIVE, 0)):
        for key in keys:
            if not flat[key] >= lowest:
                raise ConfigError(f"{key}={flat[key]} must be at least {lowest}")
    for key in _POSITIVE:
        if not flat[key] > 0:
            raise ConfigError(f"{key}={flat[key]} must be above 0")
    for key, highest in _AT_MOST.items():
        if flat[key] > highest:
            raise ConfigError(f"{key}={flat[key]} must be at most {highest}")
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


def flatten(config: Any) -> dict[str, Any]:
    """A configuration as ``{"preset.epochs": 100, ...}``."""
    flat = {}
    for key, value in (config if isinstance(config, dict) else asdict(config)).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[key] = value
    return flat


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
