"""Diffusion: the noise schedule, what a network predicts, and the samplers, apart from any network."""

from .parametrization import PREDICTIONS, WEIGHTINGS, Parametrization
from .samplers import SAMPLERS, sample, seeded_noise
from .schedule import SCHEDULES, NoiseSchedule, select_timesteps

__all__ = [
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "WEIGHTINGS",
    "NoiseSchedule",
    "Parametrization",
    "sample",
    "seeded_noise",
    "select_timesteps",
]
