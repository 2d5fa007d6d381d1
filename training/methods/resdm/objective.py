"""What ResDM learns: the clean PET, from every place of the chain between it and the noisy T1w."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from RelAPETLib.clinical import CLINICAL
from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.resdm.network import ResidualDiffusion
from RelAPETLib.methods.resdm.process import ResidualShift
from RelAPETLib.tracers import label_count

from ...data.case_dataset import CaseDataset
from ...data.dataset import PetDataset
from ...stream import draw
from ..base import Bundle, Losses, Objective, Place, Player, Terms, Work, adamw_player
from ..clinical import clinical_moments, clinical_of, hidden
from .config import ResdmConfig
from .losses import image, intra_domain, reconstruction

if TYPE_CHECKING:
    from ...trainer import RunData


class ResdmObjective(Objective):
    """One player, which is the library's network. A batch brings people with all tracers they were scanned with."""

    config: ResdmConfig
    #: Mean and SD of the clinical values of the training people.
    moments: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def process(self) -> ResidualShift:
        """The chain."""
        method = self.config.method
        return ResidualShift(method.timesteps, method.first_shift, method.last_shift, method.kappa)

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `ResidualDiffusion` with so many class labels."""
        network, preset = self.config.network, self.config.preset
        return {
            **network.arguments(),
            **preset.arguments("channels", "num_res_blocks", "norm_num_groups"),
            "num_class_embeds": labels,
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        network = ResidualDiffusion(**self.arguments(label_count()))
        if self.moments is not None:
            network.tokens.center.copy_(self.moments[0])
            network.tokens.scale.copy_(self.moments[1])
        return {"network": adamw_player(network, self.config)}

    def stages(self, work: Work) -> RunData:
        """See `Objective.stages`: people with all their tracers in place of scans."""
        data = work.data
        if isinstance(data.train, PetDataset):
            self.moments = clinical_moments(data.train)
            data = replace(data, train=CaseDataset(data.train))
        return data

    def images(self, data: RunData) -> int:
        """See `Objective.images`."""
        return len({item.case for item in data.train.items}) if isinstance(data.train, PetDataset) else len(data.train)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`. The tracers of a person are at the same t, each with noise of its own."""
        device, config, method = self.fabric.device, self.config, self.config.method
        pet, scanned, labels = (batch["pet"].to(device), *(part.to(device) for part in tracers_of(batch)))
        mri = self.mri(batch)
        t, eps = draw(config.seed, place.positions, pet.shape[1:], method.timesteps, device)
        clinical = hidden(clinical_of(batch), config.seed, place.positions, method.hidden_share)
        person, tracer = scanned.nonzero(as_tuple=True)
        x0 = pet[person, tracer][:, None]
        x_t = self.process.noised(x0, mri[person, :1], t[person.cpu()], eps[person, tracer][:, None])
        steps = t.to(device)[person]
        made = self.modules["network"](x_t, mri[person], steps, labels[person, tracer], clinical.to(device)[person])
        estimate = pet.index_put((person, tracer), made[:, 0].to(pet))
        terms = {"L_rec": reconstruction(estimate, pet, scanned).mean()}
        terms["L_high"] = intra_domain(estimate, pet, scanned).mean()
        terms["L_I"] = image(estimate, pet, scanned).mean()
        loss = terms["L_rec"] + method.intra_domain_weight * terms["L_high"] + config.image_weight * terms["L_I"]
        return {"network": loss}, {"L": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: without clinical values, as a synthesis has none unless they are given."""
        device, process = self.fabric.device, self.process
        mri = self.mri(batch)
        labels = torch.as_tensor(batch["label"]).to(device)
        unknown = torch.full((len(mri), len(CLINICAL)), torch.nan, device=device)
        return process.sample(
            lambda x_t, t: self.modules["network"](x_t, mri, t, labels, unknown),
            mri[:, :1],
            noise,
            min(self.config.run.validation_steps, process.steps),
        )

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        config, process = self.config, self.process
        # As many labels as it was trained with, whatever tracers there are by now.
        arguments = self.arguments(len(weights["network"]["tokens.class_embedding.weight"]))
        network = ResidualDiffusion(**arguments)
        network.load_state_dict(weights["network"], strict=True)
        settings = {"arguments": arguments, "process": asdict(process), "samples": samples}
        return Bundle(
            network=network,
            settings=settings,
            title=f"ResDM (preset {config.preset.name})",
            description=f"ResDM (Ou et al., IJCAI 2024): a diffusion from the T1w to the PET in {process.steps} steps, "
            "trained by RelAPET's training package",
            differences=[
                f"trained on {trained_on} (paper: 1,020 sets of ADNI)",
                *DIFFERENCES,
                *config.image_difference,
            ],
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "tracer, age, sex and a score are tokens of a small table encoder (paper: a sentence through CLIP)",
    "the network also sees the T2-FLAIR (paper: T1w alone)",
    "MONAI's U-Net without scale-shift normalisation, and normalised before its last convolution, in fewer groups than "
    "there are channels on any level (authors' settings: 32, single channels on the finest)",
    "images are not shifted by -2 to 2 voxels at random (authors' settings: they are)",
    "weights are averaged from the first step on, over few steps at first (authors' settings: from step 2,000)",
)


def tracers_of(batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of a batch's PET [N, K, X, Y, Z] were scanned (bool [N, K]), and their labels [N, K]."""
    labels = torch.as_tensor(batch["label"])
    if labels.ndim == 1:  # items of single scans
        return torch.ones(len(labels), 1, dtype=torch.bool), labels[:, None]
    return batch["scanned"], labels


OBJECTIVE = ResdmObjective
