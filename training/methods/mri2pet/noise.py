"""The diffusion of MRI2PET as an objective, apart from the losses: what pre-training and training share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from RelAPETLib.diffusion import NoiseSchedule, Parametrization
from RelAPETLib.methods.mri2pet.network import ConditionedUNet
from RelAPETLib.methods.mri2pet.sampling import FIRST
from RelAPETLib.tracers import label_count

from ... import stream
from ..base import Objective, Place, Player, adamw_player
from .config import Mri2PetConfig

#: Of a network in `Mri2PetConfig.preset`.
SIZES = (
    "channels", "num_res_blocks", "bottom_blocks", "norm_num_groups", "attention_heads", "attention_head_channels",
    "attention_residual", "vector_channels", "vector_grid", "code_width",
)  # fmt: skip


class Noise(Objective):
    """The diffusion without its losses of the clean estimate: what pre-training and training share."""

    config: Mri2PetConfig
    #: Weights that the network starts from; None for those of the seed.
    start: dict[str, torch.Tensor] | None = None

    @property
    def parametrization(self) -> Parametrization:
        """The forward process, and what the network gives."""
        method = self.config.method
        schedule = NoiseSchedule("linear", method.beta_start, method.beta_end, method.timesteps)
        return Parametrization(schedule, self.config.preset.prediction)

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `ConditionedUNet` with so many class labels."""
        config = self.config
        found = {**asdict(config.network), **config.preset.arguments(*SIZES)}
        found |= {"conditioning": config.conditioning, "num_class_embeds": labels}
        return {key: value for key, value in found.items() if value is not None}

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        network = ConditionedUNet(**self.arguments(label_count()))
        if self.start is not None:
            network.load_state_dict(self.start)
        return {"network": adamw_player(network, self.config)}

    def predicted(
        self, x0: torch.Tensor, batch: dict, place: Place
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Clean images x0 [N, 1, X, Y, Z] at drawn timesteps: x_t, t [N], the network's target and what it gives."""
        device, schedule = self.fabric.device, self.parametrization.schedule
        mri = self.mri(batch)
        timesteps = schedule.num_timesteps - FIRST
        t, eps = stream.draw(self.config.seed, place.positions, x0.shape[1:], timesteps, device)
        t = (t + FIRST).to(device)
        x_t = schedule.add_noise(x0, eps, t)
        labels = torch.as_tensor(batch["label"]).to(device)
        return x_t, t, self.parametrization.target(x0, eps, t), self.modules["network"](x_t, mri, t, labels)
