"""The networks: generator, discriminator, and the three diffusion models made of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: The only classes that a bundle's metadata can name, and the modules they are in.
DIFFUSION_MODELS = {"VoxelDiffusion": "voxel", "LatentDiffusion": "latent", "AutoencodedDiffusion": "autoencoded"}


def diffusion_model(name: str) -> type[torch.nn.Module]:
    """The class of `DIFFUSION_MODELS` with this name. Raises `KeyError` for any other."""
    return getattr(importlib.import_module(f".{DIFFUSION_MODELS[name]}", __package__), name)
