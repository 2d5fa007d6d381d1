"""What methods learn that translate by one pass: the PET, by its absolute error and by a discriminator of patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.tracers import label_count

from .adversarial import ConditionalPatches, frozen, gap, least_squares
from .base import GAP, Bundle, Losses, Objective, Place, Player, Terms
from .dropout import place_dropouts, set_positions

#: Adam's, of Pix2Pix and CycleGAN.
BETAS = (0.5, 0.999)
#: Weight and value of the parts of a loss, by their symbols.
WeightedTerms = dict[str, tuple[float, torch.Tensor]]


class TranslationObjective(Objective):
    """Two players: the library's network, and a discriminator where it has a weight.

    A subclass says the network (`network_class`, `arguments`) and what the bundle is called. It may have a
    discriminator or losses of its own (`discriminator`, `image_terms`, `adversarial_terms`, `discriminator_loss`), and
    a network that is not trained as it is exported (`in_training`, `exported`).
    """

    network_class: type[nn.Module]

    @abstractmethod
    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of the library's network with so many class labels."""

    def generator(self, labels: int) -> nn.Module:
        """The library's network, untrained: called with MRI [N, 2, X, Y, Z] and labels [N]."""
        return self.network_class(**self.arguments(labels))

    @abstractmethod
    def described(self) -> tuple[str, str, list[str]]:
        """Title and description of a bundle, and what the method's paper does otherwise."""

    def discriminator(self, labels: int) -> nn.Module:
        """Called with PET, MRI and labels; gives the maps of its layers, the logits last."""
        preset = self.config.preset
        return ConditionalPatches(labels, preset.discriminator_channels, preset.discriminator_layers)

    def in_training(self, network: nn.Module) -> nn.Module:
        """A network of `generator` as it is trained: what it drops follows from the images' positions."""
        place_dropouts(network, self.config.seed)
        return network

    def exported(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Weights for the library's network of a trained one of `in_training`."""
        return network.state_dict()

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        preset, run = self.config.preset, self.config.run
        torch.manual_seed(self.config.seed)
        players = {
            "network": Player(
                self.in_training(self.generator(label_count())),
                partial(torch.optim.AdamW, betas=BETAS, weight_decay=run.weight_decay),
                preset.learning_rate,
                clip=run.clip_gradients,
                ema_decay=preset.ema_decay,
            )
        }
        if preset.adversarial_weight:
            players["discriminator"] = self.critic(self.discriminator(label_count()))
        return players

    def critic(self, module: nn.Module) -> Player:
        """The player of a discriminator."""
        optimizer = partial(torch.optim.Adam, betas=BETAS)
        rate, clip = self.config.preset.discriminator_learning_rate, self.config.run.clip_gradients
        return Player(module, optimizer, rate, clip=clip, wrapped=False)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: the weighted terms for the generator, and the discriminator's own."""
        mri, labels, pet = self.inputs(batch)
        made = self.made(mri, labels, place)
        terms, losses = self.image_terms(made, pet), {}
        if self.config.preset.adversarial_weight:
            D = self.modules["discriminator"]
            with frozen(D):
                judged = D(made, mri, labels)
            real, fake = D(pet, mri, labels), D(made.detach(), mri, labels)
            terms |= self.adversarial_terms(judged, real)
            losses["discriminator"] = self.discriminator_loss(real[-1], fake[-1])
        logged = {name: term for name, (_, term) in terms.items()}
        if losses:
            logged |= {"L_D": losses["discriminator"], GAP: gap(real[-1], fake[-1])}
        losses = {"network": sum(weight * term for weight, term in terms.values()), **losses}
        return losses, {name: term.detach() for name, term in logged.items()}

    def made(self, mri: torch.Tensor, labels: torch.Tensor, place: Place) -> torch.Tensor:
        """The network's PET [N, 1, X, Y, Z], float32, of images at their places in the run."""
        set_positions(self.modules["network"], place.positions)
        return self.modules["network"](mri, labels).float()

    def image_terms(self, made: torch.Tensor, pet: torch.Tensor) -> WeightedTerms:
        """What the generator's PET costs beside the measured one: its mean absolute error."""
        return {"L_I": (self.config.image_weight, functional.l1_loss(made, pet))}

    def adversarial_terms(self, judged: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> WeightedTerms:
        """What the discriminator's maps of the generator's PET cost the generator; `real` are those of the measured."""
        return {"L_A": (self.config.preset.adversarial_weight, least_squares(judged[-1], True))}

    def discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """The discriminator's own, of its logits of measured and made PET: half of LSGAN's."""
        return (least_squares(real, True) + least_squares(fake, False)) / 2

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: no noise is asked for."""
        mri, labels, _ = self.inputs(batch)
        return self.modules["network"](mri, labels)

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        # As many labels as it was trained with, whatever tracers there are by now.
        labels = next(len(w) for name, w in weights["network"].items() if name.endswith("class_embedding.weight"))
        trained, network = self.in_training(self.generator(labels)), self.generator(labels)
        trained.load_state_dict(weights["network"], strict=True)
        network.load_state_dict(self.exported(trained), strict=True)
        title, description, differences = self.described()
        return Bundle(
            network=network,
            settings={"arguments": self.arguments(labels)},
            title=title,
            description=description,
            differences=[f"trained on {trained_on}", *differences],
        )
