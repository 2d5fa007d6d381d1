"""What a bundle of ``method=ldm`` says of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .ldm_config import AUTOENCODERS, NETWORKS, PRESETS

DESCRIPTION = "Latent diffusion (Rombach et al., CVPR 2022)"
#: Of the preset, what a difference can be in; the rest has no counterpart or is said in words.
COMPARED = {
    "preset": (
        PRESETS,
        "beta_schedule beta_start beta_end prediction loss_weighting zero_terminal_snr global_batch ema_decay "
        "generator_learning_rate sampler sampler_steps",
    ),
    "network": (NETWORKS, "channels num_res_blocks"),
    "autoencoder": (
        AUTOENCODERS,
        "latent_channels channels num_res_blocks blocks batch learning_rate l2_weight kl_weight",
    ),
}


def differences_from_ldm(config: dict[str, Any], trained_on: str) -> list[str]:
    """One line for each thing that Rombach et al.'s paper, or where it is silent its code, does otherwise.

    Args:
        config: nested.
        trained_on: words on the training data.
    """
    lines = [f"trained on {trained_on} (paper: two-dimensional pictures; RelA-Diffusion's comparison: NFL-LONG)"]
    for group, (choices, keys) in COMPARED.items():
        paper = asdict(choices["paper"])
        lines += [
            f"{group}.{key}: {config[group][key]} (paper: {paper[key]})"
            for key in keys.split()
            if config[group][key] != paper[key]
        ]
    image_weight, coder = config["method"]["image_weight"], config["autoencoder"]
    if image_weight:
        lines.append(f"{image_weight:g} times the absolute error of the latent's clean estimate (paper: none)")
    missing = [name for name in ("perceptual", "adversarial") if not coder[f"{name}_weight"]]
    if missing:
        lines.append(f"no {' and no '.join(missing)} loss of the autoencoder (paper: both)")
    if coder["adversarial_weight"]:
        lines.append("the autoencoder's adversarial loss is relativistic (paper: hinge)")
    attending = sum(config["network"]["attention_levels"])
    lines += [
        f"three-dimensional; the U-Net attends in its middle and at {attending} of its levels (paper: at three)",
        "each channel of a latent has mean 0 and SD 1 over the training set (paper: one scale, no shift, of one batch)",
        "T1w and T2-FLAIR are coded by an autoencoder of their own; their latents are further channels, the tracer a "
        "class label beside the timestep (RelA-Diffusion's comparison does not say how they are coded)",
    ]
    if config["method"].get("control"):
        lines.append(
            "a U-Net learns PET without MRI and is frozen; a ControlNet tells it the MRI (Zhang et al., ICCV 2023; "
            "paper: the condition is further channels, or attended to)"
        )
    if config["ablation"]["name"] != "none":
        lines.append(f"ablation {config['ablation']['name']} of RelA-Diffusion's section 5.3")
    if config["network"]["factor"] > 1:
        lines.append(
            f"works on voxels of {config['network']['factor']} mm inside; input and output are on the 1 mm grid"
        )
    return lines
