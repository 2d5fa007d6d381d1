"""The network of deepbet: a 3-D LinkNet that tells brain from the rest of a head.

Fisch et al., deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks, Comput Biol Med
2024;179:108845. The architecture is read from its published TorchScript files, in plain modules under the same names,
so that weights load from safetensors and nothing in a file is executed.
"""

from __future__ import annotations

import torch
from torch import nn


class _Conv3d(nn.Conv3d):
    """By oneDNN on a CPU where torch may use it; torch itself is six times as slow on small volumes, in one thread."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mkldnn = torch.backends.mkldnn
        if x.device.type == "cpu" and mkldnn.is_available() and mkldnn.enabled:
            numbers = self.padding, self.stride, self.dilation, self.groups
            return torch.mkldnn_convolution(x, self.weight, self.bias, *numbers)
        return super().forward(x)


class _Halved(nn.Module):
    """What MaxPool3d(3, 2, 1) gives of even edges, axis by axis, which is faster on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for axis in range(2, x.ndim):
            even, odd = (x.unflatten(axis, (-1, 2)).select(axis + 1, n) for n in (0, 1))
            x = torch.maximum(even, odd)
            later = x.narrow(axis, 1, x.shape[axis] - 1)
            later.copy_(torch.maximum(later, odd.narrow(axis, 0, later.shape[axis])))
        return x


def _normalised(conv: nn.Module, *rest: nn.Module) -> nn.Sequential:
    """A convolution, then each channel of each volume to mean 0 and SD 1, then the rest."""
    return nn.Sequential(conv, nn.InstanceNorm3d(conv.out_channels), *rest)


class _Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.double_conv = nn.Sequential(
            *_normalised(_Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.ReLU(inplace=True)),
            *_normalised(_Conv3d(outputs, outputs, 3, 1, 1, bias=False)),
        )
        self.downsample = None
        if stride > 1:
            self.downsample = _normalised(_Conv3d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = x if self.downsample is None else self.downsample(x)
        return torch.relu_(self.double_conv(x) + short)


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.block1 = _Block(inputs, outputs, stride)
        self.block2 = _Block(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block2(self.block1(x))


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        middle = inputs // 4
        self.conv1 = _normalised(_Conv3d(inputs, middle, 1, bias=False), nn.ReLU(inplace=True))
        self.tp_conv = _normalised(
            nn.ConvTranspose3d(middle, middle, 3, stride, 1, output_padding=stride - 1, bias=False),
            nn.ReLU(inplace=True),
        )
        self.conv2 = _normalised(_Conv3d(middle, outputs, 1, bias=False), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.tp_conv(self.conv1(x)))


class LinkNet3d(nn.Module):
    """Logit of being brain, [N, 1, X, Y, Z], of volumes of that shape; each edge must be a multiple of 32."""

    def __init__(self):
        super().__init__()
        # The largest of some values is above zero when one is: an eighth of them is left for the ReLU.
        self.init = _normalised(_Conv3d(1, 16, 7, 2, 3, bias=False), _Halved(), nn.ReLU(inplace=True))
        self.down0 = _Down(16, 16, 1)
        self.down1 = _Down(16, 32, 2)
        self.down2 = _Down(32, 64, 2)
        self.down3 = _Down(64, 128, 2)
        self.up0 = _Up(128, 64, 2)
        self.up1 = _Up(64, 32, 2)
        self.up2 = _Up(32, 16, 2)
        self.up3 = _Up(16, 16, 1)
        self.tp_conv1 = _normalised(nn.ConvTranspose3d(16, 8, 3, 2, 1, output_padding=1), nn.ReLU(inplace=True))
        self.conv = _normalised(_Conv3d(8, 8, 3, 1, 1), nn.ReLU(inplace=True))
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = self.init(x)
        first = self.down0(start)
        second = self.down1(first)
        third = self.down2(second)
        x = self.up0(self.down3(third)) + third
        x = self.up1(x) + second
        x = self.up2(x) + first
        x = self.up3(x) + start
        return self._logit(self.conv(self.tp_conv1(x)))

    def _logit(self, x: torch.Tensor) -> torch.Tensor:
        """What `tp_conv2` says of brain less what it says of the rest, which is never laid out on the whole grid.

        Each voxel becomes a cube of two voxels an edge and its neighbours have no part in it: a product of matrices.
        """
        weight, bias = self.tp_conv2.weight, self.tp_conv2.bias
        cubes = torch.matmul(weight.flatten(1).T, x.flatten(2)).unflatten(1, (2, 8)).add_(bias[:, None, None])
        cubes = (cubes[:, 1] - cubes[:, 0]).view(-1, 2, 2, 2, *x.shape[2:])
        return cubes.permute(0, 4, 1, 5, 2, 6, 3).reshape(-1, 1, *(2 * n for n in x.shape[2:]))
