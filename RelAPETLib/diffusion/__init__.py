"""Diffusion: the noise schedule and the samplers, apart from any network.

Importing this room loads no torch: the command line and the schemas ask it for names.
"""

import importlib

from .names import SAMPLERS, SCHEDULES

__all__ = ["SAMPLERS", "SCHEDULES", "NoiseSchedule", "sample", "seeded_noise", "select_timesteps"]

_LAZY = {"sample": "samplers", "seeded_noise": "samplers", "NoiseSchedule": "schedule", "select_timesteps": "schedule"}


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
