"""Sizes of RelA-Diffusion's networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RelAPETLib.grid import MNI_GRID

from ...autoencoder_config import check_autoencoder, reduction_of
from ...errors import ConfigError
from ...sizes import check_attention, check_levels, shape_of

if TYPE_CHECKING:
    from .config import RelaConfig


def check_sizes(config: RelaConfig) -> None:
    """Raise `ConfigError` naming the key unless the networks can be built and work on the model grid."""
    network, latent = config.network, config.method.latent
    check_levels("network", network.channels, network.num_res_blocks, network.norm_num_groups)
    regression = latent and config.latent.name != "autoencoded"
    check_attention(
        network.channels,
        network.attention_levels,
        network.num_head_channels,
        None if regression else network.cross_attention_dim,
    )
    image = tuple(n // network.factor for n in MNI_GRID.shape) if latent else shape_of(network)
    if latent:
        check_autoencoder(config.autoencoder, image)
    if regression or not latent:
        check_shape(config, _regression_latent(config) if regression else image, image)
    elif _judges_images(config):
        _check_discriminator(image)


def _regression_latent(config: RelaConfig) -> tuple[int, ...]:
    """Shape of the latent of a form that stands on the regression."""
    from RelAPETLib.methods.rela.regression import Cells

    return Cells(config.network.factor, reduction_of(config.autoencoder)).latent


def check_shape(config: RelaConfig, diffused: tuple[int, ...], image: tuple[int, ...]) -> None:
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
    if _judges_images(config):
        _check_discriminator(image)


def _judges_images(config: RelaConfig) -> bool:
    """Whether there is a discriminator of images; one of latents is built for theirs."""
    return config.method.adversarial and not (config.method.latent and config.latent.judged != "image")


def _check_discriminator(image: tuple[int, ...]) -> None:
    if min(image) < 12:
        raise ConfigError(
            f"network.factor, network.crop: volumes of {image} are too small for the discriminator, which needs 12 "
            "voxels a side"
        )
