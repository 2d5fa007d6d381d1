"""What JDAM learns: the score of noisy PET beside clean MRI, at every noise level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from RelAPETLib.diffusion import along
from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.jdam.network import ScoreNetwork
from RelAPETLib.methods.jdam.process import FIRST_TIME, LONGEST, VarianceExploding
from RelAPETLib.tracers import label_count

from ...precision import exact
from ...stream import draw
from ..base import Bundle, Losses, Objective, Place, Player, Terms, Work, adamw_player
from .config import JdamConfig
from .noise import kept_distance

if TYPE_CHECKING:
    from ...trainer import RunData

#: Places of t, so many that it is as good as continuous.
TIMES = 2**24


class JdamObjective(Objective):
    """One player, which is the library's network."""

    config: JdamConfig
    #: Largest SD of the noise, once it is measured.
    measured: float | None = None

    @property
    def process(self) -> VarianceExploding:
        """The noise. Raises `ValueError` before its largest SD is known, or where that is below the least."""
        method, preset = self.config.method, self.config.preset
        largest = self.measured if preset.sigma_max is None else preset.sigma_max
        if largest is None:
            raise ValueError("the largest noise has not been measured; train first")
        return VarianceExploding(method.sigma_min, largest, preset.calls, method.snr, preset.predictor)

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `ScoreNetwork` with so many class labels."""
        network, preset = self.config.network, self.config.preset
        return {
            **network.arguments(),
            **preset.arguments("channels", "attention_levels", "num_res_blocks", "norm_num_groups"),
            "num_class_embeds": labels,
            "sees_mri": self.config.sees_mri,
            "gives": preset.gives,
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        return {"network": adamw_player(ScoreNetwork(**self.arguments(label_count())), self.config)}

    def stages(self, work: Work) -> RunData:
        """See `Objective.stages`: measures the largest noise unless the preset says it."""
        if self.config.preset.sigma_max is None:
            network = self.config.network
            shown = {"intensity": self.config.preset.pet_intensity, "factor": network.factor, "crop": network.crop}
            self.measured = kept_distance(work, Path(self.config.out), shown)
        return work.data

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: line 4 and 5 of the paper's algorithm 1."""
        pet, process = batch["pet"].to(self.fabric.device), self.process
        steps, z = draw(self.config.seed, place.positions, pet.shape[1:], TIMES, self.fabric.device)
        t = FIRST_TIME + (1 - FIRST_TIME) * exact(steps + 1) / TIMES
        sigma = process.sigma(t).to(pet)
        x_t = process.noised(pet, sigma, z)
        score = self._score(batch, x_t, sigma).to(pet)
        terms = {
            "L_score": score_matching(score, sigma, z, self.config.preset.gives),
            "L_I": functional.l1_loss(process.clean(x_t, sigma, score), pet),
        }
        loss = terms["L_score"] + self.config.image_weight * terms["L_I"]
        return {"network": loss}, {"L": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`, with ``run.validation_steps`` network calls."""
        return self.process.sample(
            lambda x_t, sigma: self._score(batch, x_t, sigma),
            tuple(batch["pet"].shape),
            noise,
            min(self.config.run.validation_steps, LONGEST),
            self.fabric.device,
            self.process.clip,
        )

    def _score(self, batch: dict, x_t: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        device = self.fabric.device
        mri = self.mri(batch)
        return self.modules["network"](x_t, mri, sigma, torch.as_tensor(batch["label"]).to(device))

    def state(self) -> dict[str, Any]:
        """See `Objective.state`."""
        return {} if self.measured is None else {"sigma_max": self.measured}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`."""
        self.measured = float(state["sigma_max"]) if state else None

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        config, process = self.config, self.process
        # As many labels as it was trained with, whatever tracers there are by now.
        arguments = self.arguments(len(weights["network"]["unet.class_embedding.weight"]))
        network = ScoreNetwork(**arguments)
        network.load_state_dict(weights["network"], strict=True)
        name, seen = ("JDAM", "beside the MRI") if config.sees_mri else ("SDE", "without any MRI")
        return Bundle(
            network=network,
            settings={"arguments": arguments, "process": asdict(process), "samples": samples},
            title=f"{name} (preset {config.preset.name})",
            description=f"{name} (Xie et al., Med. Phys. 2023): a diffusion whose network gives the score of noisy PET "
            f"{seen}, trained by RelAPET's training package",
            differences=[
                f"trained on {trained_on} (paper: slices of 452 people of ADNI)",
                *DIFFERENCES,
                *([GIVES[config.preset.gives]] if config.preset.gives in GIVES else []),
                *([ANCESTRAL] if config.preset.predictor == "ancestral" else []),
                *config.image_difference,
            ],
            optional=() if config.sees_mri else ("t2f",),
        )


#: What the paper, its algorithm 2 or its authors' settings do otherwise.
DIFFERENCES = (
    "volumes of several tracers, each told by its class label (paper: slices of FDG)",
    "the MRI is T1w and T2-FLAIR (paper: T1w alone)",
    "MONAI's U-Net (paper: NCSN++), which sees the noisy PET divided by sqrt(1 + sigma^2)",
    "images in [-1, 1] (its authors: divided by 1.5 times the SD of their Fourier transform)",
    "each step corrects first and predicts then, as Song et al. (paper: the other way round)",
    "the size of a Langevin step follows from each sample by itself and is bounded (Song et al.: from the whole batch)",
)

#: Further ones of `preset=fair`.
ANCESTRAL = (
    "steps are those of ancestral sampling, with bounded clean estimates (paper: of the reverse diffusion, unbounded)"
)
#: By what the network gives, where that is not the paper's.
GIVES = {
    "clean": "the network gives the clean image (paper: the score times sigma), whose squared error counts at "
    "most once in L_score (paper: divided by sigma^2)",
    "edm": "the clean image is mixed from the noisy one and the network's output (Karras et al. 2022), by whose "
    "squared error it learns (paper: the output is the score times sigma; the clean image's error divided by sigma^2)",
}


def score_matching(score: torch.Tensor, sigma: torch.Tensor, z: torch.Tensor, gives: str = "score") -> torch.Tensor:
    """Weighted mean of (sigma s + z)^2 over scores and noise [N, C, X, Y, Z] at SDs [N].

    That is the clean estimate's squared error divided by sigma^2; for a network that `gives` the clean image only where
    sigma is above 1, and for ``edm`` divided by sigma^2 / (1 + sigma^2), which is the squared error of its output.
    """
    variance = along(sigma, score).square()
    weight = {"score": 1.0, "clean": variance.clamp(max=1), "edm": 1 + variance}[gives]
    return (weight * (along(sigma, score) * score + z).square()).mean()


OBJECTIVE = JdamObjective
