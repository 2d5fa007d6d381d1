"""What each method is told: the same data, a network of less than a million weights, the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .published import ABLATIONS

#: Side of a block in voxels of 1 mm. 8 does not divide the model grid.
FACTOR = 10
#: CPU minutes of a training, stages before it included, from which the steps follow.
MINUTES = 15.0
#: Most network calls of a draw, and draws of a volume.
MOST_CALLS, SAMPLES = 200, 8
#: What every method gets. Learning rate and its course, batch, clipping and averages were chosen once, for all.
COMMON = (
    f"network.factor={FACTOR}",
    "preset.global_batch=16",
    "preset.ema_decay=0.995",
    "run.clip_gradients=1",
    "run.learning_rate=cosine",
    "run.warmup_steps=100",
    "run.weight_decay=0.01",
    "run.validation_volumes=0",
    "hardware.accelerator=cpu",
    "hardware.precision=fp32",
    "hardware.micro_batch=16",
    "data.workers=0",
)
#: The U-Net of methods whose network is RelA-Diffusion's.
UNET = (
    "network.channels=[16,32]",
    "network.attention_levels=[false,false]",
    "network.num_head_channels=16",
    "network.num_res_blocks=1",
    "network.cross_attention_dim=32",
    "network.norm_num_groups=8",
)
RATE = "2e-3"


@dataclass(frozen=True)
class Stage:
    """A training before the training.

    Attributes:
        key: of its number of steps.
        share: of the CPU minutes.
        pace: steps a CPU minute; of two autoencoders, steps of both.
    """

    key: str
    share: float
    pace: float


@dataclass(frozen=True)
class Full:
    """A draw as the paper makes it, where that takes more network calls than `MOST_CALLS`.

    Attributes:
        calls: network calls.
        sampler: of `Objective.sampler`; empty: the one that the bench draws by.
    """

    calls: int
    sampler: str = ""


@dataclass(frozen=True)
class Setting:
    """One method on the bench.

    Attributes:
        words: of ``train``, beside `COMMON` and what `overrides` adds.
        pace: optimiser steps a CPU minute of one thread, measured once (``--pace``).
        calls: network calls of a sample.
        samples: drawn of a volume; 1 for a method without spread.
        before: stages before the training, which has the rest of the minutes.
        method: choice of ``method=``; empty: the name that it has on the bench.
        sampler: of `Objective.sampler`; empty: the method's quick one.
        full: how it is drawn in full.
        revision: counts changes of what the same words train; it is part of what finished runs are known by.
    """

    words: tuple[str, ...]
    pace: float
    calls: int
    samples: int = SAMPLES
    before: tuple[Stage, ...] = ()
    method: str = ""
    sampler: str = ""
    full: Full | None = None
    revision: int = 0


#: What the papers diffuse and predict; no other method is told the tracer's mean PET either.
_PUBLISHED = ("preset.mean_pet=none", "preset.prediction=noise")
_RELA = (*UNET, f"preset.generator_learning_rate={RATE}", *_PUBLISHED)
_GAN = (f"preset.penalty_gamma={6.25e-6 * FACTOR**3:g}", "preset.discriminator_learning_rate=2e-4")
_FAIR = ("preset=fair", f"preset.learning_rate={RATE}")
#: A discriminator's rate that rises with the generator's.
_RISING = "preset.discriminator_learning_rate=1.2e-3"
#: The autoencoders of the methods that diffuse latents: 16 x 18 x 16 blocks become 8 x 10 x 8 places.
_CODER = (
    "autoencoder.blocks=2",
    "autoencoder.channels=[32]",
    "autoencoder.latent_channels=8",
    "autoencoder.norm_num_groups=8",
    "autoencoder.l2_weight=1",
    "autoencoder.batch=16",
    f"autoencoder.learning_rate={RATE}",
)
_LATENT = (*UNET, *_CODER, f"preset.generator_learning_rate={RATE}")
#: RelA-Diffusion's own sampler, here at few timesteps too. An error of the predicted noise counts 50 times in the first
#: clean estimate; noise that is added on the way corrects it, and steps without noise lead it to the end: on validation
#: people of this bench the squared error of PBR's mean is 2.0 times the population mean's by one, 11.9 by the other.
_ADDING_NOISE = "ddpm"
#: `Setting.revision` since differences from the mean PET are of SD 1 for each tracer, also in the U-Net's loss.
PER_TRACER = 1
#: `Setting.revision` of differences from a regression since draws forget nobody of the training people's names.
OF_STRANGERS = 2
#: `Setting.revision` of Diffusion-GAN since its noise can grow within the run, and its image loss weighs 10.
ADAPTING = 1
#: `Setting.revision` of Pix2Pix since its three levels drop nothing.
UNDROPPED = 1
#: Every timestep, as the paper has it.
_EVERY = Full(1000, _ADDING_NOISE)


def _own(prediction: str, mean_pet: str, full: Full | None = None, *more: str) -> Setting:
    """RelA-Diffusion with another objective than the paper's; `more` words come last."""
    words = (*UNET, f"preset.generator_learning_rate={RATE}", f"preset.mean_pet={mean_pet}")
    revision = {"residual": PER_TRACER, "regression": OF_STRANGERS}.get(mean_pet, 0)
    said = f"preset.prediction={prediction}"
    sampler = _ADDING_NOISE if prediction == "noise" else ""
    return Setting((*words, said, *_GAN, *more), 66, 20, method="rela", sampler=sampler, full=full, revision=revision)


#: By name on the bench.
SETTINGS: Mapping[str, Setting] = {
    "unet_l1": Setting((*UNET, f"preset.learning_rate={RATE}"), 77, 1, 1),
    "unet_l2": Setting((*UNET, f"preset.learning_rate={RATE}"), 76, 1, 1),
    "unet_l2_residual": Setting(
        (*UNET, f"preset.learning_rate={RATE}", "preset.mean_pet=residual"),
        76,
        1,
        1,
        method="unet_l2",
        revision=PER_TRACER,
    ),
    "pix2pix": Setting(_FAIR, 567, 1, 1, revision=UNDROPPED),
    "scgan": Setting(_FAIR, 100, 1, 1),
    "cyclegan": Setting(_FAIR, 48, 1, 1),
    "diffusion_gan": Setting((*_FAIR, _RISING), 63, 1, 1, revision=ADAPTING),
    "transunet": Setting(_FAIR, 165, 1, 1),
    "resvit": Setting(_FAIR, 67, 1, 1),
    "ddpm": Setting(_RELA, 66, 20, sampler=_ADDING_NOISE, full=_EVERY),
    "ficd": Setting(_RELA, 66, 20, sampler=_ADDING_NOISE, full=_EVERY),
    "rela": Setting((*_RELA, *_GAN), 66, 20, sampler=_ADDING_NOISE, full=_EVERY),
    #: This package's own objective, which the screening chose; `ridge_head` is the control that knows as much.
    "rela_default": _own("v", "regression", _EVERY),
    #: The same around the mean PET; `unet_l2_residual` is the control that knows as much.
    "rela_residual": _own("v", "residual", _EVERY),
    # Its samples differ by its discriminator alone, whose rate rises with the generator's.
    "ddgan": Setting(("preset=fair", f"preset.generator_learning_rate={RATE}", _RISING), 56, 4),
    "resdm": Setting(_FAIR, 26, 15),
    "mri2pet": Setting(_FAIR, 42, 20, before=(Stage("pretrain.steps", 0.25, 42),), full=Full(999, "ancestral")),
    # A small network that gives the clean PET passes on little of what it sees beside little noise, and draws one PET.
    "mtgd": Setting((*_FAIR, "preset.prediction=v"), 49, 20),
    "jdam": Setting((*_FAIR, "preset.gives=edm"), 77, 100, full=Full(2000)),
    "sde": Setting((*_FAIR, "preset.gives=edm"), 77, 100, full=Full(2000)),
    "rectified_flow": Setting(_FAIR, 76, 20),
    "bridge": Setting(_FAIR, 74, 14),
    "rela_latent": Setting(
        (*_LATENT, *_PUBLISHED, *_GAN),
        300,
        20,
        before=(Stage("autoencoder.steps", 0.4, 250),),
        sampler=_ADDING_NOISE,
        full=_EVERY,
    ),
    "ldm": Setting(("preset=fair", *_LATENT), 500, 50, before=(Stage("autoencoder.steps", 0.4, 250),), sampler="ddim"),
    "conditional": Setting(
        (
            "latent=conditional",
            "preset.mean_pet=none",
            "preset.prediction=edm",
            "method.adversarial=false",
            "method.image_weight=0",
            "latent.local_mri=true",
            "autoencoder.kl_weight=1e-4",
            "autoencoder.mirror=true",
            *_LATENT,
        ),
        460,
        20,
        before=(Stage("autoencoder.steps", 0.3, 480), Stage("latent.mode_steps", 0.1, 2800)),
        method="rela_latent",
    ),
}
#: The row that the others are compared with.
WHOLE = "full"


def ablations(prediction: str, mean_pet: str) -> dict[str, Setting]:
    """RelA-Diffusion and its ablations with another objective; names end in it, since all of them stand in one folder.

    Args:
        prediction: of ``preset.prediction``.
        mean_pet: of ``preset.mean_pet``.
    """
    return {
        f"{WHOLE if name == 'none' else name}-{prediction}-{mean_pet}": _own(
            prediction, mean_pet, None, f"ablation={name}"
        )
        for name in ABLATIONS
    }


#: Methods whose papers have no absolute error of the (clean) image, which all get here, as in RelA-Diffusion's
#: comparison.
GIVEN_IMAGE_LOSS = (
    "cyclegan", "diffusion_gan", "ddgan", "resdm", "mri2pet", "mtgd", "jdam", "sde", "rectified_flow", "bridge",
)  # fmt: skip
#: Ending of their names on the bench without it.
BARE = "-no_image_loss"


def without_image_loss() -> dict[str, Setting]:
    """`GIVEN_IMAGE_LOSS` as their papers train them, without the absolute error that the bench gives them."""
    return {
        name + BARE: replace(
            SETTINGS[name], words=(*SETTINGS[name].words, "method.image_weight=0"), method=name, full=None
        )
        for name in GIVEN_IMAGE_LOSS
    }


def lengths(setting: Setting, minutes: float) -> dict[str, int]:
    """Steps of each stage by its key, and of the training under ``run.steps``, in so many CPU minutes."""
    found = {stage.key: max(1, round(stage.pace * minutes * stage.share)) for stage in setting.before}
    rest = 1 - sum(stage.share for stage in setting.before)
    return {**found, "run.steps": max(1, round(setting.pace * minutes * rest))}


def overrides(
    name: str,
    setting: Setting,
    cache: Path,
    split: Path,
    out: Path,
    steps: Mapping[str, int],
    seed: int,
    common: Sequence[str] = COMMON,
) -> list[str]:
    """Words of ``train`` for one run; `steps` as of `lengths`, `common` what every method is told."""
    training, start = steps["run.steps"], []
    if any(word.startswith("preset.penalty_gamma") for word in setting.words):
        # The discriminator joins after a third of 960 images an epoch, in a run of a few steps at once.
        batch = next(int(word.partition("=")[2]) for word in common if word.startswith("preset.global_batch="))
        start.append(f"preset.adversarial_start_epoch={round(training / 3 * batch / 960)}")
    start += [f"{key}={number}" for key, number in steps.items() if key != "run.steps"]
    return [
        f"method={setting.method or name}",
        *common,
        *setting.words,
        *start,
        f"run.steps={training}",
        f"run.checkpoint_every={max(1, training // 10)}",
        f"seed={seed}",
        f"data.cache={cache}",
        f"data.split={split}",
        f"out={out}",
    ]
