"""Diffusion: the noise schedule, what a network predicts, and the samplers, apart from any network.

Importing this room loads no torch: the command line and the schemas ask it for names.
"""

import importlib

from .names import PREDICTIONS, SAMPLERS, SCHEDULES, WEIGHTINGS

__all__ = [
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "WEIGHTINGS",
    "along",
    "NoiseSchedule",
    "Parametrization",
    "noise_for",
    "sample",
    "seeded_noise",
    "select_timesteps",
]

_LAZY = {
    "along": "schedule",
    "NoiseSchedule": "schedule",
    "Parametrization": "parametrization",
    "noise_for": "samplers",
    "sample": "samplers",
    "seeded_noise": "samplers",
    "select_timesteps": "schedule",
}


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
