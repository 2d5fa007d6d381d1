"""Samplers against the exact mean and SD of their own update, against the truth, and against diffusers and MONAI."""

import math

import numpy as np
import pytest
import torch
from gaussian_target import ideal_noise_predictor, sampled_mean_and_sd
from hypothesis import given, settings
from hypothesis import strategies as st

from RelAPETLib.diffusion import SAMPLERS, NoiseSchedule, sample, seeded_noise, select_timesteps
from RelAPETLib.errors import InputError

STEPS = (5, 10, 20, 50, 1000)
MEAN, SD = 0.3, 0.2
SCHEDULE = NoiseSchedule()


def alpha_bar(t):
    """Float64 product of 1 - beta up to t, from the schedule's definition; 1 before the first timestep."""
    low, high, last = math.sqrt(5e-4), math.sqrt(1.95e-2), 999
    return math.prod(1 - (low + (high - low) * i / last) ** 2 for i in range(t + 1))


def recursion(sampler, timesteps):
    """Mean and SD of a sampler on the Gaussian target, from the update as its paper prints it.

    State: mean and, deterministic samplers being affine in x_T, the factor on x_T (for ddpm: the SD).
    """
    if sampler == "unipc":
        return unipc_recursion(timesteps)
    mean, spread = 0.0, 1.0
    before = None
    for t, t_next in zip(timesteps, [*timesteps[1:], -1], strict=True):
        a, b = alpha_bar(t), alpha_bar(t_next)
        # Ideal noise: eps(x) = gain (x - sqrt(a) MEAN); clean estimate: affine in x as well.
        gain = math.sqrt(1 - a) / (a * SD**2 + 1 - a)
        eps_mean, eps_spread = gain * (mean - math.sqrt(a) * MEAN), gain * spread
        if sampler == "ddpm":  # x_next = (x - (1 - a/b) / sqrt(1 - a) eps) / sqrt(a/b) + sigma z
            step = a / b
            factor = (1 - (1 - step) / math.sqrt(1 - a) * gain) / math.sqrt(step)
            mean = (mean - (1 - step) / math.sqrt(1 - a) * eps_mean) / math.sqrt(step)
            spread = math.hypot(factor * spread, math.sqrt((1 - b) / (1 - a) * (1 - step)))
        elif sampler == "ddim" or before is None or t_next < 0:  # song's eq. 12 with eta 0
            now = [(x - math.sqrt(1 - a) * e) / math.sqrt(a) for x, e in ((mean, eps_mean), (spread, eps_spread))]
            before = (t, now)
            mean = math.sqrt(b) * now[0] + math.sqrt(1 - b) * eps_mean
            spread = math.sqrt(b) * now[1] + math.sqrt(1 - b) * eps_spread
        else:  # lu's algorithm 2 with lambda = log(alpha / sigma)
            s = alpha_bar(before[0])
            lam = [math.log(math.sqrt(v / (1 - v))) for v in (s, a, b)]
            h, r = lam[2] - lam[1], (lam[1] - lam[0]) / (lam[2] - lam[1])
            now = [(x - math.sqrt(1 - a) * e) / math.sqrt(a) for x, e in ((mean, eps_mean), (spread, eps_spread))]
            d = [(1 + 1 / (2 * r)) * n - o / (2 * r) for n, o in zip(now, before[1], strict=True)]
            ratio = math.sqrt((1 - b) / (1 - a))
            mean = ratio * mean - math.sqrt(b) * (math.exp(-h) - 1) * d[0]
            spread = ratio * spread - math.sqrt(b) * (math.exp(-h) - 1) * d[1]
            before = (t, now)
    return mean, abs(spread)


def unipc_recursion(timesteps):
    """The same for UniPC of order 2: zhao's algorithm 1 (arXiv 2302.04867) with the clean image predicted and B2."""
    state, known = np.array([0.0, 1.0]), []  # known: lambda, clean estimate, and the state that was gone on from
    rates = [(math.sqrt(a), math.sqrt(1 - a)) for a in (*map(alpha_bar, timesteps), 1.0)]
    for (signal, rest), (signal_next, rest_next) in zip(rates, rates[1:], strict=False):
        noise = rest / (signal**2 * SD**2 + rest**2) * (state - [signal * MEAN, 0.0])
        clean, now = (state - rest * noise) / signal, math.log(signal / rest)
        if known:  # the corrector
            state = multistep(known, [(now, clean)], known[-1][2], now, (signal, rest))
        known.append((now, clean, state))
        if rest_next == 0:
            return clean[0], abs(clean[1])
        state = multistep(known, [], state, math.log(signal_next / rest_next), (signal_next, rest_next))


def multistep(known, ahead, start, end, rates):
    """A step of UniP (nothing known ahead of it) or UniC to lambda `end`, by the linear system of their weights."""
    (begin, clean, _), (signal, rest) = known[-1], rates
    h = end - begin
    others = [(moment, value) for moment, value, *_ in (*known[-2:-1], *ahead)]
    ratios = np.array([(moment - begin) / h for moment, _ in others])
    phi, wanted, factorial = math.expm1(-h) / -h - 1, [], 1
    for order in range(1, len(others) + 1):
        wanted.append(phi * factorial / math.expm1(-h))
        factorial *= order + 1
        phi = phi / -h - 1 / factorial
    system = np.vander(ratios, increasing=True).T
    # Where one value alone is to be weighted, the paper takes a half.
    weights = [0.5] if len(others) == 1 else np.linalg.solve(system, wanted) if others else []
    bent = sum(w * (value - clean) / r for w, (_, value), r in zip(weights, others, ratios, strict=True))
    start_rest = 1 / math.sqrt(1 + math.exp(2 * begin))
    return rest / start_rest * start - signal * math.expm1(-h) * (clean + bent)


@pytest.mark.parametrize("spacing", ["logsnr", "trailing"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equals_the_recursion_of_its_own_update(sampler, steps, spacing):
    mean, sd = sampled_mean_and_sd(SCHEDULE, MEAN, SD, sampler, steps, spacing)
    expected_mean, expected_sd = recursion(sampler, select_timesteps(SCHEDULE, steps, spacing))
    assert mean == pytest.approx(expected_mean, abs=1e-8)
    assert sd == pytest.approx(expected_sd, abs=1e-8)


@pytest.mark.parametrize(
    ("sampler", "steps"), [*((s, 1000) for s in SAMPLERS), ("dpmpp", 10), ("dpmpp", 20), ("dpmpp", 50), ("unipc", 10)]
)
def test_is_near_the_truth(sampler, steps):
    mean, sd = sampled_mean_and_sd(SCHEDULE, MEAN, SD, sampler, steps, None)
    assert abs(mean - MEAN) < 0.01
    assert abs(sd / SD - 1) < 0.03


def test_drawn_samples_have_that_mean_and_sd():
    drawn = sample(ideal_noise_predictor(SCHEDULE, MEAN, SD), (1, 50_000), SCHEDULE, steps=20, seed=3)
    mean, sd = sampled_mean_and_sd(SCHEDULE, MEAN, SD, "dpmpp", 20, "logsnr")
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.005)
    assert float(drawn.std()) == pytest.approx(sd, abs=0.005)


def bent(x_t, timesteps):
    """A noise predictor that is not affine, so that a wrong history or a swapped coefficient shows."""
    return torch.tanh(1.3 * x_t + timesteps.to(x_t).reshape(-1, *[1] * (x_t.ndim - 1)) / 700 - 0.4)


def diffusers_run(scheduler, timesteps, x_t):
    for t in timesteps:
        x_t = scheduler.step(bent(x_t, torch.full((len(x_t),), t)), t, x_t, return_dict=False)[0]
    return x_t


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("spacing", ["logsnr", "trailing"])
@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_dpmpp_agrees_with_diffusers_on_identical_timesteps(steps, spacing):
    from diffusers import DPMSolverMultistepScheduler

    timesteps = select_timesteps(SCHEDULE, steps, spacing)
    scheduler = DPMSolverMultistepScheduler(
        trained_betas=SCHEDULE.betas.double().numpy(),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(timesteps=timesteps)
    x_T = seeded_noise(7)(0, (2, 1, 6, 5, 4))
    ours = sample(bent, x_T.shape, SCHEDULE, steps=steps, spacing=spacing, noise=lambda i, shape: x_T)
    theirs = diffusers_run(scheduler, timesteps, x_T)
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("spacing", ["logsnr", "trailing"])
@pytest.mark.parametrize("steps", [2, 3, 5, 10, 20, 50])
def test_unipc_agrees_with_diffusers_on_identical_timesteps(steps, spacing):
    from diffusers import UniPCMultistepScheduler

    timesteps = select_timesteps(SCHEDULE, steps, spacing)
    scheduler = UniPCMultistepScheduler(
        trained_betas=SCHEDULE.betas.double().numpy(), solver_order=2, solver_type="bh2", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    scheduler.timesteps = torch.tensor(timesteps)  # it takes none of ours by itself
    rates = [SCHEDULE.rates(t) for t in (*timesteps, -1)]
    scheduler.sigmas = torch.tensor([sigma / alpha for alpha, sigma in rates], dtype=torch.float64)
    x_T = seeded_noise(7)(0, (2, 1, 6, 5, 4))
    ours = sample(bent, x_T.shape, SCHEDULE, sampler="unipc", steps=steps, spacing=spacing, noise=lambda i, shape: x_T)
    theirs = diffusers_run(scheduler, timesteps, x_T)
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("steps", [5, 10, 20, 50, 1000])
def test_ddim_agrees_with_diffusers_on_identical_timesteps(steps):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        trained_betas=SCHEDULE.betas.numpy(), clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    timesteps = select_timesteps(SCHEDULE, steps, "trailing")
    assert scheduler.timesteps.tolist() == timesteps
    x_T = seeded_noise(7)(0, (2, 1, 6, 5, 4))
    ours = sample(bent, x_T.shape, SCHEDULE, sampler="ddim", timesteps=timesteps, noise=lambda i, shape: x_T)
    theirs = diffusers_run(scheduler, timesteps, x_T)
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)])
def test_ddpm_at_1000_steps_is_the_published_ancestral_sampler(clip):
    from monai.networks.schedulers import DDPMScheduler

    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        schedule="scaled_linear_beta",
        beta_start=5e-4,
        beta_end=1.95e-2,
        clip_sample=clip is not None,
    )
    drawn = seeded_noise(5)
    numbers = [drawn(i, (1, 1, 4, 3, 2)) for i in range(1000)]
    ours = sample(
        bent, (1, 1, 4, 3, 2), SCHEDULE, sampler="ddpm", steps=1000, clip=clip, noise=lambda i, shape: numbers[i]
    )

    x_t = numbers[0]
    for i, t in enumerate(range(999, -1, -1)):
        predicted = bent(x_t, torch.tensor([t]))
        mean, _ = scheduler.step(predicted, t, x_t, generator=torch.Generator().manual_seed(i))
        if t > 0:  # take MONAI's own draw out again and put the replayed one in
            own = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(i))
            mean = mean + scheduler._get_variance(t, None).sqrt() * (numbers[i + 1] - own)
        x_t = mean
    assert float((ours - x_t).abs().max()) < 2e-4 * max(1.0, float(x_t.abs().max()))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 400),
    total=st.integers(1, 400),
    spacing=st.sampled_from(["logsnr", "trailing"]),
    kind=st.sampled_from(["linear", "scaled-linear"]),
)
def test_timesteps_are_all_different_and_fall_from_the_noisiest(steps, total, spacing, kind):
    schedule = NoiseSchedule(kind=kind, num_timesteps=total)
    if steps > total:
        with pytest.raises(InputError, match="number of sampling steps"):
            select_timesteps(schedule, steps, spacing)
        return
    timesteps = select_timesteps(schedule, steps, spacing)
    assert len(timesteps) == steps and timesteps[0] == total - 1 and timesteps[-1] >= 0
    assert all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
    if spacing == "logsnr" and steps > 1:
        assert timesteps[-1] == 0


def test_logsnr_timesteps_are_uniform_in_log_snr():
    log_snr = SCHEDULE.log_snr()[select_timesteps(SCHEDULE, 10, "logsnr")]
    strides = log_snr[1:] - log_snr[:-1]
    ideal = (log_snr[-1] - log_snr[0]) / 9
    # Timesteps are integers: near t = 0 neighbours are 0.35 apart at most, hence half of that to either side.
    assert abs(strides - ideal).max() < 0.18
    assert abs(strides[:6] / ideal - 1).max() < 0.02


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_clip_bounds_the_result_and_every_network_call_sees_the_batch(sampler):
    seen = []

    def predict(x_t, timesteps):
        seen.append((tuple(x_t.shape), timesteps.tolist(), timesteps.dtype))
        return torch.full_like(x_t, 3.0)

    x0 = sample(predict, (2, 1, 4, 4, 4), SCHEDULE, sampler=sampler, steps=6, clip=(-0.5, 0.25))
    assert x0.min() >= -0.5 and x0.max() <= 0.25
    assert seen == [((2, 1, 4, 4, 4), [t, t], torch.long) for t in select_timesteps(SCHEDULE, 6, "logsnr")]


@pytest.mark.parametrize(("sampler", "asked"), [("dpmpp", [0]), ("ddim", [0]), ("ddpm", [0, 1, 2, 3])])
def test_noise_is_asked_for_once_per_use_and_never_for_the_last_step(sampler, asked):
    indices = []
    drawn = seeded_noise(0)

    def noise(index, shape):
        indices.append(index)
        return drawn(index, shape)

    sample(bent, (1, 8), SCHEDULE, sampler=sampler, steps=4, noise=noise)
    assert indices == asked


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_means_one_result_and_a_batch_equals_its_images_one_by_one(sampler):
    shape = (3, 1, 4, 5, 6)
    batch = sample(bent, shape, SCHEDULE, sampler=sampler, steps=5, seed=11)
    assert torch.equal(batch, sample(bent, shape, SCHEDULE, sampler=sampler, steps=5, seed=11))
    assert not torch.equal(batch, sample(bent, shape, SCHEDULE, sampler=sampler, steps=5, seed=12))
    assert not torch.equal(batch[0], batch[1])
    for k in range(3):
        noise = seeded_noise(11, first=k)
        alone = sample(bent, (1, *shape[1:]), SCHEDULE, sampler=sampler, steps=5, noise=noise)
        torch.testing.assert_close(alone[0], batch[k], rtol=0, atol=1e-6)


def test_mirrored_noise_comes_in_pairs_and_each_image_alone_is_as_in_the_batch():
    noise = seeded_noise(3, mirrored=True)(0, (4, 1, 3, 4, 5))
    assert torch.equal(noise[0], -noise[1]) and torch.equal(noise[2], -noise[3])
    assert not torch.equal(noise[0], noise[2])
    for k in range(4):
        assert torch.equal(seeded_noise(3, first=k, mirrored=True)(0, (1, 1, 3, 4, 5))[0], noise[k])


def test_progress_ends_at_one():
    told = []
    sample(bent, (1, 4), SCHEDULE, steps=4, progress=lambda fraction, message: told.append((fraction, message)))
    assert told == [(i / 4, f"step {i} of 4") for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "leapfrog"}, "unknown sampler 'leapfrog'; use one of dpmpp, unipc, ddim, ddpm"),
        ({"steps": 0}, "between 1 and 1000, not 0"),
        ({"steps": 1001}, "between 1 and 1000, not 1001"),
        ({"spacing": "karras"}, "unknown timestep spacing 'karras'"),
        ({"timesteps": [3, 3]}, "timesteps must fall strictly"),
        ({"timesteps": [1000]}, "timesteps must fall strictly"),
        ({"timesteps": []}, "timesteps must fall strictly"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        sample(bent, (1, 4), SCHEDULE, **options)


@pytest.mark.parametrize(
    "arguments", [{"kind": "cosine"}, {"beta_start": 0.0}, {"beta_end": 1.0}, {"num_timesteps": 0}]
)
def test_bad_schedules_are_refused(arguments):
    with pytest.raises(InputError, match="noise schedule"):
        NoiseSchedule(**arguments)
