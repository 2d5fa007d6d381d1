"""Predictions of noise, v, x0 and EDM's output; loss weights; schedules without signal at their end."""

import numpy as np
import pytest
import torch
from gaussian_target import ideal_noise_predictor

from RelAPETLib.diffusion import PREDICTIONS, NoiseSchedule, Parametrization, sample, seeded_noise, select_timesteps
from RelAPETLib.errors import InputError

PLAIN, ZERO = NoiseSchedule(), NoiseSchedule(zero_terminal_snr=True)
TIMESTEPS = torch.tensor([0, 1, 250, 500, 998, 999])
SIGMA_DATA = 0.25


def images(seed=0, sd=SIGMA_DATA):
    """Clean images, noise, and what the schedule makes of them, float64."""
    generator = torch.Generator().manual_seed(seed)
    x0 = sd * torch.randn(len(TIMESTEPS), 1, 3, 3, 3, generator=generator, dtype=torch.float64)
    return x0, torch.randn(x0.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("prediction", "schedule"),
    [(name, PLAIN) for name in PREDICTIONS] + [(name, ZERO) for name in PREDICTIONS if name != "noise"],
    ids=lambda value: value if isinstance(value, str) else "zero SNR" if value.zero_terminal_snr else "plain",
)
def test_the_target_itself_gives_the_clean_image(prediction, schedule):
    p = Parametrization(schedule, prediction, SIGMA_DATA)
    x0, noise = images()
    x_t = schedule.add_noise(x0, noise, TIMESTEPS)
    clean = p.clean(x_t, p.target(x0, noise, TIMESTEPS), TIMESTEPS)
    torch.testing.assert_close(clean, x0, rtol=0, atol=1e-9)
    assert p.clean(x_t, p.target(x0, noise, TIMESTEPS), TIMESTEPS, (-0.1, 0.1)).abs().max() == 0.1


def test_edm_is_karras_preconditioning():
    """Table 1 of arXiv 2206.00364, in sigma; and its reason: the input and the target of the network have SD 1."""
    p = Parametrization(PLAIN, "edm", SIGMA_DATA)
    x0, noise = images()
    alpha_bar = PLAIN._alphas_cumprod[TIMESTEPS].reshape(-1, 1, 1, 1, 1)
    sigma, d = ((1 - alpha_bar) / alpha_bar).sqrt(), SIGMA_DATA
    x = x0 + sigma * noise
    c_skip, c_out = d**2 / (sigma**2 + d**2), sigma * d / (sigma**2 + d**2).sqrt()
    x_t = PLAIN.add_noise(x0, noise, TIMESTEPS)
    torch.testing.assert_close(p.network_input(x_t, TIMESTEPS), x / (sigma**2 + d**2).sqrt())
    torch.testing.assert_close(p.target(x0, noise, TIMESTEPS), (x0 - c_skip * x) / c_out, rtol=1e-9, atol=1e-9)
    output = torch.randn_like(x0)
    torch.testing.assert_close(p.clean(x_t, output, TIMESTEPS), c_skip * x + c_out * output)

    many = torch.full((20000,), 300)
    generator = torch.Generator().manual_seed(1)
    x0 = d * torch.randn(20000, 1, generator=generator)
    noise = torch.randn(20000, 1, generator=generator)
    for values in (p.network_input(PLAIN.add_noise(x0, noise, many), many), p.target(x0, noise, many)):
        assert values.std() == pytest.approx(1, abs=0.03)


def test_min_snr_weighs_the_clean_estimates_error_alike_whatever_is_predicted():
    """w |output's error|^2 = min(SNR, 5) |clean estimate's error|^2 (Hang et al., arXiv 2303.09556, section 3.4)."""
    x0, noise = images()
    x_t = PLAIN.add_noise(x0, noise, TIMESTEPS)
    snr = np.exp(2 * PLAIN.log_snr())[TIMESTEPS]
    for prediction in PREDICTIONS:
        p = Parametrization(PLAIN, prediction, SIGMA_DATA)
        target = p.target(x0, noise, TIMESTEPS)
        wrong = target + 0.01
        mine = p.weight(TIMESTEPS, "min_snr").double() * (wrong - target).square().flatten(1).mean(1)
        clean = (p.clean(x_t, wrong, TIMESTEPS) - x0).square().flatten(1).mean(1)
        np.testing.assert_allclose(mine, np.minimum(snr, 5) * clean.numpy(), rtol=1e-4)
        assert torch.equal(p.weight(TIMESTEPS), torch.ones(len(TIMESTEPS)))
    with pytest.raises(InputError, match="unknown loss weighting 'max_snr'; use one of none, min_snr"):
        p.weight(TIMESTEPS, "max_snr")


def test_zero_terminal_snr_is_lins_algorithm():
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    betas = torch.linspace(5e-4**0.5, 1.95e-2**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)
    assert torch.allclose(ZERO._alphas_cumprod, expected, atol=1e-12)
    assert ZERO.alphas_cumprod[-1] == 0 and ZERO.alphas_cumprod[0] == PLAIN.alphas_cumprod[0]
    assert ZERO.betas[-1] == 1 and bool((ZERO.betas > 0).all())
    with pytest.raises(InputError, match="num_timesteps >= 2"):
        NoiseSchedule(num_timesteps=1, zero_terminal_snr=True)


@pytest.mark.parametrize("steps", [1, 2, 10, 999, 1000])
def test_the_timestep_without_signal_is_visited_first(steps):
    visited = select_timesteps(ZERO, steps, "logsnr")
    assert len(visited) == steps and visited[0] == 999 and visited == sorted(set(visited), reverse=True)
    assert steps < 2 or visited[-1] in (0, 998)


@pytest.mark.parametrize("sampler", ["dpmpp", "unipc", "ddim", "ddpm"])
def test_a_clean_estimate_samples_as_its_noise_does(sampler):
    noise_of = ideal_noise_predictor(PLAIN, 0.3, 0.2)

    def clean_of(x_t, timesteps):
        return PLAIN.clean_estimate(x_t, noise_of(x_t, timesteps), timesteps)

    how = {"sampler": sampler, "steps": 10, "clip": (-0.4, 0.4)}
    ours = sample(clean_of, (4, 1, 2), PLAIN, gives="clean", noise=seeded_noise(0), **how)
    theirs = sample(noise_of, (4, 1, 2), PLAIN, noise=seeded_noise(0), **how)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("sampler", "steps"), [("dpmpp", 30), ("unipc", 30), ("ddim", 100), ("ddpm", 200)])
def test_sampling_from_a_schedule_without_signal_at_its_end(sampler, steps):
    """The ideal clean estimate of N(0.3, 0.2^2): the samples have that mean and SD, and start from noise alone."""

    def clean_of(x_t, timesteps):
        alpha, sigma = ZERO.rates(int(timesteps[0]))
        return 0.3 + alpha * 0.2**2 * (x_t - alpha * 0.3) / (alpha**2 * 0.2**2 + sigma**2)

    drawn = sample(clean_of, (1, 20000), ZERO, gives="clean", sampler=sampler, steps=steps, seed=1)
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.006)
    assert float(drawn.std()) == pytest.approx(0.2, abs=0.01)


def test_what_cannot_be():
    with pytest.raises(InputError, match="with zero_terminal_snr use v, x0 or edm"):
        Parametrization(ZERO, "noise")
    with pytest.raises(InputError, match="unknown prediction 'score'; use one of noise, v, x0, edm"):
        Parametrization(PLAIN, "score")
    with pytest.raises(InputError, match="sigma_data must be above 0, not 0"):
        Parametrization(PLAIN, "edm", 0)
    for schedule, gives in ((ZERO, "noise"), (PLAIN, "score")):
        with pytest.raises(InputError, match=f"gives '{gives}'"):
            sample(lambda x, t: x, (1, 1), schedule, gives=gives)
