"""Sizes of RelA-Diffusion's networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RelAPETLib.grid import MNI_GRID

from ...autoencoder_config import autoencoder_problems, reduction_of
from ...sizes import multiple_problems, refuse, shape_of, unet_problems, with_fitting

if TYPE_CHECKING:
    from .config import RelaConfig


def size_problems(config: RelaConfig) -> list[str]:
    """Everything that keeps the networks from being built and from working on the model grid, a line each."""
    network, latent = config.network, config.method.latent
    regression = latent and config.latent.name != "autoencoded"
    image = tuple(n // network.factor for n in MNI_GRID.shape) if latent else shape_of(network)
    found = autoencoder_problems(config.autoencoder, image) if latent else []
    found += _regression_problems(config) if regression else []
    diffused = image if not latent else _regression_latent(config) if regression and not found else None
    crossing = None if regression else network.cross_attention_dim
    unfit = unet_problems(network, diffused, crossing, _unfit(config))
    found += unfit + (_discriminator_problems(image) if _judges_images(config) else [])
    return with_fitting(found, diffused if unfit else None)


def _regression_problems(config: RelaConfig) -> list[str]:
    """The line that says that a form that stands on the regression has no half of a latent cell to see the MRI in."""
    coder = config.autoencoder
    if config.network.factor >= 2 and not (coder.channels and reduction_of(coder) % 2):
        return []
    return [
        f"latent={config.latent.name} sees the MRI in blocks of half a latent cell a side, of voxels of 2 mm or more: "
        "it needs network.factor=2 (or more), and autoencoder.blocks x 2^(levels - 1) must be even, e.g. "
        "autoencoder.blocks=4 autoencoder.channels=[48,96]"
    ]


def _regression_latent(config: RelaConfig) -> tuple[int, ...]:
    """Shape of the latent of a form that stands on the regression."""
    from RelAPETLib.methods.rela.regression import Cells

    return Cells(config.network.factor, reduction_of(config.autoencoder)).latent


def check_shape(config: RelaConfig, diffused: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Raise `ConfigError` unless the generator can work on what is diffused and the discriminator on images.

    Args:
        diffused, image: shapes [X, Y, Z]; the same in voxel space.
    """
    found = multiple_problems(config.network, diffused, *_unfit(config))
    refuse(found + (_discriminator_problems(image) if _judges_images(config) else []))


def _unfit(config: RelaConfig) -> tuple[str, str]:
    """What the levels have to divide, and the key that would change it."""
    return ("latents", "network.factor") if config.method.latent else ("volumes", "network.crop")


def _judges_images(config: RelaConfig) -> bool:
    """Whether there is a discriminator of images; one of latents is built for theirs."""
    return config.method.adversarial and not (config.method.latent and config.latent.judged != "image")


def _discriminator_problems(image: tuple[int, ...]) -> list[str]:
    if min(image) >= 12:
        return []
    return [
        f"network.factor, network.crop: volumes of {image} are too small for the discriminator, which needs 12 "
        "voxels a side"
    ]
