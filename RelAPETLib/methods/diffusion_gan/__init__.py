"""Diffusion-GAN (Wang et al., ICLR 2023): a U-Net trained against a discriminator of noisy images. One PET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import TranslatingUNet

__all__ = ["DiffusionGAN"]


class DiffusionGAN(OnePass):
    """A model of Diffusion-GAN."""

    name = "diffusion_gan"
    title = "Diffusion-GAN"

    @staticmethod
    def network_class() -> type[TranslatingUNet]:
        """See `OnePass.network_class`."""
        from .network import TranslatingUNet

        return TranslatingUNet
