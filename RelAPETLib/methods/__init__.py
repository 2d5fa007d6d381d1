"""Synthesis methods, a folder each, and the closed list of them. A bundle names its method; nothing else is imported.

How another method is added: README, "A method of your own".
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Method

#: The only methods that a bundle's metadata can name, and the class of each in its folder.
METHODS = {
    "rela": "RelaDiffusion",
    "cyclegan": "CycleGAN",
    "ddgan": "DDGAN",
    "diffusion_gan": "DiffusionGAN",
    "flows": "Flow",
    "jdam": "JDAM",
    "mri2pet": "MRI2PET",
    "mtgd": "MTGD",
    "pix2pix": "Pix2Pix",
    "resdm": "ResDM",
    "resvit": "ResViT",
    "scgan": "SCGAN",
    "transunet": "TransUNet",
    "unet": "UNet",
}
#: The method of bundles from before methods had names (schema version 1), whose settings stand beside everything else.
UNNAMED = "rela"


def method_class(name: str) -> type[Method]:
    """The class of a method. Raises `KeyError` for a name that is not in `METHODS`."""
    return getattr(importlib.import_module(f".{name}", __package__), METHODS[name])
