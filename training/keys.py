"""Every key of the configuration: what it does, and which values it takes. ``train --help`` and the checks read this.

Defaults are not repeated here: they stand in `training.groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        what: what it does, for ``--help``.
        choices: the values that it takes; empty where there are no closed ones.
        least, most: of a number, both included.
        above: a number that must be exceeded.
    """

    what: str
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None

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
        return None


def _count(what: str, least: int = 1, most: int | None = None) -> Key:
    return Key(what, least=least, most=most)


def _weight(what: str) -> Key:
    return Key(what, least=0)


#: The schedule has so many timesteps.
TIMESTEPS = 1000
#: More images in a step, or more nodes, than any machine has.
MANY = 65536

METHOD = {
    "name": Key("name of the method, for the metadata"),
    "noise_weight": _weight("weight of L_N, the error of the predicted noise (eq. 5)"),
    "image_weight": _weight("weight of L_I, the error of the clean estimate (eq. 8)"),
    "adversarial": Key("train a discriminator too, with the relativistic loss and its gradient penalty"),
    "latent": Key("diffuse the latents of autoencoders instead of voxels"),
}
PRESET = {
    "name": Key("name of the preset, for the metadata"),
    "beta_schedule": Key("noise schedule; scaled-linear is linear in sqrt(beta)", ("linear", "scaled-linear")),
    "first_timestep": Key("number that the first timestep has in the generator's embedding; the paper's is 1", (0, 1)),
    "adversarial_weight": _weight("weight of the adversarial part, L_R + L_G"),
    "adversarial_start_epoch": _weight("epochs before the adversarial part begins"),
    "relativistic_loss": Key("softplus; 'printed' is eq. 9 as printed, unbounded below for both players, and refused"),
    "penalty_gamma": _weight("gamma of the gradient penalty, gamma / 2 (R1 + R2)"),
    "penalty_reduction": Key(
        "full: squared norm of the whole gradient; release: averaged over the last axis", ("full", "release")
    ),
    "penalty_one_by_one": Key("give the discriminator one image at a time for the penalty; matters with batch norm"),
    "discriminator_norm": Key("normalisation in the discriminator", ("group", "batch")),
    "global_batch": _count("images in a step, over all ranks", most=MANY),
    "clamp_clean_estimate": Key("clamp the clean estimate to [-1, 1] in the losses; no gradient where it is clamped"),
    "pet_intensity": Key(
        "scale of PET: suvr is a fixed SUVR window a tracer, minmax each volume's own range", ("suvr", "minmax")
    ),
    "generator_learning_rate": Key("learning rate of the generator", above=0),
    "discriminator_learning_rate": Key("learning rate of the discriminator", above=0),
    "epochs": _count("passes over the training images, where run.steps does not say how long"),
    "ema_decay": _weight("decay of the generator's moving average, which is validated and exported; 0 for none"),
    "sampler": Key("sampler that an exported model uses", ("dpmpp", "ddim", "ddpm")),
    "sampler_steps": _count("steps of that sampler", most=TIMESTEPS),
    "sampler_clip": Key("clamp the clean estimate to [-1, 1] while sampling; wanted where training clamped it"),
    "metrics": Key(
        "figures of evaluate: both (3-D, whole grid and brain), full_grid (paper), release (2-D SSIM, [-1, 1])",
        ("both", "full_grid", "release"),
    ),
    "held_out": Key(
        "subjects: validation and test people are not trained on; test_only: validation people are",
        ("subjects", "test_only"),
    ),
    "missing_sequence": Key(
        "what wo_t1w and wo_t2f do: drop the channel, or blank it with background", ("drop", "blank")
    ),
}
ABLATION = {
    "name": Key("name of the ablation, for the metadata"),
    "relativistic": Key("relativistic adversarial loss; without it a standard GAN's"),
    "penalty": Key("gradient penalty"),
    "t1w": Key("the generator sees the T1w"),
    "t2f": Key("the generator sees the T2-FLAIR"),
}
NETWORK = {
    "channels": Key("channels of the generator's levels; the grid is halved from one to the next"),
    "num_res_blocks": Key("residual blocks a level"),
    "attention_levels": Key("which levels attend, one true or false a level"),
    "num_head_channels": Key("channels of an attention head"),
    "norm_num_groups": Key("groups of the generator's normalisation; must divide all channels"),
    "cross_attention_dim": Key("channels of the second attention: those of the levels with attention"),
    "factor": Key("side in voxels of the blocks that are averaged into one; 1 is the whole 1 mm grid"),
    "crop": Key("central part [X,Y,Z] of the blocks that is trained on; null is all"),
}
LATENT = {
    "name": Key("name of the latent variant, for the metadata"),
    "prediction": Key("what the generator of latents learns to predict; v's error stands in for L_N", ("noise", "v")),
    "components": _count("latent=regression: principal components of the latent that the MRI predicts"),
    "registered": Key("latent=regression: cache of some training people from raw scans, for what registration does"),
}
AUTOENCODER = {
    "source": Key("folder of a run whose autoencoders are taken; empty: they are trained here"),
    "steps": _count("steps of each autoencoder"),
    "batch": _count("images in a step, over all ranks", most=MANY),
    "learning_rate": Key("highest learning rate, after a warm-up and before a cosine", above=0),
    "latent_channels": _count("channels of a latent"),
    "channels": Key("channels of the autoencoder's levels"),
    "blocks": _count("side of the blocks of voxels that become channels before the first level"),
    "num_res_blocks": Key("residual blocks a level"),
    "norm_num_groups": Key("groups of the autoencoder's normalisation"),
    "l2_weight": _weight("weight of the squared error beside the absolute one"),
    "kl_weight": _weight("weight of the latent's divergence from a standard normal one"),
    "perceptual_weight": _weight("weight of the distance of a ResNet-10's features"),
    "perceptual_network": Key("file of that ResNet-10's state dict (MedicalNet's)"),
    "adversarial_weight": _weight("weight of a relativistic loss of the autoencoder's own discriminator"),
    "mirror": Key("mirror half of the images left to right"),
}
DATA = {
    "cache": Key("folder that 'prepare' wrote"),
    "split": Key("split file; empty: the cache's own"),
    "workers": _count("processes that read data, a rank", least=0, most=1024),
    "augment": Key("small random changes of the training images; needs a cache of the whole grid"),
}
HARDWARE = {
    "accelerator": Key("where to train", ("auto", "cpu", "gpu", "cuda", "mps")),
    "devices": _count("processes on each node, one a GPU", most=1024),
    "nodes": _count("nodes", most=MANY),
    "strategy": Key("how ranks share the work; auto is ddp for several", ("auto", "ddp", "fsdp")),
    "precision": Key(
        "auto: bf16 with TF32 on a CUDA GPU that has them, else fp32; tf32 is fp32 with TF32's matrix products",
        ("auto", "fp32", "tf32", "bf16", "fp16"),
    ),
    "micro_batch": _count("images that a rank works on at once", most=MANY),
    "accumulation": _count("micro-batches a step; 0: as many as make up preset.global_batch", least=0, most=MANY),
    "activation_checkpointing": Key("keep fewer activations and compute them again: less memory, more time"),
    "channels_last": Key("memory layout of the generator with channels last"),
}
RUN = {
    "steps": _count("optimiser steps; 0: as many as preset.epochs make", least=0),
    "clip_gradients": _weight("largest gradient norm of generator and discriminator; 0: no clipping"),
    "learning_rate": Key("course of both learning rates: constant, or a cosine to 0", ("constant", "cosine")),
    "warmup_steps": _count("steps of a linear rise of the learning rates before that", least=0),
    "weight_decay": _weight("of the generator, decoupled (AdamW)"),
    "log_every": _count("steps between two lines of the log"),
    "checkpoint_every": _count("steps between two checkpoints"),
    "keep_last": _count("checkpoints that are kept, beside the best"),
    "validate_every": _count("steps between two validations; the first comes after 10 steps at the latest"),
    "validation_volumes": _count("volumes of a validation, spread over the validation part; 0: no validation", least=0),
    "validation_steps": _count("sampler steps of a validation", most=TIMESTEPS),
    "largest_loss": Key("a loss above this stops the run, as does one that is no number", above=0),
}
GROUPS = {
    "method": METHOD,
    "preset": PRESET,
    "ablation": ABLATION,
    "network": NETWORK,
    "latent": LATENT,
    "autoencoder": AUTOENCODER,
    "data": DATA,
    "hardware": HARDWARE,
    "run": RUN,
}
KEYS: dict[str, Key] = {f"{group}.{name}": key for group, keys in GROUPS.items() for name, key in keys.items()}
KEYS |= {
    "out": Key("folder of the run"),
    "seed": Key("of weights, order, timesteps and noise", least=0, most=2**63 - 1),
}


def check_values(flat: dict[str, Any]) -> None:
    """Raise `ConfigError` for the first key of a flat configuration whose value the table does not allow."""
    for key, value in flat.items():
        if key in KEYS and (problem := KEYS[key].refusal(value)):
            raise ConfigError(f"{key}={value} {problem}")
