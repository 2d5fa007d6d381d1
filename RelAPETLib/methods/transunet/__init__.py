"""TransUNet (Chen et al., arXiv 2102.04306): a U-Net with a vision transformer at its bottom. One PET, no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import TransUNetNetwork

__all__ = ["TransUNet"]


class TransUNet(OnePass):
    """A model of TransUNet."""

    name = "transunet"
    title = "TransUNet"

    @staticmethod
    def network_class() -> type[TransUNetNetwork]:
        """See `OnePass.network_class`."""
        from .network import TransUNetNetwork

        return TransUNetNetwork
