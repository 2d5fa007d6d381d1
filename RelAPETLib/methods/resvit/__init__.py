"""ResViT (Dalmaz et al., IEEE TMI 2022): residual convolutions and a vision transformer, against patches. One PET."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["ResViT"]


class ResViT(OnePass):
    """A model of ResViT."""

    name = "resvit"
    title = "ResViT"
    network_name = "ResViTNetwork"
