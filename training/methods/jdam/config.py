"""The configuration of JDAM: ``method=jdam``, or ``sde`` without the MRI; with ``preset=fair`` or ``preset=paper``."""

from __future__ import annotations

from dataclasses import dataclass, field

from RelAPETLib.methods.jdam import OUTPUTS, PREDICTORS

from ... import config
from ...errors import ConfigError
from ...keys import Key, Rules, count
from .. import told_unet
from ..fair import FAIR
from ..image_loss import ImageLossConfig
from ..told_unet import told_unet_problems


@dataclass
class Preset(config.Preset):
    """Sizes and constants; the defaults are those of ``fair``, for comparisons: small, with L_I, and 100 calls."""

    name: str = "fair"
    learning_rate: float = 5e-4
    channels: list[int] = field(default_factory=lambda: [16, 32, 40])
    attention_levels: list[bool] = field(default_factory=lambda: [False, False, False])
    num_res_blocks: int = 1
    norm_num_groups: int = 4
    gives: str = "clean"
    sigma_max: float | None = None
    calls: int = 100
    predictor: str = "ancestral"
    image_weight: float = 1.0


#: ``paper`` has the paper's constants and, where it is silent, its authors' settings.
PRESETS = {
    "paper": Preset(
        name="paper",
        global_batch=1,
        epochs=1000,
        learning_rate=2e-4,
        channels=[128, 128, 256, 256, 256, 256, 256],
        attention_levels=[False, False, False, True, False, False, False],
        num_res_blocks=2,
        norm_num_groups=32,
        gives="score",
        sigma_max=348.0,
        calls=2000,
        predictor="reverse",
        image_weight=0.0,
    ),
    "fair": Preset(**FAIR),
}


@dataclass
class Method(config.Method):
    """The noise and the losses."""

    name: str = "jdam"
    sigma_min: float = 0.01
    snr: float = 0.075
    image_weight: float | None = None


METHODS = {"jdam": Method(), "sde": Method(name="sde")}


@dataclass
class Run(config.Run):
    """Gradients are clipped as the authors do."""

    clip_gradients: float = 1.0


RULES = told_unet.RULES | Rules({
    "method.sigma_min": Key("SD of the least noise, for images in [-1, 1]", above=0, below=1),
    "method.snr": Key("ratio of image to noise that sets the size of the sampler's Langevin steps", above=0, most=1),
    "preset.learning_rate": Key("learning rate", above=0),
    "preset.attention_levels": Key("which levels attend to themselves, one true or false a level"),
    "preset.gives": Key(
        "what the U-Net gives: the score times sigma (paper), the clean image, or that by Karras's c_skip and c_out",
        OUTPUTS,
    ),
    "preset.sigma_max": Key("SD of the most noise; null: largest distance between two PET of the training set"),
    "preset.calls": count("network calls of a sample when nobody says, two a step", most=2000),
    "preset.predictor": Key(
        "the sampler's step: reverse diffusion (paper), or ancestral with bounded clean estimates, for few calls",
        PREDICTORS,
    ),
})  # fmt: skip


def _about(what: str, needs: str) -> config.About:
    return config.About(what, "2000 (1 to 2000); preset=fair 100", "Apache-2.0 (in its headers)", needs)


@dataclass
class JdamConfig(ImageLossConfig):
    """A run of JDAM or SDE."""

    groups = {"method": METHODS, "preset": PRESETS}
    rules = ImageLossConfig.rules | RULES
    about = {
        "jdam": _about("JDAM: Xie et al., Med. Phys. 2023", "T1w, FLAIR"),
        "sde": _about("JDAM without the MRI, its paper's ablation; a control", "nothing of a person"),
    }

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=lambda: PRESETS["paper"])
    run: Run = field(default_factory=Run)

    @property
    def sees_mri(self) -> bool:
        """Whether T1w and T2F are channels beside the noisy PET; not for ``sde``, the paper's ablation."""
        return self.method.name == "jdam"

    def check(self) -> None:
        """See `TrainConfig.check`."""
        super().check()
        method, preset = self.method, self.preset
        if preset.sigma_max is not None and not method.sigma_min < preset.sigma_max <= 1e5:
            raise ConfigError(
                f"preset.sigma_max={preset.sigma_max} must be above method.sigma_min={method.sigma_min} and at most "
                "100000, or null"
            )

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        preset = self.preset
        found = told_unet_problems(preset, "sigma and tracer, which shift channels", "sigma")
        if len(preset.attention_levels) != len(preset.channels):
            found.append("preset.channels and preset.attention_levels must be lists of the same length")
        return found


CONFIG = JdamConfig
