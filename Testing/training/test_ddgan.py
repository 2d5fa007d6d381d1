"""Known answers of DDGAN: its chain, what its discriminator sees, its losses and its sizes."""

import math

import pytest
import torch
from training_runs import Phantoms, awake, batch_of, fresh_objective

from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.errors import InputError
from RelAPETLib.methods.ddgan.network import PosteriorGenerator
from RelAPETLib.methods.ddgan.process import PosteriorChain
from training.config import flatten, load_config, typed
from training.errors import ConfigError
from training.loop import run
from training.methods.adversarial import cross_entropy
from training.methods.base import Place
from training.methods.ddgan.losses import with_penalty
from training.methods.timed_discriminator import TimedDiscriminator
from training.trainer import RunData

CHAIN = PosteriorChain()
SMALL = {"factor": 10, "crop": [4, 6, 4], "channels": [4, 8], "norm_num_groups": 1, "num_res_blocks": 1}
WORDS = ["method=ddgan", "preset=fair", "data.cache=memory", "data.workers=0", "hardware.accelerator=cpu",
         "run.log_every=1", "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.discriminator_channels=2",
         "run.validation_volumes=0"]  # fmt: skip


def configured(*words):
    return load_config([*WORDS, "out=unused", *words])


def learner(*words):
    return fresh_objective(configured(*words))


# -- the chain ------------------------------------------------------------------------------------------------------


def test_rates_are_the_papers():
    assert [CHAIN.beta(n) for n in (1, 2, 3, 4)] == pytest.approx([0.478255, 0.849206, 0.956418, 0.987404], abs=1e-6)
    assert [CHAIN.kept(n) for n in (1, 2, 3, 4)] == pytest.approx([0.521745, 0.078676, 0.003429, 0.000043], abs=1e-6)
    assert CHAIN.kept(0) == 1


@pytest.mark.parametrize("steps", [4, 3, 1])
def test_a_perfect_generator_gives_the_pet_whatever_the_noise(steps):
    x0, asked = torch.rand(2, 1, 3, 4, 5) * 2 - 1, []
    made = CHAIN.sample(lambda x, t, z: asked.append((int(t[0]), tuple(z.shape))) or x0, x0, 7, seeded_noise(5), steps)
    assert torch.equal(made, x0)
    assert [t for t, _ in asked] == [level - 1 for level in CHAIN.visited(steps)] and asked[0] == (3, (2, 7))


def test_a_perfect_generators_chain_has_the_marginals_of_the_forward_process():
    count, generator, seen = 200_000, torch.Generator().manual_seed(3), {}
    x0 = torch.full((count, 1, 1, 1, 1), 0.8)

    def perfect(x, t, z):
        seen[int(t[0]) + 1] = (float(x.mean()), float(x.var()))
        return x0

    CHAIN.sample(perfect, x0, 1, lambda index, shape: torch.randn(*shape, generator=generator))
    assert sorted(seen) == [1, 2, 3, 4]
    for level, (mean, variance) in seen.items():
        abar = CHAIN.kept(level)
        # The start is standard normal, without the share .007 of the PET that the forward process leaves.
        left_out = 0.8 * CHAIN.kept(4) ** 0.5
        assert mean == pytest.approx(0.8 * abar**0.5, abs=5 / count**0.5 + left_out)
        assert variance == pytest.approx(1 - abar, rel=0.02)


@pytest.mark.parametrize(("rate", "steps"), [(1e-4, 1000), (1000.0, 4), (1000.0, 1000)])
def test_chains_at_the_bounds_are_finite(rate, steps):
    chain = PosteriorChain(steps, rate, rate)
    x0 = torch.rand(2, 1, 2, 2, 2)
    made = chain.sample(lambda x, t, z: x0 + 0 * x, x0, 1, seeded_noise(1))
    assert torch.equal(made, x0)
    t = torch.tensor([0, steps - 1])
    assert torch.isfinite(chain.stepped(chain.noised(x0, t, x0), t, x0)).all()


def test_two_steps_of_the_forward_process_are_one():
    """q(x_t | x0) and then q(x_{t+1} | x_t) has the moments of q(x_{t+1} | x0)."""
    x0, t = torch.full((100_000, 1, 1, 1, 1), 0.5), torch.full((100_000,), 1)
    x_next = CHAIN.stepped(CHAIN.noised(x0, t, torch.randn_like(x0)), t, torch.randn_like(x0))
    abar = CHAIN.kept(2)
    assert float(x_next.mean()) == pytest.approx(0.5 * abar**0.5, abs=0.02)
    assert float(x_next.var()) == pytest.approx(1 - abar, rel=0.03)
    assert torch.equal(CHAIN.noised(x0[:2], torch.zeros(2, dtype=torch.long), torch.randn(2, 1, 1, 1, 1)), x0[:2])


@pytest.mark.parametrize("t", [3, 2, 1, 0])
def test_a_step_is_that_of_diffusers_ddpm(t):
    from diffusers import DDPMScheduler

    betas = [CHAIN.beta(n) for n in (1, 2, 3, 4)]
    theirs = DDPMScheduler(4, trained_betas=betas, prediction_type="sample", clip_sample=False)
    x, x0 = torch.randn(2, 1, 3, 3, 3), torch.rand(2, 1, 3, 3, 3)
    wanted = theirs.step(x0, t, x, generator=torch.Generator().manual_seed(1)).prev_sample
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    levels = torch.full((2,), t + 1)
    torch.testing.assert_close(CHAIN.posterior(x, x0, levels, levels - 1, eps), wanted, atol=1e-5, rtol=1e-5)


def test_more_steps_than_the_chain_has_are_refused():
    with pytest.raises(InputError, match="steps 5 is out of range; this chain has 4, use 1 to 4"):
        CHAIN.visited(5)


# -- losses ---------------------------------------------------------------------------------------------------------


def test_losses_of_known_logits():
    three = torch.full((2, 1, 2, 2, 2), 3.0)
    for real in (True, False):
        assert float(cross_entropy(0 * three, real)) == pytest.approx(math.log(2))
        sign = 1 if real else -1
        assert float(cross_entropy(sign * three, real)) == pytest.approx(math.log1p(math.exp(-3)))
        assert float(cross_entropy(-sign * three, real)) == pytest.approx(3 + math.log1p(math.exp(-3)))


def test_the_penalty_of_one_logit_is_the_squared_gradient():
    weight = torch.randn(1, 1, 4, 4, 4, requires_grad=True)
    logits, penalty = with_penalty(lambda x: (x * weight).sum((1, 2, 3, 4)), torch.randn(3, 1, 4, 4, 4))
    torch.testing.assert_close(penalty, weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(weight.grad, 2 * weight.detach())
    assert logits.shape == (3,)


def test_the_penalty_of_patches_is_their_mean_whatever_the_volumes_size():
    patches = torch.nn.Conv3d(1, 1, 2, stride=2)
    wanted = float(patches.weight.detach().square().sum())
    for side in (4, 8):
        _, penalty = with_penalty(patches, torch.randn(2, 1, side, side, side))
        assert float(penalty.detach()) == pytest.approx(wanted, rel=1e-5)


class Constant(Phantoms):
    """Every PET is .5 throughout, so that all that varies is the chain's noise."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "pet": torch.full_like(item["pet"], 0.5)}


def shown_to_the_discriminator(learned, batch, place=0):
    """(x_t, x_next, mri, t, label) of each of the three calls in a step: real, fake, and the generator's fake."""
    seen = []

    def note(module, arguments):
        image, t, labels = (argument.detach() for argument in arguments)
        seen.append((image[:, 0], image[:, 1], image[:, 2:], t, labels))

    hook = learned.modules["discriminator"].register_forward_pre_hook(note)
    count = len(batch["subject"])
    learned.losses(batch, Place(place, 0, [place * count + n for n in range(count)]))
    hook.remove()
    assert len(seen) == 3
    return seen


def test_the_discriminator_sees_two_places_of_one_chain():
    """Their covariance is that of a chain: real, and as drawn by a generator whose estimate is 0, as it begins."""
    learned, batch = learner(), batch_of(Constant(12), *range(12))
    pairs = {kind: {} for kind in ("real", "fake", "generator")}
    for place in range(4):
        for kind, (x_t, x_next, mri, ts, labels) in zip(
            pairs, shown_to_the_discriminator(learned, batch, place), strict=True
        ):
            assert torch.equal(mri, torch.cat([batch["t1w"], batch["t2f"]], 1)) and torch.equal(labels, batch["label"])
            for one, other, t in zip(x_t, x_next, ts.tolist(), strict=True):
                pairs[kind].setdefault(t, []).append(torch.stack([one.flatten(), other.flatten()]))
    for kind, found in pairs.items():
        assert sorted(found) == [0, 1, 2, 3]
        for t, images in found.items():
            covariance = torch.cat(images, 1).cov()
            variance_next = 1 - CHAIN.kept(t + 1)
            kept = 1 - CHAIN.beta(t + 1)
            assert float(covariance[1, 1]) == pytest.approx(variance_next, rel=0.05)
            if t == 0:  # the clean estimate itself
                assert float(covariance[0, 0]) < 1e-10
                assert float(images[0][0, 0]) == pytest.approx(0.5 if kind == "real" else 0.0, abs=1e-6)
                continue
            variance = 1 - CHAIN.kept(t)
            # x_t given x_next keeps this share of it, the other being noise; so real and fake have the same.
            assert float(covariance[0, 1]) == pytest.approx(kept**0.5 * variance, abs=0.02)
            assert float(covariance[0, 0]) == pytest.approx(variance, rel=0.05)


def test_the_players_draw_steps_of_their_own():
    real, fake, generators = shown_to_the_discriminator(learner(), batch_of(Phantoms(12), *range(12)))
    assert torch.equal(real[3], fake[3]) and torch.equal(real[1], fake[1])
    assert not torch.equal(real[3], generators[3]) and not torch.equal(real[1], generators[1])


def test_no_players_loss_reaches_the_other():
    learned, batch = learner(), batch_of(Phantoms(2), 0, 1)
    for name, other in (("generator", "discriminator"), ("discriminator", "generator")):
        losses, _ = learned.losses(batch, Place(0, 0, [0, 1]))
        losses[name].backward()
        assert any(p.grad is not None for p in learned.modules[name].parameters())
        assert all(p.grad is None for p in learned.modules[other].parameters())
        learned.modules[name].zero_grad()


def test_the_penalty_is_lazy_and_unscaled():
    learned, batch = learner("method.penalty_every=3", "preset.penalty_gamma=8"), batch_of(Phantoms(2), 0, 1)
    for step in range(7):
        losses, terms = learned.losses(batch, Place(step, 0, [0, 1]))
        assert ("R1" in terms) == (step % 3 == 2)
        torch.testing.assert_close(
            losses["discriminator"].detach(), terms["L_D"] + 4 * terms.get("R1", torch.zeros(()))
        )
        assert "R1" not in terms or terms["R1"] > 0
    learned = learner("preset.penalty_gamma=0")
    assert "R1" not in learned.losses(batch, Place(0, 0, [0, 1]))[1]


def test_the_generators_loss_is_the_weighted_sum():
    losses, terms = learner("method.image_weight=7").losses(batch_of(Phantoms(2), 0, 1), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["generator"].detach(), terms["L_G"] + 7 * terms["L_I"])
    assert terms["L_I"] > 0 and terms["L_G"] > 0


def test_a_batch_costs_the_mean_of_its_images():
    """So that ranks and micro-batches may share it out."""
    learned, people = learner(), Phantoms(2)
    together, _ = learned.losses(batch_of(people, 0, 1), Place(0, 0, [0, 1]))
    apart = [learned.losses(batch_of(people, n), Place(0, 0, [n]))[0] for n in (0, 1)]
    for name in together:
        torch.testing.assert_close(together[name], torch.stack([losses[name] for losses in apart]).mean())


# -- networks -------------------------------------------------------------------------------------------------------


def test_z_tracer_mri_and_time_all_count():
    network = awake(PosteriorGenerator(**SMALL, latent=5, latent_hidden=8))
    x, mri, z = torch.rand(1, 1, 4, 6, 4), torch.rand(1, 2, 4, 6, 4), torch.randn(1, 5)

    def answer(mri=mri, t=2, label=0, z=z):
        with torch.no_grad():
            return network(x, mri, torch.tensor([t]), torch.tensor([label]), z)

    plain = answer()
    assert plain.shape == (1, 1, 4, 6, 4) and plain.abs().max() <= 1 and torch.equal(plain, answer())
    for other in (answer(mri=-mri), answer(t=0), answer(label=2), answer(z=-z)):
        assert torch.isfinite(other).all() and (other - plain).abs().max() > 1e-5


def test_sides_that_the_levels_do_not_divide_are_padded():
    network = awake(PosteriorGenerator(**{**SMALL, "crop": [5, 6, 3], "channels": [4, 8, 8]}, latent=5))
    x, mri = torch.rand(1, 1, 5, 6, 3), torch.rand(1, 2, 5, 6, 3)
    made = network(x, mri, torch.tensor([0]), torch.tensor([1]), torch.randn(1, 5))
    assert made.shape == (1, 1, 5, 6, 3) and torch.isfinite(made).all()


def test_the_discriminator_is_told_time_and_tracer_and_judges_patches():
    network = awake(TimedDiscriminator(4, 4, 2, labels=3))
    image = torch.randn(2, 4, 16, 18, 12)

    def logits(t, label):
        with torch.no_grad():
            return network(image, torch.full((2,), t), torch.full((2,), label))

    plain = logits(1, 0)
    assert plain.shape == (2, 1, 2, 2, 1)
    assert (logits(2, 0) - plain).abs().max() > 1e-5 and (logits(1, 2) - plain).abs().max() > 1e-5


# -- configuration --------------------------------------------------------------------------------------------------


def test_the_image_loss_is_the_presets_unless_the_method_says_another():
    paper = load_config(["method=ddgan", "data.cache=memory", "out=unused"])
    assert paper.preset.name == "paper" and paper.image_weight == 0
    assert configured().image_weight == 1 and configured("method.image_weight=0").image_weight == 0


def test_the_papers_preset_is_the_authors_row_for_lsun_and_the_fair_one_its_own():
    config = load_config(["method=ddgan", "data.cache=memory", "out=unused"])
    paper, fair = config.preset, configured().preset
    assert (config.method.timesteps, paper.global_batch, paper.epochs, paper.ema_decay) == (4, 64, 500, 0.999)
    rates = [(preset.generator_learning_rate, preset.discriminator_learning_rate) for preset in (paper, fair)]
    assert rates == [(1.6e-4, 1e-4), (5e-4, 3e-4)] and (paper.penalty_gamma, fair.penalty_gamma) == (1, 2)
    # Checkpoints of before have the penalty's weight under method.
    old = flatten(config)
    old["method.penalty_gamma"] = 3 * old.pop("preset.penalty_gamma")
    assert typed(old).preset.penalty_gamma == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method.beta_min=30"], "method.beta_min=30.0 is above method.beta_max=20.0"),
        (["method.beta_min=0"], "method.beta_min=0.0 must be at least 0.0001"),
        (["method.timesteps=0"], "method.timesteps=0 must be at least 1"),
        (["method.penalty_every=0"], "method.penalty_every=0 must be at least 1"),
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["preset.norm_num_groups=8", "preset.channels=[8,16]"], "groups of a single channel would hide"),
        (["preset.channels=[6,8]", "preset.norm_num_groups=4"], "no multiples of preset.norm_num_groups=4"),
        (["preset.channels=[3,9]"], "the first must be even"),
        (["preset.discriminator_channels=3"], "preset.discriminator_channels=3 must be even"),
        (["network.factor=20"], "are too small for so many strided layers"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("layers", "enough"), [(1, 6), (2, 12), (3, 24)])
def test_the_smallest_volumes_are_those_that_work(layers, enough):
    from training.methods.translation_config import patch_problems

    network = TimedDiscriminator(1, 2, layers, labels=1)
    zero = torch.zeros(1, dtype=torch.long)
    assert network(torch.zeros(1, 1, enough, enough, enough), zero, zero).numel() == 1
    assert not patch_problems(layers, (enough,) * 3)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, enough, enough, enough - 1), zero, zero)
    assert len(patch_problems(layers, (enough, enough, enough - 1))) == 1


def test_volumes_that_are_too_small_are_refused_before_the_first_step(tmp_path, capsys):
    config = load_config([*WORDS, f"out={tmp_path}"])
    assert run(config, RunData(Phantoms(1, shape=(8, 16, 16)), None, "0" * 64), quiet=True) == 2
    assert "volumes of (8, 16, 16) are too small" in capsys.readouterr().err
