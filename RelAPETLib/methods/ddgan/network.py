"""DDGAN's generator: a U-Net that sees x_{t+1} and the MRI, and is told time, tracer and a latent z."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.monai_unet import monai_unet
from ...networks.shapes import central, padded
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES


class LatentMapping(nn.Sequential):
    """Dense layers from z [N, latent] to [N, width], through `layers` of `hidden` numbers."""

    def __init__(self, latent: int, hidden: int, layers: int, width: int):
        sizes = [latent, *[hidden] * layers]
        inner = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:], strict=False)]
        super().__init__(*inner, nn.Linear(sizes[-1], width))


class PosteriorGenerator(nn.Module):
    """G(x_{t+1}, z, t) of section 4 of the paper, given MRI and tracer too. MONAI's U-Net, and tanh.

    MONAI's U-Net adds the embedding of a class to that of the time and shifts every residual block by the sum. Here
    its table of classes is the identity, and it is handed the embedding itself: that of the tracer plus that of z.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels; the grid is halved from one to the next.
        num_res_blocks: residual blocks a level.
        norm_num_groups: groups of the normalisation; with groups of one channel no shift, and so no z, would be seen.
        num_class_embeds: number of class labels.
        latent: numbers of a z.
        latent_hidden, latent_layers: width and number of the hidden layers that z passes.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.
        latent: numbers of a z.

    Raises:
        ValueError: as `Blocks`, or levels that make no U-Net.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 64, 128, 128, 256, 256),
        num_res_blocks: int = 2,
        norm_num_groups: int = 32,
        num_class_embeds: int = PUBLISHED_LABELS,
        latent: int = 100,
        latent_hidden: int = 256,
        latent_layers: int = 3,
    ):
        super().__init__()
        self.blocks, self.latent = Blocks(factor, crop), latent
        self._multiple = 2 ** (len(channels) - 1)
        width = 4 * channels[0]  # of MONAI's embedding of the time
        self.class_embedding = nn.Embedding(num_class_embeds, width)
        self.mapping = LatentMapping(latent, latent_hidden, latent_layers, width)
        self.unet = monai_unet(
            1 + len(SEQUENCES),
            channels,
            num_res_blocks=num_res_blocks,
            norm_num_groups=norm_num_groups,
            num_class_embeds=1,
        )
        self.unet.class_embedding = nn.Identity()

    def forward(
        self, x: torch.Tensor, mri: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, z: torch.Tensor
    ) -> torch.Tensor:
        """Clean estimate [N, 1, X, Y, Z] in [-1, 1].

        Args:
            x: x_{t+1} [N, 1, X, Y, Z].
            mri: T1w and T2F [N, 2, X, Y, Z] in [-1, 1].
            t: integers [N] from 0: the level that the step leads to.
            labels: class labels [N].
            z: standard normal numbers [N, latent].
        """
        seen = padded(torch.cat([x, mri], 1), self._multiple, BACKGROUND)
        told = self.class_embedding(labels) + self.mapping(z)
        return torch.tanh(central(self.unet(seen, t, class_labels=told), x.shape[2:]).float())
