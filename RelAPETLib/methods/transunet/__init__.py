"""TransUNet (Chen et al., arXiv 2102.04306): a U-Net with a vision transformer at its bottom. One PET, no spread."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["TransUNet"]


class TransUNet(OnePass):
    """A model of TransUNet."""

    name = "transunet"
    title = "TransUNet"
    network_name = "TransUNetNetwork"
