"""Spectral normalisation of a network's convolutions (Miyato et al., ICLR 2018): torch's, advanced once a step.

Left to itself, torch advances its estimate of the largest singular value with every forward pass, so that how a batch
is laid out over ranks and micro-batches would change what is learned.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm

from RelAPETLib.devices import full_precision


class Normalised(_SpectralNorm):
    """torch's, in the weight's own type: under a GPU's autocast it would divide by a product of rounded numbers."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """See `_SpectralNorm`."""
        with full_precision(weight.device):
            return super().forward(weight)


def normalise(network: nn.Module) -> nn.Module:
    """The network, each of its convolutions divided by the largest singular value of its kernel as a matrix."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            spectral_norm(module)
            module.parametrizations.weight[0].__class__ = Normalised
    return network


def normalised(network: nn.Module) -> list[nn.Module]:
    """The modules that `normalise` changed."""
    return [module for module in network.modules() if parametrize.is_parametrized(module, "weight")]


@torch.no_grad()
def advance(network: nn.Module) -> None:
    """One power iteration of every estimate; until the next call they stay as they are."""
    for module in normalised(network):
        module.parametrizations.weight.train()
        module.weight  # noqa: B018 - reading it is what advances
        module.parametrizations.weight.eval()


def plain(network: nn.Module) -> nn.Module:
    """The network with kernels that are divided for good, under their own names."""
    network.eval()
    for module in normalised(network):
        parametrize.remove_parametrizations(module, "weight")
    return network
