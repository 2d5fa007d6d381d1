"""Parts of MONAI's U-Net computed on a CPU with channels last: what `fast_unet` and `lean_unet` are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from monai.networks.blocks import SpatialAttentionBlock
from torch import nn
from torch.nn import functional

LAYOUT = torch.channels_last_3d
#: Voxels whose sums are taken together in float32, and how many such blocks at a time: they stay in the processor's
#: cache, and threads share them. Threads that share one block wait for each other longer than they add.
ROWS, BLOCKS = 4096, 8


def parts_of(block: nn.Module) -> list[tuple[nn.Module, nn.Module | None]]:
    """Residual blocks of a level, each with the attention after it."""
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def normed(norm: nn.GroupNorm, volume: torch.Tensor) -> torch.Tensor:
    """Group normalisation of [N, C, X, Y, Z] with channels last, its moments summed in blocks and in float64.

    torch's own, with channels last, sums all voxels in float32: wrong by 5e-4 on 500,000 voxels, by more off zero.
    """
    batch, channels, *shape = volume.shape
    rows = volume.permute(0, 2, 3, 4, 1).reshape(batch, -1, channels)
    count = rows.shape[1] * (channels // norm.num_groups)

    def mean(sums: Iterable[torch.Tensor]) -> torch.Tensor:
        """Of each group, [N, 1, C] float64, of blocks' sums [N, blocks, C]."""
        of_group = sum(part.double().sum(1) for part in sums).unflatten(1, (norm.num_groups, -1)).sum(2)
        return (of_group / count).repeat_interleave(channels // norm.num_groups, 1)[:, None]

    result = rows - mean(blocks.sum(2) for blocks in in_blocks(rows)).float()
    variance = mean(blocks.square().sum(2) for blocks in in_blocks(result))
    scale = ((variance + norm.eps).rsqrt() * norm.weight).float()
    return torch.addcmul(norm.bias, result, scale, out=result).unflatten(1, shape).permute(0, 4, 1, 2, 3)


def in_blocks(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Rows [N, V, C] as blocks [N, blocks, `ROWS`, C], `BLOCKS` at a time; the last one has the rows that are left."""
    for part in rows.split(BLOCKS * ROWS, 1):
        whole = part.shape[1] // ROWS * ROWS
        if whole:
            yield part[:, :whole].unflatten(1, (-1, ROWS))
        if whole < part.shape[1]:
            yield part[:, None, whole:]


def convolution(
    volume: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
) -> torch.Tensor:
    """`functional.conv3d`, by oneDNN also where torch thinks that a volume is too small for it.

    One sample of 16 channels and 10 planes of 88 rows is, and takes ten times as long in torch's own way.
    """
    known = volume.device.type == "cpu" and volume.dtype == weight.dtype == torch.float32
    if known and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled:
        if not torch.is_autocast_enabled("cpu"):
            return torch.mkldnn_convolution(volume, weight, bias, padding, stride, (1, 1, 1), 1)
    return functional.conv3d(volume, weight, bias, stride, padding)


def convolved(layer: nn.Conv3d, volume: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A convolution, perhaps with another bias [channels]; on a CPU of a volume with its channels last."""
    bias = layer.bias if bias is None else bias
    if volume.device.type != "cpu":
        return functional.conv3d(volume, layer.weight, bias, layer.stride, layer.padding)
    if set(layer.kernel_size) != {1}:
        # A kernel with channels first makes some shapes of volume fall back to them.
        weight = layer.weight.contiguous(memory_format=LAYOUT)
        return convolution(volume, weight, bias, layer.stride, layer.padding)
    return functional.linear(volume.permute(0, 2, 3, 4, 1), layer.weight.flatten(1), bias).permute(0, 4, 1, 2, 3)


def attended(attention: nn.Module, volume: torch.Tensor) -> torch.Tensor:
    """MONAI's attention over places; with channels last, its tokens are the volume as it lies there."""
    if isinstance(attention, SpatialAttentionBlock):
        return attention(volume).contiguous(memory_format=LAYOUT)
    inner = convolved(attention.proj_in.conv, normed(attention.norm, volume)).permute(0, 2, 3, 4, 1)
    tokens = inner.flatten(1, 3)
    for block in attention.transformer_blocks:
        tokens = block(tokens)
    tokens = tokens.unflatten(1, inner.shape[1:4]).permute(0, 4, 1, 2, 3)
    return convolved(attention.proj_out.conv, tokens).add_(volume)


def doubled_and_convolved(volume: torch.Tensor, layer: nn.Conv3d, padding: int = 1) -> torch.Tensor:
    """A convolution of 3x3x3 voxels, with one of padding, after a doubling of [N, C, X, Y, Z] by nearest neighbours.

    Gives [N, layer.out_channels, 2 X, 2 Y, 2 Z]. Without `padding` in X the volume's first and last planes are what
    lies around the others, and X is the number of these.
    """
    batch, channels, *shape = volume.shape
    out = layer.out_channels
    kernels = layer.weight
    for axis in range(3):
        # The first half of a doubled voxel sees the one before and twice itself, the second itself twice and the next.
        a, b, c = kernels.unbind(axis + 2)
        kernels = torch.stack([torch.stack([a, b + c], -1), torch.stack([a + b, c], -1)], axis)
    # [2, 2, 2, out, in, 2, 2, 2]: places in the doubled voxel, then taps
    kernels = kernels.reshape(8 * out, channels, 2, 2, 2).contiguous(memory_format=LAYOUT)
    bias = None if layer.bias is None else layer.bias.repeat(8)
    every = convolution(volume, kernels, bias, (1, 1, 1), (padding, 1, 1))
    shape[0] += 2 * padding - 2
    doubled = volume.new_empty((batch, *(2 * n for n in shape), out))
    for number, place in enumerate(itertools.product((0, 1), repeat=3)):
        source = tuple(slice(p, p + n) for p, n in zip(place, shape, strict=True))
        target = tuple(slice(p, None, 2) for p in place)
        part = every[:, number * out : (number + 1) * out].permute(0, 2, 3, 4, 1)
        doubled[(slice(None), *target)] = part[(slice(None), *source)]
    return doubled.permute(0, 4, 1, 2, 3)
