"""MTGD's network: an encoder a sequence, attention between the sequences, and a U-Net that takes what they find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.networks.blocks import CrossAttentionBlock
from torch import nn

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.monai_unet import monai_unet
from ...networks.shapes import central, padded
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES


class Conditions(NamedTuple):
    """What the U-Net is told of the MRI.

    Attributes:
        features: [N, C, X, Y, Z] of each level, to be added to the U-Net's own.
        tokens: [N, places, C] of the coarsest level, to be attended to.
    """

    features: tuple[torch.Tensor, ...]
    tokens: torch.Tensor

    def expand(self, count: int) -> Conditions:
        """The same case `count` times."""
        features = tuple(level.expand(count, *level.shape[1:]) for level in self.features)
        return Conditions(features, self.tokens.expand(count, *self.tokens.shape[1:]))


class SequenceEncoder(nn.Module):
    """Features of one sequence at every level.

    Args:
        channels: of the levels; the grid is halved from one to the next.
        groups: of the normalisation.
    """

    def __init__(self, channels: Sequence[int], groups: int):
        super().__init__()
        widths = [1, *channels]
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(before, after, 3, 2 if level else 1, 1),
                nn.GroupNorm(groups, after),
                nn.SiLU(),
                nn.Conv3d(after, after, 3, padding=1),
                nn.GroupNorm(groups, after),
                nn.SiLU(),
            )
            for level, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )

    def forward(self, volume: torch.Tensor) -> list[torch.Tensor]:
        """Features [N, C, X, Y, Z] of each level, of a volume [N, 1, X, Y, Z]."""
        found = []
        for level in self.levels:
            volume = level(volume)
            found.append(volume)
        return found


class SequenceShare(nn.Module):
    """What one sequence gives to the U-Net, after its coarsest places have looked at the other sequences.

    Args:
        channels: of the levels.
        heads: of attention.
    """

    def __init__(self, channels: Sequence[int], heads: int):
        super().__init__()
        width = channels[-1]
        self.own_norm, self.other_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CrossAttentionBlock(width, heads, use_flash_attention=True)
        self.to_features = nn.ModuleList(nn.Conv3d(n, n, 1) for n in channels)
        self.to_tokens = nn.Linear(width, width)

    def forward(self, own: list[torch.Tensor], others: Sequence[torch.Tensor]) -> Conditions:
        """This sequence's share of `Conditions`.

        Args:
            own: features of each level.
            others: features [N, C, X, Y, Z] of the coarsest level of every other sequence.
        """
        coarsest = own[-1]
        tokens = coarsest.flatten(2).transpose(1, 2)
        seen = torch.cat([other.flatten(2).transpose(1, 2) for other in others], 1)
        tokens = tokens + self.attention(self.own_norm(tokens), self.other_norm(seen))
        coarsest = tokens.transpose(1, 2).unflatten(2, coarsest.shape[2:])
        features = zip(self.to_features, [*own[:-1], coarsest], strict=True)
        return Conditions(tuple(project(level) for project, level in features), self.to_tokens(tokens))


class MultiSequenceDiffusion(nn.Module):
    """The network of MTGD in 3-D: MONAI's U-Net of the noisy PET, with what the sequences' encoders find.

    The shares of the sequences are summed, so that their order means nothing.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels of U-Net and encoders; the grid is halved from one to the next.
        num_res_blocks: residual blocks a level of the U-Net.
        num_heads: of all attention; must divide the last width.
        norm_num_groups: groups of the normalisation.
        num_class_embeds: number of class labels; one more stands for no tracer.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.
        null: the label that stands for no tracer.

    Raises:
        ValueError: as `Blocks`, or levels that make no U-Net.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 128, 128, 256, 256),
        num_res_blocks: int = 1,
        num_heads: int = 8,
        norm_num_groups: int = 32,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        if channels[-1] % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {channels[-1]} channels")
        self.blocks, self.null = Blocks(factor, crop), num_class_embeds
        self._multiple, self._num_res_blocks = 2 ** (len(channels) - 1), num_res_blocks
        self.encoders = nn.ModuleList(SequenceEncoder(channels, norm_num_groups) for _ in SEQUENCES)
        self.shares = nn.ModuleList(SequenceShare(channels, num_heads) for _ in SEQUENCES)
        self.unet = monai_unet(
            1,
            channels,
            num_res_blocks=num_res_blocks,
            num_head_channels=channels[-1] // num_heads,
            norm_num_groups=norm_num_groups,
            # The middle attends to the tokens, too.
            with_conditioning=True,
            cross_attention_dim=channels[-1],
            num_class_embeds=num_class_embeds + 1,
        )

    def forward(
        self, x_t: torch.Tensor, mri: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The network's output [N, 1, X, Y, Z] of a noisy PET and its MRI.

        Args:
            x_t: [N, 1, X, Y, Z].
            mri: T1w and T2F [N, 2, X, Y, Z] in [-1, 1].
            timesteps: integers [N] from 0.
            labels: class labels [N]; `null` for no tracer.
        """
        return self.denoise(x_t, self.encode(mri), timesteps, labels)

    def encode(self, mri: torch.Tensor) -> Conditions:
        """What the U-Net is told of T1w and T2F [N, 2, X, Y, Z] in [-1, 1]."""
        mri = padded(mri, self._multiple, BACKGROUND)
        found = [encoder(mri[:, k : k + 1]) for k, encoder in enumerate(self.encoders)]
        shares = [
            share(own, [other[-1] for other in found if other is not own])
            for share, own in zip(self.shares, found, strict=True)
        ]
        features = zip(*(share.features for share in shares), strict=True)
        return Conditions(tuple(sum(level) for level in features), sum(share.tokens for share in shares))

    def denoise(
        self, x_t: torch.Tensor, conditions: Conditions, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The same of an MRI that is encoded already."""
        features, added = conditions.features, [conditions.features[0]]
        for level, found in enumerate(features):
            added += [found] * self._num_res_blocks
            if level + 1 < len(features):
                added.append(torch.zeros((), device=x_t.device))  # the level's own features, at half the grid
        output = self.unet(
            padded(x_t, self._multiple, BACKGROUND),
            timesteps,
            context=conditions.tokens,
            class_labels=labels,
            down_block_additional_residuals=tuple(added),
            mid_block_additional_residual=features[-1],
        )
        return central(output, x_t.shape[2:]).float()
