"""Tracer and clinical values as tokens that a network attends to."""

from __future__ import annotations

import torch
from torch import nn

from ..clinical import CLINICAL


class TableTokens(nn.Module):
    """Tokens of a tracer and of the clinical values, in place of the paper's text encoder.

    Args:
        width: numbers a token.
        labels: number of class labels.

    Attributes:
        center, scale: [3] buffers; a value is shown as (value - center) / scale. Training sets them.
    """

    def __init__(self, width: int, labels: int):
        super().__init__()
        self.class_embedding = nn.Embedding(labels, width)
        self.values = nn.ModuleList(
            nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width)) for _ in CLINICAL
        )
        self.missing = nn.Parameter(torch.randn(len(CLINICAL), width))
        self.register_buffer("center", torch.zeros(len(CLINICAL)))
        self.register_buffer("scale", torch.ones(len(CLINICAL)))

    def forward(self, labels: torch.Tensor, clinical: torch.Tensor) -> torch.Tensor:
        """Tokens [N, 1 + 3, width] of labels [N] and clinical values [N, 3], NaN where one is missing."""
        unknown = clinical.isnan()
        shown = torch.where(unknown, 0.0, (clinical - self.center) / self.scale)
        known = torch.stack([encode(shown[:, k : k + 1]) for k, encode in enumerate(self.values)], 1)
        tokens = torch.where(unknown[..., None], self.missing.to(known), known)
        return torch.cat([self.class_embedding(labels)[:, None].to(tokens), tokens], 1)
