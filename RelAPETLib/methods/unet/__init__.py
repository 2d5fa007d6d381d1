"""A plain U-Net: the control of every diffusion. One PET a person, its best guess, without any spread."""

from __future__ import annotations

from ..one_pass import OnePass

__all__ = ["UNet"]


class UNet(OnePass):
    """A model of the U-Net control."""

    name = "unet"
    title = "U-Net regression"
    network_name = "RegressionUNet"
