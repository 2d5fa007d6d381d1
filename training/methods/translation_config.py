"""Configuration of methods that translate by one pass, with or without a discriminator of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import config
from ..errors import ConfigError
from ..keys import Key, Rules, count, weight


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


#: What the keys do; a method joins this table to its own.
RULES = Rules({
    "method.image_weight": Key("weight of the mean absolute error; null: preset.image_weight"),
    "preset.learning_rate": Key("learning rate of the generator", above=0),
    "preset.discriminator_learning_rate": Key("learning rate of the discriminator", above=0),
    "preset.image_weight": weight("weight of the mean absolute error, unless method.image_weight says another"),
    "preset.adversarial_weight": weight("weight of what the discriminator says; 0 trains without one"),
    "preset.discriminator_channels": count("width of the discriminator's first layer", most=1024),
    "preset.discriminator_layers": count("strided layers of the discriminator; three see patches of 70 voxels", most=6),
})  # fmt: skip


def image_weight(method: Method, preset: Preset) -> float:
    """Weight of the mean absolute error."""
    return preset.image_weight if method.image_weight is None else method.image_weight


def check_translation(method: Method, preset: Preset, shape: Sequence[int]) -> None:
    """Raise `ConfigError` for losses that cannot be, or volumes (X, Y, Z) too small for the discriminator."""
    if method.image_weight is not None and method.image_weight < 0:
        raise ConfigError(f"method.image_weight={method.image_weight} must be at least 0, or null")
    if image_weight(method, preset) == 0 and preset.adversarial_weight == 0:
        raise ConfigError("method.image_weight=0 with preset.adversarial_weight=0 leaves nothing to learn from")
    if preset.adversarial_weight:
        check_patches(preset.discriminator_layers, shape)


def check_patches(layers: int, shape: Sequence[int]) -> None:
    """Raise `ConfigError` for volumes (X, Y, Z) too small for MONAI's discriminator of patches with so many layers."""
    if min(shape) // 2**layers < 3:
        raise ConfigError(
            f"preset.discriminator_layers={layers}: volumes of {tuple(shape)} are too small for so many strided "
            "layers; use fewer"
        )
