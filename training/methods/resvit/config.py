"""The configuration of ResViT: ``method=resvit``, with ``preset=paper``, ``preset=unified`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from RelAPETLib.networks.shapes import padded_shape

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count
from ...sizes import MOST_BLOCKS, level_problems, shape_of, shift_problems
from .. import transformer_config, translation_config
from ..fair import FAIR
from ..transformer_config import transformer_problems
from ..translation_config import TRACER


@dataclass
class Preset(transformer_config.Preset):
    """Sizes and constants; the defaults are the paper's."""

    epochs: int = 50
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 1e-3
    channels: list[int] = field(default_factory=lambda: [64, 128, 256])
    art_blocks: int = 9
    transformer_blocks: list[int] = field(default_factory=lambda: [0, 5])
    token_halvings: int = 2
    norm_num_groups: int = 0
    tracer_shift: bool = False
    missing_share: float = 0.0
    convolution_steps: int = 25000
    convolution_learning_rate: float = 2e-4


#: ``unified`` can do without a sequence: both, the T1w alone and the T2F alone come equally often. ``fair`` is for
#: comparisons: a small network, trained as all methods are.
PRESETS = {
    "paper": Preset(tracer_shift=True),
    "unified": Preset(name="unified", tracer_shift=True, missing_share=2 / 3),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        discriminator_learning_rate=2e-4,
        discriminator_channels=8,
        discriminator_layers=2,
        channels=[16, 32, 32],
        art_blocks=3,
        transformer_blocks=[0, 2],
        token_halvings=1,
        norm_num_groups=4,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        mlp_size=128,
        dropout=0.0,
        convolution_steps=0,
    ),
}


@dataclass
class Method(translation_config.Method):
    """ResViT has no further choices."""

    name: str = "resvit"


RULES = transformer_config.RULES | Rules({
    "preset.channels": Key("channels of the encoder; the grid is halved from one to the next; blocks have the last"),
    "preset.art_blocks": count("residual blocks between encoder and decoder", most=MOST_BLOCKS),
    "preset.transformer_blocks": Key("which of them, counted from 0, ask the transformer; all ask the same one"),
    "preset.token_halvings": count("halvings of the grid between the blocks and the transformer's tokens", most=4),
    "preset.norm_num_groups": Key("groups of the normalisation; 0: each channel by itself", least=0),
    "preset.tracer_shift": Key("the tracer shifts the channels behind the first normalisation, for constant channels"),
    "preset.missing_share": Key(
        "how often one of the two sequences is hidden in training, so that a synthesis can do without it",
        least=0, most=1,
    ),
    "preset.convolution_steps": count(
        "steps of a training without the transformer, which comes first; 0: both are trained in one go", least=0
    ),
    "preset.convolution_learning_rate": Key("learning rate of generator and discriminator in those steps", above=0),
})  # fmt: skip


@dataclass
class ResViTConfig(translation_config.TranslationConfig):
    """A run of ResViT."""

    groups = {"method": {"resvit": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    about = {
        "resvit": config.About(
            "ResViT: Dalmaz et al., IEEE TMI 2022", "1", "MIT, BSD-2-Clause", "T1w, FLAIR; no spread"
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def check(self) -> None:
        """See `TrainConfig.check`: one way of hiding the T2-FLAIR, which a synthesis shows as training did."""
        super().check()
        if self.preset.missing_share and self.data.drop_t2f:
            raise ConfigError(
                "data.drop_t2f: preset.missing_share hides sequences already, by zeros and not by background; use 0"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset, shape = self.preset, shape_of(self.network)
        found = level_problems("preset", preset.channels, 1, preset.norm_num_groups or 1)
        if not preset.tracer_shift:
            found += shift_problems(preset.channels[:1], preset.norm_num_groups, TRACER)
        asking = preset.transformer_blocks
        if not asking or not set(asking) <= set(range(preset.art_blocks)):
            found.append(
                f"preset.transformer_blocks={asking}: one or more of the blocks 0 to {preset.art_blocks - 1} are wanted"
            )
        multiple = 2 ** (max(len(preset.channels) - 1, 0) + preset.token_halvings)
        if min(padded_shape(shape, multiple)) < 2 * multiple:
            found.append(
                f"preset.token_halvings={preset.token_halvings}: volumes of {shape} are too small for so many halvings "
                "beside those of preset.channels; use fewer"
            )
        return found + transformer_problems(preset) + super().size_problems()

    @property
    def of_convolutions(self) -> ResViTConfig:
        """The training without the transformer."""
        rate = self.preset.convolution_learning_rate
        return replace(
            self,
            preset=replace(self.preset, transformer_blocks=[], learning_rate=rate, discriminator_learning_rate=rate),
        )


CONFIG = ResViTConfig
