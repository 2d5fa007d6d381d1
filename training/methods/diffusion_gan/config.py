"""The configuration of Diffusion-GAN: ``method=diffusion_gan``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count
from .. import told_unet, translation_config
from ..fair import FAIR
from ..told_unet import told_unet_problems


@dataclass
class Preset(translation_config.Preset):
    """Sizes and optimiser; the paper translates no images, so these are Pix2Pix's with a U-Net like ResDM's."""

    image_weight: float = 1.0
    channels: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    num_res_blocks: int = 1
    norm_num_groups: int = 16
    adaptation_images: int | None = 500_000


#: ``fair`` is for comparisons: a small network, trained as all methods are, with the image loss of CycleGAN's.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 40],
        norm_num_groups=4,
        image_weight=10.0,
        adaptation_images=None,
        discriminator_channels=16,
        discriminator_layers=2,
    ),
}


@dataclass
class Method(translation_config.Method):
    """The noise on what the discriminator sees; the constants are the paper's."""

    name: str = "diffusion_gan"
    noise_sd: float = 0.05
    least_timesteps: int = 10
    most_timesteps: int = 1000
    timestep_draw: str = "priority"
    target: float = 0.6
    adjust_every: int = 4


#: Share of a run's images that `adaptation_images` of null stands for.
ADAPTATION_SHARE = 0.1
#: How t is drawn where it is not 0: with a probability that grows as t, or all alike.
DRAWS = ("priority", "uniform")
RULES = told_unet.RULES | Rules({
    "method.noise_sd": Key("sigma, SD of the noise that a whole chain of 1000 steps ends in, for images in [-1, 1]",
                           above=0, most=10),
    "method.least_timesteps": Key("T at the beginning, and its least", least=1, most=100_000),
    "method.most_timesteps": Key("largest T", least=1, most=100_000),
    "method.timestep_draw": Key("how t is drawn from 1 to T: with a probability that grows as t, or all alike",
                                DRAWS),
    "method.target": Key("mean sign of the discriminator's logits of real PET, above which T grows", least=-1, most=1),
    "method.adjust_every": count("steps between two adjustments of T"),
    "preset.adaptation_images": Key(
        "images over which T goes from its least to its largest, if it always grows; null: a tenth of the run's"
    ),
})  # fmt: skip


@dataclass
class DiffusionGanConfig(translation_config.TranslationConfig):
    """A run of Diffusion-GAN."""

    groups = {"method": {"diffusion_gan": Method()}, "preset": PRESETS}
    rules = translation_config.TranslationConfig.rules | RULES
    renamed = {"method.adaptation_images": "preset.adaptation_images"}
    about = {
        "diffusion_gan": config.About(
            "Diffusion-GAN: Wang et al., ICLR 2023", "1", "MIT, parts NVIDIA's", "T1w, FLAIR; no spread"
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        method, preset = self.method, self.preset
        if method.least_timesteps > method.most_timesteps:
            raise ConfigError(
                f"method.least_timesteps={method.least_timesteps} is above method.most_timesteps="
                f"{method.most_timesteps}"
            )
        if preset.adaptation_images is not None and preset.adaptation_images < 1:
            raise ConfigError(f"preset.adaptation_images={preset.adaptation_images} must be at least 1, or null")
        super().check()

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = told_unet_problems(preset, "the tracer, which shifts channels")
        if preset.discriminator_channels % 2:
            found.append(f"preset.discriminator_channels={preset.discriminator_channels} must be even")
        return found + super().size_problems()


CONFIG = DiffusionGanConfig
