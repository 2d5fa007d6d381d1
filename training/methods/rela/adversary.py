"""The discriminator beside an autoencoder: relativistic, with the preset's penalty."""

from __future__ import annotations

import torch

from RelAPETLib.networks.discriminator import build_discriminator

from ..adversarial import frozen
from ..base import Player
from .config import Preset
from .losses import relativistic_generator_loss
from .steps import Weights, discriminator_loss, logits


class RelativisticAdversary:
    """`training.autoencoding.Adversary`."""

    def __init__(self, preset: Preset):
        self.preset = preset
        self.weights = Weights(
            adversarial_weight=1.0,
            penalty_gamma=preset.penalty_gamma,
            penalty_reduction=preset.penalty_reduction,
            penalty_one_by_one=preset.penalty_one_by_one,
        )

    def build(self) -> Player:
        """See `Adversary.build`."""
        network = build_discriminator(self.preset.discriminator_norm)
        return Player(
            network, torch.optim.Adam, self.preset.discriminator_learning_rate, scheduled=False, wrapped=False
        )

    def autoencoder_loss(self, network: torch.nn.Module, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """See `Adversary.autoencoder_loss`."""
        with frozen(network):
            return relativistic_generator_loss(logits(network, real), logits(network, made))

    def discriminator_loss(self, network: torch.nn.Module, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """See `Adversary.discriminator_loss`."""
        return discriminator_loss(network, real, made, self.weights)[0]
