"""The configuration of RelA-Diffusion: its ablations and forms, and what cannot be among them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from RelAPETLib.diffusion import PREDICTIONS, SAMPLERS, SCHEDULES, WEIGHTINGS
from RelAPETLib.methods.base import MEAN_PET

from ... import config
from ...autoencoder_config import RULES as AUTOENCODER_RULES
from ...autoencoder_config import Autoencoder
from ...errors import ConfigError
from ...keys import MOST_SAMPLER_STEPS, Key, Rules, count, weight
from ...sizes import WIDEST
from ...unet_config import NETWORKS, Network
from ...unet_config import RULES as UNET_RULES
from ..mean_pet import check_regression
from .presets import AUTOENCODERS, PRESETS, Preset
from .sizes import size_problems


@dataclass
class Method(config.Method):
    """Which terms the objective has, and where the diffusion happens."""

    name: str = "rela"
    noise_weight: float = 1.0
    image_weight: float = 1.0
    adversarial: bool = True
    latent: bool = False


METHODS = {
    "rela": Method(),
    "rela_latent": Method(name="rela_latent", latent=True),
    "ficd": Method(name="ficd", adversarial=False),
    "ddpm": Method(name="ddpm", image_weight=0.0, adversarial=False),
}


@dataclass
class Ablation:
    """What is taken out of the full method (section 5.3 of the paper)."""

    name: str = "none"
    relativistic: bool = True
    penalty: bool = True
    t1w: bool = True
    t2f: bool = True


ABLATIONS = {
    "none": Ablation(),
    "wo_ra": Ablation("wo_ra", relativistic=False),
    "wo_gp": Ablation("wo_gp", penalty=False),
    "wo_ra_gp": Ablation("wo_ra_gp", relativistic=False, penalty=False),
    "wo_t2f": Ablation("wo_t2f", t2f=False),
    "wo_t1w": Ablation("wo_t1w", t1w=False),
}


@dataclass
class Latent:
    """How the latent variant makes its latents and shows the MRI to the generator."""

    name: str = "autoencoded"
    components: int = 24
    targets: str = "components"
    registered: str = ""
    embedding: int = 2
    explained: float = 0.2
    jitter: float = 0.5
    width: int = 128
    local_mri: bool = False
    mode_steps: int = 0
    mode_batch: int = 256
    judged: str = "image"


#: ``autoencoded`` is section 5.2 of the paper: T1w, T2F and PET are coded, the generator sees their latents.
#: ``regression`` is the demo model: a PET's difference from the tracer's mean is coded, a ridge regression on the MRI
#: predicts its latent, and what that leaves is diffused; made for 2 mm voxels (network.factor=2, cells of 8).
#: ``conditional`` is the same with a generator that sees the MRI, by some scores of the regression.
LATENTS = {name: Latent(name=name) for name in ("autoencoded", "regression", "conditional")}
#: Those that stand on the regression.
REGRESSIONS = ("regression", "conditional")
#: What the regression is fitted to, see `training.methods.rela.latent.ridge.targets_of`.
TARGETS = ("components", "regions")
#: Value of `preset.mean_pet` that other keys decide.
AUTO = "auto"


RULES = Rules({
    "method.noise_weight": weight("weight of L_N, the error of the predicted noise (eq. 5)"),
    "method.image_weight": weight("weight of L_I, the error of the clean estimate (eq. 8)"),
    "method.adversarial": Key("train a discriminator too, with the relativistic loss and its gradient penalty"),
    "method.latent": Key("diffuse the latents of autoencoders instead of voxels"),
    "preset.beta_schedule": Key(
        "noise schedule; scaled-linear is linear in sqrt(beta)", SCHEDULES
    ),
    "preset.beta_start": Key("first beta of the noise schedule", above=0, below=1),
    "preset.beta_end": Key("its last beta, not below the first", above=0, below=1),
    "preset.prediction": Key(
        "what the generator learns to predict: noise (the paper), v (arXiv 2202.00512), x0, or EDM's output (arXiv "
        "2206.00364); its error is L_N",
        PREDICTIONS,
    ),
    "preset.loss_weighting": Key("weight of L_N by timestep; min_snr is that of arXiv 2303.09556", WEIGHTINGS),
    "preset.zero_terminal_snr": Key(
        "no signal at the last timestep (arXiv 2305.08891); not where noise is predicted"
    ),
    "preset.mean_pet": Key(
        "use of the tracer's mean PET in training: none; input: another channel of the generator; residual: that, and "
        "the PET's difference from it is diffused, scaled to SD 1; regression: as residual, but the difference from "
        "the PET that a ridge regression expects of the MRI (arXiv 2309.15214 has a network there); in voxels; auto: "
        "regression, and residual where that cannot be: in latents, with data.augment and with data.drop_t2f",
        (AUTO, *MEAN_PET),
    ),
    "preset.first_timestep": Key(
        "number that the first timestep has in the generator's embedding: 1 (the paper's 1..T) or 0", (0, 1)
    ),
    "preset.adversarial_weight": weight("weight of the adversarial part, L_R + L_G"),
    "preset.adversarial_start_epoch": weight("epochs before the adversarial part begins"),
    "preset.relativistic_loss": Key(
        "softplus; 'printed' is eq. 9 as printed, unbounded below for both players, and refused"
    ),
    "preset.penalty_gamma": weight("gamma of the gradient penalty, gamma / 2 (R1 + R2)"),
    "preset.penalty_reduction": Key(
        "full: squared norm of the whole gradient; release: averaged over the last axis", ("full", "release")
    ),
    "preset.penalty_one_by_one": Key(
        "give the discriminator one image at a time for the penalty; matters with batch norm"
    ),
    "preset.discriminator_norm": Key("normalisation in the discriminator", ("group", "batch")),
    "preset.clamp_clean_estimate": Key(
        "with prediction=noise, clamp the clean estimate to [-1, 1] in the losses; no gradient where it is clamped"
    ),
    "preset.generator_learning_rate": Key("learning rate of the generator", above=0),
    "preset.discriminator_learning_rate": Key("learning rate of the discriminator", above=0),
    "preset.sampler": Key("sampler that an exported model uses", SAMPLERS, free=True),
    "preset.sampler_steps": count("steps of that sampler", most=MOST_SAMPLER_STEPS, free=True),
    "preset.sampler_clip": Key(
        "clamp the clean estimate to [-1, 1] while sampling; wanted where training clamped it", free=True, judging=True
    ),
    "preset.missing_sequence": Key(
        "what wo_t1w and wo_t2f do: drop the channel, or blank it with background", ("drop", "blank")
    ),
    "ablation.name": Key("name of the ablation, for the metadata"),
    "ablation.relativistic": Key("relativistic adversarial loss; without it a standard GAN's"),
    "ablation.penalty": Key("gradient penalty"),
    "ablation.t1w": Key("the generator sees the T1w"),
    "ablation.t2f": Key("the generator sees the T2-FLAIR"),
    "latent.name": Key("name of the latent form, for the metadata"),
    "latent.components": count(
        "latent=regression or conditional: principal components of the latent that the MRI predicts, and directions "
        "that are whitened"
    ),
    "latent.targets": Key(
        "latent=regression or conditional: what the regression is fitted to: components of the latent, or the regions' "
        "mean uptake first, and components of what that leaves",
        TARGETS,
    ),
    "latent.registered": Key(
        "latent=regression or conditional: cache of some training people from raw scans, for what registration does",
        place=True,
        free=True,
    ),
    "latent.embedding": count("latent=conditional: scores of the regression, a tracer, that the generator sees"),
    "latent.explained": weight(
        "latent=conditional: of the components whose scores the generator sees, those of whose variance the regression "
        "explains less than this share are left to the generator whole",
        below=1,
    ),
    "latent.jitter": weight(
        "latent=conditional: SD of the noise on these scores in training, in their own SD; keeps the generator from "
        "knowing the training people by them"
    ),
    "latent.width": count(
        "latent=conditional: hidden units of the perceptron that denoises whole-brain modes", most=WIDEST
    ),
    "latent.local_mri": Key("latent=conditional: the U-Net sees the MRI's block features around each place"),
    "latent.mode_steps": count(
        "latent=conditional: steps in which that perceptron is trained before the U-Net, by itself; 0: with it", least=0
    ),
    "latent.mode_batch": count("latent=conditional: images in such a step"),
    "latent.judged": Key(
        "what the discriminator judges: image, the decoded latent, as in the paper; the latent itself; or modes, its "
        "whole-brain modes, while latent.mode_steps train them",
        ("image", "latent", "modes"),
    ),
})  # fmt: skip


CALLS = "20 (1 to 1000); preset=paper or release 1000"
ABOUT = {
    "rela": config.About("RelA-Diffusion: Yu et al., arXiv 2602.21345", CALLS, "Apache-2.0", "T1w, FLAIR"),
    "rela_latent": config.About(
        "RelA-Diffusion-Latent: Yu et al., arXiv 2602.21345, section 5.2", CALLS, "Apache-2.0", "T1w, FLAIR"
    ),
    "ficd": config.About("FICD: Yu et al., arXiv 2405.02504", CALLS, "no code", "T1w, FLAIR"),
    "ddpm": config.About("DDPM: Ho et al., arXiv 2006.11239", CALLS, "no code used", "T1w, FLAIR"),
}


@dataclass
class RelaConfig(config.TrainConfig):
    """A run of RelA-Diffusion."""

    groups = {
        "method": METHODS,
        "preset": PRESETS,
        "network": NETWORKS,
        "autoencoder": AUTOENCODERS,
        "ablation": ABLATIONS,
        "latent": LATENTS,
    }
    follows = {"network": "preset", "autoencoder": "preset"}
    rules = config.TrainConfig.rules | UNET_RULES | AUTOENCODER_RULES | RULES
    renamed = {"latent.prediction": "preset.prediction"}
    about = ABOUT

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=Network)
    ablation: Ablation = field(default_factory=Ablation)
    latent: Latent = field(default_factory=Latent)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)

    @property
    def trains_modes(self) -> bool:
        """Whether the perceptron of whole-brain modes is trained before the U-Net."""
        return self.method.latent and self.latent.name == "conditional" and self.latent.mode_steps > 0

    @property
    def base_steps(self) -> int:
        """Steps of a U-Net without MRI that a ControlNet then steers; 0 where the generator sees the MRI itself."""
        return 0

    def settle(self) -> None:
        """See `TrainConfig.settle`."""
        if self.preset.mean_pet == AUTO:
            fits = not (self.method.latent or self.data.augment or self.data.drop_t2f)
            # The preset may be the one that all configurations share.
            self.preset = replace(self.preset, mean_pet="regression" if fits else "residual")

    def check(self) -> None:
        """See `TrainConfig.check`."""
        if self.preset.relativistic_loss != "softplus":
            raise ConfigError(
                "preset.relativistic_loss: eq. 9 as printed is unbounded below for both players; only softplus can be "
                "run"
            )
        ablation, method = self.ablation, self.method
        if not method.adversarial and not (ablation.relativistic and ablation.penalty):
            raise ConfigError(f"ablation={ablation.name} takes out a part that method={method.name} does not have")
        check_regression(self.preset.mean_pet, self.data, method.latent)
        if method.latent:
            _check_latent(self)
        if method.latent and self.hardware.strategy == "fsdp":
            raise ConfigError("hardware.strategy=fsdp: the latent variant's networks are small; use ddp")
        if self.preset.zero_terminal_snr and self.preset.prediction == "noise":
            raise ConfigError(
                "preset.zero_terminal_snr: noise says nothing at a timestep without signal; use preset.prediction=v, "
                "x0 or edm with it"
            )
        if not (ablation.t1w or ablation.t2f):
            raise ConfigError("ablation: without T1w and T2F there is nothing to synthesize from")
        if self.preset.beta_start > self.preset.beta_end:
            raise ConfigError(
                f"preset.beta_start={self.preset.beta_start} is above preset.beta_end={self.preset.beta_end}; noise "
                "grows with the timesteps, so give a smaller first beta or a larger last one"
            )
        if method.noise_weight == 0 and method.image_weight == 0:
            raise ConfigError("method: with noise_weight=0 and image_weight=0 nothing teaches the generator")

    def size_problems(self) -> list[str]:
        """See `TrainConfig.size_problems`."""
        return size_problems(self)

    def check_ranks(self, ranks: int) -> None:
        """See `TrainConfig.check_ranks`."""
        preset, coder = self.preset, self.autoencoder
        if self.method.adversarial and preset.adversarial_weight:
            self._check_batch_norm("hardware.micro_batch", self.hardware.micro_batch, preset.global_batch)
        if self.method.latent and not coder.source:
            if coder.batch % ranks:
                raise ConfigError(f"autoencoder.batch={coder.batch} is no multiple of {ranks} ranks")
            if coder.adversarial_weight:
                self._check_batch_norm(f"autoencoder.batch / {ranks} ranks", coder.batch // ranks, coder.batch)

    def _check_batch_norm(self, key: str, images: int, batch: int) -> None:
        """One image at a time is right where the batch is one, as the release has it, and nowhere else."""
        if self.preset.discriminator_norm == "batch" and images == 1 < batch:
            raise ConfigError(
                f"preset.discriminator_norm=batch: with {key}=1 the discriminator would normalise over one image of "
                f"the batch of {batch}; use {key}={batch} (or at least 2), or preset.discriminator_norm=group"
            )


def _check_latent(config: RelaConfig) -> None:
    """What cannot be in the latent variant."""
    network, latent = config.network, config.latent
    if network.crop is not None:
        raise ConfigError("network.crop: the latent variant codes whole volumes; leave it out")
    if config.preset.mean_pet == "input" and latent.name in REGRESSIONS:
        raise ConfigError(
            f"preset.mean_pet=input: latent={latent.name} codes the difference from the tracer's mean PET and shows "
            "none to its generator; use residual or none, which are the same there"
        )
    if config.data.augment:
        raise ConfigError("data.augment: in the latent variant volumes are coded once, before training; leave it off")
    if config.data.drop_t2f:
        raise ConfigError(
            "data.drop_t2f: in the latent variant volumes are coded once, before training, with both sequences; use 0, "
            "or a method that works on voxels"
        )
    if latent.name in REGRESSIONS:
        if latent.embedding > latent.components:
            raise ConfigError(
                f"latent.embedding={latent.embedding}: there are only latent.components={latent.components} scores"
            )
        _check_prediction(config)
        if latent.name == "conditional" and config.preset.first_timestep:
            raise ConfigError("preset.first_timestep: latent=conditional counts timesteps from 0; use 0 with it")
        if latent.judged == "modes" and not config.trains_modes:
            raise ConfigError("latent.judged=modes: only latent=conditional with latent.mode_steps trains modes")
        if not (config.ablation.t1w and config.ablation.t2f):
            raise ConfigError(f"ablation={config.ablation.name}: latent={latent.name} needs T1w and T2F")
    elif latent.registered or latent.targets != TARGETS[0]:
        key = "registered" if latent.registered else "targets"
        raise ConfigError(f"latent.{key} is for latent=regression or latent=conditional")


def judges_modes(config: RelaConfig) -> bool:
    """Whether the discriminator is one of whole-brain modes, so that none is trained with the U-Net."""
    return config.method.adversarial and config.method.latent and config.latent.judged == "modes"


def _check_prediction(config: RelaConfig) -> None:
    """What a form that stands on the regression can predict."""
    preset, form = config.preset, config.latent.name
    if form == "regression" and preset.prediction != "v":
        raise ConfigError("latent=regression predicts v; use preset.prediction=v with it")
    if form == "conditional" and preset.prediction == "noise":
        raise ConfigError("latent=conditional samples by clean estimates; use preset.prediction=edm, v or x0 with it")
    if preset.zero_terminal_snr:
        raise ConfigError(f"preset.zero_terminal_snr: latent={form} works on the plain schedule")


CONFIG = RelaConfig
