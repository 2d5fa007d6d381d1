"""What TransUNet learns: the PET, by its mean absolute error, and by a discriminator of patches where wanted."""

from __future__ import annotations

from typing import Any

from RelAPETLib.methods.transunet.network import TransUNetNetwork

from ..transformer_config import TRANSFORMER
from ..translation import TranslationObjective
from .config import TransUNetConfig


class TransUNetObjective(TranslationObjective):
    """One player, which is the library's network; a discriminator where `preset.adversarial_weight` wants one."""

    config: TransUNetConfig
    network_class = TransUNetNetwork

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments(
                "channels", "residual_blocks", "bottleneck", *TRANSFORMER, "decoder_channels", "norm_num_groups"
            ),
            "num_class_embeds": labels,
        }

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        return (
            f"TransUNet (preset {self.config.preset.name})",
            "TransUNet (Chen et al., arXiv 2102.04306): a U-Net with a vision transformer at its bottom; one PET and "
            "no spread; trained by RelAPET's training package",
            list(DIFFERENCES),
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "gives one PET, learned by its absolute error with Adam (paper: labels of organs, cross-entropy and Dice with SGD)",
    "in three dimensions (paper: slices)",
    "no weights pre-trained on ImageNet (paper: ResNet-50 and ViT-B)",
    "the tracer is a few constant channels beside the MRI (paper: no classes)",
    "group normalisation everywhere, without standardised weights (paper: batches in the upsampler)",
)

OBJECTIVE = TransUNetObjective
