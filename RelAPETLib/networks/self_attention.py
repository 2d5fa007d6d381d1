"""Self-attention of the GANs: every place of a volume looks at all others, and at first adds nothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """The attention of SAGAN (Zhang et al., ICML 2019, eq. 1 to 3) over the places of a volume.

    Args:
        channels: of the volume.
        most: places a side that are looked at: means over parts of the volume, where it has more; None for every place.

    Attributes:
        gamma: what the attended is multiplied by before it is added; 0 when untrained, so that nothing is changed.
    """

    def __init__(self, channels: int, most: int | None = None):
        super().__init__()
        self.most = most
        # An eighth of the channels as in the paper, in a multiple of eight: others have no kernel that saves memory.
        inner = -(-channels // 64) * 8
        self.queries, self.keys, self.values = (nn.Conv3d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv3d(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """A volume [N, C, X, Y, Z], with what its places attend to added."""
        seen = volume
        if self.most is not None:
            seen = functional.adaptive_avg_pool3d(volume, [min(n, self.most) for n in volume.shape[2:]])
        # Contiguous, or no kernel that saves memory takes them.
        queries, keys, values = (
            layer(of).flatten(2).transpose(1, 2).contiguous()[:, None]
            for layer, of in ((self.queries, volume), (self.keys, seen), (self.values, seen))
        )
        # One head; the paper does not scale the products.
        attended = functional.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        attended = attended[:, 0].transpose(1, 2).unflatten(2, volume.shape[2:])
        return volume + self.gamma.to(volume) * self.out(attended)
