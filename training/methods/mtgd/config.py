"""The configuration of MTGD: ``method=mtgd``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from RelAPETLib.diffusion import SAMPLERS
from RelAPETLib.methods.mtgd import PREDICTIONS

from ... import config
from ...errors import ConfigError
from ...keys import MOST_SAMPLER_STEPS, Key, Rules, count
from ..fair import FAIR
from ..image_loss import ImageLossConfig
from ..told_unet import told_unet_problems


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are those of the only public code, a fork, as the paper's are not known."""

    name: str = "paper"
    global_batch: int = 1
    epochs: int = 100
    ema_decay: float = 0.999
    learning_rate: float = 1e-5
    channels: list[int] = field(default_factory=lambda: [64, 128, 128, 256, 256])
    num_res_blocks: int = 1
    num_heads: int = 8
    norm_num_groups: int = 32
    prediction: str = "noise"
    image_weight: float = 0.0
    guidance: float = 2.0
    sampler: str = "ddpm"
    sampler_steps: int = 100


#: ``fair`` is for comparisons: a small network, which gives the clean image, and the image loss that all methods get.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 32],
        num_heads=4,
        norm_num_groups=4,
        prediction="x0",
        image_weight=1.0,
        guidance=1.0,
        sampler_steps=20,
    ),
}


@dataclass
class Method(config.Method):
    """The noise and the losses."""

    name: str = "mtgd"
    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    null_share: float = 0.1
    image_weight: float | None = None


@dataclass
class Run(config.Run):
    """As the public code has it."""

    clip_gradients: float = 1.0
    learning_rate: str = "cosine"
    warmup_steps: int = 2000
    weight_decay: float = 1e-4


RULES = Rules({
    "method.timesteps": Key("timesteps of the noise, whose variances rise linearly", least=1, most=MOST_SAMPLER_STEPS),
    "method.beta_start": Key("variance that the first timestep adds", above=0, below=1),
    "method.beta_end": Key("the same of the last timestep", above=0, below=1),
    "method.null_share": Key("how often the tracer is hidden in training, for guidance", least=0, below=1),
    "preset.learning_rate": Key("learning rate", above=0),
    "preset.channels": Key("channels of the levels of U-Net and encoders; the grid is halved from one to the next"),
    "preset.num_res_blocks": Key("residual blocks a level of the U-Net"),
    "preset.num_heads": count("heads of all attention; must divide the last of preset.channels"),
    "preset.norm_num_groups": Key("groups of the normalisation; must divide all channels"),
    "preset.prediction": Key("what the network gives: the noise, v, or x0, the clean PET", PREDICTIONS),
    "preset.guidance": Key(
        "how far a draw goes from what is predicted without the tracer; 1: no further than with it", least=0, most=100
    ),
    "preset.sampler": Key("sampler of the bundle and of validation", SAMPLERS),
    "preset.sampler_steps": count("its steps in the bundle", most=MOST_SAMPLER_STEPS),
})  # fmt: skip


@dataclass
class MtgdConfig(ImageLossConfig):
    """A run of MTGD."""

    groups = {"method": {"mtgd": Method()}, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    about = {
        "mtgd": config.About(
            "MTGD, as the RelA-Diffusion paper describes it",
            "100 (1 to 1000; twice with guidance)",
            "no code",
            "T1w, FLAIR",
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    run: Run = field(default_factory=Run)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method, preset = self.method, self.preset
        if method.beta_start > method.beta_end:
            raise ConfigError(f"method.beta_start={method.beta_start} is above method.beta_end={method.beta_end}")
        if preset.sampler_steps > method.timesteps:
            raise ConfigError(
                f"preset.sampler_steps={preset.sampler_steps}: there are method.timesteps={method.timesteps}"
            )
        if preset.guidance != 1 and method.null_share == 0:
            raise ConfigError(
                f"preset.guidance={preset.guidance} needs method.null_share above 0: without it the network never "
                "learns to do without a tracer"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = told_unet_problems(preset, "time and tracer, which shift channels")
        if preset.channels and preset.channels[-1] % preset.num_heads:
            found.append(
                f"preset.num_heads={preset.num_heads} must divide the last of preset.channels={preset.channels}"
            )
        return found


CONFIG = MtgdConfig
