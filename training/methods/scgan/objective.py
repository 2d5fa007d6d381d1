"""What SC-GAN learns: the PET, by its error everywhere and inside the brain, and by a discriminator and its maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from RelAPETLib.methods.scgan.network import AttentiveUNet

from ..adversarial import cross_entropy
from ..base import Losses, Place, Terms
from ..translation import TranslationObjective, WeightedTerms
from .config import ScganConfig
from .discriminator import AttentivePatches
from .losses import inside_rmse, kernel_norms, matching
from .spectral import advance, normalise, plain


class ScganObjective(TranslationObjective):
    """A U-Net with attention and its discriminator, both with spectrally normalised convolutions."""

    config: ScganConfig
    network_class = AttentiveUNet
    #: Step whose spectral norms the networks have.
    step: int | None = None

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments(
                "channels", "kernels", "encoder_attention", "decoder_attention", "norm_num_groups", "dropout"
            ),
            "num_class_embeds": labels,
        }

    def discriminator(self, labels: int) -> nn.Module:
        """See `TranslationObjective.discriminator`."""
        preset = self.config.preset
        return normalise(AttentivePatches(labels, preset.discriminator_channels, preset.discriminator_layers))

    def in_training(self, network: nn.Module) -> nn.Module:
        """See `TranslationObjective.in_training`."""
        return normalise(super().in_training(network))

    def exported(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """See `TranslationObjective.exported`: kernels as they are when normalised."""
        return plain(network).state_dict()

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `TranslationObjective.losses`; a step's first batch finds the spectral norms of its weights."""
        if place.step != self.step:
            for module in self.modules.values():
                advance(module)
            self.step = place.step
        return super().losses(batch, place)

    def image_terms(self, made: torch.Tensor, pet: torch.Tensor) -> WeightedTerms:
        """See `TranslationObjective.image_terms`."""
        preset = self.config.preset
        return {
            **super().image_terms(made, pet),
            "L_R": (preset.inside_weight, inside_rmse(made, pet)),
            "L_W": (preset.kernel_weight, kernel_norms(self.modules["network"])),
        }

    def adversarial_terms(self, judged: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> WeightedTerms:
        """See `TranslationObjective.adversarial_terms`."""
        preset = self.config.preset
        return {
            "L_A": (preset.adversarial_weight, cross_entropy(judged[-1], True)),
            "L_F": (preset.matching_weight, matching(judged[:-1], real[:-1])),
        }

    def discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """See `TranslationObjective.discriminator_loss`."""
        penalty = self.config.preset.kernel_weight * kernel_norms(self.modules["discriminator"])
        return cross_entropy(real, True) + cross_entropy(fake, False) + penalty

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        return (
            f"SC-GAN (preset {self.config.preset.name})",
            "SC-GAN (Lan et al., MRM 2021): a U-Net with self-attention and spectral normalisation, trained against a "
            "discriminator; one PET and no spread; trained by RelAPET's training package",
            list(DIFFERENCES),
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "for three tracers; the tracer is a few constant channels beside the MRI (paper: a model for each target)",
    "each image is normalised by itself (paper: batch normalisation, of batches of one image), and what the "
    "discriminator says is not normalised",
    "levels of odd sides are padded by one (paper: volumes of 256 x 256 x 256)",
    "MRI in [-1, 1] (paper: z-scores in the brain, then [0, 1])",
    "the attention on the PET looks at means of 8 x 8 x 8 parts of it (paper: a cheap form of another kind)",
    "power iterations of the spectral norms once a step (common: with every forward pass)",
    "dropout takes whole channels, in training alone",
)

OBJECTIVE = ScganObjective
