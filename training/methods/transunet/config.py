"""The configuration of TransUNet: ``method=transunet``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...keys import Key, Rules, count
from ...sizes import MOST_BLOCKS, level_problems, shift_problems
from .. import transformer_config, translation_config
from ..fair import FAIR
from ..transformer_config import transformer_problems


@dataclass
class Preset(transformer_config.Preset):
    """Sizes are the paper's; how a synthesis is trained, which the paper has none of, is Pix2Pix's by its L1 alone."""

    image_weight: float = 1.0
    adversarial_weight: float = 0.0
    channels: list[int] = field(default_factory=lambda: [64, 256, 512, 1024])
    residual_blocks: list[int] = field(default_factory=lambda: [3, 4, 9])
    bottleneck: int = 4
    decoder_channels: list[int] = field(default_factory=lambda: [256, 128, 64, 16])
    norm_num_groups: int = 16


#: ``fair`` is for comparisons: a small network with fewer halvings, trained as all methods are.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        discriminator_channels=8,
        discriminator_layers=2,
        channels=[16, 32, 40],
        residual_blocks=[1, 1],
        bottleneck=1,
        decoder_channels=[32, 16, 16],
        norm_num_groups=4,
        hidden_size=48,
        num_layers=2,
        num_heads=4,
        mlp_size=192,
        dropout=0.0,
    ),
}


@dataclass
class Method(translation_config.Method):
    """TransUNet has no further choices."""

    name: str = "transunet"


RULES = transformer_config.RULES | Rules({
    "preset.channels": Key("channels of the encoder's levels, each of which halves the grid; tokens are the last's"),
    "preset.residual_blocks": Key("residual blocks of each level after the first"),
    "preset.bottleneck": count("by how much residual blocks are narrower within; must divide preset.channels"),
    "preset.decoder_channels": Key("channels of the upsampler's steps from the coarsest, as many as levels"),
    "preset.norm_num_groups": count("groups of the normalisation; must divide all channels"),
})  # fmt: skip


@dataclass
class TransUNetConfig(translation_config.TranslationConfig):
    """A run of TransUNet."""

    groups = {"method": {"transunet": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    about = {
        "transunet": config.About(
            "TransUNet: Chen et al., arXiv 2102.04306", "1", "Apache-2.0", "T1w, FLAIR; no spread"
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        levels, blocks, groups = len(preset.channels), preset.residual_blocks, preset.norm_num_groups
        found = level_problems("preset", preset.channels, 1, groups)
        found += shift_problems(preset.channels[:1], groups, "the tracer, constant channels in front of them")
        if len(blocks) != levels - 1 or not all(1 <= n <= MOST_BLOCKS for n in blocks):
            found.append(
                f"preset.residual_blocks={blocks}: one number from 1 to {MOST_BLOCKS} is wanted for each of "
                f"preset.channels={preset.channels} after the first"
            )
        if groups > 0 and any(n % (preset.bottleneck * groups) for n in preset.channels[1:]):
            found.append(
                f"preset.bottleneck={preset.bottleneck}: preset.channels={preset.channels} divided by it are no "
                f"multiples of preset.norm_num_groups={groups}"
            )
        decoder = preset.decoder_channels
        if len(decoder) != levels or any(n < 1 or groups < 1 or n % groups for n in decoder):
            found.append(
                f"preset.decoder_channels={decoder}: {levels} multiples of preset.norm_num_groups={groups} are wanted"
            )
        return found + transformer_problems(preset) + super().size_problems()


CONFIG = TransUNetConfig
