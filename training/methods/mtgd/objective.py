"""What MTGD learns: the noise in the PET, beside the MRI, with the tracer hidden now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from RelAPETLib.diffusion import NoiseSchedule, Parametrization
from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.mtgd.network import MultiSequenceDiffusion
from RelAPETLib.methods.mtgd.process import sample_guided
from RelAPETLib.tracers import label_count

from ...stream import NULLS, draw, random_of
from ..base import Bundle, Losses, Objective, Place, Player, Terms, adamw_player
from .config import MtgdConfig

#: Bounds on clean estimates, in the loss as in draws.
CLIP = (-1.0, 1.0)


class MtgdObjective(Objective):
    """One player, which is the library's network."""

    config: MtgdConfig

    def __init__(self, config: MtgdConfig):
        super().__init__(config)
        self.parametrization = Parametrization(NoiseSchedule(**self.schedule), config.preset.prediction)

    @property
    def schedule(self) -> dict[str, Any]:
        """Of the noise, as a bundle has it."""
        method = self.config.method
        return {
            "kind": "linear",
            "beta_start": method.beta_start,
            "beta_end": method.beta_end,
            "num_timesteps": method.timesteps,
        }

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `MultiSequenceDiffusion` with so many class labels."""
        network, preset = self.config.network, self.config.preset
        return {
            **network.arguments(),
            **preset.arguments("channels", "num_res_blocks", "num_heads", "norm_num_groups"),
            "num_class_embeds": labels,
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        return {"network": adamw_player(MultiSequenceDiffusion(**self.arguments(label_count())), self.config)}

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: squared error of what the network gives, and L_I of the clean estimate."""
        config, device = self.config, self.fabric.device
        mri, labels, pet = self.inputs(batch)
        hidden = nulls(config.seed, place.positions, config.method.null_share).to(device)
        labels = labels.masked_fill(hidden, label_count())
        t, eps = draw(config.seed, place.positions, tuple(pet.shape[1:]), config.method.timesteps, device)
        x_t = self.parametrization.schedule.add_noise(pet, eps, t)
        output = self.modules["network"](x_t, mri, t.to(device), labels).float()
        estimate = self.parametrization.clean(x_t, output, t, CLIP)
        terms = {
            "L_eps": functional.mse_loss(output, self.parametrization.target(pet, eps, t)),
            "L_I": functional.l1_loss(estimate, pet),
        }
        loss = terms["L_eps"] + config.image_weight * terms["L_I"] if config.image_weight else terms["L_eps"]
        return {"network": loss}, {"L": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`, by the preset's sampler in `run.validation_steps`."""
        config = self.config
        mri, labels, pet = self.inputs(batch)
        return sample_guided(
            lambda x_t, t, asked: self.modules["network"](x_t, mri, t, asked),
            labels,
            label_count(),
            tuple(pet.shape),
            self.parametrization,
            guidance=config.preset.guidance,
            sampler=config.preset.sampler,
            steps=min(config.run.validation_steps, config.method.timesteps),
            noise=noise,
            clip=CLIP,
        )

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        preset = self.config.preset
        # As many labels as it was trained with, whatever tracers there are by now; the last row is no tracer's.
        arguments = self.arguments(len(weights["network"]["unet.class_embedding.weight"]) - 1)
        network = MultiSequenceDiffusion(**arguments)
        network.load_state_dict(weights["network"], strict=True)
        sampler = {"name": preset.sampler, "steps": preset.sampler_steps, "samples": samples, "clip": list(CLIP)}
        told = {"noise": None, "v": "v", "x0": "the clean PET"}[preset.prediction]
        gives = [f"the network gives {told}, by whose squared error it learns (fork: the noise)"] if told else []
        return Bundle(
            network=network,
            settings={
                "arguments": arguments,
                "schedule": self.schedule,
                "prediction": preset.prediction,
                "sampler": sampler,
                "guidance": preset.guidance,
            },
            title=f"MTGD (preset {preset.name})",
            description="MTGD, as the RelA-Diffusion paper describes it: a diffusion that attends to an encoder a "
            "sequence; trained by RelAPET's training package",
            differences=[f"trained on {trained_on}", *DIFFERENCES, *gives, *self.config.image_difference],
        )


#: What the descriptions that there are do otherwise: the RelA-Diffusion paper's, and a fork's code.
DIFFERENCES = (
    "written from the RelA-Diffusion paper's description and the constants of a fork: no code of the authors is public",
    "the MRI reaches the U-Net by its encoders alone (RelA-Diffusion's comparison: as channels, too)",
    "two sequences, in three dimensions (fork: three, slices)",
    "plain squared error (fork: weighted by the brain, with SSIM, and no noise wanted outside)",
    "the MRI's features are added to those that the U-Net's decoder gets, at every level, and know no timestep (fork: "
    "at two levels, by blocks that do)",
    "the U-Net's encoder is put beside its decoder (fork: added to it)",
    "no tracer has a label of its own (fork: 0)",
    "draws visit equal strides of log-SNR (fork: every tenth timestep)",
)


def nulls(seed: int, positions: list[int], share: float) -> torch.Tensor:
    """For which images (bool [N]) the tracer is hidden; by chance that follows from seed and positions."""
    return torch.tensor([random_of(seed, position, NULLS).random() < share for position in positions])


OBJECTIVE = MtgdObjective
