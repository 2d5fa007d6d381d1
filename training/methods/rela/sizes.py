"""Sizes of RelA-Diffusion's networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RelAPETLib.grid import MNI_GRID

from ...autoencoder_config import check_autoencoder, reduction_of
from ...errors import ConfigError
from ...sizes import multiple_problems, refuse, shape_of, unet_problems

if TYPE_CHECKING:
    from .config import RelaConfig


def check_sizes(config: RelaConfig) -> None:
    """Raise `ConfigError` naming the key unless the networks can be built and work on the model grid."""
    network, latent = config.network, config.method.latent
    regression = latent and config.latent.name != "autoencoded"
    image = tuple(n // network.factor for n in MNI_GRID.shape) if latent else shape_of(network)
    if latent:
        check_autoencoder(config.autoencoder, image)
    diffused = _regression_latent(config) if regression else None if latent else image
    crossing = None if regression else network.cross_attention_dim
    refuse(unet_problems(network, diffused, crossing, _unfit(config)), diffused)
    if _judges_images(config):
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
    refuse(multiple_problems(config.network, diffused, *_unfit(config)), None)
    if _judges_images(config):
        _check_discriminator(image)


def _unfit(config: RelaConfig) -> tuple[str, str]:
    """What the levels have to divide, and the key that would change it."""
    return ("latents", "network.factor") if config.method.latent else ("volumes", "network.crop")


def _judges_images(config: RelaConfig) -> bool:
    """Whether there is a discriminator of images; one of latents is built for theirs."""
    return config.method.adversarial and not (config.method.latent and config.latent.judged != "image")


def _check_discriminator(image: tuple[int, ...]) -> None:
    if min(image) < 12:
        raise ConfigError(
            f"network.factor, network.crop: volumes of {image} are too small for the discriminator, which needs 12 "
            "voxels a side"
        )
