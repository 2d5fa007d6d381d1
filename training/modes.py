"""How a network computes what it computes: as torch does by itself, sooner, or in less memory (``hardware.mode``).

The mathematics is the same in all; sums are taken in another order, so that results differ in rounding.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from .keys import MODES
from .sharding import blocks_of

PLAIN, FAST, LEAN = MODES
#: torch's native code works on a single image with up to so many channels x X x Y, whatever Z; oneDNN on others.
NATIVE_SIZE = 20480
#: It also leaves oneDNN all kernels beyond this side.
NATIVE_KERNEL = 3


def prepare(network: nn.Module, mode: str, device: str, compiled: bool = False) -> None:
    """Have a network compute as a mode says; its weights and their names stay.

    Args:
        network: not yet wrapped for ranks. Gradients are taken through it once, not of gradients.
        mode: ``plain`` leaves it as it is. ``fast``: on a CPU convolutions by oneDNN where torch would take slower code
            of its own, on others channels last. ``lean``: its blocks keep no activations, and the
            backward pass computes them again; on a CPU with the convolutions of ``fast``.
        device: cpu, cuda or mps.
        compiled: by torch.compile.
    """
    if mode == PLAIN:
        return
    if device == "cpu":
        quick_convolutions(network)
    elif mode == FAST:
        network.to(memory_format=torch.channels_last_3d)
    if mode == LEAN:
        checkpoint_activations(network)
    if compiled:
        network.compile()


def quick_convolutions(network: nn.Module) -> None:
    """Have oneDNN work on single images, too, which torch leaves to slower code of its own where they are small.

    For float32 on a CPU. Where torch was built without oneDNN, nothing changes.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for module in network.modules():
        plain = isinstance(module, nn.Conv3d) and type(module).forward is nn.Conv3d.forward
        if plain and module.groups == 1 and module.padding_mode == "zeros" and max(module.kernel_size) > 1:
            module.forward = partial(_convolution, module)


def _convolution(convolution: nn.Conv3d, image: torch.Tensor) -> torch.Tensor:
    """What the convolution gives of images [N, C, X, Y, Z]; an oneDNN tensor in, and torch has no choice."""
    if not _is_native(convolution, image):
        return nn.Conv3d.forward(convolution, image)
    weight, bias = convolution.weight, convolution.bias
    made = F.conv3d(image.to_mkldnn(), weight, bias, convolution.stride, convolution.padding, convolution.dilation)
    return made.to_dense()


def _is_native(convolution: nn.Conv3d, image: torch.Tensor) -> bool:
    """Whether torch would not take oneDNN by itself."""
    if image.dtype != torch.float32 or image.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if max(convolution.kernel_size) > NATIVE_KERNEL or image.dim() != 5 or len(image) != 1:
        return False
    return image.shape[1] * image.shape[2] * image.shape[3] <= NATIVE_SIZE


def checkpoint_activations(network: nn.Module) -> None:
    """Keep no activations inside a network's blocks; the backward pass computes them again."""
    from torch.utils.checkpoint import checkpoint

    for block in blocks_of(network):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
