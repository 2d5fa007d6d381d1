"""Configuration of a U-Net (`RelAPETLib.networks.generator`), for methods that have one in the group ``network``."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import config
from .keys import Key, Rules


@dataclass
class Network(config.Network):
    """Size of the U-Net; the defaults are those of RelA-Diffusion's published generator."""

    channels: list[int] = field(default_factory=lambda: [16, 32, 64])
    num_res_blocks: int = 2
    attention_levels: list[bool] = field(default_factory=lambda: [False, False, True])
    num_head_channels: int = 64
    norm_num_groups: int = 8
    cross_attention_dim: int = 64


#: By name; ``fair`` is the size that the bench gives to methods with this U-Net, and follows the preset of that name.
NETWORKS = {
    "published": Network(),
    "fair": Network(
        channels=[16, 32],
        num_res_blocks=1,
        attention_levels=[False, False],
        num_head_channels=16,
        norm_num_groups=8,
        cross_attention_dim=32,
    ),
}
#: What the keys do; a method with such a network joins this table to its own.
RULES = Rules({
    "network.channels": Key("channels of the U-Net's levels; the grid is halved from one to the next"),
    "network.num_res_blocks": Key("residual blocks a level"),
    "network.attention_levels": Key("which levels attend, one true or false a level"),
    "network.num_head_channels": Key("channels of an attention head"),
    "network.norm_num_groups": Key("groups of the U-Net's normalisation; must divide all channels"),
    "network.cross_attention_dim": Key("channels of the second attention: those of the levels with attention"),
})  # fmt: skip
