"""The configuration of the U-Net control: ``method=unet_l1`` or ``method=unet_l2``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules
from ...sizes import check_attention, check_levels, shape_of


@dataclass
class Preset(config.Preset):
    """How it is trained."""

    learning_rate: float = 5e-4
    mean_pet: str = "none"


@dataclass
class Method(config.Method):
    """Which error it learns from."""

    name: str = "unet_l1"
    power: int = 1


METHODS = {"unet_l1": Method(), "unet_l2": Method(name="unet_l2", power=2)}


@dataclass
class Network(config.Network):
    """Size of the U-Net; the defaults are the published generator's."""

    channels: list[int] = field(default_factory=lambda: [16, 32, 64])
    num_res_blocks: int = 2
    attention_levels: list[bool] = field(default_factory=lambda: [False, False, True])
    num_head_channels: int = 64
    norm_num_groups: int = 8
    cross_attention_dim: int = 64


RULES = Rules({
    "method.power": Key("power of the error: 1 is the mean absolute error, 2 the mean squared error", (1, 2)),
    "preset.learning_rate": Key("learning rate of the U-Net", above=0),
    "preset.mean_pet": Key(
        "use of the tracer's mean PET in training: none; input: another channel; residual: that, and the PET's "
        "difference from it is learned, scaled to SD 1",
        ("none", "input", "residual"),
    ),
    "network.channels": Key("channels of the U-Net's levels; the grid is halved from one to the next"),
    "network.num_res_blocks": Key("residual blocks a level"),
    "network.attention_levels": Key("which levels attend, one true or false a level"),
    "network.num_head_channels": Key("channels of an attention head"),
    "network.norm_num_groups": Key("groups of the normalisation; must divide all channels"),
    "network.cross_attention_dim": Key("channels of the second attention: those of the levels with attention"),
})  # fmt: skip


@dataclass
class UNetConfig(config.TrainConfig):
    """A run of the U-Net control."""

    groups: ClassVar[Mapping[str, Mapping[str, Any]]] = {"method": METHODS, "preset": {"default": Preset()}}
    rules: ClassVar[Rules] = config.TrainConfig.rules | RULES

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=Network)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        network = self.network
        check_levels("network", network.channels, network.num_res_blocks, network.norm_num_groups)
        check_attention(
            network.channels, network.attention_levels, network.num_head_channels, network.cross_attention_dim
        )
        multiple, shape = 2 ** (len(network.channels) - 1), shape_of(network)
        if any(n % multiple for n in shape):
            raise ConfigError(
                f"network.channels: volumes of {shape} are no multiples of {multiple}; use another network.crop or "
                "fewer levels"
            )


CONFIG = UNetConfig
