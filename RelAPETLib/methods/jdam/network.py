"""JDAM's network: a U-Net that sees the noisy PET beside the MRI and gives the score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...diffusion import along
from ...networks.blocks import BACKGROUND, Blocks
from ...networks.monai_unet import monai_unet
from ...networks.shapes import central, padded
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES
from .names import OUTPUTS

#: Radians of the time embedding's fastest wave for a factor e of noise.
_PACE = 10.0


class ScoreNetwork(nn.Module):
    """s(x_t, y, sigma) of the paper: MONAI's U-Net divided by sigma, or taken from a clean image that it gives.

    The score times sigma, the paper's output, is minus the noise itself: where there is little noise the U-Net has to
    find what it hardly sees, and learns it slowly. With `gives` of ``clean`` it gives the clean image instead, from
    which the score follows by Tweedie's formula; but a small U-Net then returns less than it saw where there is little
    noise, and a sampler's last steps lead to what all draws share. With ``edm`` the clean image is
    x_t / (1 + sigma^2) + sigma / sqrt(1 + sigma^2) times the U-Net's output (Karras et al. 2022, table 1, for images of
    SD 1): what was seen passes by the U-Net.

    Args:
        factor, crop: of `Blocks`.
        channels: widths of the levels; the grid is halved from one to the next.
        attention_levels: which levels attend, over their own places; the middle does in any case.
        num_res_blocks: residual blocks a level.
        norm_num_groups: groups of the normalisation.
        num_class_embeds: number of class labels.
        sees_mri: T1w and T2F are further channels; False is the paper's ablation SDE.
        gives: of `OUTPUTS`.

    Attributes:
        blocks: see `Blocks`. Volumes are padded to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks`, levels that make no U-Net, or another output.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        channels: Sequence[int] = (16, 32, 40),
        attention_levels: Sequence[bool] = (False, False, False),
        num_res_blocks: int = 1,
        norm_num_groups: int = 4,
        num_class_embeds: int = PUBLISHED_LABELS,
        sees_mri: bool = True,
        gives: str = "score",
    ):
        super().__init__()
        self.blocks = Blocks(factor, crop)
        if gives not in OUTPUTS:
            raise ValueError(f"gives {gives!r} is not one of {OUTPUTS}")
        self.sees_mri, self.gives = sees_mri, gives
        self._multiple = 2 ** (len(channels) - 1)
        self.unet = monai_unet(
            1 + len(SEQUENCES) * sees_mri,
            channels,
            attention_levels=tuple(attention_levels),
            num_res_blocks=num_res_blocks,
            num_head_channels=tuple(channels),  # one head
            norm_num_groups=norm_num_groups,
            num_class_embeds=num_class_embeds,
        )

    def forward(self, x_t: torch.Tensor, mri: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Score [N, 1, X, Y, Z].

        Args:
            x_t: [N, 1, X, Y, Z], PET in [-1, 1] and noise.
            mri: [N, 2, X, Y, Z] in [-1, 1]: T1w, T2F; not looked at without `sees_mri`.
            sigma: SDs [N] of the noise.
            labels: class labels [N].
        """
        # Beside noise of a hundred times the images' range, the MRI would be lost in the normalisation.
        scale, shape = along(1 + sigma.square(), x_t).sqrt(), x_t.shape[2:]
        seen = torch.cat([x_t / scale, mri], 1) if self.sees_mri else x_t / scale
        seen = padded(seen, self._multiple, BACKGROUND)
        output = central(self.unet(seen, _PACE * sigma.log(), class_labels=labels), shape).float()
        sigma = along(sigma, output)
        if self.gives == "score":
            return output / sigma
        if self.gives == "clean":
            return (output - x_t) / sigma.square()
        return output / (sigma * scale) - x_t / scale.square()
