"""SC-GAN (Lan et al., MRM 2021): a U-Net with self-attention, trained against a discriminator. One PET, no spread."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["SCGAN"]


class SCGAN(OnePass):
    """A model of SC-GAN."""

    name = "scgan"
    title = "SC-GAN"
    network_name = "AttentiveUNet"
