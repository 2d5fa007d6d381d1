"""The configuration of Pix2Pix: ``method=pix2pix``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules
from ...sizes import level_problems
from .. import translation_config
from ..fair import FAIR


@dataclass
class Preset(translation_config.Preset):
    """Sizes and constants; the defaults are the paper's, with five levels for its eight."""

    channels: list[int] = field(default_factory=lambda: [64, 128, 256, 512, 512])
    norm_num_groups: int = 0
    dropout: float = 0.5


#: ``fair`` is for comparisons: a small network, trained as all methods are; it has no level coarse enough for dropout.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 40],
        norm_num_groups=4,
        discriminator_channels=8,
        discriminator_layers=2,
    ),
}


@dataclass
class Method(translation_config.Method):
    """Pix2Pix has no further choices."""

    name: str = "pix2pix"


RULES = Rules({
    "preset.channels": Key("channels of the U-Net's levels; each halves the grid"),
    "preset.norm_num_groups": Key("groups of the U-Net's normalisation; 0: each channel by itself"),
    "preset.dropout": Key(
        "share dropped in three of the decoder's levels, if an eighth of the grid or coarser, in training",
        least=0, below=1,
    ),
})  # fmt: skip


@dataclass
class Pix2PixConfig(translation_config.TranslationConfig):
    """A run of Pix2Pix."""

    groups = {"method": {"pix2pix": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    about = {"pix2pix": config.About("Pix2Pix: Isola et al., CVPR 2017", "1", "BSD-2-Clause", "T1w, FLAIR; no spread")}

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        preset = self.preset
        if preset.norm_num_groups < 0:
            raise ConfigError(f"preset.norm_num_groups={preset.norm_num_groups} must be at least 0")
        super().check()

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = level_problems("preset", preset.channels, 1, preset.norm_num_groups or 1)
        return found + super().size_problems()


CONFIG = Pix2PixConfig
