"""What each method is told: the same data, a network of less than a million weights, the same budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
class Setting:
    """One method on the bench.

    Attributes:
        words: of ``train``, beside `COMMON` and what `overrides` adds.
        pace: optimiser steps a CPU minute of one thread, measured once (``--pace``).
        calls: network calls of a sample.
        samples: drawn of a volume; 1 for a method without spread.
        paper: PSNR in RelA-Diffusion's Table I, in its order of tracers (other data: NFL-LONG), where it stands there.
        before: key of a stage's steps and its share of them; the training has the rest.
    """

    words: tuple[str, ...]
    pace: float
    calls: int
    samples: int = SAMPLES
    paper: tuple[float, float, float] | None = None
    before: tuple[str, float] | None = None


_RELA = (*UNET, f"preset.generator_learning_rate={RATE}", "preset.mean_pet=none")
_GAN = (f"preset.penalty_gamma={6.25e-6 * FACTOR**3:g}", "preset.discriminator_learning_rate=2e-4")
_FAIR = ("preset=fair", f"preset.learning_rate={RATE}")
#: By choice of ``method=``.
SETTINGS: Mapping[str, Setting] = {
    "unet_l1": Setting((*UNET, f"preset.learning_rate={RATE}"), 77, 1, 1),
    "unet_l2": Setting((*UNET, f"preset.learning_rate={RATE}"), 76, 1, 1),
    "pix2pix": Setting(_FAIR, 567, 1, 1),
    "scgan": Setting(_FAIR, 100, 1, 1),
    "cyclegan": Setting(_FAIR, 48, 1, 1, paper=(27.51, 28.07, 24.95)),
    "diffusion_gan": Setting(_FAIR, 63, 1, 1, paper=(24.98, 23.11, 23.49)),
    "transunet": Setting(_FAIR, 165, 1, 1),
    "resvit": Setting(_FAIR, 67, 1, 1),
    "ddpm": Setting(_RELA, 66, 20),
    "ficd": Setting(_RELA, 66, 20, paper=(24.24, 25.59, 24.23)),
    "rela": Setting((*_RELA, *_GAN), 66, 20, paper=(28.31, 29.32, 26.27)),
    "ddgan": Setting(("preset=fair", f"preset.generator_learning_rate={RATE}"), 56, 4, paper=(25.45, 25.20, 26.38)),
    "resdm": Setting(_FAIR, 26, 15),
    "mri2pet": Setting(_FAIR, 42, 20, before=("pretrain.steps", 0.25)),
    "mtgd": Setting(_FAIR, 49, 20, paper=(25.00, 23.85, 25.68)),
    "jdam": Setting(_FAIR, 77, 100),
    "sde": Setting(_FAIR, 77, 100),
    "rectified_flow": Setting(_FAIR, 76, 20),
    "bridge": Setting(_FAIR, 74, 14),
}


def steps_of(name: str, minutes: float) -> int:
    """Optimiser steps of a method in so many CPU minutes."""
    return max(1, round(SETTINGS[name].pace * minutes))


def overrides(name: str, cache: Path, split: Path, out: Path, steps: int, seed: int) -> list[str]:
    """Words of ``train`` for one run."""
    setting = SETTINGS[name]
    start = []
    if name == "rela":  # the discriminator joins after a third, in a run of a few steps at once
        start = [f"preset.adversarial_start_epoch={round(steps / 3 * 16 / 960)}"]
    if setting.before:
        key, share = setting.before
        start.append(f"{key}={max(1, round(share * steps))}")
        steps = max(1, steps - round(share * steps))
    return [
        f"method={name}",
        *COMMON,
        *setting.words,
        *start,
        f"run.steps={steps}",
        f"run.checkpoint_every={max(1, steps // 10)}",
        f"seed={seed}",
        f"data.cache={cache}",
        f"data.split={split}",
        f"out={out}",
    ]
