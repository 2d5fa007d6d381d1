"""MONAI's conditional 3-D U-Net with a faster way through it, for synthesis on a CPU.

The same weights, the same mathematics, other places in memory. What it saves:

- volumes lie with their channels last, as the CPU's convolutions want them, so that none turns them round and back;
- activations overwrite what only they need, sums what is added to, and the timestep enters the convolution's bias;
- convolutions of one voxel are matrix products of what lies there;
- a convolution of 3 voxels after a doubling by nearest neighbours reads each voxel up to eight times. Its taps on one
  voxel are added first, which leaves kernels of 2 voxels on the volume before the doubling, one for each of the eight
  places in a doubled voxel: 8/27 of the products.

Results differ from the plain way's by rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from monai.networks.blocks import SpatialAttentionBlock
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn
from torch.nn import functional

from .execution import slabs_wanted

LAYOUT = torch.channels_last_3d
#: Voxels whose sums are taken together in float32, and how many such blocks at a time: they stay in the processor's
#: cache, and threads share them. Threads that share one block wait for each other longer than they add.
ROWS, BLOCKS = 4096, 8


class FastUNet(DiffusionModelUNet):
    """A `DiffusionModelUNet` that goes the faster way where nobody could tell: see `goes_fast`."""

    def forward(self, x, timesteps, context=None, class_labels=None, **additional):
        """See MONAI's class; x is [N, C, X, Y, Z]."""
        if context is None and not additional:
            if self.goes_lean(x):
                from .lean_unet import lean

                return lean(self, x, self._embedded(x, timesteps, class_labels))
            if self.goes_fast(x):
                return self._fast(x, self._embedded(x, timesteps, class_labels))
        return super().forward(x, timesteps, context, class_labels, **additional)

    def goes_fast(self, x: torch.Tensor) -> bool:
        """Whether the faster way is taken for x: float32 on a CPU, no gradients wanted, no hooks on the parts.

        Hooks are how observers and sharded training (FSDP) see a part being called.
        """
        if torch.is_grad_enabled() or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return False
        if x.dtype != torch.float32 or self.conv_in.conv.weight.dtype != torch.float32 or x.ndim != 5:
            return False
        return not self._is_watched()

    def goes_lean(self, x: torch.Tensor) -> bool:
        """Whether x is computed slab by slab: where `in_slabs` asks for it and nobody could tell.

        MPS has no float64, which the moments are summed in.
        """
        if self._compiled_call_impl is not None or not slabs_wanted():
            return False
        if torch.is_grad_enabled() or x.device.type not in ("cpu", "cuda", "meta") or x.ndim != 5:
            return False
        return not self._is_watched()

    def _is_watched(self) -> bool:
        parts = itertools.islice(self.modules(), 1, None)
        return any(part._forward_pre_hooks or part._forward_hooks for part in parts)

    def _embedded(self, x: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        embedded = self.time_embed(get_timestep_embedding(timesteps, self.block_out_channels[0]).to(x.dtype))
        if self.num_class_embeds is not None:
            if labels is None:
                raise ValueError("class_labels should be provided when num_class_embeds > 0")
            embedded = embedded + self.class_embedding(labels)
        # Each residual block has its own product with it.
        return functional.silu(embedded)

    def _fast(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        volume = convolved(self.conv_in.conv, x.contiguous(memory_format=LAYOUT))
        skips = [volume]
        for block in self.down_blocks:
            for part in parts_of(block):
                volume = _through(part, volume, embedded)
                skips.append(volume)
            if block.downsampler is not None:
                volume = convolved(block.downsampler.op.conv, volume)
                skips.append(volume)
        middle = self.middle_block
        volume = _through((middle.resnet_1, middle.attention), volume, embedded)
        volume = _residual(middle.resnet_2, volume, embedded)
        for block in self.up_blocks:
            for part in parts_of(block):
                volume = _through(part, torch.cat([volume, skips.pop()], 1), embedded)
            if block.upsampler is not None:
                volume = doubled_and_convolved(volume, block.upsampler.postconv.conv)
        norm, _, last = self.out
        return convolved(last.conv, _activated(norm, volume)).contiguous()


def parts_of(block: nn.Module) -> list[tuple[nn.Module, nn.Module | None]]:
    """Residual blocks of a level, each with the attention after it."""
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def _through(part: tuple[nn.Module, nn.Module | None], volume: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    resnet, attention = part
    volume = _residual(resnet, volume, embedded)
    return volume if attention is None else attended(attention, volume)


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


def _activated(norm: nn.GroupNorm, volume: torch.Tensor) -> torch.Tensor:
    return functional.silu(normed(norm, volume), inplace=True)


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


def _residual(block: nn.Module, volume: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    """MONAI's residual block, without resampling in it: `build_generator` makes none with."""
    first, second = block.conv1.conv, block.conv2.conv
    shift = block.time_emb_proj(embedded)
    if len(shift) == 1:
        inner = convolved(first, _activated(block.norm1, volume), first.bias + shift[0])
    else:
        inner = convolved(first, _activated(block.norm1, volume)).add_(shift[:, :, None, None, None])
    inner = convolved(second, _activated(block.norm2, inner))
    if isinstance(block.skip_connection, nn.Identity):
        return inner.add_(volume)
    return inner.add_(convolved(block.skip_connection.conv, volume))


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
