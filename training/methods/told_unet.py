"""A U-Net of the group ``preset`` whose channels are shifted by what it is told, such as time and tracer.

Its keys, and the sizes that cannot be. `training.unet_config` is another one, of the group ``network``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Preset
from ..errors import ConfigError
from ..keys import Key, Rules
from ..sizes import check_levels, check_shifts

#: What the keys do; a method joins this table to its own.
RULES = Rules({
    "preset.channels": Key("channels of the U-Net's levels; the grid is halved from one to the next"),
    "preset.num_res_blocks": Key("residual blocks a level"),
    "preset.norm_num_groups": Key("groups of the U-Net's normalisation; must divide all channels"),
})  # fmt: skip


def check_told_unet(
    preset: Preset, shifts: str, embedded: str = "the timestep", channels: Sequence[int] | None = None
) -> None:
    """Raise `ConfigError` for levels that make no U-Net, or one that does not see what it is told.

    Args:
        preset: with ``channels``, ``num_res_blocks`` and ``norm_num_groups``.
        shifts: what the normalisation must not hide, in words.
        embedded: what the network is told by pairs of sine and cosine.
        channels: in place of the preset's, where that leaves them to the method.
    """
    channels = preset.channels if channels is None else channels
    check_levels("preset", channels, preset.num_res_blocks, preset.norm_num_groups)
    if channels[0] % 2:
        raise ConfigError(f"preset.channels={channels}: the first must be even, for pairs of {embedded}'s embedding")
    check_shifts(channels, preset.norm_num_groups, shifts)
