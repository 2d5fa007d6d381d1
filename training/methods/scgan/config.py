"""The configuration of SC-GAN: ``method=scgan``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count, weight
from ...sizes import level_problems, shape_of
from .. import translation_config
from ..fair import FAIR


@dataclass
class Preset(translation_config.Preset):
    """Sizes and constants; the defaults are those of the authors."""

    epochs: int = 120
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 1e-3
    image_weight: float = 200.0
    inside_weight: float = 200.0
    matching_weight: float = 20.0
    kernel_weight: float = 1e-3
    discriminator_layers: int = 4
    channels: list[int] = field(default_factory=lambda: [64, 128, 256, 512, 512, 512, 512, 512])
    kernels: list[int] = field(default_factory=lambda: [5, 5, 5, 5, 3, 3, 3, 2])
    encoder_attention: int = 5
    decoder_attention: int = 3
    norm_num_groups: int = 0
    dropout: float = 0.5


#: ``fair`` is for comparisons: a small network, trained as all methods are.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        discriminator_learning_rate=2e-4,
        discriminator_channels=8,
        discriminator_layers=2,
        channels=[16, 32, 40],
        kernels=[5, 3, 3],
        encoder_attention=2,
        decoder_attention=2,
        norm_num_groups=4,
    ),
}


@dataclass
class Method(translation_config.Method):
    """SC-GAN has no further choices."""

    name: str = "scgan"


RULES = Rules({
    "preset.inside_weight": weight("weight of the root mean squared error where the measured PET is no background"),
    "preset.matching_weight": weight("weight of the difference of the discriminator's maps of made and measured PET"),
    "preset.kernel_weight": weight("weight of half the sum of squares of the kernels, in both networks"),
    "preset.discriminator_layers": count("layers of the discriminator that halve the grid", most=6),
    "preset.channels": Key("channels of the U-Net's levels; each halves the grid"),
    "preset.kernels": Key("sides in voxels of the U-Net's convolutions, one a level"),
    "preset.encoder_attention": Key("level after which the encoder attends to all places; 0: none"),
    "preset.decoder_attention": Key("level to which the decoder has come back when it attends; 0: none"),
    "preset.norm_num_groups": Key("groups of the U-Net's normalisation; 0: each channel by itself", least=0),
    "preset.dropout": Key("share of channels dropped in three of the decoder's levels, in training", least=0, below=1),
})  # fmt: skip


@dataclass
class ScganConfig(translation_config.TranslationConfig):
    """A run of SC-GAN."""

    groups = {"method": {"scgan": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    about = {
        "scgan": config.About("SC-GAN: Lan et al., MRM 2021", "1", "non-profit research only", "T1w, FLAIR; no spread")
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    @property
    def other_weights(self) -> float:
        """See `TranslationConfig.other_weights`: the error inside the brain; the penalties teach nothing of a PET."""
        return self.preset.inside_weight

    def check(self) -> None:
        """See `TrainConfig.check`."""
        if self.hardware.strategy == "fsdp":
            raise ConfigError("hardware.strategy=fsdp: spectral normalisation needs whole kernels; use ddp")
        super().check()

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset, shape, levels = self.preset, shape_of(self.network), len(self.preset.channels)
        found = level_problems("preset", preset.channels, 1, preset.norm_num_groups or 1)
        if len(preset.kernels) != levels or not all(1 <= side <= 7 for side in preset.kernels):
            found.append(f"preset.kernels={list(preset.kernels)}: one a level is wanted, {levels}, each 1 to 7")
        # The coarsest level but one is normalised, for which one place is too few.
        if min(shape) <= 2 ** max(levels - 1, 0):
            found.append(
                f"preset.channels={list(preset.channels)}: volumes of {shape} are too small for {levels} levels; use "
                "fewer channels and kernels"
            )
        for name, most in (("encoder_attention", levels), ("decoder_attention", levels - 1)):
            if not 0 <= (level := getattr(preset, name)) <= most:
                found.append(f"preset.{name}={level} must lie between 0 and {most}")
        return found + super().size_problems()


CONFIG = ScganConfig
