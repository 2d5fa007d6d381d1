"""Pix2Pix (Isola et al., CVPR 2017): a U-Net trained against a discriminator of patches. One PET, no spread."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["Pix2Pix"]


class Pix2Pix(OnePass):
    """A model of Pix2Pix."""

    name = "pix2pix"
    title = "Pix2Pix"
    network_name = "Pix2PixUNet"
