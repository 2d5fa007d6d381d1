"""The forward diffusion process and the timesteps that a sampler visits.

Equation numbers are those of RelA-Diffusion (Yu et al., arXiv 2602.21345). Timesteps count from 0 to T - 1, as in the
published implementation; the paper's t is ours plus one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import InputError
from ..scaling import bounded
from .names import SCHEDULES


@dataclass(frozen=True)
class NoiseSchedule:
    """Variances of the forward process, eq. 1 and 2.

    Attributes:
        kind: ``"linear"`` (the paper) or ``"scaled-linear"`` (the published implementation).
        beta_start, beta_end: first and last beta, 0 < beta_start <= beta_end < 1.
        num_timesteps: T.
        zero_terminal_snr: shift and scale the signal rates so that the first stays and the last is 0 (Lin et al., arXiv
            2305.08891, algorithm 1); a network that predicts noise cannot be used then.
        betas, alphas_cumprod: float32 tensors [T]; alphas_cumprod[t] is the product of 1 - beta up to and with t.

    Raises:
        InputError: an argument is out of range.
    """

    kind: str = "scaled-linear"
    beta_start: float = 5e-4
    beta_end: float = 1.95e-2
    num_timesteps: int = 1000
    zero_terminal_snr: bool = False
    betas: torch.Tensor = field(init=False, repr=False, compare=False)
    alphas_cumprod: torch.Tensor = field(init=False, repr=False, compare=False)
    _alphas_cumprod: torch.Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.kind not in SCHEDULES:
            raise InputError(f"unknown noise schedule '{self.kind}'; use one of {', '.join(SCHEDULES)}")
        if not (0 < self.beta_start <= self.beta_end < 1 and self.num_timesteps >= 1):
            raise InputError(
                f"noise schedule needs 0 < beta_start <= beta_end < 1 and num_timesteps >= 1, not "
                f"{self.beta_start}, {self.beta_end}, {self.num_timesteps}"
            )
        root = 2 if self.kind == "scaled-linear" else 1
        ends = self.beta_start ** (1 / root), self.beta_end ** (1 / root)
        betas = torch.linspace(*ends, self.num_timesteps, dtype=torch.float64, device="cpu") ** root
        # Samplers divide by 1 - alphas_cumprod, 5e-4 at t = 0: float32 would leave four digits of it.
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        if self.zero_terminal_snr:
            if self.num_timesteps < 2:
                raise InputError("zero_terminal_snr needs num_timesteps >= 2: one without signal and one with it")
            rates = alphas_cumprod.sqrt()
            alphas_cumprod = ((rates - rates[-1]) * rates[0] / (rates[0] - rates[-1])).square()
            before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
            betas = 1 - alphas_cumprod / before
        object.__setattr__(self, "betas", betas.float())
        object.__setattr__(self, "alphas_cumprod", alphas_cumprod.float())
        object.__setattr__(self, "_alphas_cumprod", alphas_cumprod)
        object.__setattr__(self, "_tables", {})

    def rates(self, t: int) -> tuple[float, float]:
        """Signal and noise rate (sqrt(alphas_cumprod[t]), sqrt(1 - alphas_cumprod[t])); t = -1 is the clean image."""
        alpha_bar = 1.0 if t < 0 else float(self._alphas_cumprod[t])
        return alpha_bar**0.5, (1 - alpha_bar) ** 0.5

    def log_snr(self) -> np.ndarray:
        """Half log-SNR, log(signal rate / noise rate), at every timestep: float64 [T], falling; -inf without signal."""
        alpha_bar = self._alphas_cumprod.numpy()
        with np.errstate(divide="ignore"):
            return 0.5 * np.log(alpha_bar / (1 - alpha_bar))

    def add_noise(self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """x_t of eq. 4 from clean images [N, ...], standard normal noise like them and integer timesteps [N]."""
        alpha, sigma = self.rates_like(x0, timesteps)
        return alpha * x0 + sigma * noise

    def clean_estimate(
        self,
        x_t: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        clip: tuple[float, float] | None = None,
    ) -> torch.Tensor:
        """Clean estimate of eq. 6 from x_t [N, ...], predicted noise like it and integer timesteps [N].

        Clamped to `clip` when given; no gradient flows where it is clamped.
        """
        alpha, sigma = self.rates_like(x_t, timesteps)
        x0 = (x_t - sigma * noise) / alpha
        return x0 if clip is None else bounded(x0, *clip)

    def velocity(self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0 (arXiv 2202.00512); arguments as of `add_noise`."""
        alpha, sigma = self.rates_like(x0, timesteps)
        return alpha * noise - sigma * x0

    def noise_of_velocity(self, x_t: torch.Tensor, v: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The noise in x_t [N, ...] that a velocity like it means."""
        alpha, sigma = self.rates_like(x_t, timesteps)
        return alpha * v + sigma * x_t

    def clean_of_velocity(self, x_t: torch.Tensor, v: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The clean estimate that it means."""
        alpha, sigma = self.rates_like(x_t, timesteps)
        return alpha * x_t - sigma * v

    def rates_like(self, x: torch.Tensor, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and noise rates of timesteps [N], shaped [N, 1, ...] to multiply x.

        Those of all timesteps are brought to a device once, so that nobody waits for timesteps on a GPU.
        """
        place = x.device, x.dtype
        if place not in self._tables:
            with torch.inference_mode(False):  # they outlive the mode they are first asked for in
                rates = self._alphas_cumprod.sqrt(), (1 - self._alphas_cumprod).sqrt()
                self._tables[place] = tuple(rate.to(*place) for rate in rates)
        timesteps = timesteps.to(x.device)
        alpha, sigma = (table[timesteps].reshape(-1, *[1] * (x.ndim - 1)) for table in self._tables[place])
        return alpha, sigma


def along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A number [N] for each image of a batch, shaped [N, 1, ...] to multiply x [N, ...]; of its type and device."""
    return values.to(x).reshape(-1, *(1 for _ in x.shape[1:]))


def select_timesteps(schedule: NoiseSchedule, steps: int, spacing: str, lowest: int = 0) -> list[int]:
    """The timesteps that a sampler of `steps` network calls visits, from T - 1 down, all different.

    None is below `lowest`, for networks that were trained from there on; the following says what is so for 0.

    ``"trailing"``: equal strides from T - 1 (Lin et al., arXiv 2305.08891, table 2). The last one is T / steps - 1,
    from where the sampler jumps to the clean image at once: at few steps that jump throws away much of the spread.
    ``"logsnr"``: equal strides of log-SNR (Lu et al., arXiv 2206.00927, section 3.4) from T - 1 down to t = 0, where
    what the final jump still throws away is beta_start. Each is the integer nearest to its ideal place, because
    networks are trained at integers; where two would fall together, as many as needed move one up.

    Raises:
        InputError: unknown spacing, or not 1 <= steps <= T - lowest.
    """
    total = schedule.num_timesteps - lowest
    if not 1 <= steps <= total:
        raise InputError(f"number of sampling steps must lie between 1 and {total}, not {steps}")
    if spacing == "trailing":
        return [int(t) + lowest for t in np.round(total - np.arange(steps) * (total / steps)).astype(int) - 1]
    if spacing != "logsnr":
        raise InputError(f"unknown timestep spacing '{spacing}'; use trailing or logsnr")
    if steps == 1:
        return [total - 1 + lowest]
    log_snr = schedule.log_snr()[lowest:][::-1]
    if np.isneginf(log_snr[0]):  # a timestep without signal has no place among the others: it comes first
        return [total - 1 + lowest, *(t + lowest for t in _equal_strides(log_snr[1:], steps - 1))]
    return [t + lowest for t in _equal_strides(log_snr, steps)]


def _equal_strides(log_snr: np.ndarray, steps: int) -> list[int]:
    """`steps` different timesteps, falling, at equal strides of a rising log-SNR, whose last entry is that of t = 0."""
    total = len(log_snr)
    if steps == 1:
        return [total - 1]
    wanted = np.linspace(log_snr[0], log_snr[-1], steps)
    ideal = np.interp(wanted, log_snr, np.arange(total)[::-1])[::-1]
    ascending: list[int] = []
    for place in ideal:
        ascending.append(max(round(float(place)), ascending[-1] + 1 if ascending else 0))
    # Moving up can push past the top; the highest ones then close ranks downwards.
    return [min(t, total - 1 - i) for i, t in enumerate(reversed(ascending))]
