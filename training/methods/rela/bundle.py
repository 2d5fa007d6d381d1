"""A trained generator as the library's network, with the words that the metadata say of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from RelAPETLib.errors import InputError
from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.methods.rela import network_class
from RelAPETLib.methods.rela.voxel import VoxelDiffusion

from ...statistics import PetStatistics
from ..base import Bundle
from .config import PRESETS, REGRESSIONS, Network, RelaConfig
from .latent.encoded import TRAINED
from .latent.reconstruction import in_words
from .ldm_config import LdmConfig
from .ldm_words import DESCRIPTION as LDM_DESCRIPTION
from .ldm_words import differences_from_ldm
from .networks import differences_are_diffused, published_state_dict, schedule_arguments, sees_mean_pet
from .spaces import VoxelSpace, needs_statistics

#: Tensors to store as float16, by beginning; all where nothing is said. A regression's weights are too small for it.
HALF = {
    "VoxelDiffusion": ("generator.", "mean_pet"),
    "LatentDiffusion": (
        "autoencoder.", "unet.", "mri_", "pet_mean", "head_components", "head_mean", "mode_directions"
    ),
    "ConditionalLatentDiffusion": (
        "autoencoder.", "unet.unet.", "mri_", "pet_mean", "head_components", "head_mean", "mode_directions"
    ),
}  # fmt: skip
#: What a discriminator judges that sees no images.
WORDS_OF_JUDGED = {"latent": "latents", "modes": "whole-brain modes of latents"}
#: Keys of a preset that say only how figures are made.
_OF_FIGURES = ("name", "metrics", "held_out")
#: Beginnings of those that act in adversarial training alone.
_ADVERSARIAL = ("adversarial_", "relativistic_", "penalty_", "discriminator_")


def bundle_of(
    config: RelaConfig,
    weights: dict[str, torch.Tensor],
    frozen: dict[str, Any],
    trained_on: str,
    samples: int,
    clip: tuple[float, float] | None,
) -> Bundle:
    """The bundle of a run.

    Args:
        weights: of its generator.
        frozen: what was fixed before the generator was trained: latent networks, statistics of the PET.
        trained_on, samples: as `Objective.bundle` has them.
        clip: bounds of the clean estimate while sampling.
    """
    preset, latent = config.preset, config.method.latent
    published = published_state_dict(config, weights)
    if latent:
        network, arguments = _latent_network(published, frozen)
    else:
        network, arguments = _voxel_network(config, published, frozen)
    ldm = isinstance(config, LdmConfig)
    kind = LDM_DESCRIPTION if ldm else f"{'Latent-space' if latent else 'Voxel-space'} diffusion"
    figures = frozen.get("reconstruction")
    bound = f"; {in_words(figures)}" if figures else ""
    words = [f"method {config.method.name}", f"preset {preset.name}"]
    words += [f"ablation {config.ablation.name}"] if config.ablation.name != "none" else []
    return Bundle(
        network=network,
        settings={
            "network": {"class": type(network).__name__, "arguments": arguments},
            "diffusion_space": {
                "channels": network.diffusion_shape[0],
                "shape": list(network.diffusion_shape[1:]),
            },
            "schedule": schedule_arguments(config),
            "prediction": preset.prediction if getattr(network, "gives", "noise") == "clean" else "noise",
            "sampler": {
                "name": preset.sampler,
                "steps": preset.sampler_steps,
                "samples": samples,
                "clip": list(clip) if clip else None,
            },
        },
        title=f"{'Latent diffusion' if ldm else 'RelA-Diffusion' + '-Latent' * latent} ({', '.join(words)})",
        description=f"{kind} of PET from T1w and T2-FLAIR, trained by RelAPET's training package: {', '.join(words)}"
        f"{bound}",
        differences=(differences_from_ldm if ldm else differences_from_paper)(asdict(config), trained_on),
        half=HALF.get(type(network).__name__, ("",)),
        optional=() if config.ablation.t2f else ("t2f",),
    )


def network_of(frozen: dict[str, Any]) -> torch.nn.Module:
    """The library's network of a latent run's frozen parts; its generator is untrained."""
    network = network_class(frozen["class"])(**frozen["arguments"])
    network.load_state_dict(frozen["state"], strict=False)
    return network


def _voxel_network(
    config: RelaConfig, weights: dict[str, torch.Tensor], frozen: dict[str, Any]
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The library's network in voxels with the trained generator and the statistics it needs, and its arguments."""
    if needs_statistics(config) and "statistics" not in frozen:
        raise InputError(
            "the checkpoint does not hold the statistics of its training set, which its prediction or mean PET needs; "
            "train again"
        )
    statistics = PetStatistics.of_state(frozen["statistics"]) if "statistics" in frozen else None
    # As many labels as it was trained with, whatever tracers there are by now.
    arguments = network_arguments(config, statistics) | {"num_class_embeds": len(weights["class_embedding.weight"])}
    network = VoxelDiffusion(**arguments)
    if sees_mean_pet(config):
        statistics.tell(network)
    network.generator.load_state_dict(weights, strict=True)
    return network, arguments


def _latent_network(weights: dict[str, torch.Tensor], frozen: dict[str, Any]) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The library's latent network with its frozen parts and the trained generator, and its arguments."""
    network = network_of(frozen)
    prefix = TRAINED[frozen["class"]]
    trained = {prefix + name: tensor for name, tensor in weights.items()}
    network.load_state_dict(frozen["state"] | trained, strict=True)
    return network, frozen["arguments"]


def network_arguments(config: RelaConfig, statistics: PetStatistics | None = None) -> dict[str, Any]:
    """Arguments of `VoxelDiffusion` for a configuration and the statistics of its training set, where it uses them."""
    preset = config.preset
    arguments = config.network.arguments()
    seen = [name for name in SEQUENCES if getattr(config.ablation, name)]
    if len(seen) < len(SEQUENCES):
        arguments["sequences"] = seen
    if preset.prediction != "noise":
        arguments |= {"prediction": preset.prediction, "schedule": schedule_arguments(config)}
    if preset.prediction == "edm":
        arguments["sigma_data"] = VoxelSpace(config, statistics).sigma_data
    if sees_mean_pet(config):
        channels = 2 + len(SEQUENCES)
        arguments |= {"mean_pet": preset.mean_pet, "in_channels": channels}
    if differences_are_diffused(config):
        arguments["residual_scale"] = list(statistics.residual_sd)
    return arguments


def differences_from_paper(config: dict[str, Any], trained_on: str) -> list[str]:
    """One line for each thing that the paper does otherwise."""
    ablated = config["ablation"]["name"] != "none"
    lines = [f"trained on {trained_on} (paper: NFL-LONG, 142 participants)"]
    idle = _OF_FIGURES
    idle += () if config["method"]["adversarial"] else _ADVERSARIAL
    idle += ("clamp_clean_estimate", "sampler_clip") if config["method"]["latent"] else ()
    for group, paper in (("preset", asdict(PRESETS["paper"])), ("network", asdict(Network()))):
        lines += [
            f"{group}.{key}: {value} (paper: {paper[key]})"
            for key, value in config[group].items()
            if not key.startswith(idle) and value != paper.get(key) and (ablated or key != "missing_sequence")
        ]
    lines.append("bias correction of T1w and T2F (paper: T2F)")
    method = config["method"]
    if not method["adversarial"]:
        lines.append("no relativistic adversarial loss, no gradient penalty")
    if (method["noise_weight"], method["image_weight"]) != (1, 1):
        lines.append(
            f"weights of L_N and L_I: {method['noise_weight']:g} and {method['image_weight']:g} (paper: 1 and 1)"
        )
    if config["method"]["latent"]:
        lines += latent_differences(config)
    if ablated:
        lines.append(f"ablation {config['ablation']['name']} of section 5.3")
    if config["network"].get("factor", 1) > 1:
        lines.append(
            f"works on voxels of {config['network']['factor']} mm inside; input and output are on the 1 mm grid"
        )
    return lines


def _half_cell(config: dict[str, Any]) -> int:
    """Side in mm of the MRI's blocks: half of a latent's cell."""
    coder = config["autoencoder"]
    return config["network"]["factor"] * coder["blocks"] * 2 ** (len(coder["channels"]) - 1) // 2


def latent_differences(config: dict[str, Any]) -> list[str]:
    """The same of the latent variant, which the paper describes in few words (section 5.2)."""
    coder, latent = config["autoencoder"], config["latent"]
    extra = [name for name in ("perceptual", "adversarial") if coder[f"{name}_weight"]]
    lines = [
        f"autoencoder: {coder['latent_channels']} latent channels, levels of {coder['channels']} behind blocks of "
        f"{coder['blocks']} voxels; loss L1 + {coder['l2_weight']:g} L2 + {coder['kl_weight']:g} KL"
        f"{''.join(f' + {name}' for name in extra)} (paper: not said)",
    ]
    if len(config["network"]["channels"]) == 2:
        lines.append("a generator of two levels: the paper's three do not fit a 10x12x10 latent")
    if latent["name"] in REGRESSIONS:
        conditional = latent["name"] == "conditional"
        lines += [
            "the autoencoder codes the PET's difference from its tracer's mean in training, "
            + ("in units of its SD" if conditional else "times 8"),
            f"the MRI is not autoencoded: robustly scaled, voxelwise z-scored, averaged over {_half_cell(config)} mm "
            "blocks; a ridge "
            "regression on them predicts the latent, the generator diffuses what it leaves and sees the tracer "
            + (f"and {latent['embedding']} scores of the regression a tracer" if conditional else "but not the MRI"),
        ]
    if latent["name"] == "conditional" and latent["local_mri"]:
        lines.append("the generator sees these blocks too, around each place")
    if config["method"]["adversarial"] and latent["judged"] != "image":
        lines.append(f"the discriminator judges {WORDS_OF_JUDGED[latent['judged']]}, not decoded images")
    if latent["registered"]:
        lines.append(
            "MRI features in training carry the differences that raw scanning and registration made for some of the "
            "training people"
        )
    return lines
