"""Sizes of networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from RelAPETLib.grid import MNI_GRID

from .config import Network
from .errors import ConfigError

#: Far beyond any network of the field; what lies above is a slip of the keyboard that would fill the memory.
WIDEST, DEEPEST, MOST_BLOCKS, COARSEST = 4096, 8, 32, 20


def check_grid(network: Network) -> None:
    """Raise `ConfigError` unless blocks of `factor` voxels fill the model grid and the crop is a part of them."""
    if not 1 <= network.factor <= COARSEST or any(n % network.factor for n in MNI_GRID.shape):
        raise ConfigError(
            f"network.factor={network.factor} does not divide the grid {MNI_GRID.shape}; use 1, 2, 4, 5, 10 or 20"
        )
    if network.crop is None:
        return
    blocks = tuple(n // network.factor for n in MNI_GRID.shape)
    if len(network.crop) != 3 or any(not 0 < n <= whole for n, whole in zip(network.crop, blocks, strict=True)):
        raise ConfigError(f"network.crop={list(network.crop)} is no part (X, Y, Z) of the grid's {blocks} blocks")


def shape_of(network: Network) -> tuple[int, int, int]:
    """Shape (X, Y, Z) of the volumes that a network with these `factor` and `crop` works on."""
    return tuple(network.crop or (n // network.factor for n in MNI_GRID.shape))


def check_levels(group: str, channels: Sequence[int], num_res_blocks: int, groups: int) -> None:
    """Raise `ConfigError` for widths of levels that cannot be, or that the normalisation does not divide into groups.

    Args:
        group: of the configuration, e.g. ``network``.
        channels: one number a level.
        num_res_blocks: residual blocks a level.
        groups: of the normalisation.
    """
    if not 1 <= len(channels) <= DEEPEST:
        raise ConfigError(f"{group}.channels={list(channels)}: one number a level is wanted, 1 to {DEEPEST} levels")
    if not all(1 <= n <= WIDEST for n in channels):
        raise ConfigError(f"{group}.channels={list(channels)}: each must lie between 1 and {WIDEST}")
    if not 1 <= num_res_blocks <= MOST_BLOCKS:
        raise ConfigError(f"{group}.num_res_blocks={num_res_blocks} must lie between 1 and {MOST_BLOCKS}")
    if groups < 1 or any(n % groups for n in channels):
        raise ConfigError(f"{group}.channels={list(channels)} are no multiples of {group}.norm_num_groups={groups}")


def check_shifts(channels: Sequence[int], groups: int, hidden: str) -> None:
    """Raise `ConfigError` where a normalisation of single channels would hide what shifts them in front of it.

    Args:
        channels: of the preset's levels, or of those that are shifted.
        groups: of the normalisation; 0 normalises each channel by itself.
        hidden: what would be, in words.
    """
    if groups in (0, *channels):
        raise ConfigError(
            f"preset.norm_num_groups={groups}: groups of a single channel would hide {hidden}, from the network; use "
            f"at least 1 and fewer than each of {list(channels)}"
        )


def check_attention(
    channels: Sequence[int], attention_levels: Sequence[bool], num_head_channels: int, crossing: int | None
) -> None:
    """Raise `ConfigError` unless a U-Net (MONAI's) can attend; its middle always does, at the last level's width.

    Args:
        channels, attention_levels, num_head_channels: of the configuration's ``network``.
        crossing: width of what a second attention looks at, which here is the level itself; None without one.
    """
    channels = list(channels)
    if len(channels) != len(attention_levels):
        raise ConfigError("network.channels and network.attention_levels must be lists of the same length")
    if channels[0] % 2:
        raise ConfigError(f"network.channels={channels}: the first must be even, for pairs of the timestep's embedding")
    attending = [n for n, use in zip(channels, attention_levels, strict=True) if use] + channels[-1:]
    if num_head_channels < 1 or any(n % num_head_channels for n in attending):
        raise ConfigError(
            f"network.num_head_channels={num_head_channels} must divide the channels of levels with attention and of "
            f"the last one: {', '.join(map(str, dict.fromkeys(attending)))}"
        )
    if crossing is not None and any(n != crossing for n in attending):
        raise ConfigError(
            f"network.cross_attention_dim={crossing} must be the channels of every level with attention and of the "
            f"last one, {', '.join(map(str, dict.fromkeys(attending)))}: the second attention looks at the level itself"
        )
