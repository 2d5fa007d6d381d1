"""What methods with a discriminator share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the network but none is kept for its parameters."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def smallest_side(num_layers_d: int) -> int:
    """Voxels a side that MONAI's patch discriminator of so many layers needs to give a patch."""
    return 3 * 2**num_layers_d


def check_judged(shape: Sequence[int], num_layers_d: int) -> None:
    """Raise `ConfigError` where volumes (X, Y, Z) are too small for a patch discriminator of so many layers."""
    if min(shape) < smallest_side(num_layers_d):
        raise ConfigError(
            f"preset.discriminator_layers={num_layers_d}: volumes of {tuple(shape)} are too small for the "
            f"discriminator, which needs {smallest_side(num_layers_d)} voxels a side; use fewer layers, or another "
            "network.factor or network.crop"
        )
