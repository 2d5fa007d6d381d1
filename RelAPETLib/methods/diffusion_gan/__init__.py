"""Diffusion-GAN (Wang et al., ICLR 2023): a U-Net trained against a discriminator of noisy images. One PET."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["DiffusionGAN"]


class DiffusionGAN(OnePass):
    """A model of Diffusion-GAN."""

    name = "diffusion_gan"
    title = "Diffusion-GAN"
    network_name = "TranslatingUNet"
