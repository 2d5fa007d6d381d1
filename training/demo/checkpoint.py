"""Checkpoints of the demo's stages: written whole, loaded without executing code."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def save(path: Path, **state) -> None:
    """Write tensors, numbers and state dicts to `path`, whole or not at all."""
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: Path) -> dict | None:
    """What `save` wrote, or None when there is nothing."""
    return torch.load(path, weights_only=True) if path.exists() else None
