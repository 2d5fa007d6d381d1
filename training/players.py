"""A player in training: its module as Fabric set it up, its optimiser, its moving average."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .averages import MovingAverage
from .methods.base import Player
from .modes import PLAIN, prepare
from .sharding import load_model_state, load_optimizer_state, model_state, number, optimizer_state


class TrainedPlayer:
    """A player with its module on the device, its optimiser and its moving average.

    Args:
        fabric: launched.
        player: as the objective describes it.
        mode, compiled: of `training.modes.prepare`; for wrapped players.
    """

    def __init__(self, fabric, player: Player, mode: str = PLAIN, compiled: bool = False):
        self.fabric, self.player, module = fabric, player, player.module
        if player.wrapped:
            prepare(module, mode, fabric.device.type, compiled)
            self.module = fabric.setup_module(module)
        else:
            self.module = module.to(fabric.device)
        optimizer = player.optimizer(self.module.parameters(), lr=player.learning_rate)
        self.optimizer = fabric.setup_optimizers(optimizer) if player.wrapped else optimizer
        self.average = MovingAverage(self.module.parameters(), player.ema_decay)

    @property
    def network(self) -> nn.Module:
        """The module itself, whatever Fabric put around it."""
        return self.module.module if self.player.wrapped else self.module

    def set_learning_rate(self, share: float) -> None:
        """The learning rate of a step, as a share of the largest one."""
        for group in self.optimizer.param_groups:
            group["lr"] = (share if self.player.scheduled else 1.0) * self.player.learning_rate

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradient."""
        if self.player.wrapped:
            self.fabric.backward(loss, model=self.module)
        else:
            loss.backward()

    def gradient_norm(self) -> float:
        """Norm of the gradient of all ranks, which is clipped as the player wants it."""
        largest = self.player.clip or math.inf
        if self.player.wrapped:
            norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=largest, error_if_nonfinite=False)
        else:
            average_gradients(self.fabric, self.module)
            norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), largest)
        return number(norm)

    def step(self) -> None:
        """One update of the weights."""
        self.optimizer.step()

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """`training.checkpoints.PLAYER`; all ranks call it, and rank 0 gets whole tensors."""
        average: dict[str, torch.Tensor] = {}
        if self.average.decay:
            with self.average.in_place():
                average = {name: tensor.detach().clone() for name, tensor in self._weights().items()}
        optimizer = optimizer_state(self.module, self.optimizer) if self.player.wrapped else self.optimizer.state_dict()
        return {"weights": self._weights(), "average": average, "optimizer": optimizer}

    def load_state(self, state: dict[str, Any], updates: int) -> None:
        """Put back what `state` gave after `updates` steps."""
        if self.average.decay:
            self._load_weights(state["average"])
            self.average = MovingAverage(self.module.parameters(), self.average.decay, updates)
        self._load_weights(state["weights"])
        if self.player.wrapped:
            load_optimizer_state(self.module, self.optimizer, state["optimizer"])
        else:
            self.optimizer.load_state_dict(state["optimizer"])

    def _weights(self) -> dict[str, torch.Tensor]:
        return model_state(self.module) if self.player.wrapped else self.module.state_dict()

    def _load_weights(self, state: dict[str, torch.Tensor]) -> None:
        if self.player.wrapped:
            load_model_state(self.module, state)
        else:
            self.module.load_state_dict(state)


def average_gradients(fabric, network: nn.Module) -> None:
    """Mean over ranks of a small network's gradients, in one message."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in network.parameters()]
    flat = fabric.all_reduce(torch.cat([g.reshape(-1) for g in gradients]), reduce_op="mean")
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
