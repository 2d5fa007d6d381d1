"""What MRI2PET learns: the noise in a PET, or the PET itself, and the PET's details at five scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.mri2pet.network import ConditionedUNet
from RelAPETLib.methods.mri2pet.sampling import FIRST, draw

from ...errors import ConfigError
from ..base import Bundle, Losses, Place, Stage, Terms, Work
from .config import Mri2PetConfig
from .losses import laplacian
from .noise import Noise
from .pretraining import NAME, Pretraining, pretrained

if TYPE_CHECKING:
    from ...trainer import RunData

#: Bounds of the clean estimate where it is clipped.
CLIP = (-1.0, 1.0)


class Mri2PetObjective(Noise):
    """One player, which is the library's network."""

    def stages(self, work: Work) -> RunData | None:
        """See `Objective.stages`: the pre-training, or its result from another run."""
        ready, self.start = pretrained(work, self.config)
        return work.data if ready else None

    def check_pretraining(self) -> None:
        """See `Objective.check_pretraining`."""
        if self.config.method.pretrained:
            raise ConfigError("method.pretrained: another run has pre-trained already; leave it out to pre-train")
        if not self.config.pretrain_steps:
            raise ConfigError("pretrain.steps=0: nothing to pre-train; give a number of steps")

    def pretrain(self, work: Work) -> bool:
        """See `Objective.pretrain`."""
        ready, _ = pretrained(work, self.config)
        if ready:
            work.fabric.print(f"{NAME} done; train takes it by method.pretrained={self.config.out}")
        return ready

    def trainings_before(self) -> list[Stage]:
        """See `Objective.trainings_before`."""
        steps = self.config.pretrain_steps
        return [Stage(NAME, Pretraining(self.config).build(), steps)] if steps else []

    def rehearsal(self, data: RunData, steps: int, ranks: int) -> tuple[Mri2PetConfig, RunData]:
        """See `Objective.rehearsal`."""
        config = self.config
        if config.pretrain_steps:
            config = replace(config, pretrain=replace(config.pretrain, steps=steps))
        return config, data

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: eq. 4."""
        config, pet = self.config, batch["pet"].to(self.fabric.device)
        x_t, t, target, made = self.predicted(pet, batch, place)
        estimate = self.parametrization.clean(x_t, made, t)
        terms = {
            "L_eps": functional.mse_loss(made, target),
            "L_Lap": laplacian(estimate, pet),
            "L_I": functional.l1_loss(estimate, pet),
        }
        loss = terms["L_eps"] + config.method.laplacian_weight * terms["L_Lap"] + config.image_weight * terms["L_I"]
        return {"network": loss}, {"L": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: by DPM-Solver++ (or `sampler`) on clipped estimates, since few steps have to do."""
        device, config = self.fabric.device, self.config
        mri = self.mri(batch)
        labels = torch.as_tensor(batch["label"]).to(device)
        steps = min(config.run.validation_steps, self.parametrization.schedule.num_timesteps - FIRST)
        return draw(
            lambda x_t, t: self.modules["network"](x_t, mri, t, labels),
            (len(mri), 1, *mri.shape[2:]),
            self.parametrization,
            self.sampler or "dpmpp",
            steps,
            noise,
            CLIP,
            device,
        )

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        config, preset = self.config, self.config.preset
        # As many labels as it was trained with, whatever tracers there are by now.
        arguments = self.arguments(len(weights["network"]["class_embedding.weight"]))
        network = ConditionedUNet(**arguments)
        network.load_state_dict(weights["network"], strict=True)
        own = self.parametrization.schedule
        schedule = {name: getattr(own, name) for name in ("kind", "beta_start", "beta_end", "num_timesteps")}
        sampler = {"name": preset.sampler, "steps": preset.sampler_steps, "samples": samples}
        sampler["clip"] = list(CLIP) if preset.sampler_clip else None
        before = "pre-trained on MRI in the style of PET" if self.is_pretrained else "without pre-training"
        return Bundle(
            network=network,
            settings={
                "arguments": arguments,
                "schedule": schedule,
                "prediction": preset.prediction,
                "sampler": sampler,
            },
            title=f"MRI2PET (preset {preset.name}, conditioning {config.conditioning})",
            description=f"MRI2PET (Theodorou et al.): a diffusion of the PET with a Laplacian pyramid loss, {before}, "
            "trained by RelAPET's training package",
            differences=[f"trained on {trained_on} (paper: 2,017 PET of ADNI)", *self.differences()],
        )

    @property
    def is_pretrained(self) -> bool:
        """Whether the run starts from a pre-trained network."""
        return bool(self.config.pretrain_steps or self.config.method.pretrained)

    def differences(self) -> list[str]:
        """What the paper does otherwise."""
        config, found = self.config, list(DIFFERENCES)
        if config.conditioning != "vector":
            found.append("the network sees T1w and T2-FLAIR voxel by voxel (paper: by one vector of the T1w alone)")
        if config.preset.attention_residual:
            found.append("attention is added to what goes into it (paper: takes its place)")
        if config.preset.prediction != "noise":
            gives = {"x0": "the clean image", "v": "v"}[config.preset.prediction]
            found.append(f"the network gives {gives}, by whose squared error it learns (paper: the noise)")
        found += config.image_difference
        found.append(STYLE if self.is_pretrained else "no pre-training (paper: 250 epochs on 22,956 MRI)")
        return found


#: What the paper does otherwise, whatever the configuration.
DIFFERENCES = (
    "the network is told the tracer, and sees the T2-FLAIR too (paper: one tracer, T1w)",
    "the Laplacian pyramid is three-dimensional (paper: slice by slice)",
    "MRI and PET in [-1, 1] (its authors: MRI in [0, 1], PET as z-scores of all)",
    "sampling ends at the clean estimate from t = 1 (paper: at t = 0, with a little noise left)",
)
STYLE = (
    "in pre-training, style is the mean and SD of the channels of a discrete cosine transform (paper: VGG19's features)"
)

OBJECTIVE = Mri2PetObjective
