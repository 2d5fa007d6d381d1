"""The groups of a configuration, their presets and their defaults; `training.keys` says what each key does.

Fields of `Preset` are the rows of the table in which paper, published implementation and our default differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Preset:
    """What paper (arXiv 2602.21345) and published implementation do differently, one key a difference."""

    name: str = "default"
    beta_schedule: str = "scaled-linear"
    first_timestep: int = 0
    adversarial_weight: float = 0.1
    adversarial_start_epoch: int = 20
    relativistic_loss: str = "softplus"
    penalty_gamma: float = 6.25e-6
    penalty_reduction: str = "full"
    penalty_one_by_one: bool = False
    discriminator_norm: str = "group"
    global_batch: int = 3
    clamp_clean_estimate: bool = True
    pet_intensity: str = "suvr"
    generator_learning_rate: float = 5e-5
    discriminator_learning_rate: float = 5e-6
    epochs: int = 100
    ema_decay: float = 0.999
    sampler: str = "dpmpp"
    sampler_steps: int = 20
    sampler_clip: bool = True
    metrics: str = "both"
    held_out: str = "subjects"
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
    factor: int = 1
    crop: list[int] | None = None


@dataclass
class Latent:
    """How the latent variant makes its latents and shows the MRI to the generator."""

    name: str = "autoencoded"
    prediction: str = "noise"
    components: int = 24
    registered: str = ""


#: ``autoencoded`` is section 5.2 of the paper: T1w, T2F and PET are coded, the generator sees their latents.
#: ``regression`` is the demo model: a PET's difference from the tracer's mean is coded, a ridge regression on the MRI
#: predicts its latent, and what that leaves is diffused; works on 2 mm voxels (network.factor=2).
LATENTS = {"autoencoded": Latent(), "regression": Latent(name="regression", prediction="v")}


@dataclass
class Autoencoder:
    """Autoencoders of the latent variant, trained first and then frozen: AdamW, warm-up, cosine, norm clipped at 1."""

    source: str = ""
    steps: int = 20000
    batch: int = 2
    learning_rate: float = 1e-4
    latent_channels: int = 4
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 64, 64])
    blocks: int = 1
    num_res_blocks: int = 1
    norm_num_groups: int = 8
    l2_weight: float = 0.0
    kl_weight: float = 1e-6
    perceptual_weight: float = 0.0
    perceptual_network: str = ""
    adversarial_weight: float = 0.0
    mirror: bool = False


@dataclass
class Data:
    """What is trained on: the cache that ``python -m training prepare`` made, and its split."""

    cache: str = "???"
    split: str = ""
    workers: int = 2
    augment: bool = False


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
    activation_checkpointing: bool = False
    channels_last: bool = False


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


def flatten(config: Any) -> dict[str, Any]:
    """A configuration as ``{"preset.epochs": 100, ...}``."""
    flat = {}
    for key, value in (config if isinstance(config, dict) else asdict(config)).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[key] = value
    return flat
