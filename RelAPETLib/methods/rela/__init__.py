"""RelA-Diffusion (arXiv 2602.21345) in its forms: voxels, the paper's latents, the demo models' latents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .method import NETWORKS, RelaDiffusion

if TYPE_CHECKING:
    import torch

__all__ = ["NETWORKS", "RelaDiffusion", "network_class"]


def network_class(name: str) -> type[torch.nn.Module]:
    """The class of `NETWORKS` with this name. Raises `KeyError` for any other."""
    return getattr(importlib.import_module(f".{NETWORKS[name]}", __package__), name)
