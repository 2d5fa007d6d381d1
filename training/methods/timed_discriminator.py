"""A discriminator of noisy images that is told the time and the tracer: MONAI's patch discriminator."""

from __future__ import annotations

import torch
from torch import nn

#: Numbers of the sinusoidal embedding of the time, and of the layers behind it.
EMBEDDING = 64
#: Groups of the normalisation, which judges each image by itself, as in `RelAPETLib.networks.discriminator`.
GROUPS = 4


class TimedDiscriminator(nn.Module):
    """D(image, t, label): logits of patches.

    Embeddings of time and tracer are added up, and a linear layer of the sum shifts the channels behind every layer of
    MONAI's discriminator but the last.

    Args:
        in_channels: channels of all that is judged together.
        channels: of the first layer, an even number; each further one has twice as many.
        num_layers_d: layers behind the first and before the last.
        labels: number of class labels.
    """

    def __init__(self, in_channels: int, channels: int = 16, num_layers_d: int = 2, *, labels: int):
        from monai.networks.nets import PatchDiscriminator

        super().__init__()
        self.patches = PatchDiscriminator(
            spatial_dims=3,
            channels=channels,
            in_channels=in_channels,
            out_channels=1,
            num_layers_d=num_layers_d,
            norm=("group", {"num_groups": GROUPS}),
        )
        self.time_embed = nn.Sequential(nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.class_embedding = nn.Embedding(labels, EMBEDDING)
        widths = [channels * 2**n for n in range(num_layers_d + 1)]
        self.shifts = nn.ModuleList(nn.Linear(EMBEDDING, width) for width in widths)

    def forward(self, image: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits [N, 1, x, y, z] of an image [N, C, X, Y, Z] at times t [N], integers from 0, with class labels [N]."""
        from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

        told = self.time_embed(get_timestep_embedding(t, EMBEDDING)) + self.class_embedding(labels)
        told = nn.functional.silu(told)
        *layers, last = self.patches.children()
        for layer, shift in zip(layers, self.shifts, strict=True):
            image = layer(image) + shift(told)[:, :, None, None, None]
        return last(image)
