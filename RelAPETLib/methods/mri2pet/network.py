"""MRI2PET's network: a U-Net with linear attention, told the MRI by a vector, by further channels, or by both.

Widths, blocks and the vector are those of the paper's authors (Theodorou et al.; the paper's section 3.1 describes them
in words); that the code joins before a level's convolutions is ours. Convolutions with their normalisation are MONAI's,
which has no linear attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn import functional

from ...networks.blocks import BACKGROUND, Blocks
from ...networks.shapes import central, padded, padded_shape
from ...tracers import PUBLISHED_LABELS
from ..base import SEQUENCES

#: How the network can be told the MRI.
CONDITIONINGS = ("vector", "spatial", "both")
#: The slowest wave of the time code takes 2 pi times so many timesteps; in most networks it is 10,000.
TIME_BASE = 1000.0


def time_code(timesteps: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines [N, width] of timesteps [N]; `width` is even."""
    half = width // 2
    rates = torch.exp(-math.log(TIME_BASE) / half * torch.arange(half, device=timesteps.device))
    angles = timesteps[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class DoubleConvolution(nn.Module):
    """Two convolutions of 3 x 3 x 3 voxels, each normalised in groups, with a GELU between; perhaps around a residual.

    A residual one has as many output as input channels and a GELU behind.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, *, residual: bool = False):
        super().__init__()
        norm = ("GROUP", {"num_groups": groups})
        self.residual = residual
        self.layers = nn.Sequential(
            Convolution(3, inputs, outputs, norm=norm, act="GELU", adn_ordering="NA", bias=False),
            Convolution(3, outputs, outputs, norm=norm, act=None, adn_ordering="N", bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, X, Y, Z] to [N, outputs, X, Y, Z]."""
        return functional.gelu(x + self.layers(x)) if self.residual else self.layers(x)


class LinearAttention(nn.Module):
    """Attention whose cost grows with the voxels and not with their square (Shen et al., arXiv 1812.01243).

    Args:
        channels: of input and output.
        heads, head_channels: how many, and the width of each.
        residual: add the input. The paper's has none, so that all passes through the heads' few sums.
    """

    def __init__(self, channels: int, heads: int, head_channels: int, *, residual: bool = False):
        super().__init__()
        self.heads, self.head_channels, self.residual = heads, head_channels, residual
        self.to_qkv = nn.Conv3d(channels, 3 * heads * head_channels, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv3d(heads * head_channels, channels, 1), nn.GroupNorm(1, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, X, Y, Z], the same shape."""
        q, k, v = self.to_qkv(x).reshape(len(x), 3, self.heads, self.head_channels, -1).unbind(1)
        q, k = q.softmax(2) * self.head_channels**-0.5, k.softmax(3)
        context = torch.einsum("nhdv,nhev->nhde", k, v.to(k))
        found = torch.einsum("nhde,nhdv->nhev", context, q).reshape(len(x), -1, *x.shape[2:])
        out = self.to_out(found)
        return x + out if self.residual else out


class Stage(nn.Module):
    """A level on the way down or up: the code added to every voxel, double convolutions, attention."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, groups: int, code: int, attention: LinearAttention):
        super().__init__()
        self.convolutions = nn.Sequential(
            *(DoubleConvolution(inputs, inputs, groups, residual=True) for _ in range(blocks - 1)),
            DoubleConvolution(inputs, outputs, groups),
        )
        self.code = nn.Sequential(nn.SiLU(), nn.Linear(code, inputs))
        self.attention = attention

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """[N, inputs, X, Y, Z] with a code [N, code] to [N, outputs, X, Y, Z]."""
        return self.attention(self.convolutions(x + self.code(code)[:, :, None, None, None]))


class MriVector(nn.Module):
    """The MRI as one vector: layers of convolution and pooling, flattened, and two dense layers.

    Args:
        channels: of the layers; each halves the sides.
        grid: sides of what is flattened; features of other sides are averaged to these.
        width: of the vector.
    """

    def __init__(self, channels: Sequence[int], grid: Sequence[int], width: int):
        super().__init__()
        self.multiple, self.grid = 2 ** len(channels), tuple(grid)
        widths = [len(SEQUENCES), *channels]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(Convolution(3, a, b, norm=None, act="GELU"), nn.MaxPool3d(2))
                for a, b in zip(widths[:-1], widths[1:], strict=True)
            )
        )
        self.dense = nn.Sequential(
            nn.Linear(widths[-1] * math.prod(self.grid), width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, mri: torch.Tensor) -> torch.Tensor:
        """Vectors [N, width] of MRI [N, 2, X, Y, Z]."""
        found = self.layers(padded(mri, self.multiple, BACKGROUND))
        if found.shape[2:] != self.grid:
            found = functional.adaptive_avg_pool3d(found, self.grid)
        return self.dense(found.flatten(1))


class ConditionedUNet(nn.Module):
    """eps(x_t, MRI, t): the noise in x_t.

    Args:
        factor, crop: of `Blocks`.
        conditioning: one of `CONDITIONINGS`: ``vector`` adds `MriVector` to the time code (the paper's), ``spatial``
            shows T1w and T2F as further channels, ``both`` does both.
        channels: widths of the levels; the grid is halved from one to the next.
        num_res_blocks: double convolutions at each level; all but the last, which changes the width, are residual.
        bottom_blocks: double convolutions at the bottom.
        norm_num_groups: groups of the normalisation.
        attention_heads, attention_head_channels, attention_residual: of `LinearAttention`.
        vector_channels, vector_grid: of `MriVector`; without a grid, whatever the layers leave of the blocks.
        code_width: of time code and vector.
        num_class_embeds: number of class labels, whose embedding joins the code too.

    Attributes:
        blocks: see `Blocks`. Volumes are padded by background to what the levels need, and cut again.

    Raises:
        ValueError: as `Blocks`, an unknown conditioning, fewer than two levels, no block a level, or an odd width.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        conditioning: str = "vector",
        channels: Sequence[int] = (8, 16, 32, 64, 128),
        num_res_blocks: int = 2,
        bottom_blocks: int = 3,
        norm_num_groups: int = 1,
        attention_heads: int = 4,
        attention_head_channels: int = 32,
        attention_residual: bool = False,
        vector_channels: Sequence[int] = (8, 16, 32, 64),
        vector_grid: Sequence[int] | None = None,
        code_width: int = 256,
        num_class_embeds: int = PUBLISHED_LABELS,
    ):
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning {conditioning!r} is not one of {', '.join(CONDITIONINGS)}")
        if len(channels) < 2 or num_res_blocks < 1 or code_width < 2 or code_width % 2:
            raise ValueError("two levels or more, a block or more a level and an even width of the code are wanted")
        self.blocks, self.code_width = Blocks(factor, crop), code_width
        self._multiple, self._spatial = 2 ** (len(channels) - 1), conditioning != "vector"
        self.class_embedding = nn.Embedding(num_class_embeds, code_width)
        self.vector = None
        if conditioning != "spatial":
            grid = vector_grid or [n // 2 ** len(vector_channels) for n in self._padded(2 ** len(vector_channels))]
            self.vector = MriVector(vector_channels, grid, code_width)

        def stage(inputs: int, outputs: int) -> Stage:
            attention = LinearAttention(outputs, attention_heads, attention_head_channels, residual=attention_residual)
            return Stage(
                inputs,
                outputs,
                blocks=num_res_blocks,
                groups=norm_num_groups,
                code=code_width,
                attention=attention,
            )

        seen = 1 + (len(SEQUENCES) if self._spatial else 0)
        self.first = DoubleConvolution(seen, channels[0], norm_num_groups)
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.down = nn.ModuleList(stage(above, below) for above, below in pairs)
        bottom = channels[-1]
        self.bottom = nn.Sequential(*(DoubleConvolution(bottom, bottom, norm_num_groups) for _ in range(bottom_blocks)))
        self.up = nn.ModuleList(stage(below + above, above) for above, below in reversed(pairs))
        self.last = nn.Conv3d(channels[0], 1, 1)

    def _padded(self, multiple: int) -> tuple[int, ...]:
        return padded_shape(self.blocks.shape, multiple)

    def vector_of(self, mri: torch.Tensor) -> torch.Tensor | None:
        """The vectors [N, code_width] that MRI blocks [N, 2, X, Y, Z] add to the code; None without such."""
        return None if self.vector is None else self.vector(mri)

    def forward(
        self,
        x_t: torch.Tensor,
        mri: torch.Tensor,
        timesteps: torch.Tensor,
        labels: torch.Tensor,
        vector: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The noise in x_t or what else is predicted (`Parametrization`), [N, 1, X, Y, Z].

        Args:
            x_t: [N, 1, X, Y, Z].
            mri: T1w and T2F [N, 2, X, Y, Z] in [-1, 1].
            timesteps: integers [N].
            labels: class labels [N].
            vector: `vector_of` of this MRI where it is known already.
        """
        if vector is None:
            vector = self.vector_of(mri)
        code = time_code(timesteps, self.code_width) + self.class_embedding(labels)
        code = code if vector is None else code + vector
        x = torch.cat([x_t, mri], 1) if self._spatial else x_t
        x = self.first(padded(x, self._multiple, BACKGROUND))
        kept = []
        for stage in self.down:
            kept.append(x)
            x = stage(functional.max_pool3d(x, 2), code)
        x = self.bottom(x)
        for stage in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = stage(torch.cat([kept.pop(), x], 1), code)
        return central(self.last(x), x_t.shape[2:]).float()
