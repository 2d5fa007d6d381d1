"""The configuration of the U-Net control: ``method=unet_l1`` or ``method=unet_l2``."""

from __future__ import annotations

from dataclasses import dataclass, field

from RelAPETLib.methods.base import MEAN_PET

from ... import config
from ...keys import Key, Rules
from ...sizes import shape_of, unet_problems, with_fitting
from ...unet_config import NETWORKS, Network
from ...unet_config import RULES as UNET_RULES
from ..fair import FAIR
from ..mean_pet import check_regression


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


RULES = Rules({
    "method.power": Key("power of the error: 1 is the mean absolute error, 2 the mean squared error", (1, 2)),
    "preset.learning_rate": Key("learning rate of the U-Net", above=0),
    "preset.mean_pet": Key(
        "use of the tracer's mean PET in training: none; input: another channel; residual: that, and the PET's "
        "difference from it is learned, scaled to SD 1; regression: as residual, but the difference from the PET that "
        "a ridge regression expects of the MRI",
        MEAN_PET,
    ),
})  # fmt: skip


@dataclass
class UNetConfig(config.TrainConfig):
    """A run of the U-Net control."""

    #: ``fair`` is for comparisons: a small network; it is trained alike in both.
    groups = {"method": METHODS, "preset": {"default": Preset(), "fair": Preset(**FAIR)}, "network": NETWORKS}
    follows = {"network": "preset"}
    rules = config.TrainConfig.rules | UNET_RULES | RULES
    about = {
        "unet_l1": config.About("U-Net regression, mean absolute error; a control", "1", "none", "T1w, FLAIR"),
        "unet_l2": config.About("U-Net regression, mean squared error; a control", "1", "none", "T1w, FLAIR"),
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=Network)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        check_regression(self.preset.mean_pet, self.data)

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        network = self.network
        shape = shape_of(network)
        found = unet_problems(network, shape, network.cross_attention_dim, ("volumes", "network.crop"))
        return with_fitting(found, shape)


CONFIG = UNetConfig
