"""Pix2Pix (Isola et al., CVPR 2017): a U-Net trained against a discriminator of patches. One PET, no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import Pix2PixUNet

__all__ = ["Pix2Pix"]


class Pix2Pix(OnePass):
    """A model of Pix2Pix."""

    name = "pix2pix"
    title = "Pix2Pix"

    @staticmethod
    def network_class() -> type[Pix2PixUNet]:
        """See `OnePass.network_class`."""
        from .network import Pix2PixUNet

        return Pix2PixUNet
