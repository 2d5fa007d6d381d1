"""How a PET of MRI2PET is drawn: the shared samplers, over the timesteps that the network was trained at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ...diffusion import Parametrization, sample, select_timesteps
from ...diffusion.names import ANCESTRAL
from ..base import NoiseSource, Progress
from .names import FIRST


def draw(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: Sequence[int],
    parametrization: Parametrization,
    sampler: str,
    steps: int,
    noise: NoiseSource,
    clip: tuple[float, float] | None,
    device: torch.device | str,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Clean PET of `shape` [N, 1, X, Y, Z].

    Args:
        predict: called with x_t and integer timesteps [N]; returns what the network gives.
        parametrization: what that says of the clean image.
        sampler: ``ancestral``, each step with the variance beta of the step (the paper's), or one of `SAMPLERS`.
        steps: network calls, 1 to T - 1; T - 1 visit every timestep that was trained.
        noise, clip, progress: of `RelAPETLib.diffusion.sample`.

    Raises:
        InputError: an unknown sampler, or steps out of range.
    """
    p = parametrization
    of_noise = p.prediction == "noise"
    return sample(
        predict if of_noise else lambda x_t, t: p.clean(x_t, predict(x_t, t), t),
        shape,
        p.schedule,
        gives="noise" if of_noise else "clean",
        sampler="ddpm" if sampler == ANCESTRAL else sampler,
        variance="large" if sampler == ANCESTRAL else "small",
        timesteps=select_timesteps(p.schedule, steps, "logsnr", FIRST),
        noise=noise,
        clip=clip,
        device=device,
        progress=progress,
    )
