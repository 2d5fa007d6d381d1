"""What the toy learns: the mean absolute error of the PET."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.toy import NOISE
from RelAPETLib.methods.toy.network import ToyNetwork

from ..base import Bundle, Losses, Objective, Place, Player, Terms
from .config import ToyConfig


class ToyObjective(Objective):
    """One player; it counts the images that it saw, to have a state."""

    config: ToyConfig
    seen = 0

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        torch.manual_seed(self.config.seed)
        rate, decay = self.config.method.rate, self.config.preset.ema_decay
        return {"network": Player(ToyNetwork(), torch.optim.Adam, rate, ema_decay=decay)}

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        self.seen += len(place.positions)
        error = functional.l1_loss(self._predict(batch), batch["pet"].to(self.fabric.device))
        return {"network": error}, {"L1": error.detach()}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`."""
        pet = self._predict(batch)
        return pet + NOISE * noise(0, tuple(pet.shape)).to(pet.device)

    def _predict(self, batch: dict) -> torch.Tensor:
        mri = torch.cat([batch["t1w"], batch["t2f"]], 1).to(self.fabric.device)
        return self.modules["network"](mri, batch["label"].to(self.fabric.device))

    def state(self) -> dict[str, Any]:
        """See `Objective.state`."""
        return {"seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`."""
        self.seen = state["seen"]

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        network = ToyNetwork()
        network.load_state_dict(weights["network"])
        return Bundle(
            network=network,
            settings={"factor": self.config.network.factor},
            title="Toy",
            description=f"A toy that saw {self.seen} images",
            differences=[f"trained on {trained_on}"],
        )


OBJECTIVE = ToyObjective
