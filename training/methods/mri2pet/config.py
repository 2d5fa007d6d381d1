"""The configuration of MRI2PET: ``method=mri2pet``, with ``preset=paper`` or ``preset=fair``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ... import config
from ...errors import ConfigError
from ...keys import MOST_SAMPLER_STEPS, Key, Rules, count, weight
from ...sizes import DEEPEST, WIDEST, level_problems, shift_problems
from ..fair import FAIR
from ..image_loss import ImageLossConfig

CONDITIONINGS = ("vector", "spatial", "both")
SAMPLERS = ("ancestral", "dpmpp", "unipc", "ddim", "ddpm")
#: Largest side of what the vector's layers are flattened from.
WIDEST_GRID = 64


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are the paper's and, where it is silent, its authors' settings.

    44,836 steps of pre-training are their 250 epochs of 22,956 MRI.
    """

    name: str = "paper"
    global_batch: int = 128
    epochs: int = 5000
    ema_decay: float = 0.0
    learning_rate: float = 1e-4
    channels: list[int] = field(default_factory=lambda: [8, 16, 32, 64, 128])
    num_res_blocks: int = 2
    bottom_blocks: int = 3
    norm_num_groups: int = 1
    attention_heads: int = 4
    attention_head_channels: int = 32
    attention_residual: bool = False
    conditioning: str = "vector"
    vector_channels: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    vector_grid: list[int] | None = None
    code_width: int = 256
    prediction: str = "noise"
    image_weight: float = 0.0
    sampler: str = "ancestral"
    sampler_steps: int = 999
    sampler_clip: bool = False
    pretrain_steps: int = 44836


#: ``fair`` is for comparisons: a small network that sees the MRI voxel by voxel too and gives the clean image, the
#: image loss that all methods get, and a sampler that a CPU can wait for.
PRESETS = {
    "paper": Preset(),
    "fair": Preset(
        **FAIR,
        learning_rate=5e-4,
        channels=[16, 32, 40],
        num_res_blocks=1,
        norm_num_groups=4,
        attention_residual=True,
        conditioning="both",
        vector_channels=[8, 16, 32],
        vector_grid=[3, 4, 3],
        code_width=128,
        prediction="x0",
        image_weight=1.0,
        sampler="dpmpp",
        sampler_steps=20,
        sampler_clip=True,
        pretrain_steps=1000,
    ),
}


@dataclass
class Method(config.Method):
    """The diffusion, its losses, and how the network is told the MRI."""

    name: str = "mri2pet"
    timesteps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.02
    laplacian_weight: float = 0.25
    image_weight: float | None = None
    conditioning: str | None = None
    pretrained: str = ""


@dataclass
class Pretrain:
    """The pre-training on MRI without PET."""

    steps: int | None = None
    cache: str = ""


@dataclass
class Run(config.Run):
    """Clipped as the authors do. Near t = T the losses of the clean estimate are divided by abar = 2e-5."""

    clip_gradients: float = 0.5
    largest_loss: float = 1e7


RULES = Rules({
    "method.timesteps": Key("T, timesteps of the diffusion; t = 0 is left out", least=2, most=MOST_SAMPLER_STEPS),
    "method.beta_start": Key("first beta, which grow linearly", above=0, below=1),
    "method.beta_end": Key("last beta", above=0, below=1),
    "method.laplacian_weight": weight("weight of L_Lap, the squared errors of five band-pass levels"),
    "method.conditioning": Key(
        "how the network is told the MRI: vector (the paper's), spatial, both; null: preset.conditioning"
    ),
    "method.pretrained": Key(
        "folder of another run whose pre-trained network this one starts from; empty: it pre-trains itself",
        place=True, free=True,
    ),
    "pretrain.steps": Key(
        "steps of pre-training on MRI in the style of PET, before the training; 0: none; null: preset.pretrain_steps"
    ),
    "pretrain.cache": Key(
        "another cache of 'prepare', perhaps of --mri-only, whose MRI are pre-trained on; empty: those of the "
        "training people",
        place=True,
        free=True,
    ),
    "preset.learning_rate": Key("learning rate", above=0),
    "preset.channels": Key("channels of the U-Net's levels; the grid is halved from one to the next"),
    "preset.num_res_blocks": Key("double convolutions a level, all but the last residual"),
    "preset.bottom_blocks": count("double convolutions at the bottom", most=32),
    "preset.norm_num_groups": Key("groups of the U-Net's normalisation; must divide all channels"),
    "preset.attention_heads": count("heads of the linear attention behind each level", most=64),
    "preset.attention_head_channels": count("channels of each", most=WIDEST),
    "preset.attention_residual": Key("add what goes into the attention to what comes out; the paper does not"),
    "preset.conditioning": Key("how the network is told the MRI, unless method.conditioning says it", CONDITIONINGS),
    "preset.vector_channels": Key("channels of the layers that make a vector of the MRI; each halves the grid"),
    "preset.vector_grid": Key("sides [X,Y,Z] of their features, averaged; null: as the layers leave them"),
    "preset.code_width": count("numbers of that vector and of the timestep's code; even", least=2, most=WIDEST),
    "preset.prediction": Key(
        "what the network gives and is judged by: noise (paper), v, or x0, the clean image",
        ("noise", "v", "x0"),
    ),
    "preset.sampler": Key("sampler of the bundle; ancestral adds noise of variance beta, the paper's", SAMPLERS),
    "preset.sampler_steps": count("its network calls, at most method.timesteps - 1", most=MOST_SAMPLER_STEPS),
    "preset.sampler_clip": Key("clip the clean estimate to [-1, 1] while sampling"),
    "preset.pretrain_steps": count("steps of pre-training, unless pretrain.steps says how many", least=0),
})  # fmt: skip


@dataclass
class Mri2PetConfig(ImageLossConfig):
    """A run of MRI2PET."""

    groups = {"method": {"mri2pet": Method()}, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    about = {
        "mri2pet": config.About(
            "MRI2PET: Theodorou et al.",
            "999 (1 to 999); preset=fair 20",
            "none",
            "T1w, FLAIR; pre-trains on MRI",
        )
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    pretrain: Pretrain = field(default_factory=Pretrain)
    run: Run = field(default_factory=Run)

    @property
    def conditioning(self) -> str:
        """How the network is told the MRI."""
        return self.method.conditioning or self.preset.conditioning

    @property
    def pretrain_steps(self) -> int:
        """Steps of this run's own pre-training; 0 for none."""
        if self.method.pretrained:
            return 0
        return self.preset.pretrain_steps if self.pretrain.steps is None else self.pretrain.steps

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method, preset, pretrain = self.method, self.preset, self.pretrain
        if method.beta_start > method.beta_end:
            raise ConfigError(f"method.beta_start={method.beta_start} is above method.beta_end={method.beta_end}")
        if method.conditioning is not None and method.conditioning not in CONDITIONINGS:
            raise ConfigError(
                f"method.conditioning={method.conditioning} is not one of {', '.join(CONDITIONINGS)}, or null"
            )
        if pretrain.steps is not None and pretrain.steps < 0:
            raise ConfigError(f"pretrain.steps={pretrain.steps} must be at least 0, or null")
        if method.pretrained and pretrain.steps:
            raise ConfigError(
                f"pretrain.steps={pretrain.steps}: with method.pretrained the pre-training is another run's; leave one"
            )
        if pretrain.cache and not self.pretrain_steps:
            raise ConfigError("pretrain.cache: there is no pre-training; give pretrain.steps, or leave it out")
        if preset.sampler_steps >= method.timesteps:
            raise ConfigError(
                f"preset.sampler_steps={preset.sampler_steps} must be below method.timesteps={method.timesteps}"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = level_problems("preset", preset.channels, preset.num_res_blocks, preset.norm_num_groups)
        found += shift_problems(preset.channels, preset.norm_num_groups, "time and tracer, which shift channels")
        if len(preset.channels) < 2:
            found.append(f"preset.channels={preset.channels}: two levels or more are wanted")
        layers, grid = preset.vector_channels, preset.vector_grid
        if not 1 <= len(layers) <= DEEPEST or not all(1 <= n <= WIDEST for n in layers):
            found.append(f"preset.vector_channels={layers}: 1 to {DEEPEST} numbers between 1 and {WIDEST} are wanted")
        if grid is not None and (len(grid) != 3 or not all(1 <= n <= WIDEST_GRID for n in grid)):
            found.append(f"preset.vector_grid={grid}: three numbers between 1 and {WIDEST_GRID} are wanted, or null")
        if preset.code_width % 2:
            found.append(f"preset.code_width={preset.code_width} must be even, for pairs of sine and cosine")
        return found


CONFIG = Mri2PetConfig
