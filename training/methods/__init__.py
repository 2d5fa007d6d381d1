"""Methods that can be trained, a folder each, and the closed list of them; `RelAPETLib.methods` has the other halves.

A method's folder defines ``CONFIG``, its subclass of `training.config.TrainConfig`, in ``config.py``, and
``OBJECTIVE``, its subclass of `training.methods.base.Objective`, in ``objective.py``. How another method is added:
README, "A method of your own".
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import TrainConfig
    from .base import Objective

#: Folder of each method, which is its name in a bundle, and the choices of ``method=`` that it offers.
METHODS = {
    "rela": ("rela", "rela_latent", "ficd", "ddpm", "ldm"),
    "cyclegan": ("cyclegan",),
    "ddgan": ("ddgan",),
    "diffusion_gan": ("diffusion_gan",),
    "flows": ("rectified_flow", "bridge"),
    "jdam": ("jdam", "sde"),
    "mri2pet": ("mri2pet",),
    "mtgd": ("mtgd",),
    "pix2pix": ("pix2pix",),
    "resdm": ("resdm",),
    "resvit": ("resvit",),
    "scgan": ("scgan",),
    "transunet": ("transunet",),
    "unet": ("unet_l1", "unet_l2"),
}
#: Modules with ``CONFIG`` of choices whose configuration is another than their folder's.
CONFIGS = {"ldm": "ldm_config"}
#: Methods of RelA-Diffusion's comparison that cannot be trained here, and why.
LEFT_OUT = {
    "NFlow": "the published code (Harmonizing Flows, Beizaee et al., 2023) harmonises MRI, and RelA-Diffusion's paper "
    "does not describe how it made PET with it"
}
#: Choice of ``method=`` when nobody says otherwise.
DEFAULT = "rela"


def folder_of(choice: str) -> str:
    """The method behind a choice of ``method=``. Raises `ConfigError` where there is none."""
    for folder, choices in METHODS.items():
        if choice in choices:
            return folder
    known = [name for choices in METHODS.values() for name in choices]
    near = "".join(f"; did you mean method={name}?" for name in difflib.get_close_matches(str(choice)[:60], known, 1))
    raise ConfigError(f"method={str(choice)[:60]!s} is not one of {', '.join(known)}{near}")


def config_class(choice: str) -> type[TrainConfig]:
    """The configuration of a choice of ``method=``; loads no torch. Raises `ConfigError` as `folder_of` does."""
    module = CONFIGS.get(choice, "config")
    return importlib.import_module(f".{folder_of(choice)}.{module}", __package__).CONFIG


def objective(config: TrainConfig) -> Objective:
    """What a configuration's method learns."""
    return importlib.import_module(f".{folder_of(config.method.name)}.objective", __package__).OBJECTIVE(config)
