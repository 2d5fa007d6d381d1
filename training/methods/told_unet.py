"""A U-Net of the group ``preset`` whose channels are shifted by what it is told, such as time and tracer.

Its keys, and the sizes that cannot be. `training.unet_config` is another one, of the group ``network``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Preset
from ..keys import Key, Rules
from ..sizes import embedding_problems, level_problems, shift_problems

#: What the keys do; a method joins this table to its own.
RULES = Rules({
    "preset.channels": Key("channels of the U-Net's levels; the grid is halved from one to the next"),
    "preset.num_res_blocks": Key("residual blocks a level"),
    "preset.norm_num_groups": Key("groups of the U-Net's normalisation; must divide all channels"),
})  # fmt: skip


def told_unet_problems(
    preset: Preset, shifts: str, embedded: str = "the timestep", channels: Sequence[int] | None = None
) -> list[str]:
    """Levels that make no U-Net, or one that does not see what it is told; a line each.

    Args:
        preset: with ``channels``, ``num_res_blocks`` and ``norm_num_groups``.
        shifts: what the normalisation must not hide, in words.
        embedded: what the network is told by pairs of sine and cosine.
        channels: in place of the preset's, where that leaves them to the method.
    """
    channels = preset.channels if channels is None else channels
    found = level_problems("preset", channels, preset.num_res_blocks, preset.norm_num_groups)
    return (
        found
        + embedding_problems("preset", channels, embedded)
        + shift_problems(channels, preset.norm_num_groups, shifts)
    )
