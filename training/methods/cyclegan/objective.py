"""What CycleGAN learns: PET from MRI and MRI from PET, so that there and back is where one was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import l1_loss

from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.methods.cyclegan.network import ResNetTranslator
from RelAPETLib.tracers import label_count

from ..adversarial import ConditionalPatches, frozen, gap, least_squares
from ..base import GAP, Losses, Place, Player, Terms
from ..translation import TranslationObjective
from .config import CycleganConfig
from .pool import ImagePool


class CycleganObjective(TranslationObjective):
    """Four players: a generator and a discriminator of PET, and the same of MRI."""

    config: CycleganConfig
    network_class = ResNetTranslator
    #: Step whose images the pools wait for.
    step: int | None = None

    def __init__(self, config: CycleganConfig):
        super().__init__(config)
        self.pools = {name: ImagePool(config.preset.pool_size, config.seed, n) for n, name in enumerate(("pet", "mri"))}

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments("channels", "num_res_blocks", "norm_num_groups", "end_kernel"),
            "num_class_embeds": labels,
            "tracer_shift": preset.tracer_shift,
        }

    def discriminator(self, labels: int, judged: int = 1) -> nn.Module:
        """See `TranslationObjective.discriminator`; it sees the PET alone, or an MRI of two channels."""
        preset = self.config.preset
        sizes = preset.discriminator_channels, preset.discriminator_layers
        return ConditionalPatches(labels, *sizes, sees_mri=False, judged=judged)

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        players = super().build()
        back = ResNetTranslator(**self.arguments(label_count()), inputs=1, outputs=len(SEQUENCES))
        # Nobody asks for its moving average.
        players["mri_network"] = replace(players["network"], module=back, ema_decay=0.0)
        if self.config.preset.adversarial_weight:
            players["mri_discriminator"] = self.critic(self.discriminator(label_count(), len(SEQUENCES)))
        return players

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: each generator's part of the cycles, and what the discriminators say."""
        if place.step != self.step:
            self.settle()
            self.step = place.step
        mri, labels, pet = self.inputs(batch)
        made_pet, made_mri = self.made(mri, labels, place), self.modules["mri_network"](pet, labels).float()
        losses, terms = self.cycles(mri, labels, pet, made_pet, made_mri)
        image = self.image_terms(made_pet, pet)
        losses["network"] = losses["network"] + sum(weight * term for weight, term in image.values())
        terms |= {name: term for name, (_, term) in image.items()}
        if self.config.preset.adversarial_weight:
            for images, made, measured in (("pet", made_pet, pet), ("mri", made_mri, mri)):
                self.judge(images, made, measured, labels, place, losses, terms)
        return losses, {name: term.detach() for name, term in terms.items()}

    def cycles(
        self,
        mri: torch.Tensor,
        labels: torch.Tensor,
        pet: torch.Tensor,
        made_pet: torch.Tensor,
        made_mri: torch.Tensor,
    ) -> tuple[Losses, Terms]:
        """Weighted error of MRI and PET that went there and back (eq. 2), for each generator.

        A loss reaches one player. So the generators are frozen in turns, and each way is gone once for either.
        """
        G, F = self.modules["network"], self.modules["mri_network"]
        with frozen(F):
            mri_of_G = l1_loss(F(made_pet, labels).float(), mri)
        with frozen(G):
            pet_of_F = l1_loss(G(made_mri, labels).float(), pet)
        pet_of_G = l1_loss(G(made_mri.detach(), labels).float(), pet)
        mri_of_F = l1_loss(F(made_pet.detach(), labels).float(), mri)
        weight = self.config.preset.cycle_weight
        losses = {"network": weight * (mri_of_G + pet_of_G), "mri_network": weight * (mri_of_F + pet_of_F)}
        return losses, {"L_C_pet": pet_of_G, "L_C_mri": mri_of_F}

    def judge(
        self,
        images: str,
        made: torch.Tensor,
        measured: torch.Tensor,
        labels: torch.Tensor,
        place: Place,
        losses: Losses,
        terms: Terms,
    ) -> None:
        """Add what a discriminator says of PET or MRI to its generator's loss, and its own loss, of pooled images."""
        of = "" if images == "pet" else "mri_"
        D = self.modules[f"{of}discriminator"]
        with frozen(D):
            said = terms[f"L_A_{images}"] = least_squares(D(made, None, labels)[-1], True)
        losses[f"{of}network"] = losses[f"{of}network"] + self.config.preset.adversarial_weight * said
        shown, their_labels = self.pools[images].exchange(made, labels, place.positions)
        real, fake = D(measured, None, labels)[-1], D(shown, None, their_labels)[-1]
        terms[f"L_D_{images}"] = losses[f"{of}discriminator"] = self.discriminator_loss(real, fake)
        terms[GAP if images == "pet" else f"{GAP}_{images}"] = gap(real, fake)

    def settle(self) -> None:
        """Let the pools take in the images of the step before; all ranks call it."""
        for pool in self.pools.values():
            pool.settle(self.fabric)

    def state(self) -> dict[str, Any]:
        """See `Objective.state`: the pools."""
        self.settle()
        return {name: pool.state() for name, pool in self.pools.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See `Objective.load_state`."""
        for name, pool in self.pools.items():
            pool.load_state(state[name])

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        return (
            f"CycleGAN (preset {self.config.preset.name})",
            "CycleGAN (Zhu et al., ICCV 2017): two residual networks, each the way back of the other, of which the "
            "bundle holds that from MRI to PET; one PET and no spread; trained by RelAPET's training package",
            list(DIFFERENCES),
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "in three dimensions (paper: slices)",
    "the tracer shifts the first layer's channels or, where those are not normalised one by one, is a few constant "
    "channels beside the image (paper: no classes; RelA's comparison: three outputs)",
    "MRI and PET of one person, and with preset.image_weight the absolute error between them, as in RelA's comparison, "
    "which does not say its weight (paper: images that do not belong together)",
    "no identity loss, for which MRI and PET would have to have as many channels (paper: for some tasks)",
    "images of a step do not meet each other in the pool (paper: batches of one)",
    "a constant learning rate unless run.learning_rate says another (paper: falling to 0 in the second half)",
)

OBJECTIVE = CycleganObjective
