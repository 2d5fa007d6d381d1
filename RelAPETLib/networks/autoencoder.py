"""The autoencoder of the latent models: MONAI's AutoencoderKL, perhaps behind blocks of voxels as channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

CHANNELS, BLOCKS = (48, 96), 4


def space_to_depth(volume: torch.Tensor, factor: int) -> torch.Tensor:
    """[N, C, X, Y, Z] -> [N, C factor^3, X/factor, Y/factor, Z/factor]."""
    n, c, x, y, z = volume.shape
    f = factor
    blocks = volume.reshape(n, c, x // f, f, y // f, f, z // f, f)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, c * f**3, x // f, y // f, z // f)


def depth_to_space(blocks: torch.Tensor, factor: int) -> torch.Tensor:
    """Inverse of `space_to_depth`."""
    n, c, x, y, z = blocks.shape
    f = factor
    volume = blocks.reshape(n, c // f**3, f, f, f, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return volume.reshape(n, c // f**3, x * f, y * f, z * f)


def reduction_of(channels: Sequence[int] = CHANNELS, *, blocks: int = BLOCKS, **_) -> int:
    """Voxels a side of a volume that become one of its latent, from arguments of `VolumeAutoencoder`."""
    return blocks * 2 ** (len(channels) - 1)


class VolumeAutoencoder(nn.Module):
    """Volumes [N, 1, X, Y, Z] <-> latents [N, latent_channels, X/r, Y/r, Z/r] with r = `reduction`.

    Args:
        latent_channels: channels of the latent.
        channels: widths of the levels; each but the first halves the grid.
        blocks: side of the blocks of voxels that become channels before the first level; 1 for none.
        num_res_blocks, norm_num_groups: as in MONAI's AutoencoderKL.
    """

    def __init__(
        self,
        latent_channels: int = 8,
        channels: Sequence[int] = CHANNELS,
        *,
        blocks: int = BLOCKS,
        num_res_blocks: int = 1,
        norm_num_groups: int = 16,
    ):
        from monai.networks.nets import AutoencoderKL

        super().__init__()
        self.blocks, self.reduction = blocks, reduction_of(channels, blocks=blocks)
        self.coder = AutoencoderKL(
            spatial_dims=3,
            in_channels=blocks**3,
            out_channels=blocks**3,
            channels=tuple(channels),
            num_res_blocks=num_res_blocks,
            attention_levels=(False,) * len(channels),
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def encode(self, volume: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and SD of the latent."""
        return self.coder.encode(space_to_depth(volume, self.blocks))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Volume of a latent."""
        return depth_to_space(self.coder.decode(latent), self.blocks)

    def forward(self, volume: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Volume of a latent drawn by standard normal `noise`, and the latent's mean and SD; for training."""
        mean, sd = self.encode(volume)
        return self.decode(mean + sd * noise), mean, sd
