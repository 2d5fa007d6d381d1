"""bf16 and fp16 beside float32 weights, as Lightning Fabric has them but for what methods of several players need."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric.plugins.precision import MixedPrecision


class PlayersPrecision(MixedPrecision):
    """Half precision where torch's autocast takes it, and nowhere else.

    What a network is given stays float32: rounded to eight bits, a noisy image of SD 300 is off by the whole range of
    the clean one. Under fp16 all players of a step have one scale of their losses, which changes once they all took it.

    Attributes:
        overflows: steps in a row in which a gradient overflowed, so that its player was not updated.
    """

    overflows = 0

    def convert_input(self, data: Any) -> Any:
        """What a network is given, as it is."""
        return data

    def unscale_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients without the losses' scale, also for fused optimisers, which could do it themselves."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        """One player's update, left out where a gradient overflowed."""
        return super().optimizer_step(optimizer, **kwargs) if self.scaler is None else self.scaler.step(optimizer)

    def settle(self) -> None:
        """Choose the next step's scale; after the updates of all players."""
        if self.scaler is not None:
            before = self.scaler.get_scale()
            self.scaler.update()
            self.overflows = self.overflows + 1 if self.scaler.get_scale() < before else 0
