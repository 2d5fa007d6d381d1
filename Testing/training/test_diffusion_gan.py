"""Known answers of Diffusion-GAN: its noise, how that adapts, what its discriminator sees, and its sizes."""

from types import SimpleNamespace

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective, logged, scenario

from RelAPETLib.methods.diffusion_gan.network import TranslatingUNet
from training import checkpoints
from training.config import flatten, load_config, typed
from training.errors import ConfigError
from training.loop import run
from training.methods import objective
from training.methods.base import Place
from training.methods.diffusion_gan.noising import AdaptiveNoise, drawn_timesteps, noised, schedule
from training.trainer import RunData

WORDS = ["method=diffusion_gan", "preset=fair", "data.cache=memory", "data.workers=0", "hardware.accelerator=cpu",
         "run.log_every=1", "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.discriminator_channels=2",
         "run.validation_volumes=0"]  # fmt: skip


def configured(*words):
    return load_config([*WORDS, "out=unused", *words])


def learner(*words):
    return fresh_objective(configured(*words))


def phantoms(count):
    return batch_of(Phantoms(count), *range(count))


# -- the noise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timesteps", "kept"), [(10, 0.903739), (100, 0.363563), (1000, 4.0358e-5)])
def test_the_chain_is_spaced_anew_over_every_length(timesteps, kept):
    assert float(schedule(timesteps).alphas_cumprod[-1]) == pytest.approx(kept, rel=2e-5)


def test_the_shortest_chain_ends_in_little_noise():
    x, t = torch.full((2, 1, 40, 40, 40), 0.3), torch.tensor([10, 0])
    y = noised(x, t, torch.randn(x.shape, generator=torch.Generator().manual_seed(2)), 10, 0.05)
    assert 0.05 * (1 - 0.903739) ** 0.5 == pytest.approx(0.01551, abs=1e-5)
    assert float(y[0].std()) == pytest.approx(0.01551, rel=0.02)
    assert float(y[0].mean()) == pytest.approx(0.3 * 0.903739**0.5, abs=3e-4)
    assert torch.equal(y[1], x[1])


def test_a_gradient_passes_through_the_noise():
    x = torch.randn(1, 1, 2, 2, 2, requires_grad=True)
    noised(x, torch.tensor([100]), torch.randn(1, 1, 2, 2, 2), 100, 0.05).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.363563**0.5))


@pytest.mark.parametrize("how", ["priority", "uniform"])
def test_half_of_the_images_are_clean_and_the_others_times_are_as_asked_for(how):
    drawn = drawn_timesteps(7, range(40_000), 20, how)
    assert float((drawn == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
    counts = torch.bincount(drawn, minlength=21)[1:]
    wanted = torch.arange(1.0, 21) if how == "priority" else torch.ones(20)
    torch.testing.assert_close(counts / counts.sum(), wanted / wanted.sum(), atol=0.006, rtol=0)
    assert torch.equal(drawn_timesteps(7, range(100, 120), 20, how), drawn[100:120])


# -- how much of it -------------------------------------------------------------------------------------------------


def test_p_rises_exactly_if_the_discriminator_is_too_sure():
    for sign, wanted in ((0.7, 0.51), (0.6, 0.5), (0.5, 0.49), (-1.0, 0.49)):
        adaptive = AdaptiveNoise(p=0.5, images=1200)
        adaptive.saw(sign * 100, 100)
        adaptive.adjust(4, 4, 0.6, 3)
        assert adaptive.p == pytest.approx(wanted)


@pytest.mark.parametrize(("sign", "end"), [(1, 1.0), (-1, 0.0)])
def test_p_stays_within_0_and_1(sign, end):
    adaptive = AdaptiveNoise(p=0.5, images=15)
    for step in range(1, 10):
        adaptive.saw(sign, 1)
        adaptive.adjust(step, 1, 0.6, 3)
        assert 0 <= adaptive.p <= 1
    assert adaptive.p == end and adaptive.timesteps(10, 1000) == (1000 if end else 10)


def test_p_waits_for_its_step_and_moves_once_in_it():
    adaptive = AdaptiveNoise(images=120)
    for step in range(9):
        for _ in range(2):  # micro-batches
            adaptive.adjust(step, 4, 0.6, 3)
            assert adaptive.p == pytest.approx(0.1 * (step // 4))
            adaptive.saw(5, 5)


def sure(learned, of_real):
    """The same with a discriminator that takes every image for real, or none."""
    torch.nn.init.constant_(learned.modules["discriminator"].patches.final_conv.conv.bias, 50.0 if of_real else -50.0)
    return learned


@pytest.mark.parametrize("of_real", [True, False])
def test_chains_get_longer_while_the_discriminator_is_sure_of_real_images(of_real):
    """By 4 images times the batch of 3 in 2000 images, 990 levels far: 5.94 levels an adjustment."""
    learned = sure(learner("preset.adaptation_images=2000"), of_real)
    seen = [float(learned.losses(phantoms(3), Place(step, 0, [0, 1, 2]))[1]["T"]) for step in range(9)]
    assert seen == ([10] * 4 + [16] * 4 + [22] if of_real else [10] * 9)


def test_what_adapts_goes_into_checkpoints():
    learned, other = sure(learner("preset.adaptation_images=2000"), True), learner("preset.adaptation_images=2000")
    for step in range(6):
        learned.losses(phantoms(3), Place(step, 0, [0, 1, 2]))
    other.load_state(learned.state())
    sure(other, True)
    for step in range(6, 10):
        mine, theirs = (each.losses(phantoms(3), Place(step, 0, [0, 1, 2]))[1]["T"] for each in (learned, other))
        assert mine == theirs == (16 if step < 8 else 22)


def test_in_a_short_run_chains_can_grow_within_a_tenth_of_it_and_a_longer_one_goes_on_so():
    """100 steps of 3 images: 30 images. A checkpoint from before knows no such number, and has its configuration's."""
    said = []
    work = SimpleNamespace(data=SimpleNamespace(train=range(50)), fabric=SimpleNamespace(print=said.append))
    short, longer = sure(learner("run.steps=100"), True), sure(learner("run.steps=1000"), True)
    for learned in (short, longer):
        learned.stages(work)
    assert said == [f"T can grow to 1000 in {n} images (a resumed run keeps its number)" for n in (30, 300)]
    seen = [float(short.losses(phantoms(3), Place(step, 0, [0, 1, 2]))[1]["T"]) for step in range(13)]
    assert seen == [10] * 4 + [406] * 4 + [802] * 4 + [1000]
    longer.load_state(short.state())
    assert longer.adaptive.images == 30
    by_epochs = learner("run.steps=0", "preset.epochs=6")
    by_epochs.stages(work)
    assert by_epochs.adaptive.images == 30
    before = {name: value for name, value in short.state()["adaptive"].items() if name != "images"}
    old = flatten(configured()) | {"method.adaptation_images": 500_000}
    del old["preset.adaptation_images"]
    resumed = objective(typed(old))
    resumed.load_state({"adaptive": before})
    assert resumed.adaptive.images == 500_000 and resumed.timesteps == 1000


def test_long_chains_are_no_loss_that_ends_a_run(tmp_path):
    """T is logged beside the losses, and passes their limit."""
    words = ("run.steps=6", "run.validation_volumes=0", "run.largest_loss=200", "method.adjust_every=1",
             "method.target=-1", "preset.adaptation_images=6", "preset.global_batch=2")  # fmt: skip
    assert run(configured(*words, f"out={tmp_path}"), RunData(Phantoms(4), None, "0" * 64), quiet=True) == 0
    assert logged(tmp_path)[-1]["T"] > 200


@pytest.mark.slow
def test_every_rank_knows_what_all_have_seen(tmp_path):
    """Three steps, an adjustment before the third: what adapts is the same as without ranks, counts and all."""
    small = [word for word in WORDS if not word.startswith(("data.", "hardware.", "run."))]
    report = scenario("method", tmp_path, *small, "run.steps=3", "run.validation_volumes=0", "method.adjust_every=2",
                      "preset.adaptation_images=60")  # fmt: skip
    assert report["codes"] == [0, 0, 0], report["told"]
    one, two = (checkpoints.latest(tmp_path / name)[1]["objective"]["adaptive"] for name in ("one", "two"))
    # A batch of two images of 12 x 16 x 12 voxels, of which the discriminator judges two patches each.
    assert one == two and one["judged"] == 2 * 2 and one["adjusted_at"] == 2


# -- what is judged -------------------------------------------------------------------------------------------------


class Constant(Phantoms):
    """Every PET is .5 throughout, so that all that varies is the noise."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "pet": torch.full_like(item["pet"], 0.5)}


def shown_to_the_discriminator(learned, batch):
    """(y, mri, t, label) of each of the three calls in a step: the generator's, real, fake."""
    seen = []

    def note(module, arguments):
        image, t, labels = (argument.detach() for argument in arguments)
        seen.append((image[:, :1], image[:, 1:], t, labels))

    hook = learned.modules["discriminator"].register_forward_pre_hook(note)
    learned.losses(batch, Place(0, 0, list(range(len(batch["subject"])))))
    hook.remove()
    assert len(seen) == 3
    return seen


def test_the_discriminator_sees_noisy_images_beside_clean_mri():
    learned, batch = learner("method.noise_sd=2"), batch_of(Constant(24), *range(24))
    learned.adaptive.p = 1.0
    level = {"generator": 0.0, "real": 0.5, "fake": 0.0}  # a new generator gives 0
    for pet, (y, mri, ts, labels) in zip(level.values(), shown_to_the_discriminator(learned, batch), strict=True):
        assert torch.equal(mri, torch.cat([batch["t1w"], batch["t2f"]], 1)) and torch.equal(labels, batch["label"])
        assert 0 < int((ts == 0).sum()) < 24
        for image, t in zip(y, ts.tolist(), strict=True):
            kept = 1.0 if t == 0 else float(schedule(1000).alphas_cumprod[t - 1])
            assert float(image.mean()) == pytest.approx(pet * kept**0.5, abs=0.25)
            assert float(image.std()) == pytest.approx(2 * (1 - kept) ** 0.5, rel=0.1, abs=1e-6)


def test_each_image_that_is_shown_has_noise_of_its_own():
    generators, real, fake = shown_to_the_discriminator(learner(), phantoms(24))
    assert not torch.equal(real[2], fake[2]) and not torch.equal(real[2], generators[2])
    assert not torch.equal(fake[2], generators[2])


def test_no_players_loss_reaches_the_other_and_the_judgement_reaches_the_generator():
    learned, batch = learner("method.image_weight=0"), phantoms(2)
    learned.adaptive.p = 1.0
    for name, other in (("network", "discriminator"), ("discriminator", "network")):
        losses, _ = learned.losses(batch, Place(0, 0, [0, 1]))
        losses[name].backward()
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learned.modules[name].parameters())
        assert all(p.grad is None for p in learned.modules[other].parameters())
        learned.modules[name].zero_grad()


def test_the_generators_loss_is_the_weighted_sum():
    learned = learner("method.image_weight=7", "preset.adversarial_weight=3")
    losses, terms = learned.losses(phantoms(2), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), 3 * terms["L_A"] + 7 * terms["L_I"])
    losses, terms = learner("preset.adversarial_weight=0").losses(phantoms(2), Place(0, 0, [0, 1]))
    assert losses.keys() == {"network"} and terms.keys() == {"L_I"}


def test_a_batch_costs_the_mean_of_its_images():
    """So that ranks and micro-batches may share it out."""
    learned, people = learner(), Phantoms(2)
    together, _ = learned.losses(phantoms(2), Place(0, 0, [0, 1]))
    apart = [learned.losses(batch_of(people, n), Place(0, 0, [n]))[0] for n in (0, 1)]
    for name in together:
        torch.testing.assert_close(together[name], torch.stack([losses[name] for losses in apart]).mean())


# -- network and configuration --------------------------------------------------------------------------------------


def test_tracer_and_mri_count_and_odd_sides_are_padded():
    torch.manual_seed(0)
    network = TranslatingUNet(factor=10, crop=[5, 6, 3], channels=[4, 8, 8], norm_num_groups=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mri = torch.rand(1, 2, 5, 6, 3)
    plain = network(mri, torch.tensor([0]))
    assert plain.shape == (1, 1, 5, 6, 3) and plain.abs().max() <= 1
    for other in (network(mri, torch.tensor([2])), network(-mri, torch.tensor([0]))):
        assert (other - plain).abs().max() > 1e-5


def test_the_papers_constants():
    config = load_config(["method=diffusion_gan", "data.cache=memory", "out=unused"])
    method = config.method
    assert config.preset.adaptation_images == 500_000
    assert (method.noise_sd, method.least_timesteps, method.most_timesteps, method.target) == (0.05, 10, 1000, 0.6)
    assert (method.adjust_every, method.timestep_draw) == (4, "priority")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method.least_timesteps=2000"], "method.least_timesteps=2000 is above method.most_timesteps=1000"),
        (["method.timestep_draw=often"], "is not one of priority, uniform"),
        (["method.noise_sd=0"], "method.noise_sd=0.0 must be above 0"),
        (["preset.adaptation_images=0"], "preset.adaptation_images=0 must be at least 1, or null"),
        (["method.adaptation_images=9"], "this key is called preset.adaptation_images now"),
        (["method.target=2"], "method.target=2.0 must be at most 1"),
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["method.image_weight=0", "preset.adversarial_weight=0"], "leaves nothing to learn from"),
        (["preset.norm_num_groups=8", "preset.channels=[8,16]"], "groups of a single channel would hide"),
        (["preset.channels=[3,9]"], "the first must be even"),
        (["preset.discriminator_channels=3"], "preset.discriminator_channels=3 must be even"),
        (["network.factor=20"], "too small for so many strided layers"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)
