"""Known answers of ResDM: its chain, its losses, its tokens and its sizes."""

import numpy as np
import pytest
import torch
from training_runs import Phantoms, awake, batch_of, fresh_objective

from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.errors import InputError
from RelAPETLib.methods.resdm.network import ResidualDiffusion
from RelAPETLib.methods.resdm.process import ResidualShift
from training.config import load_config
from training.errors import ConfigError
from training.loop import run
from training.methods.base import Place
from training.methods.clinical import hidden
from training.methods.resdm.losses import image, intra_domain, reconstruction
from training.trainer import RunData

CHAIN = ResidualShift()
SMALL = {"factor": 10, "crop": [4, 6, 4], "channels": [4, 8], "norm_num_groups": 1}
WORDS = ["method=resdm", "data.cache=memory", "data.workers=0", "hardware.accelerator=cpu", "run.log_every=1",
         "preset.channels=[4,8]", "preset.norm_num_groups=1", "run.validation_volumes=0"]  # fmt: skip


def configured(*words):
    return load_config([*WORDS, "out=unused", *words])


# -- the chain ------------------------------------------------------------------------------------------------------


def test_shifts_and_coefficients_are_the_papers():
    assert [CHAIN.eta(t) for t in (0, 1, 7, 13, 14)] == pytest.approx([0.04, 0.1085, 0.5195, 0.9305, 0.999])
    assert CHAIN.coefficients(14, 13) == pytest.approx((0.931431, 0.068569), abs=1e-6)
    assert CHAIN.coefficients(0, -1) == (0.0, 1.0)
    assert CHAIN.variance(1, 0) == pytest.approx(2.5253e-4, abs=1e-8)
    assert CHAIN.variance(14, 13) == pytest.approx(6.3803e-4, abs=1e-8) and CHAIN.variance(0, -1) == 0
    assert CHAIN.kappa * CHAIN.eta(14) ** 0.5 == pytest.approx(0.09995, abs=1e-6)


@pytest.mark.parametrize("steps", [15, 4, 1])
def test_a_perfect_network_gives_the_pet_whatever_the_noise(steps):
    x0, y = torch.rand(2, 1, 3, 4, 5) * 2 - 1, torch.rand(2, 1, 3, 4, 5) * 2 - 1
    asked = []
    made = CHAIN.sample(lambda x_t, t: asked.append(int(t[0])) or x0, y, seeded_noise(7), steps)
    assert torch.equal(made, x0) and asked == CHAIN.visited(steps) and len(asked) == steps and asked[0] == 14


def test_the_samplers_marginals_are_those_of_the_forward_process():
    """With the true x0 every x_t has mean and variance of eq. 1; the start, y for x0 + .999 (y - x0), is .001 off."""
    x0, y = torch.full((200_000, 1, 1, 1, 1), -0.4), torch.full((200_000, 1, 1, 1, 1), 0.7)
    generator = torch.Generator().manual_seed(3)
    seen = {}

    def perfect(x_t, t):
        seen[int(t[0])] = (float(x_t.mean()), float(x_t.var()))
        return x0

    CHAIN.sample(perfect, y, lambda index, shape: torch.randn(*shape, generator=generator))
    assert len(seen) == 15
    for t, (mean, variance) in seen.items():
        eta = CHAIN.eta(t)
        assert mean == pytest.approx(-0.4 + eta * 1.1, abs=1.2e-3 * eta + 5 * (0.01 * eta / 200_000) ** 0.5)
        assert variance == pytest.approx(0.01 * eta, rel=0.02)


def test_the_forward_process_is_the_equation():
    x0, y, eps = torch.randn(3, 2, 1, 2, 2, 2).unbind(0)
    t = torch.tensor([0, 14])
    x_t = CHAIN.noised(x0, y, t, eps)
    for n, eta in enumerate((0.04, 0.999)):
        torch.testing.assert_close(x_t[n], (1 - eta) * x0[n] + eta * y[n] + 0.1 * eta**0.5 * eps[n])


def test_more_steps_than_the_chain_has_are_refused():
    with pytest.raises(InputError, match="steps 16 is out of range; this chain has 15, use 1 to 15"):
        CHAIN.visited(16)


# -- losses ---------------------------------------------------------------------------------------------------------


def test_losses_of_a_person_with_all_tracers():
    pet, scanned = torch.randn(2, 3, 2, 2, 2), torch.ones(2, 3, dtype=torch.bool)
    assert intra_domain(pet + 0.3, pet, scanned).abs().max() < 1e-10
    torch.testing.assert_close(reconstruction(pet + 0.3, pet, scanned), torch.full((2,), 3 * 0.09))
    torch.testing.assert_close(image(pet + 0.3, pet, scanned), torch.full((2,), 3 * 0.3))


def test_the_intra_domain_loss_is_the_mean_over_the_pairs_that_are_there():
    made = torch.tensor([0.0, 1.0, 3.0])[None, :, None, None, None].expand(1, 3, 2, 2, 2)
    pet = torch.zeros(1, 3, 2, 2, 2)
    everybody = torch.ones(1, 3, dtype=torch.bool)
    assert float(intra_domain(made, pet, everybody)) == pytest.approx((1 + 9 + 4) / 3)
    assert float(intra_domain(made, pet, torch.tensor([[True, False, True]]))) == pytest.approx(9)
    alone = torch.tensor([[False, False, True]])
    assert float(intra_domain(made, pet, alone)) == 0
    assert float(reconstruction(made, pet, alone)) == pytest.approx(9)


class People(Phantoms):
    """The phantoms as people with up to three tracers, as `CaseDataset` gives them, with ages of some."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        t1w, t2f = item["t1w"], item["t2f"]
        scanned = torch.tensor([True, index % 2 == 0, index % 3 == 0])
        pets = [torch.tanh(t1w * (label - 1) + 0.5 * t2f)[0] for label in range(3)]
        pet = torch.stack([p if there else torch.full_like(p, -1) for p, there in zip(pets, scanned, strict=True)])
        item = {key: item[key] for key in ("t1w", "t2f", "subject")}
        clinical = torch.tensor([60.0 + index, float("nan"), 0.5])
        return {**item, "pet": pet, "scanned": scanned, "label": torch.arange(3), "clinical": clinical}


def loss_terms(config, batch, first=0):
    """Losses and terms of a batch whose first person's place in the stream is `first`."""
    learned = fresh_objective(config)
    torch.manual_seed(0)
    torch.nn.init.normal_(learned.modules["network"].unet.out[2].conv.weight, std=0.3)  # MONAI's is 0
    return learned.losses(batch, Place(0, 0, [first + n for n in range(len(batch["subject"]))]))


def test_the_whole_loss_is_the_weighted_sum_and_a_lone_tracer_has_no_differences():
    people = People(4, shape=(4, 6, 4))
    config = configured("method.intra_domain_weight=0.5", "method.image_weight=2")
    losses, terms = loss_terms(config, batch_of(people, 0, 1))
    assert terms["L_high"] > 0
    torch.testing.assert_close(losses["network"], terms["L_rec"] + 0.5 * terms["L_high"] + 2 * terms["L_I"])
    _, alone = loss_terms(config, batch_of(people, 1))
    assert alone["L_high"] == 0 and alone["L_rec"] > 0


def test_a_batch_costs_the_mean_of_its_people():
    """So that ranks and micro-batches may share it out."""
    people, config = People(4, shape=(4, 6, 4)), configured()
    together = loss_terms(config, batch_of(people, 0, 1))[0]["network"]
    apart = [loss_terms(config, batch_of(people, n), first=n)[0]["network"] for n in (0, 1)]
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_people_with_several_tracers_are_trained_on(tmp_path):
    config = load_config([*WORDS, f"out={tmp_path}", "run.steps=2", "preset.global_batch=2", "hardware.micro_batch=2"])
    assert run(config, RunData(People(4, shape=(4, 6, 4)), None, "0" * 64), quiet=True) == 0


# -- network --------------------------------------------------------------------------------------------------------


def small(**arguments):
    return awake(ResidualDiffusion(**{**SMALL, **arguments}))


def answer(network, label=0, clinical=(70.0, 1.0, 0.0), mri=None, t=3):
    mri = torch.rand(1, 2, 4, 6, 4, generator=torch.Generator().manual_seed(1)) if mri is None else mri
    x_t = torch.rand(1, 1, 4, 6, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return network(x_t, mri, torch.tensor([t]), torch.tensor([label]), torch.tensor([clinical]))


def test_tracer_values_mri_and_time_all_count():
    network, nan = small(), float("nan")
    network.tokens.center.copy_(torch.tensor([70.0, 0.5, 0.0]))
    network.tokens.scale.copy_(torch.tensor([8.0, 0.5, 1.0]))
    plain = answer(network)
    assert plain.shape == (1, 1, 4, 6, 4) and plain.abs().max() <= 1
    others = [answer(network, label=2), answer(network, t=9), answer(network, mri=torch.zeros(1, 2, 4, 6, 4))]
    others += [answer(network, clinical=c) for c in ((80.0, 1, 0), (70.0, 0, 0), (70.0, 1, 1.5), (nan, 1, 0))]
    others += [answer(network, clinical=c) for c in ((70.0, nan, 0), (70.0, 1, nan), (nan, nan, nan))]
    for other in others:
        assert torch.isfinite(other).all() and (other - plain).abs().max() > 1e-5


def test_the_papers_groups_are_of_several_channels_so_that_the_time_is_seen_on_every_level():
    preset = load_config(["method=resdm", "data.cache=m", "out=u"]).preset
    assert min(preset.channels) >= 2 * preset.norm_num_groups
    seen = []
    for groups in (4, 2):
        torch.manual_seed(0)
        unet = ResidualDiffusion(**SMALL | {"norm_num_groups": groups}).eval().unet
        block, finest = unet.down_blocks[0].resnets[0], torch.randn(1, 4, 8, 8, 8)
        torch.nn.init.normal_(block.conv2.conv.weight)  # MONAI's is 0
        one, two = (block(finest, torch.full((1, 16), level)).detach() for level in (-1.0, 1.0))
        seen.append(float((one - two)[..., 2:6, 2:6, 2:6].abs().mean() / one.std()))
    assert seen[0] < 1e-3 and seen[1] > 0.02


def test_sides_that_the_levels_do_not_divide_are_padded():
    network = small(crop=[5, 6, 3], channels=[4, 8, 8])
    mri, x_t = torch.rand(1, 2, 5, 6, 3), torch.rand(1, 1, 5, 6, 3)
    made = network(x_t, mri, torch.tensor([0]), torch.tensor([1]), torch.full((1, 3), float("nan")))
    assert made.shape == (1, 1, 5, 6, 3) and torch.isfinite(made).all()


# -- configuration --------------------------------------------------------------------------------------------------


def test_the_image_loss_is_the_presets_unless_the_method_says_another():
    assert configured().image_weight == 0 and configured("preset=fair").image_weight == 1
    assert configured("preset=fair", "method.image_weight=0").image_weight == 0
    assert configured("method.image_weight=0.5").image_weight == 0.5


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method.first_shift=0.9", "method.last_shift=0.5"], "method.first_shift=0.9 is above method.last_shift=0.5"),
        (["method.timesteps=0"], "method.timesteps=0 must be at least 1"),
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["method.hidden_share=1.5"], "method.hidden_share=1.5 must be at most 1"),
        (["preset.channels=[6,8]", "preset.norm_num_groups=4"], "no multiples of preset.norm_num_groups=4"),
        (["preset.channels=[3,9]", "preset.norm_num_groups=3"], "the first must be even"),
        (["preset.norm_num_groups=8", "preset.channels=[8,16]"], "groups of a single channel would hide the time"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_values_are_hidden_by_position_and_share():
    clinical = torch.arange(3000.0).reshape(1000, 3)
    positions = list(range(1000))
    once, again = (hidden(clinical, 5, positions, 0.2) for _ in range(2))
    assert torch.equal(once.isnan(), again.isnan()) and 0.15 < float(once.isnan().float().mean()) < 0.25
    assert torch.equal(hidden(clinical[10:20], 5, positions[10:20], 0.2).isnan(), once[10:20].isnan())
    assert (
        torch.equal(hidden(clinical, 5, positions, 0.0), clinical) and hidden(clinical, 5, positions, 1).isnan().all()
    )
    np.testing.assert_array_equal(once[~once.isnan()], clinical[~once.isnan()])
