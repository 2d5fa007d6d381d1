"""ResViT (Dalmaz et al., IEEE TMI 2022): residual convolutions and a vision transformer, against patches. One PET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import ResViTNetwork

__all__ = ["ResViT"]


class ResViT(OnePass):
    """A model of ResViT."""

    name = "resvit"
    title = "ResViT"

    @staticmethod
    def network_class() -> type[ResViTNetwork]:
        """See `OnePass.network_class`."""
        from .network import ResViTNetwork

        return ResViTNetwork
