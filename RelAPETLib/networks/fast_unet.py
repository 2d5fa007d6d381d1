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

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn
from torch.nn import functional

from .execution import slabs_wanted
from .lean_unet import lean
from .parts_on_cpu import LAYOUT, attended, convolved, doubled_and_convolved, normed, parts_of


class FastUNet(DiffusionModelUNet):
    """A `DiffusionModelUNet` that goes the faster way where nobody could tell: see `goes_fast`."""

    def forward(self, x, timesteps, context=None, class_labels=None, **additional):
        """See MONAI's class; x is [N, C, X, Y, Z]."""
        if context is None and not additional:
            if self.goes_lean(x):
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


def _through(part: tuple[nn.Module, nn.Module | None], volume: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    resnet, attention = part
    volume = _residual(resnet, volume, embedded)
    return volume if attention is None else attended(attention, volume)


def _activated(norm: nn.GroupNorm, volume: torch.Tensor) -> torch.Tensor:
    return functional.silu(normed(norm, volume), inplace=True)


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
