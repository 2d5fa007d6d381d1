"""SC-GAN (Lan et al., MRM 2021): a U-Net with self-attention, trained against a discriminator. One PET, no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import AttentiveUNet

__all__ = ["SCGAN"]


class SCGAN(OnePass):
    """A model of SC-GAN."""

    name = "scgan"
    title = "SC-GAN"

    @staticmethod
    def network_class() -> type[AttentiveUNet]:
        """See `OnePass.network_class`."""
        from .network import AttentiveUNet

        return AttentiveUNet
