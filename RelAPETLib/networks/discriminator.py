"""The discriminator D of RelA-Diffusion: MONAI's patch discriminator, used in training only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from monai.networks.nets import PatchDiscriminator

#: Batch norm is the published choice. Group norm (4 groups of 2 and of 4 channels) judges each image by itself, so that
#: neither the batch it comes in nor training or evaluation mode changes its logits.
_NORMS = {"group": ("group", {"num_groups": 4}), "batch": "batch"}


def build_discriminator(norm: str = "group", *, in_channels: int = 1, num_layers_d: int = 2) -> PatchDiscriminator:
    """The published discriminator (11,573 parameters with either norm).

    Maps an image [N, 1, X, Y, Z] to a list whose last item is the logits of its patches: [N, 1, 38, 43, 38] on the
    160x180x160 grid. They are a map, not the scalar of the paper's text.

    Args:
        norm: ``"group"`` or ``"batch"`` (the published weights').
        in_channels: 1 for an image; channels of a latent where that is what it judges.
        num_layers_d: 2 as published; 1 for latents of 10 voxels a side, which are too small for two.

    Raises:
        InputError: another norm.
    """
    if norm not in _NORMS:
        raise InputError(f"unknown discriminator norm '{norm}'; use group or batch")
    from monai.networks.nets import PatchDiscriminator

    return PatchDiscriminator(
        spatial_dims=3,
        channels=4,
        in_channels=in_channels,
        out_channels=1,
        num_layers_d=num_layers_d,
        norm=_NORMS[norm],
    )
