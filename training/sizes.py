"""Sizes of the networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from RelAPETLib.grid import MNI_GRID

from .config import TrainConfig
from .errors import ConfigError

#: Far beyond any network of the field; what lies above is a slip of the keyboard that would fill the memory.
WIDEST, DEEPEST, MOST_BLOCKS, COARSEST = 4096, 8, 32, 20
#: Of the regression variant's latent, whatever the configuration.
REGRESSION_LATENT = (10, 12, 10)


def check_sizes(config: TrainConfig) -> None:
    """Raise `ConfigError` naming the key unless the networks can be built and work on the model grid."""
    network, latent = config.network, config.method.latent
    _check_levels("network", network.channels, network.num_res_blocks, network.norm_num_groups)
    _check_generator(config)
    if not 1 <= network.factor <= COARSEST or any(n % network.factor for n in MNI_GRID.shape):
        raise ConfigError(
            f"network.factor={network.factor} does not divide the grid {MNI_GRID.shape}; use 1, 2, 4, 5, 10 or 20"
        )
    blocks = tuple(n // network.factor for n in MNI_GRID.shape)
    if latent:
        _check_autoencoder(config, blocks)
    elif network.crop is not None:
        crop = tuple(network.crop)
        if len(crop) != 3 or any(not 0 < n <= whole for n, whole in zip(crop, blocks, strict=True)):
            raise ConfigError(f"network.crop={list(crop)} is no part (X, Y, Z) of the grid's {blocks} blocks")
        blocks = crop
    regression = latent and config.latent.name == "regression"
    if regression or not latent:
        check_shape(config, REGRESSION_LATENT if regression else blocks, blocks)
    elif config.method.adversarial:
        _check_discriminator(blocks)


def check_shape(config: TrainConfig, diffused: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Raise `ConfigError` unless the generator can work on what is diffused and the discriminator on images.

    Args:
        diffused, image: shapes [X, Y, Z]; the same in voxel space.
    """
    multiple = 2 ** (len(config.network.channels) - 1)
    if any(n % multiple for n in diffused):
        what, other = ("latents", "network.factor") if config.method.latent else ("volumes", "network.crop")
        raise ConfigError(
            f"network.channels: {what} of {diffused} are no multiples of {multiple}; use another {other} or fewer "
            "levels"
        )
    if config.method.adversarial:
        _check_discriminator(image)


def _check_discriminator(image: tuple[int, ...]) -> None:
    if min(image) < 12:
        raise ConfigError(
            f"network.factor, network.crop: volumes of {image} are too small for the discriminator, which needs 12 "
            "voxels a side"
        )


def _check_levels(group: str, channels: Sequence[int], num_res_blocks: int, groups: int) -> None:
    """Widths of a network's levels, which its normalisation divides into groups."""
    if not 1 <= len(channels) <= DEEPEST:
        raise ConfigError(f"{group}.channels={list(channels)}: one number a level is wanted, 1 to {DEEPEST} levels")
    if not all(1 <= n <= WIDEST for n in channels):
        raise ConfigError(f"{group}.channels={list(channels)}: each must lie between 1 and {WIDEST}")
    if not 1 <= num_res_blocks <= MOST_BLOCKS:
        raise ConfigError(f"{group}.num_res_blocks={num_res_blocks} must lie between 1 and {MOST_BLOCKS}")
    if groups < 1 or any(n % groups for n in channels):
        raise ConfigError(f"{group}.channels={list(channels)} are no multiples of {group}.norm_num_groups={groups}")


def _check_generator(config: TrainConfig) -> None:
    """Attention and embeddings of the U-Net; its middle always attends, at the last level's width."""
    network = config.network
    channels = list(network.channels)
    if len(channels) != len(network.attention_levels):
        raise ConfigError("network.channels and network.attention_levels must be lists of the same length")
    if channels[0] % 2:
        raise ConfigError(f"network.channels={channels}: the first must be even, for pairs of the timestep's embedding")
    attending = [n for n, use in zip(channels, network.attention_levels, strict=True) if use] + channels[-1:]
    heads = network.num_head_channels
    if heads < 1 or any(n % heads for n in attending):
        raise ConfigError(
            f"network.num_head_channels={heads} must divide the channels of levels with attention and of the last one: "
            f"{', '.join(map(str, dict.fromkeys(attending)))}"
        )
    crossing = network.cross_attention_dim
    regression = config.method.latent and config.latent.name == "regression"
    if not regression and any(n != crossing for n in attending):
        raise ConfigError(
            f"network.cross_attention_dim={crossing} must be the channels of every level with attention and of the "
            f"last one, {', '.join(map(str, dict.fromkeys(attending)))}: the second attention looks at the level itself"
        )


def _check_autoencoder(config: TrainConfig, blocks: tuple[int, ...]) -> None:
    coder = config.autoencoder
    _check_levels("autoencoder", coder.channels, coder.num_res_blocks, coder.norm_num_groups)
    for key, highest in (("latent_channels", WIDEST), ("blocks", COARSEST)):
        if not 1 <= getattr(coder, key) <= highest:
            raise ConfigError(f"autoencoder.{key}={getattr(coder, key)} must lie between 1 and {highest}")
    reduction = coder.blocks * 2 ** (len(coder.channels) - 1)
    if reduction > min(blocks):
        raise ConfigError(
            f"autoencoder.channels, autoencoder.blocks: {len(coder.channels)} levels behind blocks of {coder.blocks} "
            f"reduce {reduction} voxels to one; volumes of {blocks} have no more than {min(blocks)}"
        )
