"""The configuration of DDGAN: ``method=ddgan``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count, weight
from ...sizes import MOST_BLOCKS, WIDEST, shape_of
from .. import told_unet
from ..fair import FAIR
from ..image_loss import ImageLossConfig
from ..told_unet import told_unet_problems
from ..translation_config import patch_problems


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are the authors' settings for LSUN Church, 256 x 256 pixels in four steps."""

    name: str = "paper"
    global_batch: int = 64
    epochs: int = 500
    ema_decay: float = 0.999
    generator_learning_rate: float = 1.6e-4
    discriminator_learning_rate: float = 1e-4
    penalty_gamma: float = 1.0
    channels: list[int] = field(default_factory=lambda: [64, 64, 128, 128, 256, 256])
    num_res_blocks: int = 2
    norm_num_groups: int = 32
    latent_hidden: int = 256
    latent_layers: int = 3
    discriminator_channels: int = 64
    discriminator_layers: int = 3
    image_weight: float = 0.0


#: ``fair`` is for comparisons: a small network, and the image loss that all methods get.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        generator_learning_rate=5e-4,
        discriminator_learning_rate=3e-4,
        penalty_gamma=2.0,
        channels=[16, 32, 40],
        num_res_blocks=1,
        norm_num_groups=4,
        latent_hidden=64,
        discriminator_channels=16,
        discriminator_layers=2,
        image_weight=1.0,
    ),
}


@dataclass
class Method(config.Method):
    """The chain and the losses."""

    name: str = "ddgan"
    timesteps: int = 4
    beta_min: float = 0.1
    beta_max: float = 20.0
    latent: int = 100
    penalty_every: int = 10
    image_weight: float | None = None


RULES = told_unet.RULES | Rules({
    "method.timesteps": Key("steps of the chain from noise to the PET", least=1, most=1000),
    "method.beta_min": Key("rate of the noise at the clean end of the chain", least=1e-4, most=1000),
    "method.beta_max": Key("the same at the noisy end", least=1e-4, most=1000),
    "method.latent": count("numbers of the latent z that the generator draws a step by", most=WIDEST),
    "preset.penalty_gamma": weight("gamma of the discriminator's penalty R1, gamma / 2 times the squared gradient"),
    "method.penalty_every": count("steps between two steps with that penalty"),
    "preset.generator_learning_rate": Key("learning rate of the generator", above=0),
    "preset.discriminator_learning_rate": Key("learning rate of the discriminator", above=0),
    "preset.latent_hidden": count("width of the layers that z passes on its way into the U-Net", most=WIDEST),
    "preset.latent_layers": count("number of those layers", least=0, most=MOST_BLOCKS),
    "preset.discriminator_channels": count("channels of the discriminator's first layer, even", least=2, most=WIDEST),
    "preset.discriminator_layers": count("the discriminator's layers between the first and the last", most=6),
})  # fmt: skip


@dataclass
class DdganConfig(ImageLossConfig):
    """A run of DDGAN."""

    groups = {"method": {"ddgan": Method()}, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    renamed = {"method.penalty_gamma": "preset.penalty_gamma"}
    about = {
        "ddgan": config.About(
            "Denoising Diffusion GAN: Xiao et al., ICLR 2022", "4 (1 to 4)", "NVIDIA, non-commercial", "T1w, FLAIR"
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method = self.method
        if method.beta_min > method.beta_max:
            raise ConfigError(
                f"method.beta_min={method.beta_min} is above method.beta_max={method.beta_max}; the chain goes from "
                "the PET to noise"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = told_unet_problems(preset, "time, tracer and z, which shift channels")
        if preset.discriminator_channels % 2:
            found.append(f"preset.discriminator_channels={preset.discriminator_channels} must be even")
        return found + patch_problems(preset.discriminator_layers, shape_of(self.network))


CONFIG = DdganConfig
