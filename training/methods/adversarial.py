"""What methods with a discriminator share: how one is trained, patches that see the MRI too, losses, what is logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.nets import PatchDiscriminator
from torch import nn
from torch.nn import functional

from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.networks.tracer_maps import TracerMaps

from .base import Player

if TYPE_CHECKING:
    from ..config import TrainConfig


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the network but none is kept for its parameters."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def penalised_player(module: nn.Module, config: TrainConfig, **adam: Any) -> Player:
    """A discriminator by Adam, whose penalty needs a backward pass within the forward pass."""
    return Player(
        module,
        partial(torch.optim.Adam, fused=True, **adam),
        config.preset.discriminator_learning_rate,
        clip=config.run.clip_gradients,
        wrapped=False,
    )


class ConditionalPatches(nn.Module):
    """A discriminator of patches of the PET beside its MRI and tracer (Isola et al., CVPR 2017): MONAI's PatchGAN.

    Each image is normalised by itself, so that neither the batch it comes in nor the mode changes what is said of it.

    Args:
        labels: number of class labels.
        channels: width of the first layer; every further one has twice as many.
        layers: strided ones, the first included; a patch of three is 70 voxels wide.
        sees_mri: the MRI is judged with the PET; False judges the PET alone.
        judged: channels of what is judged in place of a PET, such as an MRI's.
    """

    def __init__(self, labels: int, channels: int = 64, layers: int = 3, sees_mri: bool = True, judged: int = 1):
        super().__init__()
        self.tracer_maps, self.sees_mri = TracerMaps(labels), sees_mri
        self.patches = PatchDiscriminator(
            spatial_dims=3,
            channels=channels,
            in_channels=judged + len(SEQUENCES) * sees_mri + self.tracer_maps.channels,
            out_channels=1,
            num_layers_d=layers,
            norm="instance",
        )

    def forward(self, pet: torch.Tensor, mri: torch.Tensor | None, labels: torch.Tensor) -> list[torch.Tensor]:
        """Maps of every layer, the patches' logits [N, 1, x, y, z] last.

        Args:
            pet: [N, 1, X, Y, Z] in [-1, 1], measured or synthetic.
            mri: [N, 2, X, Y, Z] in [-1, 1]; None where it is not seen.
            labels: [N].
        """
        seen = torch.cat([pet, mri], 1) if self.sees_mri else pet
        return self.patches(self.tracer_maps(seen, labels))


def least_squares(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """Mean squared distance of logits from 1 for `real`, else from 0 (LSGAN, Mao et al., ICCV 2017)."""
    return (logits - float(real)).square().mean()


def cross_entropy(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """Mean of -log sigmoid for `real`, else of -log(1 - sigmoid), of logits (Goodfellow et al., arXiv 1406.2661).

    A generator that wants its images taken for real minimises the former: the non-saturating loss.
    """
    return functional.softplus(-logits if real else logits).mean()


def gap(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """How far a discriminator tells real from fake: the mean of its logits of the one less that of the other.

    About 0 at chance, and 1 for least squares that are all right. A number without gradient.
    """
    return real.detach().float().mean() - fake.detach().float().mean()
