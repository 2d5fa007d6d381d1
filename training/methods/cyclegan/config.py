"""The configuration of CycleGAN: ``method=cyclegan``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count, weight
from ...sizes import level_problems, shape_of, shift_problems
from .. import translation_config
from ..fair import FAIR
from ..translation_config import TRACER


@dataclass
class Preset(translation_config.Preset):
    """Sizes and constants; the defaults are the paper's, which does not know which MRI and PET belong together."""

    image_weight: float = 0.0
    cycle_weight: float = 10.0
    pool_size: int = 50
    channels: list[int] = field(default_factory=lambda: [64, 128, 256])
    num_res_blocks: int = 9
    norm_num_groups: int = 0
    tracer_shift: bool = False
    end_kernel: int = 7


#: ``fair`` is for comparisons: a small network, trained as all methods are, on pairs as RelA's authors used CycleGAN.
PRESETS = {
    "paper": Preset(tracer_shift=True),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        image_weight=10.0,
        channels=[16, 32, 40],
        num_res_blocks=3,
        norm_num_groups=4,
        end_kernel=3,
        discriminator_channels=8,
        discriminator_layers=2,
    ),
}


@dataclass
class Method(translation_config.Method):
    """CycleGAN has no further choices."""

    name: str = "cyclegan"


RULES = Rules({
    "preset.cycle_weight": weight("weight of the mean absolute error of MRI and PET that went there and back"),
    "preset.pool_size": count("earlier images from which the discriminators are shown half of theirs", 0, most=1000),
    "preset.learning_rate": Key("learning rate of both generators", above=0),
    "preset.discriminator_learning_rate": Key("learning rate of both discriminators", above=0),
    "preset.channels": Key("channels of the generators' levels; the grid is halved from one to the next"),
    "preset.num_res_blocks": Key("residual blocks of the generators' coarsest level"),
    "preset.norm_num_groups": Key("groups of the generators' normalisation; 0: each channel by itself", least=0),
    "preset.tracer_shift": Key("the tracer shifts the channels behind the first normalisation, for constant channels"),
    "preset.end_kernel": Key("side in voxels of the generators' first and last convolution", (3, 5, 7)),
})  # fmt: skip


@dataclass
class CycleganConfig(translation_config.TranslationConfig):
    """A run of CycleGAN."""

    groups = {"method": {"cyclegan": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    about = {"cyclegan": config.About("CycleGAN: Zhu et al., ICCV 2017", "1", "BSD-2-Clause", "T1w, FLAIR; no spread")}

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        hardware = self.hardware
        # Both hold back or repeat what `frozen` decides, and would do so at another time.
        if hardware.strategy == "fsdp":
            raise ConfigError(
                "hardware.strategy=fsdp: CycleGAN's generators pass gradients through each other; use ddp"
            )
        if hardware.mode == "lean":
            raise ConfigError(
                "hardware.mode=lean: CycleGAN's generators pass gradients through each other; use plain or fast"
            )
        super().check()

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset, shape, levels = self.preset, shape_of(self.network), len(self.preset.channels)
        found = level_problems("preset", preset.channels, preset.num_res_blocks, preset.norm_num_groups or 1)
        if not preset.tracer_shift:
            found += shift_problems(preset.channels[:1], preset.norm_num_groups, TRACER)
        # What is mirrored at the borders must be there: half a kernel at first, one voxel on the coarsest level.
        if min(shape) <= max(2 ** max(levels - 1, 0), preset.end_kernel // 2):
            found.append(
                f"preset.channels={list(preset.channels)}: volumes of {shape} are too small for {levels} levels; use "
                "fewer channels"
            )
        return found + super().size_problems()


CONFIG = CycleganConfig
