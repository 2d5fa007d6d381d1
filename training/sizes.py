"""Sizes of networks that cannot be, by the key that makes them so; known before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from RelAPETLib.grid import MNI_GRID

from .errors import ConfigError
from .groups import Network
from .words_of_config import as_value

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


def level_problems(group: str, channels: Sequence[int], num_res_blocks: int, groups: int) -> list[str]:
    """Widths of levels that cannot be, or that the normalisation does not divide into groups.

    Args:
        group: of the configuration, e.g. ``network``.
        channels: one number a level.
        num_res_blocks: residual blocks a level.
        groups: of the normalisation.
    """
    found, named = [], f"{group}.channels={list(channels)}"
    if not 1 <= len(channels) <= DEEPEST:
        found.append(f"{named}: one number a level is wanted, 1 to {DEEPEST} levels")
    if not all(1 <= n <= WIDEST for n in channels):
        found.append(f"{named}: each must lie between 1 and {WIDEST}")
    if not 1 <= num_res_blocks <= MOST_BLOCKS:
        found.append(f"{group}.num_res_blocks={num_res_blocks} must lie between 1 and {MOST_BLOCKS}")
    if groups < 1 or any(n % groups for n in channels):
        found.append(f"{named} are no multiples of {group}.norm_num_groups={groups}")
    return found


def shift_problems(channels: Sequence[int], groups: int, hidden: str) -> list[str]:
    """The line that says that a normalisation of single channels would hide what shifts them in front of it.

    Args:
        channels: of the preset's levels, or of those that are shifted.
        groups: of the normalisation; 0 normalises each channel by itself.
        hidden: what would be, in words.
    """
    if groups not in (0, *channels):
        return []
    return [
        f"preset.norm_num_groups={groups}: groups of a single channel would hide {hidden}, from the network; use "
        f"at least 1 and fewer than each of {list(channels)}"
    ]


def embedding_problems(group: str, channels: Sequence[int], embedded: str = "the timestep") -> list[str]:
    """The line that says that the first level is too odd for pairs of sine and cosine of what is `embedded`."""
    if not channels or channels[0] % 2 == 0:
        return []
    return [f"{group}.channels={list(channels)}: the first must be even, for pairs of {embedded}'s embedding"]


def attention_problems(
    channels: Sequence[int], attention_levels: Sequence[bool], num_head_channels: int, crossing: int | None
) -> list[str]:
    """Why a U-Net (MONAI's) cannot attend; its middle always does, at the last level's width.

    Args:
        channels, attention_levels, num_head_channels: of the configuration's ``network``.
        crossing: width of what a second attention looks at, which here is the level itself; None without one.
    """
    channels, found = list(channels), []
    if len(channels) != len(attention_levels):
        found.append("network.channels and network.attention_levels must be lists of the same length")
    found += embedding_problems("network", channels)
    attending = [n for n, use in zip(channels, attention_levels, strict=False) if use] + channels[-1:]
    if num_head_channels < 1 or any(n % num_head_channels for n in attending):
        found.append(
            f"network.num_head_channels={num_head_channels} must divide the channels of levels with attention and of "
            f"the last one: {', '.join(map(str, dict.fromkeys(attending)))}"
        )
    if crossing is not None and any(n != crossing for n in attending):
        found.append(
            f"network.cross_attention_dim={crossing} must be the channels of every level with attention and of the "
            f"last one, {', '.join(map(str, dict.fromkeys(attending)))}: the second attention looks at the level itself"
        )
    return found


def unet_problems(
    network: Network, shape: Sequence[int] | None, crossing: int | None, unfit: tuple[str, str]
) -> list[str]:
    """Everything that keeps the U-Net of the group ``network`` from being built and from working on such volumes.

    Args:
        network: of `training.unet_config`.
        shape: of what it works on, [X, Y, Z]; None where that does not matter.
        crossing: as `attention_problems`.
        unfit: what such volumes are called, and the key that changes their shape: ``("volumes", "network.crop")``.
    """
    found = level_problems("network", network.channels, network.num_res_blocks, network.norm_num_groups)
    found += attention_problems(network.channels, network.attention_levels, network.num_head_channels, crossing)
    return found + (multiple_problems(network, shape, *unfit) if shape is not None else [])


def multiple_problems(network: Network, shape: Sequence[int], what: str, other: str) -> list[str]:
    """The line that says that the levels do not divide volumes of a shape [X, Y, Z]; none where they do."""
    multiple = 2 ** max(len(network.channels) - 1, 0)
    if all(n % multiple == 0 for n in shape):
        return []
    named = f"network.channels: {what} of {tuple(shape)}"
    return [f"{named} are no multiples of {multiple}; use another {other} or fewer levels"]


def refuse(problems: Sequence[str]) -> None:
    """Raise `ConfigError` for all of these problems, if any."""
    if problems:
        raise ConfigError("; ".join(problems))


def with_fitting(problems: list[str], shape: Sequence[int] | None) -> list[str]:
    """Problems of a U-Net, if any, and the line that says which one fits volumes [X, Y, Z], if these matter."""
    if not problems or shape is None:
        return problems
    return [*problems, f"these fit volumes of {tuple(shape)}: {' '.join(fitting_words(shape))}"]


def fitting_words(shape: Sequence[int]) -> list[str]:
    """Words of a small U-Net that works on volumes of a shape [X, Y, Z]: halved twice at most."""
    levels = next(n for n in (3, 2, 1) if all(side % 2 ** (n - 1) == 0 for side in shape))
    channels = [8 * 2**level for level in range(levels)]
    return [
        f"network.channels={as_value(channels)}", f"network.attention_levels={as_value([False] * levels)}",
        "network.norm_num_groups=4", "network.num_head_channels=8", f"network.cross_attention_dim={channels[-1]}",
    ]  # fmt: skip
