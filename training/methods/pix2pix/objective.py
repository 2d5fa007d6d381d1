"""What Pix2Pix learns: the PET, by 100 times its mean absolute error and a discriminator of patches."""

from __future__ import annotations

from typing import Any

from RelAPETLib.methods.pix2pix.network import Pix2PixUNet

from ..translation import TranslationObjective
from .config import Pix2PixConfig


class Pix2PixObjective(TranslationObjective):
    """A U-Net and a discriminator of patches."""

    config: Pix2PixConfig
    network_class = Pix2PixUNet

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments("channels", "norm_num_groups", "dropout"),
            "num_class_embeds": labels,
        }

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        return (
            f"Pix2Pix (preset {self.config.preset.name})",
            "Pix2Pix (Isola et al., CVPR 2017): a U-Net trained against a discriminator of patches; one PET and no "
            "spread; trained by RelAPET's training package",
            list(DIFFERENCES),
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "in three dimensions, with fewer levels (paper: slices, eight levels)",
    "the tracer is a few constant channels beside the MRI (paper: no classes)",
    "the least-squares loss (paper: cross-entropy), which its authors' code offers too",
    "nothing is dropped at synthesis (paper: dropout is its only noise), so it gives one PET",
    "numbers are dropped on levels of an eighth of the grid and coarser alone: one level of five (authors' code: "
    "three of eight, a sixteenth and coarser)",
    "a constant learning rate unless run.learning_rate says another (paper: falling to 0 in the second half)",
)

OBJECTIVE = Pix2PixObjective
