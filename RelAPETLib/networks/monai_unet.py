"""MONAI's conditional U-Net in 3-D, as methods have it that see the PET's blocks and give one volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai.networks.nets import DiffusionModelUNet


def monai_unet(in_channels: int, channels: Sequence[int], **arguments) -> DiffusionModelUNet:
    """A U-Net with one output, whose levels do not attend unless `arguments` say so.

    Its middle attends over its own places in any case: by one head.

    Args:
        in_channels: of what it sees.
        channels: widths of the levels; the grid is halved from one to the next.
        arguments: further ones of MONAI's class, also in place of those here.

    Raises:
        ValueError: levels that make no U-Net.
    """
    from monai.networks.nets import DiffusionModelUNet

    usual = {
        "attention_levels": (False,) * len(channels),
        "num_head_channels": channels[-1],
        # Without it the scores of all places are one matrix.
        "use_flash_attention": True,
    }
    return DiffusionModelUNet(
        spatial_dims=3, in_channels=in_channels, out_channels=1, channels=tuple(channels), **usual | arguments
    )
