"""The configuration of latent diffusion: ``method=ldm``, with ``preset=paper`` or ``preset=fair``.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022, as RelA-Diffusion's authors
compare it ("StableDiff"): autoencoders first, then Algorithm 1 on their latents without the adversarial part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from ... import config
from ...autoencoder_config import Autoencoder
from ...errors import ConfigError
from ...keys import Key, Rules, count
from ...unet_config import Network
from ..fair import FAIR
from . import config as rela
from . import presets


@dataclass
class Preset(rela.Preset):
    """Constants; the defaults are the paper's and, where it is silent, its authors' settings."""

    name: str = "paper"
    global_batch: int = 48
    ema_decay: float = 0.9999
    beta_start: float = 1.5e-3
    beta_end: float = 1.95e-2
    generator_learning_rate: float = 9.6e-5
    sampler: str = "ddim"
    sampler_steps: int = 50


#: ``fair`` is for comparisons: small networks. RelA-Diffusion's authors give L_I to methods on images alone.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(**FAIR, generator_learning_rate=5e-4),
}
#: LDM-4 in three dimensions. Its U-Net attends at three levels; RelA-Diffusion's attends at one width alone.
_PAPER = partial(
    Network,
    channels=[224, 448, 672, 896],
    num_res_blocks=2,
    attention_levels=[False, False, False, True],
    num_head_channels=32,
    norm_num_groups=32,
    cross_attention_dim=896,
)
NETWORKS = {
    "paper": _PAPER(),
    "fair": Network(
        channels=[16, 24, 32],
        num_res_blocks=1,
        attention_levels=[False, False, False],
        num_head_channels=32,
        norm_num_groups=4,
        cross_attention_dim=32,
    ),
}
#: KL-regularised, with a factor of 4.
_PAPER_CODER = partial(
    Autoencoder,
    batch=4,
    learning_rate=1.8e-5,
    latent_channels=3,
    channels=[128, 256, 512],
    num_res_blocks=2,
    norm_num_groups=32,
)
AUTOENCODERS = {
    "paper": _PAPER_CODER(),
    "fair": presets.AUTOENCODERS["fair"],
}


@dataclass
class Method(rela.Method):
    """L_N alone, in latents; how the U-Net is told the MRI."""

    name: str = "ldm"
    image_weight: float = 0.0
    adversarial: bool = False
    latent: bool = True
    control: bool = False
    base_steps: int = 20000


RULES = Rules({
    "method.control": Key(
        "tell the U-Net the MRI by a ControlNet (arXiv 2302.05543), after a training without MRI; else by more channels"
    ),
    "method.base_steps": count("method.control: steps of that training, after which the U-Net is frozen"),
})  # fmt: skip


@dataclass
class LdmConfig(rela.RelaConfig):
    """A run of latent diffusion."""

    groups = {
        "method": {"ldm": Method()},
        "preset": PRESETS,
        "network": NETWORKS,
        "autoencoder": AUTOENCODERS,
        "ablation": {name: rela.ABLATIONS[name] for name in ("none", "wo_t2f", "wo_t1w")},
        "latent": {"autoencoded": rela.LATENTS["autoencoded"]},
    }
    rules = rela.RelaConfig.rules | RULES
    follows = {"network": "preset", "autoencoder": "preset"}
    renamed = {}
    about = {
        "ldm": config.About(
            "StableDiff in RelA-Diffusion's paper; latent diffusion: Rombach et al., CVPR 2022",
            "50 (1 to 1000)",
            "MIT",
            "T1w, FLAIR",
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=_PAPER)
    autoencoder: Autoencoder = field(default_factory=_PAPER_CODER)

    @property
    def base_steps(self) -> int:
        """See `RelaConfig.base_steps`."""
        return self.method.base_steps if self.method.control else 0

    def check(self) -> None:
        """See `TrainConfig.check`."""
        method = self.method
        if not method.latent or self.latent.name != "autoencoded":
            raise ConfigError(
                "method.latent, latent.name: method=ldm diffuses the latents of autoencoders and nothing else; use "
                "method=ddpm for voxels, method=rela_latent for the other latents"
            )
        if method.adversarial:
            raise ConfigError("method.adversarial: method=ldm has no discriminator; use method=rela_latent for one")
        if method.control and (self.ablation.name != "none" or self.preset.first_timestep):
            raise ConfigError(
                "method.control: the ControlNet sees T1w and T2-FLAIR, and timesteps from 0; use ablation=none and "
                "preset.first_timestep=0 with it"
            )
        super().check()


CONFIG = LdmConfig
