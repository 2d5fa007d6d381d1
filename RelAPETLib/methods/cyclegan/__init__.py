"""CycleGAN (Zhu et al., ICCV 2017): two residual networks, each the way back of the other. One PET, no spread."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["CycleGAN"]


class CycleGAN(OnePass):
    """A model of CycleGAN: of its two networks, the one that gives a PET."""

    name = "cyclegan"
    title = "CycleGAN"
    network_name = "ResNetTranslator"
