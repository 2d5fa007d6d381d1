"""MTGD's draws: Gaussian diffusion with guidance by the tracer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ...diffusion import Parametrization, sample
from ..base import NoiseSource, Progress


def guided(with_tracer: torch.Tensor, without: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans, arXiv 2207.12598): away from what is predicted without the tracer.

    Args:
        with_tracer, without: outputs of the network like each other.
        scale: 0 gives the output without, 1 the one with, more goes beyond.
    """
    return without + scale * (with_tracer - without)


def sample_guided(
    network: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    labels: torch.Tensor,
    null: int,
    shape: Sequence[int],
    parametrization: Parametrization,
    *,
    guidance: float,
    sampler: str,
    steps: int,
    noise: NoiseSource,
    clip: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:
    """PET [N, 1, X, Y, Z] in the network's blocks.

    Args:
        network: called with x_t [N, 1, X, Y, Z], timesteps [N] and labels [N]; its output is what `parametrization`
            says.
        labels: tracers' class labels [N], on the network's device.
        null: the label that stands for no tracer.
        shape: [N, 1, X, Y, Z].
        guidance: scale of `guided`; at 1 the network is called once a step and not asked without the tracer.
        sampler, steps, noise, clip, progress: of `RelAPETLib.diffusion.sample`.

    Raises:
        InputError: as `sample`.
    """
    nothing = torch.full_like(labels, null)

    def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        output = network(x_t, t, labels)
        if guidance != 1:
            output = guided(output, network(x_t, t, nothing), guidance)
        return output if parametrization.prediction == "noise" else parametrization.clean(x_t, output, t)

    return sample(
        predict,
        shape,
        parametrization.schedule,
        gives="noise" if parametrization.prediction == "noise" else "clean",
        sampler=sampler,
        steps=steps,
        noise=noise,
        clip=clip,
        device=labels.device,
        progress=progress,
    )
