"""What a diffusion network predicts, and what that says of the clean image: noise, v, x0 or EDM's output.

With the signal rate a = sqrt(alpha_bar), the noise rate s = sqrt(1 - alpha_bar), x_t = a x0 + s eps and the SD of the
data d:

=========  ====================================  =============================================================
name       the network's target F                clean estimate
=========  ====================================  =============================================================
``noise``  eps (Ho et al., arXiv 2006.11239)     (x_t - s F) / a
``v``      a eps - s x0 (Salimans & Ho,          a x_t - s F
           arXiv 2202.00512)
``x0``     x0                                    F
``edm``    (x0 - c_skip x) / c_out (Karras et    c_skip x + c_out F, with x = x_t / a, sigma = s / a,
           al., arXiv 2206.00364, table 1)       c_skip = d^2 / (sigma^2 + d^2), c_out = sigma d / sqrt(sigma^2 + d^2);
                                                 the network sees c_in x, c_in = 1 / sqrt(sigma^2 + d^2)
=========  ====================================  =============================================================

EDM's coefficients are written in a and s, so that they are finite at a = 0 (zero terminal SNR) too. Its network is told
the timestep, as every other is, and not ln(sigma) / 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import InputError
from ..scaling import bounded
from .names import PREDICTIONS, WEIGHTINGS
from .schedule import NoiseSchedule

#: Hang et al.'s gamma.
MIN_SNR_GAMMA = 5.0


@dataclass(frozen=True)
class Parametrization:
    """A prediction on a noise schedule.

    Attributes:
        schedule: of the forward process.
        prediction: one of `PREDICTIONS`.
        sigma_data: SD of the clean images over all voxels and people, for ``edm``; above 0.

    Raises:
        InputError: an unknown prediction, `sigma_data` not above 0, or noise predicted where the last timestep holds no
            signal: nothing of the clean image could be told from it.
    """

    schedule: NoiseSchedule
    prediction: str = "noise"
    sigma_data: float = 1.0

    def __post_init__(self):
        if self.prediction not in PREDICTIONS:
            raise InputError(f"unknown prediction '{self.prediction}'; use one of {', '.join(PREDICTIONS)}")
        if not self.sigma_data > 0:
            raise InputError(f"sigma_data must be above 0, not {self.sigma_data}")
        if self.prediction == "noise" and self.schedule.zero_terminal_snr:
            raise InputError(
                "prediction 'noise' says nothing at a timestep without signal; with zero_terminal_snr use v, x0 or edm"
            )

    def network_input(self, x_t: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the network sees of x_t [N, ...] at integer timesteps [N]: c_in x for ``edm``, else x_t itself."""
        if self.prediction != "edm":
            return x_t
        a, s = self.schedule.rates_like(x_t, timesteps)
        return x_t / (s.square() + (a * self.sigma_data).square()).sqrt()

    def target(self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the network ought to give for clean images [N, ...] and noise like them."""
        if self.prediction == "noise":
            return noise
        if self.prediction == "v":
            return self.schedule.velocity(x0, noise, timesteps)
        if self.prediction == "x0":
            return x0
        a, s = self.schedule.rates_like(x0, timesteps)
        d = self.sigma_data
        # (x0 - c_skip x) / c_out, with the common factor taken out: no difference of nearly equal numbers is left.
        return (s * x0 - a * d**2 * noise) / (d * (s.square() + (a * d).square()).sqrt())

    def clean(
        self,
        x_t: torch.Tensor,
        output: torch.Tensor,
        timesteps: torch.Tensor,
        clip: tuple[float, float] | None = None,
    ) -> torch.Tensor:
        """Clean estimate from x_t [N, ...] and the network's output like it, clamped to `clip` when given."""
        if self.prediction == "noise":
            return self.schedule.clean_estimate(x_t, output, timesteps, clip)
        if self.prediction == "v":
            x0 = self.schedule.clean_of_velocity(x_t, output, timesteps)
        elif self.prediction == "x0":
            x0 = output
        else:
            a, s = self.schedule.rates_like(x_t, timesteps)
            d = self.sigma_data
            total = s.square() + (a * d).square()
            x0 = a * d**2 / total * x_t + s * d / total.sqrt() * output
        return x0 if clip is None else bounded(x0, *clip)

    def weight(self, timesteps: torch.Tensor, weighting: str = "none", gamma: float = MIN_SNR_GAMMA) -> torch.Tensor:
        """Weight [N] of the squared error of the network's output.

        ``none`` is 1. ``min_snr`` weighs the clean estimate's squared error by min(SNR, gamma), whatever is predicted:
        each prediction's own error is that of the clean estimate times a factor, which is divided out.
        """
        if weighting not in WEIGHTINGS:
            raise InputError(f"unknown loss weighting '{weighting}'; use one of {', '.join(WEIGHTINGS)}")
        if weighting == "none":
            return torch.ones(len(timesteps))
        a, s = self.schedule.rates_like(torch.empty(len(timesteps), dtype=torch.float64), timesteps)
        snr, d = (a / s).square(), self.sigma_data
        share = {
            "noise": lambda: 1 / snr,
            "v": lambda: 1 / (snr + 1),
            "x0": lambda: torch.ones_like(snr),
            "edm": lambda: (s * d).square() / (s.square() + (a * d).square()),
        }[self.prediction]()
        return (snr.clamp(max=gamma) * share).float()
