"""What a flow learns: the velocity of a straight path, or a bridge's preconditioned clean PET, at random times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from RelAPETLib.clinical import CLINICAL
from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.flows.bridge import Bridge
from RelAPETLib.methods.flows.network import FlowNetwork
from RelAPETLib.methods.flows.process import LONGEST, Path
from RelAPETLib.methods.flows.straight import RectifiedFlow
from RelAPETLib.tracers import label_count

from ...data.dataset import PetDataset
from ...stream import TIME, draw, random_of
from ..base import Bundle, Losses, Objective, Place, Player, Terms, Work, adamw_player
from ..clinical import clinical_moments, clinical_of, hidden
from .config import FlowConfig

if TYPE_CHECKING:
    from ...trainer import RunData


class FlowObjective(Objective):
    """One player, which is the library's network."""

    config: FlowConfig
    #: Mean and SD of the clinical values of the training people.
    moments: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def path(self) -> Path:
        """From the PET to what a draw starts from."""
        method = self.config.method
        if method.name == Bridge.kind:
            return Bridge(method.beta_d, method.beta_min, method.first_time, method.churn, method.sigma_data)
        return RectifiedFlow(self.config.time_shift)

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `FlowNetwork` with so many class labels."""
        network, preset = self.config.network, self.config.preset
        return {
            **network.arguments(),
            "channels": self.config.channels,
            **preset.arguments("num_res_blocks", "attending_levels", "num_head_channels", "norm_num_groups"),
            "num_class_embeds": labels,
            "clinical": self.config.method.clinical,
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        network = FlowNetwork(**self.arguments(label_count()))
        if self.moments is not None:
            network.tokens.center.copy_(self.moments[0])
            network.tokens.scale.copy_(self.moments[1])
        return {"network": adamw_player(network, self.config)}

    def stages(self, work: Work) -> RunData:
        """See `Objective.stages`: only looks at the clinical values, where they are used."""
        if self.config.method.clinical and isinstance(work.data.train, PetDataset):
            self.moments = clinical_moments(work.data.train)
        return work.data

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        device, config, method, path = self.fabric.device, self.config, self.config.method, self.path
        x0, labels = batch["pet"].to(device), torch.as_tensor(batch["label"]).to(device)
        mri = self.mri(batch)
        _, eps = draw(config.seed, place.positions, x0.shape[1:], 1, device)
        t = path.times(chances(config.seed, place.positions, method.time == "logit_normal"))
        x_t = path.noised(x0, mri[:, :1], t, eps)
        clinical = hidden(clinical_of(batch), config.seed, place.positions, method.hidden_share).to(device)
        told = path.told(t).to(device, torch.float32)
        output = self.modules["network"](path.seen(x_t, t), mri, told, labels, clinical).to(x0)
        error = output - path.target(x0, x_t, eps, t)
        fit = error.abs().mean() if method.power == 1 else error.square().mean()
        terms = {"L_fit": fit, "L_I": (path.clean(x_t, output, t) - x0).abs().mean()}
        loss = fit + config.image_weight * terms["L_I"]
        return {"network": loss}, {"L": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: without clinical values, as a synthesis has none unless they are given."""
        device, path = self.fabric.device, self.path
        mri = self.mri(batch)
        labels = torch.as_tensor(batch["label"]).to(device)
        unknown = torch.full((len(mri), len(CLINICAL)), torch.nan, device=device)
        return path.sample(
            lambda x_t, told: self.modules["network"](x_t, mri, told, labels, unknown),
            mri[:, :1],
            noise,
            path.samplers[0],
            min(self.config.run.validation_steps, LONGEST),
        )

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        config, path = self.config, self.path
        # As many labels as it was trained with, whatever tracers there are by now.
        arguments = self.arguments(len(weights["network"]["unet.class_embedding.weight"]))
        network = FlowNetwork(**arguments)
        network.load_state_dict(weights["network"], strict=True)
        steps = config.method.steps
        title, description, paper_data, differences = WORDS[path.kind]
        return Bundle(
            network=network,
            settings={
                "arguments": arguments,
                "path": {"kind": path.kind, **asdict(path)},
                "steps": steps,
                "samples": samples,
            },
            title=f"{title} (preset {config.preset.name})",
            description=f"{description}, {steps} network calls a sample, trained by RelAPET's training package",
            differences=[f"trained on {trained_on} (paper: {paper_data})", *differences, *self.config.image_difference],
        )


#: Title, description, data of the paper, and what the paper does otherwise, by path.
WORDS = {
    RectifiedFlow.kind: (
        "Rectified flow",
        "Rectified flow (Liu et al., ICLR 2023): a straight path from Gaussian noise to the PET",
        "natural images; MAISI-v2's are CT",
        (
            "the network sees the MRI of which noise becomes a PET (Rectified Flow: no condition; MAISI-v2: by a "
            "ControlNet)",
            "voxels are transported (MAISI-v2: the latents of an autoencoder)",
            "one flow, without reflow or distillation",
            "MONAI's U-Net, which halves and doubles the grid by convolutions (MAISI-v2's by residual blocks)",
            "a moving average of the weights is kept (MAISI-v2: none)",
        ),
    ),
    Bridge.kind: (
        "Diffusion bridge",
        "A variance-preserving diffusion bridge from the T1w to the PET (DDBM: Zhou et al., ICLR 2024; for PET: SiM2P)",
        "SiM2P's are T1w and FDG-PET of one study",
        (
            "MONAI's U-Net (SiM2P: a DiT-XL/4 or an ADM U-Net)",
            "age, sex and a score are tokens that it attends to (SiM2P: 13 table values and which of them are missing)",
            "the network also sees the T2-FLAIR (SiM2P: T1w alone)",
            "the sampler's steps are exact for a clean estimate that stays the same (DDBM: Euler's and Heun's steps in "
            "time); the last one ends in the clean estimate",
        ),
    ),
}


def chances(seed: int, positions: Sequence[int], logit_normal: bool) -> torch.Tensor:
    """Numbers [N] between 0 and 1, float64, that follow from seed and positions: uniform, or with a normal logit."""
    generators = [random_of(seed, position, TIME) for position in positions]
    if logit_normal:
        return torch.tensor([g.standard_normal() for g in generators], dtype=torch.float64).sigmoid()
    return torch.tensor([g.random() for g in generators], dtype=torch.float64)


OBJECTIVE = FlowObjective
