"""What methods learn that translate by one pass: the PET, by its absolute error and by a discriminator of patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.tracers import label_count

from .adversarial import ConditionalPatches, frozen, least_squares
from .base import Bundle, Losses, Objective, Place, Player, Terms
from .translation_config import image_weight

#: Adam's, of Pix2Pix and CycleGAN.
BETAS = (0.5, 0.999)


class TranslationObjective(Objective):
    """Two players: the library's network, and a discriminator where it has a weight.

    A subclass says the network (`generator`, `arguments`), perhaps another discriminator and other losses, and what the
    bundle is called.
    """

    @abstractmethod
    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of the library's network with so many class labels."""

    @abstractmethod
    def generator(self, labels: int) -> nn.Module:
        """The library's network, untrained: called with MRI [N, 2, X, Y, Z] and labels [N]."""

    def discriminator(self, labels: int) -> nn.Module:
        """The network that judges, untrained."""
        preset = self.config.preset
        return ConditionalPatches(labels, preset.discriminator_channels, preset.discriminator_layers)

    @abstractmethod
    def described(self) -> tuple[str, str, list[str]]:
        """Title and description of a bundle, and what the method's paper does otherwise."""

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        preset, run = self.config.preset, self.config.run
        torch.manual_seed(self.config.seed)
        players = {
            "network": Player(
                self.generator(label_count()),
                partial(torch.optim.Adam, betas=BETAS, weight_decay=run.weight_decay),
                preset.learning_rate,
                clip=run.clip_gradients,
                ema_decay=preset.ema_decay,
            )
        }
        if preset.adversarial_weight:
            players["discriminator"] = Player(
                self.discriminator(label_count()),
                partial(torch.optim.Adam, betas=BETAS),
                preset.discriminator_learning_rate,
                wrapped=False,
            )
        return players

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: weighted L1 and LSGAN for the generator, half of LSGAN for D."""
        mri, labels, pet = self.inputs(batch)
        made = self.modules["network"](mri, labels).float()
        preset = self.config.preset
        terms = {"L_I": functional.l1_loss(made, pet)}
        losses = {"network": image_weight(self.config.method, preset) * terms["L_I"]}
        if preset.adversarial_weight:
            D = self.modules["discriminator"]
            with frozen(D):
                terms["L_A"] = least_squares(D(made, mri, labels)[-1], True)
            losses["network"] = losses["network"] + preset.adversarial_weight * terms["L_A"]
            real, fake = D(pet, mri, labels)[-1], D(made.detach(), mri, labels)[-1]
            terms["L_D"] = losses["discriminator"] = (least_squares(real, True) + least_squares(fake, False)) / 2
        return losses, {name: term.detach() for name, term in terms.items()}

    def inputs(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """MRI [N, 2, X, Y, Z], labels [N] and PET [N, 1, X, Y, Z] of a batch, on the device."""
        device = self.fabric.device
        mri = torch.cat([batch["t1w"], batch["t2f"]], 1).to(device)
        return mri, torch.as_tensor(batch["label"]).to(device), batch["pet"].to(device)

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: no noise is asked for."""
        mri, labels, _ = self.inputs(batch)
        return self.modules["network"](mri, labels)

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        # As many labels as it was trained with, whatever tracers there are by now.
        labels = next(len(w) for name, w in weights["network"].items() if name.endswith("class_embedding.weight"))
        network = self.generator(labels)
        network.load_state_dict(weights["network"], strict=True)
        title, description, differences = self.described()
        return Bundle(
            network=network,
            settings={"arguments": self.arguments(labels)},
            title=title,
            description=description,
            differences=[f"trained on {trained_on}", *differences],
        )
