"""The demo model's latent with a generator that sees the MRI: some scores of the regression, and local features."""

from __future__ import annotations

import torch

from RelAPETLib.methods.rela.conditional import ConditionalLatentDiffusion

from .regression import Regression
from .ridge import Head

#: Smallest SD of a tracer's differences from its mean that is taken at its word; a share of its window.
SMALLEST_SD = 1e-4


class Conditional(Regression):
    """What `ConditionalLatentDiffusion` needs from a data set.

    In training the generator sees leave-one-out scores, so that they err as they will for new people.
    """

    network_class = ConditionalLatentDiffusion

    def further_arguments(self) -> dict:
        """See `Regression.further_arguments`."""
        latent = self.config.latent
        seen = {"embedding": latent.embedding, "width": latent.width, "prediction": self.config.preset.prediction}
        return seen | {"local_mri": True} if latent.local_mri else seen

    @property
    def local(self) -> bool:
        """See `Regression.local`."""
        return self.config.latent.local_mri

    @property
    def left_to_generator(self) -> tuple[int, float]:
        """See `Regression.left_to_generator`: what the generator sees, where the head says little of it."""
        return self.config.latent.embedding, self.config.latent.explained

    def _take(self, head: Head) -> None:
        super()._take(head)
        self.network.head_used.copy_(head.used)

    def _scale_residuals(self, sd: torch.Tensor) -> None:
        self.network.residual_scale.copy_(1 / sd.clamp(min=SMALLEST_SD))

    def _scale_scores(self, scores: torch.Tensor) -> None:
        seen = scores[:, :, : self.config.latent.embedding]
        self.network.score_sd.copy_(seen.std(0).clamp(min=1e-6))

    def shown_of(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Regression.shown_of`."""
        device = self.network.score_sd.device
        return self.network.embedded(scores.to(device)).cpu()
