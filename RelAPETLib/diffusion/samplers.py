"""Samplers of the reverse process: from noise to a clean image in any number of network calls.

All three share one loop: predict the noise, estimate the clean image (eq. 6 of RelA-Diffusion, arXiv 2602.21345), step
to the next *visited* timestep. The alphas_cumprod of that timestep enters every update, not that of t - 1, so each is
right at any number of steps. After the last visited timestep comes the clean image (signal rate 1, noise rate 0), where
every update turns into the clean estimate itself and adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..errors import InputError
from ..scaling import bounded
from .names import SAMPLERS
from .schedule import NoiseSchedule, select_timesteps

#: What the model behind a sampler can give.
GIVES = ("noise", "clean")
#: Variances of the noise that ``ddpm`` adds: of q(x_next | x_t, x0), or beta of the step (Ho et al., section 3.2).
VARIANCES = ("small", "large")


def sample(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: Sequence[int],
    schedule: NoiseSchedule,
    *,
    gives: str = "noise",
    sampler: str = "dpmpp",
    variance: str = "small",
    steps: int = 20,
    noise: Callable[[int, Sequence[int]], torch.Tensor] | None = None,
    seed: int = 0,
    clip: tuple[float, float] | None = None,
    spacing: str | None = None,
    timesteps: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[float, str], None] | None = None,
) -> torch.Tensor:
    """Draw clean images of `shape` [N, C, ...] from the model behind `predict`.

    Args:
        predict: called with x_t (`shape`, on `device`) and integer timesteps [N]; returns the noise in x_t, or the
            clean estimate, as `gives` says.
        gives: ``"noise"`` or ``"clean"``. A schedule with a timestep without signal needs ``"clean"``.
        sampler: ``"ddpm"`` ancestral (1000 steps with fixed-small variance: the published sampler), ``"ddim"``
            deterministic (eta 0), ``"dpmpp"`` DPM-Solver++ 2M.
        variance: of the noise that ``ddpm`` adds, one of `VARIANCES`.
        steps: network calls, 1 to T.
        noise: ``noise(index, shape)`` gives standard normal numbers; index 0 is the start x_T and index i the noise
            added by the i-th step (``ddpm`` alone asks for it, never for the last step). The result has its dtype.
            Default: `seeded_noise(seed)`.
        clip: bounds on every clean estimate, e.g. (-1, 1); None leaves it free. The noise that the update uses is the
            one that belongs to the clipped estimate.
        spacing: ``"logsnr"`` (also None) or ``"trailing"``, see `select_timesteps`. At few steps ``"trailing"`` shrinks
            the spread of the samples, with every sampler (Testing/benchmarks/results/samplers.md has the figures).
        timesteps: visit exactly these, strictly falling, instead of `steps` ones chosen by `spacing`.
        progress: called as progress(fraction, message) after every step.

    Returns:
        Tensor of `shape` on `device`.

    Raises:
        InputError: unknown sampler, variance or spacing, or steps out of range.
    """
    for what, name, known in (("sampler", sampler, SAMPLERS), ("variance", variance, VARIANCES)):
        if name not in known:
            raise InputError(f"unknown {what} '{name}'; use one of {', '.join(known)}")
    if gives not in GIVES or (gives == "noise" and schedule.zero_terminal_snr):
        raise InputError(f"a sampler on this schedule cannot use a model that gives '{gives}'; use clean")
    if timesteps is None:
        timesteps = select_timesteps(schedule, steps, spacing or "logsnr")
    _check_timesteps(timesteps, schedule)
    noise = noise or seeded_noise(seed)
    update = {"ddpm": _ancestral, "ddim": _ddim, "dpmpp": _dpm_solver_2m}[sampler]

    with torch.no_grad():
        x_t = noise(0, shape).to(device)
        # All of them beforehand: the loop must never wait for the device, which works behind it.
        on_device = torch.tensor(list(timesteps), dtype=torch.long).to(device)
        visited: list[tuple[int, torch.Tensor]] = []
        for i, t in enumerate(timesteps):
            t_next = timesteps[i + 1] if i + 1 < len(timesteps) else -1
            t_batch = on_device[i].expand(shape[0])
            output = predict(x_t, t_batch).to(x_t)
            x0 = schedule.clean_estimate(x_t, output, t_batch, clip) if gives == "noise" else _clamped(output, clip)
            visited = [*visited[-1:], (t, x0)]
            x_t = update(schedule, x_t, visited, t_next)
            if sampler == "ddpm" and t_next >= 0:
                x_t = x_t + _ancestral_deviation(schedule, t, t_next, variance) * noise(i + 1, shape).to(x_t)
            if progress:
                progress((i + 1) / len(timesteps), f"step {i + 1} of {len(timesteps)}")
    return x_t


def seeded_noise(
    seed: int, first: int = 0, *, mirrored: bool = False, numbers: Sequence[int] | None = None
) -> Callable[[int, Sequence[int]], torch.Tensor]:
    """Default noise source: float32 numbers drawn on the CPU, so that a seed means the same noise on every device.

    Each image of a batch has a stream of its own that follows from `seed` and its number alone: `first` + k for the
    k-th of the batch, or the k-th of `numbers`, where images of one number get the same noise. A batch and the same
    images one at a time (`first` = 0, 1, ...) therefore get the same noise. Streams are read in order: one source
    serves one call of `sample`.

    With `mirrored`, images 2 j and 2 j + 1 share a stream and the second gets its negative (antithetic variates). Each
    image is drawn as before; a pair's mean, where the model answers noise about symmetrically, has hardly any sampling
    error left.
    """
    import numpy as np

    generators: dict[int, torch.Generator] = {}

    def stream(number: int) -> torch.Generator:
        if number not in generators:
            entropy = np.random.SeedSequence([seed, number // 2 if mirrored else number]).generate_state(1, np.uint64)
            generators[number] = torch.Generator().manual_seed(int(entropy[0] >> np.uint64(1)))
        return generators[number]

    def draw(index: int, shape: Sequence[int]) -> torch.Tensor:
        wanted = numbers if numbers is not None else range(first, first + shape[0])
        if len(wanted) != shape[0]:
            raise ValueError(f"noise of {len(wanted)} numbers was asked for {shape[0]} images")
        made = {number: torch.randn(*shape[1:], generator=stream(number)) for number in dict.fromkeys(wanted)}
        return torch.stack([-made[number] if mirrored and number % 2 else made[number] for number in wanted])

    return draw


def noise_for(
    device: str | torch.device, noise: Callable[[int, Sequence[int]], torch.Tensor]
) -> Callable[[int, Sequence[int]], torch.Tensor]:
    """The same source of noise, brought to a CUDA device without waiting for it.

    While the device works on a step, the CPU draws what the next one adds, and its copy out of locked memory takes its
    place behind that step. Numbers are the same on every device.
    """
    if torch.device(device).type != "cuda":
        return noise

    def brought(index: int, shape: Sequence[int]) -> torch.Tensor:
        numbers = noise(index, shape)
        try:
            numbers = numbers.pin_memory()
        except RuntimeError:  # the system locks no more memory; the copy then waits
            return numbers.to(device)
        return numbers.to(device, non_blocking=True)

    return brought


def _clamped(x0: torch.Tensor, clip: tuple[float, float] | None) -> torch.Tensor:
    return x0 if clip is None else bounded(x0, *clip)


def _ddim(schedule, x_t, visited, t_next):
    """Deterministic step, eta 0: Song et al., arXiv 2010.02502, eq. 12."""
    t, x0 = visited[-1]
    alpha, sigma = schedule.rates(t)
    alpha_next, sigma_next = schedule.rates(t_next)
    eps = (x_t - alpha * x0) / sigma
    return alpha_next * x0 + sigma_next * eps


def _dpm_solver_2m(schedule, x_t, visited, t_next):
    """DPM-Solver++ 2M: Lu et al., arXiv 2211.01095, algorithm 2.

    The first step has no history, the last one no finite log-SNR to go to, and the one after a timestep without signal
    none to come from: they are first order, which is DDIM.
    """
    if len(visited) == 1 or t_next < 0 or schedule.rates(visited[0][0])[0] == 0:
        return _ddim(schedule, x_t, visited, t_next)
    (t_before, x0_before), (t, x0) = visited
    alpha, sigma = schedule.rates(t)
    alpha_next, sigma_next = schedule.rates(t_next)
    alpha_before, sigma_before = schedule.rates(t_before)
    lambda_before, lambda_now, lambda_next = (
        math.log(a / s) for a, s in ((alpha_before, sigma_before), (alpha, sigma), (alpha_next, sigma_next))
    )
    h = lambda_next - lambda_now
    r = (lambda_now - lambda_before) / h
    x0_extrapolated = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
    return sigma_next / sigma * x_t - alpha_next * math.expm1(-h) * x0_extrapolated


def _ancestral(schedule, x_t, visited, t_next):
    """Mean of q(x_next | x_t, x0), eq. 7 written with the clean estimate: Ho et al., arXiv 2006.11239, eq. 7."""
    t, x0 = visited[-1]
    alpha, sigma = schedule.rates(t)
    alpha_next, sigma_next = schedule.rates(t_next)
    alpha_step = alpha / alpha_next  # sqrt of the product of 1 - beta from t_next, excluded, to t
    beta_step = 1 - alpha_step**2
    return alpha_next * beta_step / sigma**2 * x0 + alpha_step * sigma_next**2 / sigma**2 * x_t


def _ancestral_deviation(schedule, t, t_next, variance):
    """sigma_t of eq. 7: the standard deviation of q(x_next | x_t, x0), or with fixed-large of q(x_t | x_next)."""
    alpha, sigma = schedule.rates(t)
    alpha_next, sigma_next = schedule.rates(t_next)
    large = (1 - (alpha / alpha_next) ** 2) ** 0.5
    return large if variance == "large" else sigma_next / sigma * large


def _check_timesteps(timesteps, schedule):
    falling = all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
    if not len(timesteps) or not falling or timesteps[0] >= schedule.num_timesteps or timesteps[-1] < 0:
        raise InputError(f"timesteps must fall strictly from at most {schedule.num_timesteps - 1} to at least 0")
