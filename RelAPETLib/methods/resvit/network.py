"""ResViT's network: convolutions around residual blocks, some of which ask one shared vision transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.shapes import central, padded, padded_shape
from ...networks.tracer_maps import ToldLayer, TracerMaps
from ...networks.transformer import Transformer
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES

#: Residual blocks of a network; each takes time even where it takes no memory.
MOST_BLOCKS = 32


def available(mri: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """MRI [N, 2, X, Y, Z] with zeros for the sequences that are not there.

    Args:
        present: bool [N, 2], in the order of `SEQUENCES`.
    """
    return mri.masked_fill(~present.to(mri.device)[..., None, None, None], 0.0)


def _normalised(layer: nn.Module, width: int, groups: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.GroupNorm(groups or width, width), nn.ReLU())


def _down(before: int, after: int, groups: int) -> nn.Sequential:
    """Half the grid."""
    return _normalised(nn.Conv3d(before, after, 3, 2, 1), after, groups)


def _up(before: int, after: int, groups: int) -> nn.Sequential:
    """Twice the grid."""
    return _normalised(nn.ConvTranspose3d(before, after, 3, 2, 1, output_padding=1), after, groups)


class ArtBlock(nn.Module):
    """An aggregated residual transformer block (section II-B): the transformer's context, compression, convolutions.

    At the beginning the compression lets the features through and nothing of the context, so that a network into which
    a transformer is put goes on from where it was without.

    Args:
        width: channels.
        groups: of the normalisation; 0 normalises each channel by itself.
        hidden_size: numbers a token of the transformer; None: a block without one.
        halvings: of the grid on the way to tokens.
    """

    def __init__(self, width: int, groups: int, hidden_size: int | None = None, halvings: int = 2):
        super().__init__()
        self.asks = hidden_size is not None
        if self.asks:
            widths = [width * 2**k for k in range(halvings + 1)]
            steps = list(zip(widths, widths[1:], strict=False))
            self.down = nn.Sequential(
                *(_down(before, after, groups) for before, after in steps), nn.Conv3d(widths[-1], hidden_size, 1)
            )
            self.up = nn.Sequential(
                nn.Conv3d(hidden_size, widths[-1], 1), *(_up(after, before, groups) for before, after in steps[::-1])
            )
            self.compression = nn.Conv3d(2 * width, width, 1)
            with torch.no_grad():
                self.compression.weight.zero_()
                self.compression.weight[:, :width, 0, 0, 0] = torch.eye(width)
                self.compression.bias.zero_()
        self.convolutions = nn.Sequential(
            _normalised(nn.Conv3d(width, width, 3, padding=1), width, groups),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(groups or width, width),
        )

    def forward(self, volume: torch.Tensor, transformer: nn.Module) -> torch.Tensor:
        """Features like those given, [N, width, X, Y, Z]; the transformer is called where the block has one."""
        if self.asks:
            context = self.up(transformer(self.down(volume)))
            volume = self.compression(torch.cat([volume, context], 1))
        return volume + self.convolutions(volume)


class ResViTNetwork(nn.Module):
    """The generator of Dalmaz et al., section II-B, in 3-D.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the encoder; the grid is halved from one to the next, and the blocks have the last.
        art_blocks: residual blocks.
        transformer_blocks: which of them, counted from 0, ask the transformer, which has one set of weights for all;
            none for a network of convolutions alone.
        token_halvings: of the grid between the blocks and the tokens.
        hidden_size, num_layers, num_heads, mlp_size, dropout: of `Transformer`.
        norm_num_groups: groups of the normalisation; 0 normalises each channel by itself, as the paper's does at its
            batch of one image.
        num_class_embeds: number of class labels.
        tracer_shift: the tracer shifts the channels behind the first normalisation, and is no constant channels, which
            a normalisation of each channel by itself takes away, but at the borders.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks` and `Transformer`, blocks that are not there or too many, or groups that do not divide
            the channels.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 128, 256),
        art_blocks: int = 9,
        transformer_blocks: Sequence[int] = (0, 5),
        token_halvings: int = 2,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_size: int = 3072,
        dropout: float = 0.1,
        norm_num_groups: int = 0,
        num_class_embeds: int = PUBLISHED_LABELS,
        tracer_shift: bool = False,
    ):
        super().__init__()
        if not 1 <= art_blocks <= MOST_BLOCKS or not set(transformer_blocks) <= set(range(art_blocks)):
            raise ValueError(
                f"transformer_blocks {list(transformer_blocks)} are not some of {art_blocks} art_blocks, of which "
                f"there are 1 to {MOST_BLOCKS}"
            )
        self.blocks = Blocks(factor, crop)
        self.tracer_maps = None if tracer_shift else TracerMaps(num_class_embeds)
        self._multiple = 2 ** (len(channels) - 1 + token_halvings)
        groups, steps = norm_num_groups, list(zip(channels, channels[1:], strict=False))
        told = 0 if tracer_shift else self.tracer_maps.channels
        first = _normalised(nn.Conv3d(len(SEQUENCES) + told, channels[0], 7, padding=3), channels[0], groups)
        if tracer_shift:
            first = ToldLayer(*first, channels[0], num_class_embeds)
        self.encoder = nn.ModuleList([first, *(_down(before, after, groups) for before, after in steps)])
        self.transformer = None
        if transformer_blocks:
            shape = [n // self._multiple for n in padded_shape(self.blocks.shape, self._multiple)]
            self.transformer = Transformer(
                shape, hidden_size, layers=num_layers, heads=num_heads, mlp=mlp_size, dropout=dropout
            )
        self.art = nn.ModuleList(
            ArtBlock(channels[-1], groups, hidden_size if k in transformer_blocks else None, token_halvings)
            for k in range(art_blocks)
        )
        self.decoder = nn.ModuleList(
            [*(_up(after, before, groups) for before, after in steps[::-1]), nn.Conv3d(channels[0], 1, 7, padding=3)]
        )

    def forward(self, mri: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] in [-1, 1].

        Args:
            mri: T1w and T2F blocks [N, 2, X, Y, Z] in [-1, 1]; zeros for a sequence that is not there, see `available`.
            labels: tracer labels [N].
        """
        seen, (first, *further) = padded(mri, self._multiple, BACKGROUND), self.encoder
        seen = first(seen, labels) if self.tracer_maps is None else first(self.tracer_maps(seen, labels))
        for layer in further:
            seen = layer(seen)
        for block in self.art:
            seen = block(seen, self.transformer)
        for layer in self.decoder:
            seen = layer(seen)
        return torch.tanh(central(seen, mri.shape[2:]).float())
