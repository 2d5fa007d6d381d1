"""The U-Net of `fast_unet` in less memory: computed slab by slab, where a whole draw does not fit.

A slab is some planes of a volume, and no tile: normalisation has its moments of the whole volume, and attention looks
at every place, so that the answer is the plain way's up to rounding. What it saves:

- what a convolution reads, joined, normalised and activated, is there for one slab at a time;
- a doubled volume is never there: its planes are made where they are read, which is twice;
- what a residual block gives takes the place of the skip that it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn
from torch.nn import functional

from .parts_on_cpu import LAYOUT, attended, convolution, convolved, doubled_and_convolved, in_blocks, parts_of

#: Numbers that a slab has at the least, of the volume it is of, and slabs that a volume is cut into at the most.
LEAST, MOST = 2**21, 20


def lean(network: DiffusionModelUNet, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    """What the network gives of x [N, C, X, Y, Z] and the timestep [N, E], embedded and activated."""
    volume = convolved(network.conv_in.conv, x.contiguous(memory_format=_layout(x)))
    skips = [volume]
    for block in network.down_blocks:
        for part in parts_of(block):
            volume = _through(part, [volume], embedded)
            skips.append(volume)
        if block.downsampler is not None:
            volume = convolved(block.downsampler.op.conv, volume)
            skips.append(volume)
    middle = network.middle_block
    volume = _through((middle.resnet_1, middle.attention), [volume], embedded)
    parts = [volume]
    del volume  # from here on a list alone holds what is read, so that it can be let go
    parts = [_residual(middle.resnet_2, parts, embedded)]
    for block in network.up_blocks:
        for part in parts_of(block):
            parts.append(skips.pop())
            parts = [_through(part, parts, embedded)]
        if block.upsampler is not None:
            parts = [_Doubled(parts[0], block.upsampler.postconv.conv)]
    norm, _, last = network.out
    made = _normed_and_convolved(norm, parts, last.conv)
    return _collected(made, parts[0], last.conv.out_channels).contiguous()


@dataclass(frozen=True)
class _Doubled:
    """A volume, doubled by nearest neighbours and convolved, whose planes are made when they are asked for."""

    volume: torch.Tensor
    layer: nn.Conv3d

    @property
    def shape(self) -> tuple[int, ...]:
        batch, _, *sides = self.volume.shape
        return (batch, self.layer.out_channels, *(2 * n for n in sides))

    @property
    def device(self) -> torch.device:
        return self.volume.device

    def planes(self, begin: int, end: int) -> torch.Tensor:
        first, last, there = begin // 2 - 1, end // 2 + 1, self.volume.shape[2]
        inside = self.volume[:, :, max(first, 0) : last]
        around = functional.pad(inside, (0, 0, 0, 0, max(-first, 0), max(last - there, 0)))
        return doubled_and_convolved(around.contiguous(memory_format=_layout(inside)), self.layer, 0)


_Part = torch.Tensor | _Doubled


def _layout(volume: torch.Tensor) -> torch.memory_format:
    return LAYOUT if volume.device.type == "cpu" else torch.contiguous_format


def _empty(like: _Part, channels: int, planes: int, dtype: torch.dtype) -> torch.Tensor:
    batch, _, _, *sides = like.shape
    shape, layout = (batch, channels, planes, *sides), _layout(like)
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=layout)


def _slabs(parts: Sequence[_Part]) -> Iterator[tuple[int, int]]:
    """First planes of slabs and the ones after their last: even numbers, but for the volume's own end."""
    batch, _, planes, *sides = parts[0].shape
    size = batch * sum(part.shape[1] for part in parts) * sides[0] * sides[1]
    thick = 2 * max(1, LEAST // (2 * size), -(-planes // (2 * MOST)))
    for begin in range(0, planes, thick):
        yield begin, min(begin + thick, planes)


def _joined(parts: Sequence[_Part], begin: int, end: int) -> torch.Tensor:
    """Planes of what the parts are together, channel after channel."""
    each = [part.planes(begin, end) if isinstance(part, _Doubled) else part[:, :, begin:end] for part in parts]
    return each[0] if len(each) == 1 else torch.cat(each, 1)


def _moments(norm: nn.GroupNorm, parts: Sequence[_Part]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and scale [N, C, 1, 1, 1] that the norm takes each channel by.

    Each block of voxels has a mean and a sum of squares about it, and what the blocks are together is put together in
    float64: as exact as `parts_on_cpu.normed`, in one turn through the volume.
    """
    counts, means, squares = [], [], []
    for begin, end in _slabs(parts):
        slab = _joined(parts, begin, end).permute(0, 2, 3, 4, 1).flatten(1, 3)
        for blocks in in_blocks(slab) if slab.device.type == "cpu" else [slab[:, None]]:
            mean = blocks.to(norm.weight).sum(2, keepdim=True) / blocks.shape[2]
            squares.append((blocks - mean).square_().sum(2).double())
            means.append(mean[:, :, 0].double())
            counts += [blocks.shape[2]] * blocks.shape[1]
    group = (norm.num_groups, -1)
    of_block, every = torch.cat(means, 1).mT, torch.tensor(counts, dtype=torch.float64, device=parts[0].device)
    total = every.sum() * (norm.num_channels // norm.num_groups)
    mean = (of_block * every).sum(2).unflatten(1, group).sum(2, keepdim=True) / total
    apart = (of_block.unflatten(1, group) - mean[..., None]).square() * every
    variance = (apart.sum(3) + torch.cat(squares, 1).sum(1).unflatten(1, group)).sum(2, keepdim=True) / total

    def each(values: torch.Tensor) -> torch.Tensor:
        return values.expand(-1, -1, norm.num_channels // norm.num_groups).flatten(1)[..., None, None, None]

    weight = norm.weight[:, None, None, None]
    return each(mean).to(weight), (each((variance + norm.eps).rsqrt()) * weight).to(weight)


def _normed_and_convolved(
    norm: nn.GroupNorm,
    parts: Sequence[_Part],
    layer: nn.Conv3d,
    bias: torch.Tensor | None = None,
    seen: Callable[[torch.Tensor, int, int], None] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Slabs of what a convolution of 3 voxels gives of the parts, normalised and activated, with their first planes.

    Args:
        bias: [channels] in place of the layer's own.
        seen: called with planes of the joined parts before they are normalised; nobody reads these planes after it.
    """
    mean, scale = _moments(norm, parts)
    shift = norm.bias[:, None, None, None]
    weight, bias = layer.weight.contiguous(memory_format=_layout(parts[0])), layer.bias if bias is None else bias
    planes, before = parts[0].shape[2], 1  # a plane of zeros lies around the volume, as the convolution pads it
    kept = _empty(parts[0], norm.num_channels, 1, mean.dtype).zero_()
    for begin, end in _slabs(parts):
        raw = _joined(parts, begin, end)
        slab = _empty(parts[0], norm.num_channels, before + end - begin + (end == planes), mean.dtype)
        slab[:, :, :before] = kept
        if end == planes:
            slab[:, :, -1] = 0
        inside = slab[:, :, before : before + end - begin]
        inside.copy_(raw)
        if seen is not None:
            seen(raw, begin, end)
        del raw
        torch.addcmul(shift, inside.sub_(mean), scale, out=inside)
        functional.silu(inside, inplace=True)
        kept = slab[:, :, -2:].clone()
        yield begin + 1 - before, convolution(slab, weight, bias, layer.stride, (0, 1, 1))
        before = 2


def _collected(slabs: Iterator[tuple[int, torch.Tensor]], like: _Part, channels: int) -> torch.Tensor:
    """The volume of slabs."""
    volume = None
    for begin, slab in slabs:
        if volume is None:
            volume = _empty(like, channels, like.shape[2], slab.dtype)
        volume[:, :, begin : begin + slab.shape[2]] = slab
    return volume


def _through(part: tuple[nn.Module, nn.Module | None], parts: list[_Part], embedded: torch.Tensor) -> torch.Tensor:
    resnet, attention = part
    volume = _residual(resnet, parts, embedded)
    return volume if attention is None else attended(attention, volume)


def _residual(block: nn.Module, parts: list[_Part], embedded: torch.Tensor) -> torch.Tensor:
    """MONAI's residual block of the parts, which are let go."""
    first, second = block.conv1.conv, block.conv2.conv
    shift = block.time_emb_proj(embedded)
    plain = isinstance(block.skip_connection, nn.Identity)
    result = None

    def skip(raw: torch.Tensor, begin: int, end: int) -> None:
        nonlocal result
        slab = convolved(block.skip_connection.conv, raw)
        if result is None:
            last = parts[-1]  # nobody needs it but this block, where another part is before it
            own = len(parts) > 1 and last.shape[1] == slab.shape[1] and last.dtype == slab.dtype
            result = last if own else _empty(parts[0], slab.shape[1], parts[0].shape[2], slab.dtype)
        result[:, :, begin:end] = slab

    bias = first.bias + shift[0] if len(shift) == 1 else None
    made = _normed_and_convolved(block.norm1, parts, first, bias, None if plain else skip)
    inner = _collected(made, parts[0], first.out_channels)
    if bias is None:
        inner += shift[:, :, None, None, None]
    volume = parts[0] if plain else None
    del made
    parts.clear()
    slabs = _normed_and_convolved(block.norm2, [inner], second)
    if plain:
        return _collected(_added(slabs, volume), inner, second.out_channels)
    for begin, slab in slabs:
        result[:, :, begin : begin + slab.shape[2]] += slab
    return result


def _added(slabs: Iterator[tuple[int, torch.Tensor]], volume: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    for begin, slab in slabs:
        yield begin, slab.add_(volume[:, :, begin : begin + slab.shape[2]])
