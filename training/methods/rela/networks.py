"""The two networks of a run, what the generator sees, and its weights in the published shape."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch
from torch import nn

from RelAPETLib.diffusion import NoiseSchedule
from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.methods.rela.conditional import ModeDenoiser, ModeNetwork
from RelAPETLib.methods.rela.control import ControlledUNet
from RelAPETLib.methods.rela.regression import LABELS, Cells, build_denoiser
from RelAPETLib.networks.blocks import BACKGROUND
from RelAPETLib.networks.discriminator import build_discriminator
from RelAPETLib.networks.generator import build_generator
from RelAPETLib.tracers import label_count

from ...autoencoder_config import reduction_of
from ..base import Player, adamw_player
from .config import REGRESSIONS, RelaConfig, judges_modes


def sequences(config: RelaConfig) -> list[bool | None]:
    """For T1w and T2F: True fed to the generator, None fed as background, False not fed at all."""
    missing = None if config.preset.missing_sequence == "blank" else False
    return [True if there else missing for there in (config.ablation.t1w, config.ablation.t2f)]


def condition(config: RelaConfig, t1w: torch.Tensor, t2f: torch.Tensor) -> torch.Tensor:
    """The MRI channels of the generator, [N, 2, X, Y, Z]; one channel when an ablation drops a sequence.

    Args:
        t1w, t2f: [N, 1, X, Y, Z] in [-1, 1].
    """
    fed = zip(sequences(config), (t1w, t2f), strict=True)
    return torch.cat([mri if use else torch.full_like(mri, BACKGROUND) for use, mri in fed if use is not False], 1)


def seen_by_regression(config: RelaConfig, volumes: torch.Tensor) -> torch.Tensor:
    """T1w and T2F [N, 2, X, Y, Z] as the regression of the mean PET sees them: ablated ones are background."""
    gone = [number for number, use in enumerate(sequences(config)) if not use]
    return volumes.index_fill(1, torch.tensor(gone, device=volumes.device), BACKGROUND) if gone else volumes


def sequences_seen(config: RelaConfig) -> list[str]:
    """Names of the sequences that the generator learns from."""
    return [name for name, use in zip(SEQUENCES, sequences(config), strict=True) if use]


def generator_arguments(config: RelaConfig) -> dict:
    """Arguments of `build_generator` beside the numbers of channels."""
    own = {key: value for key, value in asdict(config.network).items() if key not in ("factor", "crop")}
    return own | {"num_class_embeds": label_count()}


def schedule_arguments(config: RelaConfig) -> dict:
    """Arguments of `RelAPETLib.diffusion.NoiseSchedule`."""
    schedule = noise_schedule(config)
    keys = ["kind", "beta_start", "beta_end", "num_timesteps"]
    keys += ["zero_terminal_snr"] if schedule.zero_terminal_snr else []
    return {key: getattr(schedule, key) for key in keys}


def noise_schedule(config: RelaConfig) -> NoiseSchedule:
    """The forward process of a configuration."""
    preset = config.preset
    return NoiseSchedule(
        preset.beta_schedule, preset.beta_start, preset.beta_end, zero_terminal_snr=preset.zero_terminal_snr
    )


def build_networks(config: RelaConfig) -> tuple[nn.Module, nn.Module | None]:
    """Generator G and discriminator D (None where the method has none), initialised from the configuration's seed."""
    torch.manual_seed(config.seed)
    generator = (
        _latent_generator(config)
        if config.method.latent
        else build_generator(in_channels=1 + _fed(config) + sees_mean_pet(config), **generator_arguments(config))
    )
    judges = config.method.adversarial and not judges_modes(config)
    return generator, _discriminator(config) if judges else None


def generator_player(network: nn.Module, config: RelaConfig) -> Player:
    """G as it is trained."""
    return adamw_player(network, config, config.preset.generator_learning_rate)


def _discriminator(config: RelaConfig) -> nn.Module:
    """Of images as published; of latents with their channels and one layer less, since they are small."""
    norm = config.preset.discriminator_norm
    if config.method.latent and config.latent.judged == "latent":
        return build_discriminator(norm, in_channels=config.autoencoder.latent_channels, num_layers_d=1)
    return build_discriminator(norm)


def sees_mean_pet(config: RelaConfig) -> bool:
    """Whether the tracer's mean PET, or its latent, is among the generator's channels, at their end.

    The forms that stand on a regression have a mean of their own.
    """
    own = config.method.latent and config.latent.name in REGRESSIONS
    return config.preset.mean_pet != "none" and not own


def differences_are_diffused(config: RelaConfig) -> bool:
    """Whether the PET's difference from a mean is diffused, which has no bounds."""
    return config.preset.mean_pet in ("residual", "regression")


def _fed(config: RelaConfig) -> int:
    """Number of MRI sequences among the generator's channels."""
    return sum(use is not False for use in sequences(config))


def _latent_generator(config: RelaConfig) -> nn.Module:
    """The generator of latents, with the latents of T1w and T2F as further channels, or without any."""
    channels, arguments = config.autoencoder.latent_channels, generator_arguments(config)
    if config.latent.name in REGRESSIONS:
        del arguments["cross_attention_dim"]
        labels = label_count(LABELS)
        if config.latent.name == "regression":
            return build_denoiser(channels, **arguments | {"num_class_embeds": labels})
        del arguments["num_class_embeds"]
        return ModeDenoiser(
            latent_channels=channels,
            unet_channels=arguments.pop("channels"),
            components=config.latent.components,
            embedding=labels * config.latent.embedding,
            num_timesteps=noise_schedule(config).num_timesteps,
            labels=labels,
            width=config.latent.width,
            unet=arguments,
            local_mri=config.latent.local_mri,
            grid=Cells(config.network.factor, reduction_of(config.autoencoder)).latent,
        )
    seen = channels * (_fed(config) + sees_mean_pet(config))
    if config.base_steps:
        return ControlledUNet(latent_channels=channels, condition_channels=seen, **arguments)
    return build_generator(in_channels=channels + seen, out_channels=channels, **arguments)


def mode_network(config: RelaConfig) -> ModeNetwork:
    """The perceptron of `latent=conditional` alone."""
    latent, labels = config.latent, label_count(LABELS)
    steps = noise_schedule(config).num_timesteps
    return ModeNetwork(latent.components, labels * latent.embedding, labels, steps, latent.width)


def published_state_dict(config: RelaConfig, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a generator with all sequences' channels and timesteps from 0 that does what the trained one does.

    A dropped sequence becomes channels of zero weights. Where training counted timesteps from 1, the first layer
    behind the sinusoidal embedding takes the shift: embedding(t + 1) is embedding(t) with each (cos, sin) pair rotated
    by its frequency, a linear map. A blanked sequence stays an input: `VoxelDiffusion` feeds background there.
    """
    state = {name: tensor.clone() for name, tensor in state_dict.items()}
    if config.method.latent and config.latent.name == "conditional":
        return state  # it sees no sequences, and both of its networks their own timesteps
    if config.base_steps:
        return state  # it sees both sequences, and timesteps from 0
    name = next(n for n in ("conv_in.conv.weight", "conv_in.weight") if n in state)
    width = config.autoencoder.latent_channels if config.method.latent else 1
    following = list(state[name].split(width, 1))
    columns = [following.pop(0)]
    if following:
        columns += [torch.zeros_like(columns[0]) if use is False else following.pop(0) for use in sequences(config)]
        columns += following  # the mean PET
    state[name] = torch.cat(columns, 1)
    if config.preset.first_timestep:
        state["time_embed.0.weight"] = _shifted(state["time_embed.0.weight"], config.preset.first_timestep)
    return state


def _shifted(weight: torch.Tensor, shift: int) -> torch.Tensor:
    """First layer [out, dim] of the time embedding, fed with t, answering as `weight` does fed with t + shift."""
    half = weight.shape[1] // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half).to(weight.device)
    cos, sin = (shift * frequencies).cos(), (shift * frequencies).sin()
    on_cos, on_sin = weight.double()[:, :half], weight.double()[:, half : 2 * half]
    rotated = torch.cat([on_cos * cos + on_sin * sin, on_sin * cos - on_cos * sin], 1)
    return rotated.to(weight.dtype)
