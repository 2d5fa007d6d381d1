"""Diffusion: the noise schedule and the samplers, apart from any network."""

from .samplers import SAMPLERS, sample, seeded_noise
from .schedule import SCHEDULES, NoiseSchedule, select_timesteps

__all__ = ["SAMPLERS", "SCHEDULES", "NoiseSchedule", "sample", "seeded_noise", "select_timesteps"]
