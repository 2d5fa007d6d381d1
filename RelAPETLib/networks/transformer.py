"""A vision transformer over the places of a volume, for networks that have one between convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import MLPBlock, TransformerBlock
from torch import nn
from torch.nn import functional

#: Layers of a transformer; each takes time even where it takes no memory.
MOST_LAYERS = 32


class Transformer(nn.Module):
    """The layers of a ViT (Dosovitskiy et al., ICLR 2021): each place of a volume is a token, told where it is.

    Args:
        shape: (x, y, z) of the volumes; other volumes get the embedding of places interpolated.
        width: numbers a token.
        layers: how many.
        heads: of attention; must divide the width.
        mlp: width within a layer's perceptron.
        dropout: share dropped after the embedding and in the perceptrons, in training.

    Raises:
        ValueError: heads that do not divide the width, or more than `MOST_LAYERS` layers.
    """

    def __init__(self, shape: Sequence[int], width: int, *, layers: int, heads: int, mlp: int, dropout: float = 0.0):
        super().__init__()
        if layers > MOST_LAYERS:
            raise ValueError(f"{layers} layers are more than {MOST_LAYERS}")
        self.position = nn.Parameter(nn.init.normal_(torch.empty(1, width, *shape), std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_layer(width, mlp, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @property
    def tokens(self) -> int:
        """How many places a volume of `shape` has."""
        return self.position[0, 0].numel()

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Features [N, width, x, y, z] after attention of every place to all places, like those given."""
        shape, position = volume.shape[2:], self.position
        if shape != position.shape[2:]:
            position = functional.interpolate(position, size=shape, mode="trilinear", align_corners=False)
        tokens = self.dropout(volume + position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens).transpose(1, 2).unflatten(2, shape)


def _layer(width: int, mlp: int, heads: int, dropout: float) -> TransformerBlock:
    """MONAI's layer without its weights for a context, and without dropout of the attention.

    Weights that nothing uses would stop training on several GPUs; fused attention drops at synthesis, too.
    """
    layer = TransformerBlock(width, mlp, heads, qkv_bias=True, use_flash_attention=True)
    layer.norm_cross_attn = nn.Identity()
    layer.mlp = MLPBlock(width, mlp, dropout)
    return layer
