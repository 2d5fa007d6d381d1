"""A plain U-Net: the control of every diffusion. One PET a person, its best guess, without any spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass

if TYPE_CHECKING:
    from .network import RegressionUNet

__all__ = ["UNet"]


class UNet(OnePass):
    """A model of the U-Net control."""

    name = "unet"
    title = "U-Net regression"

    @staticmethod
    def network_class() -> type[RegressionUNet]:
        """See `OnePass.network_class`."""
        from .network import RegressionUNet

        return RegressionUNet
