"""Known answers of rectified flow and of the diffusion bridge: paths and samplers."""

import math

import pytest
import torch
from monai.networks.schedulers import RFlowScheduler
from monai.networks.schedulers.rectified_flow import timestep_transform

from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.errors import InputError
from RelAPETLib.methods.flows.bridge import Bridge
from RelAPETLib.methods.flows.process import intervals
from RelAPETLib.methods.flows.straight import RectifiedFlow
from training.config import load_config

STRAIGHT, BRIDGE = RectifiedFlow(), Bridge()
PATHS = [(path, sampler) for path in (STRAIGHT, BRIDGE) for sampler in path.samplers]
each = pytest.mark.parametrize(("path", "sampler"), PATHS, ids=[f"{p.kind}-{s}" for p, s in PATHS])
SMALL = ["data.cache=memory", "data.workers=0", "hardware.accelerator=cpu", "run.log_every=1",
         "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.num_head_channels=0"]  # fmt: skip


def configured(*words):
    return load_config([*SMALL, "out=unused", *words])


def volumes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(2, 1, 3, 4, 5, generator=generator) * 2 - 1 for _ in range(count)]


def at(t, like=None):
    return torch.full((1 if like is None else len(like),), t, dtype=torch.float64)


def denoised(path, estimate, y, sampler, steps, noise=None, clip=None):
    """A draw whose network gives what means the clean estimate ``estimate(x_t, t)``; and the times it was asked at."""
    asked = []

    class Told(type(path)):
        def seen(self, x_t, t):
            asked.append(float(t[0]))
            return x_t

        def clean(self, x_t, output, t):
            return estimate(x_t, float(t[0]))

    made = Told(**vars(path)).sample(lambda x_t, told: x_t, y, noise or seeded_noise(7), sampler, steps, clip)
    return made, asked


# -- both paths -----------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7, 14, 20])
def test_so_many_steps_are_so_many_network_calls(path, sampler, steps):
    x0, y = volumes(2)
    told = []
    made, asked = denoised(path, lambda x_t, t: x0, y, sampler, steps)
    path.sample(lambda x_t, _: x_t, y, seeded_noise(1), sampler, steps, progress=lambda part, _: told.append(part))
    assert len(asked) == steps and asked[0] == 1 and all(0 < t <= 1 for t in asked)
    assert told == pytest.approx([n / steps for n in range(1, steps + 1)])
    torch.testing.assert_close(made, x0, rtol=0, atol=1e-5)


@each
def test_the_target_means_the_clean_image(path, sampler):
    x0, y, eps = volumes(3)
    for t in (1e-3, 0.3, 1.0):
        times = at(t, x0)
        x_t = path.noised(x0, y, times, eps)
        torch.testing.assert_close(path.clean(x_t, path.target(x0, x_t, eps, times), times), x0)


@each
def test_estimates_are_clipped(path, sampler):
    x0, y = volumes(2)
    made, _ = denoised(path, lambda x_t, t: 3 * torch.ones_like(x0), y, sampler, 4, clip=(-1.0, 0.5))
    torch.testing.assert_close(made, torch.full_like(x0, 0.5))


@each
def test_more_or_other_steps_are_refused(path, sampler):
    (y,) = volumes(1)
    for steps in (0, 1001):
        with pytest.raises(InputError, match=f"steps {steps} is out of range; use 1 to 1000"):
            denoised(path, lambda x_t, t: x_t, y, sampler, steps)
    with pytest.raises(InputError, match=f"unknown sampler 'ddim' of {path.kind}; use one of "):
        denoised(path, lambda x_t, t: x_t, y, "ddim", 3)


@each
def test_draws_of_a_gaussian_have_its_mean_and_spread(path, sampler):
    """A PET of N(.3, .2^2) whatever the T1w, for which the best estimate is known; by many calls."""
    mean, sd, count = 0.3, 0.2, 40_000
    y = torch.full((count, 1, 1, 1, 1), -0.7)

    def best(x_t, t):
        if t == 1:
            return torch.full_like(x_t, mean)
        share, noise, rest = 1 - t, t**2, x_t
        if path is BRIDGE:
            a, b, c = (float(n) for n in BRIDGE.coefficients(at(t)))
            share, noise, rest = b, c, x_t - a * y
        return (mean * noise + sd**2 * share * rest) / (noise + share**2 * sd**2)

    generator = torch.Generator().manual_seed(3)
    made, _ = denoised(path, best, y, sampler, 299, lambda index, shape: torch.randn(*shape, generator=generator))
    assert float(made.mean()) == pytest.approx(mean, abs=5e-3) and float(made.std()) == pytest.approx(sd, rel=0.02)


def test_what_calls_make_no_whole_intervals_is_left_out_near_the_clean_end():
    assert [(*one,) for one in intervals(14, True)] == [(True, True)] * 4 + [(True, False)]
    assert [(*one,) for one in intervals(13, True)] == [(True, True)] * 3 + [(True, False)] * 2
    assert [(*one,) for one in intervals(3, True)] == [(True, False), (False, False)]
    assert [(*one,) for one in intervals(4, False)] == [(False, True), (False, False), (False, False)]
    for churned in (False, True):
        for calls in range(1, 200):
            made = intervals(calls, churned)
            assert sum(1 + one.churned + one.corrected for one in made) == calls and not made[-1].corrected
            assert all(one.churned == churned for one in made[:-1])


# -- rectified flow -------------------------------------------------------------------------------------------------


def test_one_euler_step_along_the_true_velocity_is_the_clean_image():
    x0, x1 = volumes(2)
    v = STRAIGHT.target(x0, None, x1, None)
    made = STRAIGHT.sample(lambda x_t, told: v, x0, lambda index, shape: x1, "euler", 1, None)
    torch.testing.assert_close(made, x0)
    torch.testing.assert_close(v, x1 - x0)


def test_the_straight_path_is_monais():
    x0, eps = volumes(2)
    monai = RFlowScheduler(num_train_timesteps=1000)
    t = torch.tensor([0.25, 0.9], dtype=torch.float64)
    torch.testing.assert_close(STRAIGHT.noised(x0, None, t, eps), monai.add_noise(x0, eps, STRAIGHT.told(t)))


def test_eulers_steps_are_monais():
    """With a network that answers to image and time; MONAI's velocity points the other way."""
    start, y = volumes(2)

    def network(x_t, told):
        return torch.sin(3 * x_t) + told.reshape(-1, 1, 1, 1, 1) / 1000

    made = STRAIGHT.sample(network, y, lambda index, shape: start, "euler", 20, None)
    monai = RFlowScheduler(num_train_timesteps=1000)
    monai.set_timesteps(20)
    x = start
    for t, to in zip(monai.timesteps, [*monai.timesteps[1:], 0], strict=True):
        x, _ = monai.step(-network(x, t.float().expand(len(x))), int(t), x, to)
    torch.testing.assert_close(made, x, rtol=0, atol=2e-5)


def test_the_shift_of_times_is_monais():
    shift = (80 * 90 * 80 / 32**3) ** (1 / 3)
    uniform = torch.linspace(0, 1, 11, dtype=torch.float64)
    path = RectifiedFlow(shift)
    torch.testing.assert_close(path.times(uniform) * 1000, timestep_transform(uniform * 1000, 80 * 90 * 80))
    monai = RFlowScheduler(use_discrete_timesteps=False, use_timestep_transform=True)
    monai.set_timesteps(10, input_img_size_numel=80 * 90 * 80)
    assert [1000 * t for t in path.visited(10)] == pytest.approx(monai.timesteps.tolist(), rel=1e-3)  # in float16
    words = [
        "method=rectified_flow",
        "preset=paper",
        "network.factor=2",
        "preset.channels=[4,8]",
        "preset.norm_num_groups=1",
    ]
    assert configured(*words).time_shift == pytest.approx(shift)
    assert configured("method=rectified_flow", "preset=fair").time_shift == 1


def test_heun_is_of_second_order():
    """On x0 = x_t cos(t) a halved step leaves a half of Euler's error and a quarter of Heun's."""
    (start,) = volumes(1)
    start = start.double()
    ends = {}
    for sampler, calls in (("euler", (64, 128)), ("heun", (127, 255)), ("heun", (999,))):
        for steps in calls:
            # Up to t = .5: the last step, always Euler's, would hide the order.
            path = RectifiedFlow()
            kept = []

            def estimate(x_t, t, kept=kept):
                if abs(t - 0.5) < 1e-9:
                    kept.append(x_t)
                return x_t * math.cos(t)

            denoised(path, estimate, start, sampler, steps, lambda index, shape: start)
            ends[sampler, steps] = kept[-1]
    truth = ends["heun", 999]
    error = {key: float((end - truth).abs().max()) for key, end in ends.items()}
    assert 1.8 < error["euler", 64] / error["euler", 128] < 2.2
    assert 3.5 < error["heun", 127] / error["heun", 255] < 4.5 and error["heun", 127] < error["euler", 128] / 10


# -- bridge ---------------------------------------------------------------------------------------------------------


def test_the_bridges_coefficients_and_limits():
    assert [float(n) for n in BRIDGE.coefficients(at(0.5))] == pytest.approx(
        [0.2604215, 0.7104578, 0.2139375], abs=1e-7
    )
    assert [float(n) for n in BRIDGE.coefficients(at(0.0))] == [0, 1, 0]
    assert [float(n) for n in BRIDGE.coefficients(at(1.0))] == pytest.approx([1, 0, 0], abs=1e-14)
    assert [float(n) for n in BRIDGE.coefficients(at(1e-6))] == pytest.approx([0, 1, 0], abs=1e-6)
    assert [float(n) for n in BRIDGE.coefficients(at(1 - 1e-6))] == pytest.approx([1, 0, 0], abs=1e-5)


@pytest.mark.parametrize("t", [0.01, 0.4, 0.95])
def test_the_bridge_is_the_diffusion_given_its_end(t):
    """Condition x_t on x_1 by the normal equations of the pair, given x0."""
    (alpha, alpha_1), (variance, variance_1) = (n.tolist() for n in BRIDGE.rates(torch.tensor([t, 1.0])))
    gain = alpha_1 / alpha * variance / variance_1  # covariance of x_t and x_1 over the variance of x_1
    a, b, c = (float(n) for n in BRIDGE.coefficients(at(t)))
    assert (a, b) == pytest.approx((gain, alpha - gain * alpha_1))
    assert c == pytest.approx(variance - gain * alpha_1 / alpha * variance)


def test_the_network_sees_and_learns_numbers_of_sd_1():
    generator = torch.Generator().manual_seed(5)
    x0, y, eps = (torch.randn(200_000, 1, 1, 1, 1, generator=generator) * sd for sd in (0.5, 0.5, 1))
    for t in (1e-4, 0.1, 0.7, 1.0):
        times = at(t, x0)
        x_t = BRIDGE.noised(x0, y, times, eps)
        target = BRIDGE.target(x0, x_t, eps, times)
        assert float(BRIDGE.seen(x_t, times).std()) == pytest.approx(1, rel=0.01)
        assert float(target.std()) == pytest.approx(1, rel=0.01)
        assert abs(float((target * x_t).mean())) < 0.01  # c_skip leaves nothing that x_t tells by itself


def test_short_steps_are_the_papers_reverse_equations():
    """Theorem 1 of DDBM, with f, g, the score of q(x_t | x_T) for this x0 and h = grad log p(x_T | x_t)."""
    x0, y, x_t = (volume.double() for volume in volumes(3))
    t, dt = 0.6, 1e-6
    alpha, variance = (n.item() for n in BRIDGE.rates(at(t)))
    alpha_1, variance_1 = (n.item() for n in BRIDGE.rates(at(1.0)))
    g2 = BRIDGE.beta_d * t + BRIDGE.beta_min
    f = -g2 / 2 * x_t
    a, b, c = (float(n) for n in BRIDGE.coefficients(at(t)))
    score = -(x_t - a * y - b * x0) / c
    snr, snr_1 = alpha**2 / variance, alpha_1**2 / variance_1
    h = (alpha / alpha_1 * y - x_t) / (variance * (snr / snr_1 - 1))
    ode = f - g2 * (score / 2 - h)
    moved = (BRIDGE.drifted(x_t, x0, y, t, t - dt) - x_t) / -dt
    torch.testing.assert_close(moved, ode, rtol=1e-4, atol=1e-4)
    of_x_t, of_x0, added = BRIDGE.posterior(t, t - dt)
    sde = f - g2 * (score - h)
    torch.testing.assert_close((of_x_t * x_t + of_x0 * x0 - x_t) / -dt, sde, rtol=1e-4, atol=1e-4)
    assert added / dt == pytest.approx(g2, rel=1e-4)


@pytest.mark.parametrize(("sampler", "steps"), [("heun", 14), ("heun", 12), ("ancestral", 5)])
def test_the_samplers_marginals_are_those_of_the_forward_process(sampler, steps):
    """With the true x0, x_t has the bridge's mean and variance wherever the network is asked."""
    x0, y = torch.full((200_000, 1, 1, 1, 1), -0.4), torch.full((200_000, 1, 1, 1, 1), 0.7)
    generator, seen = torch.Generator().manual_seed(3), []

    def perfect(x_t, t):
        seen.append((t, float(x_t.double().mean()), float(x_t.double().var())))
        return x0

    made, _ = denoised(
        BRIDGE, perfect, y, sampler, steps, lambda index, shape: torch.randn(*shape, generator=generator)
    )
    assert torch.equal(made, x0) and len(seen) == steps
    for t, mean, variance in seen:
        a, b, c = (float(n) for n in BRIDGE.coefficients(at(t)))
        assert mean == pytest.approx(0.7 * a - 0.4 * b, abs=5 * (c / 200_000) ** 0.5 + 1e-6)
        assert variance == pytest.approx(c, rel=0.02, abs=1e-12)


def test_the_bridges_times_are_spaced_as_karras_spaces_noise():
    times = BRIDGE.visited(5)
    assert times[0] == 1 and times[-1] == pytest.approx(1e-4)
    roots = [t ** (1 / 7) for t in times]
    assert [b - a for a, b in zip(roots, roots[1:], strict=False)] == pytest.approx([(1e-4 ** (1 / 7) - 1) / 4] * 4)


@pytest.mark.parametrize("fields", [{"beta_min": 0}, {"beta_d": -1}, {"first": 1}, {"churn": 0}, {"sigma_data": 0}])
def test_a_bridge_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="must"):
        Bridge(**fields)
