"""The configuration of the flows: ``method=rectified_flow`` or ``bridge``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import MOST_SAMPLER_STEPS, Key, Rules, count
from ...sizes import shape_of
from .. import told_unet
from ..fair import FAIR
from ..image_loss import ImageLossConfig
from ..told_unet import told_unet_problems


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are those of MAISI-v2 and of SiM2P.

    The channels are those of each method's paper where they are not given: MAISI-v2's U-Net, and the smaller one of
    SiM2P's two networks.
    """

    name: str = "paper"
    global_batch: int = 1
    epochs: int = 1000
    ema_decay: float = 0.9999
    learning_rate: float = 1e-4
    channels: list[int] | None = None
    num_res_blocks: int = 2
    attending_levels: int = 2
    num_head_channels: int = 32
    norm_num_groups: int = 32
    time_shift: float | None = None
    image_weight: float = 0.0


#: Channels of each method's paper.
CHANNELS = {"rectified_flow": [64, 128, 256, 512], "bridge": [64, 128, 192, 256]}
#: ``fair`` is for comparisons: a small network, and the image loss that all methods get.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 40],
        num_res_blocks=1,
        attending_levels=0,
        num_head_channels=0,
        norm_num_groups=4,
        time_shift=1.0,
        image_weight=1.0,
    ),
}


@dataclass
class Method(config.Method):
    """The path, and what the network is told beside MRI, time and tracer."""

    name: str = "rectified_flow"
    steps: int = 20
    clinical: bool = False
    hidden_share: float = 0.2
    image_weight: float | None = None
    time: str = "uniform"
    power: int = 2
    beta_d: float = 2.0
    beta_min: float = 0.1
    first_time: float = 1e-4
    churn: float = 0.33
    sigma_data: float = 0.5


METHODS = {"rectified_flow": Method(), "bridge": Method(name="bridge", steps=14, clinical=True)}
#: Keys of ``method`` that one of the two alone has.
OWN = {"rectified_flow": ("time", "power"), "bridge": ("beta_d", "beta_min", "first_time", "churn", "sigma_data")}
#: Largest shift of times, beyond which all of them are noise.
LARGEST_SHIFT = 1000
#: Voxels of the volume whose times MAISI-v2 does not shift.
UNSHIFTED = 32**3

RULES = told_unet.RULES | Rules({
    "method.steps": count("network calls of a sample of the exported model", most=MOST_SAMPLER_STEPS, free=True),
    "method.clinical": Key("tell the network age, sex and score, too"),
    "method.hidden_share": Key(
        "how often a clinical value is hidden in training, so that a synthesis can do without it", least=0, most=1
    ),
    "method.time": Key(
        "rectified_flow: how times are drawn in training, evenly or with a normal logit (arXiv 2403.03206)",
        ("uniform", "logit_normal"),
    ),
    "method.power": Key(
        "rectified_flow: power of the velocity's error: 2 is Rectified Flow's squared one, 1 MAISI-v2's absolute one",
        (1, 2),
    ),
    "method.beta_d": Key("bridge: how fast the rate of the noise rises", least=0, most=100),
    "method.beta_min": Key("bridge: rate of the noise at t = 0", above=0, most=100),
    "method.first_time": Key("bridge: earliest time that is trained and visited", above=0, below=1),
    "method.churn": Key("bridge: share of a sampler's interval that is gone by a step with noise", above=0, below=1),
    "method.sigma_data": Key("bridge: SD of PET and T1w that the preconditioning takes", above=0, most=100),
    "preset.learning_rate": Key("learning rate", above=0),
    "preset.channels": Key(
        "channels of the U-Net's levels, the grid is halved from one to the next; null: those of the method's paper"
    ),
    "preset.attending_levels": count("how many of the coarsest levels attend", least=0),
    "preset.num_head_channels": count("channels of an attention head; 0: one head", least=0),
    "preset.time_shift": Key(
        "rectified_flow: r of t -> r t / (1 + (r - 1) t), more noise on larger volumes; 1 is none, null: "
        "MAISI-v2's, the cube root of voxels / 32^3"
    ),
})  # fmt: skip


@dataclass
class FlowConfig(ImageLossConfig):
    """A run of a flow."""

    groups = {"method": METHODS, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    about = {
        "rectified_flow": config.About(
            "Rectified flow: Liu et al., ICLR 2023; MAISI-v2",
            "20 (1 to 1000)",
            "Apache-2.0 (MAISI-v2)",
            "T1w, FLAIR",
        ),
        "bridge": config.About(
            "Diffusion bridge: DDBM, Zhou et al., ICLR 2024; SiM2P",
            "14 (1 to 1000)",
            "none (SiM2P)",
            "T1w, FLAIR; age, sex, score if known",
        ),
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)

    @property
    def channels(self) -> list[int]:
        """Of the U-Net's levels."""
        own = self.preset.channels
        return list(CHANNELS[self.method.name] if own is None else own)

    @property
    def time_shift(self) -> float:
        """Shift of a rectified flow's times."""
        if self.preset.time_shift is not None:
            return self.preset.time_shift
        x, y, z = shape_of(self.network)
        return (x * y * z / UNSHIFTED) ** (1 / 3)

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method, preset = self.method, self.preset
        for other in OWN.keys() - {method.name}:
            for key in OWN[other]:
                if getattr(method, key) != getattr(METHODS[other], key):
                    raise ConfigError(f"method.{key} is a key of method={other}; leave it out with {method.name}")
        if preset.time_shift is not None and not 0 < preset.time_shift <= LARGEST_SHIFT:
            raise ConfigError(
                f"preset.time_shift={preset.time_shift} must lie above 0 and be at most {LARGEST_SHIFT}, or null"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset, channels = self.preset, self.channels
        found = told_unet_problems(preset, "time and tracer, which shift channels", channels=channels)
        if preset.attending_levels > len(channels):
            found.append(
                f"preset.attending_levels={preset.attending_levels}: there are {len(channels)} levels (preset.channels)"
            )
        attending = channels[-max(preset.attending_levels, 1) :]
        if preset.num_head_channels and any(n % preset.num_head_channels for n in attending):
            found.append(
                f"preset.num_head_channels={preset.num_head_channels} must divide the channels of levels with "
                f"attention and of the last one: {', '.join(map(str, attending))}; 0 is one head"
            )
        return found


CONFIG = FlowConfig
