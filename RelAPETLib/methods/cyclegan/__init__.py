"""CycleGAN (Zhu et al., ICCV 2017): two residual networks, each the way back of the other. One PET, no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import ResNetTranslator

__all__ = ["CycleGAN"]


class CycleGAN(OnePass):
    """A model of CycleGAN: of its two networks, the one that gives a PET."""

    name = "cyclegan"
    title = "CycleGAN"

    @staticmethod
    def network_class() -> type[ResNetTranslator]:
        """See `OnePass.network_class`."""
        from .network import ResNetTranslator

        return ResNetTranslator
