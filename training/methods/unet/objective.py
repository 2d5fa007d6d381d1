"""What the U-Net control learns: the PET, or its difference from a mean in SDs, by mean absolute or squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from RelAPETLib.diffusion import along
from RelAPETLib.methods.base import SEQUENCES, NoiseSource
from RelAPETLib.methods.unet.network import RegressionUNet
from RelAPETLib.tracers import label_count

from ...data.dataset import few_of_each_tracer
from ...expectation import strangers
from ...statistics import PetStatistics, both_sequences, kept_statistics
from ..base import Bundle, Losses, Objective, Place, Player, Terms, Work, adamw_player
from .config import UNetConfig

if TYPE_CHECKING:
    from ...trainer import RunData

#: Scans of each tracer in a dry run.
SCANS = 4


class UNetObjective(Objective):
    """One player, which is the library's network but for its mean PET."""

    config: UNetConfig
    statistics: PetStatistics | None = None

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        return {"network": adamw_player(self._network(label_count()), self.config)}

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `RegressionUNet` with so many class labels."""
        arguments = self.config.network.arguments()
        arguments |= {"mean_pet": self.config.preset.mean_pet, "num_class_embeds": labels}
        if self.statistics is not None:
            arguments["residual_scale"] = list(self.statistics.residual_sd)
        return arguments

    def _network(self, labels: int) -> RegressionUNet:
        network = RegressionUNet(**self.arguments(labels))
        if self.statistics is not None:
            self.statistics.tell(network)
        return network

    def stages(self, work: Work):
        """See `Objective.stages`: measures the mean PET where it is used."""
        if self.config.preset.mean_pet != "none":
            network = self.config.network
            shown = {"intensity": self.config.preset.pet_intensity, "factor": network.factor, "crop": network.crop}
            regression = self.config.preset.mean_pet == "regression"
            shown |= {"regression": list(SEQUENCES)} if regression else {}
            see = both_sequences if regression else None
            self.statistics = kept_statistics(work, Path(self.config.out), shown, label_count(), see)
        return work.data

    def rehearsal(self, data: RunData, steps: int, ranks: int) -> tuple[UNetConfig, RunData]:
        """See `Objective.rehearsal`: the mean PET of a few scans is soon measured."""
        few = self.config.preset.mean_pet != "none"
        return self.config, replace(data, train=few_of_each_tracer(data.train, SCANS)) if few else data

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: of differences from the mean PET, the error is that of what the network gives.

        Those are of SD 1 for every tracer, so that one that varies little counts as much. In the PET's own unit,
        gradients near the mean fell below Adam's epsilon.
        """
        made, pet = self._predict(batch), batch["pet"].to(self.fabric.device)
        if self._learns_differences:
            labels = torch.as_tensor(batch["label"]).to(self.fabric.device)
            scale = along(torch.tensor(self.statistics.residual_sd, device=self.fabric.device)[labels], pet)
            made, pet = made / scale, pet / scale
        error = functional.l1_loss(made, pet) if self.config.method.power == 1 else functional.mse_loss(made, pet)
        return {"network": error}, {f"L{self.config.method.power}": error.detach()}

    @property
    def _learns_differences(self) -> bool:
        return self.statistics is not None and self.config.preset.mean_pet in ("residual", "regression")

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: no noise is asked for."""
        return self._predict(strangers(batch))

    def _predict(self, batch: dict) -> torch.Tensor:
        device = self.fabric.device
        mri, labels = self.mri(batch), torch.as_tensor(batch["label"]).to(device)
        expectation = None if self.statistics is None else self.statistics.expectation
        shift = None if expectation is None else expectation.shift_of(batch, device)
        return self.modules["network"](mri, labels, shift)

    def state(self) -> dict[str, Any]:
        """See `Objective.state`."""
        return {} if self.statistics is None else {"statistics": self.statistics.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`."""
        self.statistics = PetStatistics.of_state(state["statistics"]) if state else None

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        # As many labels as it was trained with, whatever tracers there are by now.
        labels = len(weights["network"]["generator.class_embedding.weight"])
        network = self._network(labels)
        network.load_state_dict(weights["network"], strict=True)
        error = "absolute" if self.config.method.power == 1 else "squared"
        of = " in SDs of the differences from what is expected" if self._learns_differences else ""
        return Bundle(
            network=network,
            settings={"arguments": self.arguments(labels)},
            title=f"U-Net regression (mean {error} error)",
            description=f"A U-Net that gives one PET from T1w and T2-FLAIR, trained on the mean {error} error{of} by "
            "RelAPET's training package; a control for methods that draw samples",
            differences=[f"trained on {trained_on}"],
            half=("generator.", "mean_pet"),
        )


OBJECTIVE = UNetObjective
