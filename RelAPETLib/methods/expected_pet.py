"""The PET that a ridge regression expects of a person's MRI, for methods that model only what it leaves.

The mean PET of a tracer is the same for everybody. A regression in closed form knows more of a person than a network
learns in a short training, and what it leaves is left to the network, as CorrDiff does it (arXiv 2309.15214): there a
U-Net gives the mean and a diffusion what is around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..devices import full_precision
from ..scaling import bounded
from .base import SEQUENCES

#: Principal components of a tracer's PET that are predicted, at most.
COMPONENTS = 24
#: Side of the regression's blocks in voxels of the model grid, about: 1 mm each.
SIDE = 10
#: How far from its mean a feature counts, in SD.
FARTHEST = 6.0
#: A sequence with less between its 10 and 90 % quantiles, of a range of 2, has no contrast.
LEAST_RANGE = 1e-4


def coarse_shape(shape: Sequence[int], factor: int) -> tuple[int, int, int]:
    """Blocks (X, Y, Z) of about `SIDE` mm that a network's own blocks of `factor` mm are averaged into."""
    return tuple(min(n, max(1, round(n * factor / SIDE))) for n in shape)


class ExpectedPet(nn.Module):
    """A regression for every tracer: from the MRI in coarse blocks to the first principal components of the PET there.

    All of it lies in buffers, zeros until training fits them; then what is expected is the tracer's mean.

    Args:
        shape: (X, Y, Z) of the network's own blocks.
        coarse: (X, Y, Z) of the regression's, no finer.
        labels: number of class labels.

    Attributes:
        inside: [V], 1 in blocks inside the brain, whose MRI is looked at.
        center, scale: [labels, F], mean and SD of the features, F = 2 V.
        level: [labels, F], mean of what comes of the training people's features.
        weight: [labels, components, F].
        basis: [labels, components, V], of the PET in [-1, 1].
    """

    def __init__(self, shape: Sequence[int], coarse: Sequence[int], labels: int):
        super().__init__()
        self.shape, self.coarse = tuple(shape), tuple(coarse)
        voxels = self.coarse[0] * self.coarse[1] * self.coarse[2]
        features = len(SEQUENCES) * voxels
        self.register_buffer("inside", torch.zeros(voxels))
        self.register_buffer("center", torch.zeros(labels, features))
        self.register_buffer("scale", torch.ones(labels, features))
        self.register_buffer("level", torch.zeros(labels, features))
        self.register_buffer("weight", torch.zeros(labels, COMPONENTS, features))
        self.register_buffer("basis", torch.zeros(labels, COMPONENTS, voxels))

    def pooled(self, volume: torch.Tensor) -> torch.Tensor:
        """Coarse blocks [N, C, V] of volumes [N, C, X, Y, Z] of the network's own."""
        if self.shape == self.coarse:
            return volume.float().flatten(2)
        return functional.adaptive_avg_pool3d(volume.float(), self.coarse).flatten(2)

    def features(self, mri: torch.Tensor) -> torch.Tensor:
        """What the regression sees, [N, F], of T1w and T2F [N, 2, X, Y, Z] in [-1, 1].

        Coarse blocks inside the brain, less their median, over their 10 to 90 % range: neither a sequence's unit nor
        its offset counts. Zeros outside, and for a sequence without contrast.
        """
        blocks, inside = self.pooled(mri), self.inside > 0.5
        if not bool(inside.any()):
            return torch.zeros_like(blocks).flatten(1)
        ranks = torch.tensor([0.1, 0.5, 0.9], device=blocks.device)
        low, middle, high = torch.quantile(blocks[:, :, inside], ranks, dim=2).unsqueeze(-1)
        there = inside & (high - low > LEAST_RANGE)
        return torch.where(there, (blocks - middle) / (high - low).clamp(min=LEAST_RANGE), 0.0).flatten(1)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Scores [N, labels, components] of every tracer's components, of features [N, F]."""
        seen = ((features[:, None] - self.center) / self.scale).clamp(-FARTHEST, FARTHEST) - self.level
        return torch.einsum("nlf,lkf->nlk", seen, self.weight)

    def change(self, scores: torch.Tensor) -> torch.Tensor:
        """What scores [N, labels, components] add to every tracer's mean PET, [N, labels, X, Y, Z]."""
        blocks = torch.einsum("nlk,lkv->nlv", scores, self.basis).unflatten(2, self.coarse)
        if self.shape == self.coarse:
            return blocks
        return functional.interpolate(blocks, size=self.shape, mode="trilinear", align_corners=False)

    def forward(self, mri: torch.Tensor, mean: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """PET [N, labels, X, Y, Z] in [-1, 1] that is expected of every tracer.

        Args:
            mri: T1w and T2F [N, 2, X, Y, Z] in [-1, 1].
            mean: mean PET [labels, 1, X, Y, Z], -1 outside the brain, where nothing is added to it.
            shift: added to the scores [N, labels, components]; in training, what makes them those of a regression
                that never saw the person.
        """
        with full_precision(mri.device):
            scores = self.scores(self.features(mri))
            change = self.change(scores if shift is None else scores + shift)
            mean = mean[:, 0].float()
            return torch.where(mean > -1 + 1e-3, bounded(mean + change, -1, 1), mean)
