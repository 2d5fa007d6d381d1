"""Configuration of methods that translate by one pass, with or without a discriminator of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import config
from ..errors import ConfigError
from ..keys import Key, Rules, count, weight
from ..sizes import shape_of
from .image_loss import ImageLossConfig


@dataclass
class Preset(config.Preset):
    """How the generator and its discriminator are trained; the defaults are Pix2Pix's (Isola et al., CVPR 2017)."""

    name: str = "paper"
    global_batch: int = 1
    epochs: int = 200
    ema_decay: float = 0.0
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    image_weight: float = 100.0
    adversarial_weight: float = 1.0
    discriminator_channels: int = 64
    discriminator_layers: int = 3


@dataclass
class Method(config.Method):
    """Which losses count."""

    image_weight: float | None = None


#: What groups of one channel hide where it is constant channels in front of them, for `shift_problems`.
TRACER = "the tracer, which is constant channels with preset.tracer_shift=false"
RULES = Rules({
    "preset.learning_rate": Key("learning rate of the generator", above=0),
    "preset.discriminator_learning_rate": Key("learning rate of the discriminator", above=0),
    "preset.adversarial_weight": weight("weight of what the discriminator says; 0 trains without one"),
    "preset.discriminator_channels": count("width of the discriminator's first layer", most=1024),
    "preset.discriminator_layers": count("strided layers of the discriminator; three see patches of 70 voxels", most=6),
})  # fmt: skip


class TranslationConfig(ImageLossConfig):
    """A run of such a method, whose ``preset`` and ``method`` are subclasses of those above."""

    rules = ImageLossConfig.rules | RULES

    @property
    def other_weights(self) -> float:
        """Sum of the weights of what else is learned from, beside L_I and the discriminator."""
        return 0.0

    def check(self) -> None:
        """See `TrainConfig.check`: losses that cannot be."""
        super().check()
        preset = self.preset
        if not (self.image_weight or preset.adversarial_weight or self.other_weights):
            raise ConfigError("method.image_weight=0 with preset.adversarial_weight=0 leaves nothing to learn from")

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`: volumes too small for the discriminator."""
        if not self.preset.adversarial_weight:
            return []
        return patch_problems(self.preset.discriminator_layers, shape_of(self.network))


def patch_problems(layers: int, shape: Sequence[int]) -> list[str]:
    """The line for volumes (X, Y, Z) too small for MONAI's discriminator of patches with so many layers."""
    if min(shape) // 2**layers >= 3:
        return []
    return [
        f"preset.discriminator_layers={layers}: volumes of {tuple(shape)} are too small for so many strided "
        "layers; use fewer"
    ]
