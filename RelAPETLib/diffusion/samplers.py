"""Samplers of the reverse process: from noise to a clean image in any number of network calls.

All share one loop: predict the noise, estimate the clean image (eq. 6 of RelA-Diffusion, arXiv 2602.21345), step
to the next *visited* timestep. The alphas_cumprod of that timestep enters every update, not that of t - 1, so each is
right at any number of steps. After the last visited timestep comes the clean image (signal rate 1, noise rate 0), where
every update turns into the clean estimate itself and adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..errors import InputError
from ..scaling import bounded
from .names import SAMPLERS
from .schedule import NoiseSchedule, select_timesteps

#: What the model behind a sampler can give.
GIVES = ("noise", "clean")
#: Variances of the noise that ``ddpm`` adds: of q(x_next | x_t, x0), or beta of the step (Ho et al., section 3.2).
VARIANCES = ("small", "large")


class _Visited(NamedTuple):
    """A timestep, the clean estimate there and, for a sampler that corrects, the image that the step to it ended in."""

    t: int
    x0: torch.Tensor
    x_t: torch.Tensor | None = None


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
            deterministic (eta 0), ``"dpmpp"`` DPM-Solver++ 2M, ``"unipc"`` UniPC of order 2: the same, with every
            step corrected by the clean estimate that it leads to, for no further network call.
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
    update = {"ddpm": _ancestral, "ddim": _ddim, "dpmpp": _dpm_solver_2m, "unipc": _dpm_solver_2m}[sampler]

    with torch.no_grad():
        x_t = noise(0, shape).to(device)
        # All of them beforehand: the loop must never wait for the device, which works behind it.
        on_device = torch.tensor(list(timesteps), dtype=torch.long).to(device)
        visited: list[_Visited] = []
        for i, t in enumerate(timesteps):
            t_next = timesteps[i + 1] if i + 1 < len(timesteps) else -1
            t_batch = on_device[i].expand(shape[0])
            output = predict(x_t, t_batch).to(x_t)
            x0 = schedule.clean_estimate(x_t, output, t_batch, clip) if gives == "noise" else _clamped(output, clip)
            if sampler == "unipc":
                x_t = _corrected(schedule, x_t, [*visited, _Visited(t, x0)])
                visited = [*visited[-1:], _Visited(t, x0, x_t)]
            else:
                visited = [*visited[-1:], _Visited(t, x0)]
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
    t, x0, _ = visited[-1]
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
    (t_before, x0_before, _), (t, x0, _) = visited
    before, now, after = (_half_log_snr(schedule, step) for step in (t_before, t, t_next))
    r = (now - before) / (after - now)
    x0_extrapolated = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
    return _exponential_step(schedule, x_t, x0_extrapolated, t, t_next)


def _half_log_snr(schedule, t):
    """lambda: the logarithm of signal rate over noise rate."""
    alpha, sigma = schedule.rates(t)
    return math.log(alpha / sigma)


def _exponential_step(schedule, x_t, x0, t, t_next):
    """From t to t_next, both with a finite log-SNR, as if the clean estimate were x0 all the way."""
    alpha_next, sigma_next = schedule.rates(t_next)
    h = _half_log_snr(schedule, t_next) - _half_log_snr(schedule, t)
    return sigma_next / schedule.rates(t)[1] * x_t - alpha_next * math.expm1(-h) * x0


def _corrected(schedule, x_t, visited):
    """The corrector of UniPC, order 2, its variant B2: Zhao et al., arXiv 2302.04867, algorithm 1.

    The step that ended in x_t is taken again, now that the clean estimate there is known, too; the estimate itself
    stays. The first step has only one more to lean on, the later ones two; from a timestep without signal no step can
    be taken again.
    """
    if len(visited) == 1 or schedule.rates(visited[-2].t)[0] == 0:
        return x_t
    (t_before, x0_before, start), (t, x0, _) = visited[-2:]
    before, now = _half_log_snr(schedule, t_before), _half_log_snr(schedule, t)
    if len(visited) == 2 or schedule.rates(visited[0].t)[0] == 0:
        return _exponential_step(schedule, start, (x0_before + x0) / 2, t_before, t)
    h = now - before
    r = (_half_log_snr(schedule, visited[0].t) - before) / h
    phi_2 = math.expm1(-h) / -h - 1
    first, second = phi_2 / math.expm1(-h), 2 * (phi_2 / -h - 1 / 2) / math.expm1(-h)
    behind = (first - second) / (1 - r)
    ahead = first - behind
    x0_between = x0_before + behind / r * (visited[0].x0 - x0_before) + ahead * (x0 - x0_before)
    return _exponential_step(schedule, start, x0_between, t_before, t)


def _ancestral(schedule, x_t, visited, t_next):
    """Mean of q(x_next | x_t, x0), eq. 7 written with the clean estimate: Ho et al., arXiv 2006.11239, eq. 7."""
    t, x0, _ = visited[-1]
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
