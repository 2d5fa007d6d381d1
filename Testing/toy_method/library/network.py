"""The toy's network."""

from __future__ import annotations

import torch
from torch import nn

#: More than there are class labels.
LABELS = 8


class ToyNetwork(nn.Module):
    """PET [N, 1, X, Y, Z] of MRI [N, 2, X, Y, Z] and tracer labels [N], by one convolution of 1 x 1 x 1 voxels."""

    def __init__(self):
        super().__init__()
        self.tracer = nn.Embedding(LABELS, 1)
        self.mix = nn.Conv3d(3, 1, 1)

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """In [-1, 1]."""
        tracer = self.tracer(labels)[:, :, None, None, None].expand(-1, -1, *mri.shape[2:])
        return torch.tanh(self.mix(torch.cat([mri, tracer], 1)))
