"""The configuration of ResDM: ``method=resdm``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, weight
from .. import told_unet
from ..fair import FAIR
from ..image_loss import ImageLossConfig
from ..told_unet import told_unet_problems


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are the paper's and, where it is silent, its authors' settings.

    But for the groups of the normalisation: theirs are 32, which on the finest level would be of one channel each.
    """

    name: str = "paper"
    global_batch: int = 1
    epochs: int = 1000
    ema_decay: float = 0.9999
    learning_rate: float = 1e-4
    channels: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    num_res_blocks: int = 1
    norm_num_groups: int = 8
    image_weight: float = 0.0


#: ``fair`` is for comparisons: a small network, and the image loss that all methods get.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 40],
        norm_num_groups=4,
        image_weight=1.0,
    ),
}


@dataclass
class Method(config.Method):
    """The chain and the losses."""

    name: str = "resdm"
    timesteps: int = 15
    first_shift: float = 0.04
    last_shift: float = 0.999
    kappa: float = 0.1
    intra_domain_weight: float = 0.1
    image_weight: float | None = None
    hidden_share: float = 0.2


@dataclass
class Run(config.Run):
    """The weight decay is AdamW's usual one."""

    weight_decay: float = 0.01


RULES = told_unet.RULES | Rules({
    "method.timesteps": Key("steps of the chain from the PET to the T1w", least=1, most=1000),
    "method.first_shift": Key("share of the way to the T1w at the first step", above=0, most=1),
    "method.last_shift": Key("the same at the last step", above=0, most=1),
    "method.kappa": Key("SD of the noise at the end of the chain, for images in [-1, 1]", least=0, most=10),
    "method.intra_domain_weight": weight(
        "weight of L_high: the squared error of differences between two tracers of a person"
    ),
    "method.hidden_share": Key(
        "how often a clinical value is hidden in training, so that a synthesis can do without it", least=0, most=1
    ),
    "preset.learning_rate": Key("learning rate", above=0),
})  # fmt: skip


@dataclass
class ResdmConfig(ImageLossConfig):
    """A run of ResDM."""

    groups = {"method": {"resdm": Method()}, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    about = {
        "resdm": config.About(
            "ResDM: Ou et al., IJCAI 2024",
            "15 (1 to 15)",
            "MIT",
            "T1w, FLAIR; age, sex, score if known; learns best from people with several tracers",
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    run: Run = field(default_factory=Run)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method = self.method
        if method.first_shift > method.last_shift:
            raise ConfigError(
                f"method.first_shift={method.first_shift} is above method.last_shift={method.last_shift}; the chain "
                "goes from the PET to the T1w"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        return told_unet_problems(self.preset, "the time, which shifts channels")


CONFIG = ResdmConfig
