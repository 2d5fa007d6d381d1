"""Known answers of CycleGAN."""

from types import SimpleNamespace

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective

from RelAPETLib.methods.cyclegan.network import ResidualBlock, ResNetTranslator
from training.config import flatten, load_config, typed
from training.errors import ConfigError
from training.methods import objective
from training.methods.base import Place
from training.methods.cyclegan.pool import ImagePool

WORDS = ["method=cyclegan", "data.cache=memory", "out=unused", "hardware.accelerator=cpu", "network.factor=10",
         "preset.channels=[4,8]", "preset.num_res_blocks=1", "preset.norm_num_groups=1",
         "preset.discriminator_channels=4", "preset.discriminator_layers=2"]  # fmt: skip
ALONE = SimpleNamespace(world_size=1)


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch():
    return batch_of(Phantoms(2, shape=(12, 12, 12)), 0, 1)


# -- losses ---------------------------------------------------------------------------------------------------------


class Identity(torch.nn.Module):
    def forward(self, volume, labels):
        return volume


def test_the_cycle_loss_of_the_identity_is_zero():
    learned, volume, labels = learner(), torch.rand(2, 1, 8, 8, 8), torch.tensor([0, 1])
    learned.modules = {"network": Identity(), "mri_network": Identity()}
    losses, terms = learned.cycles(volume, labels, volume / 2, volume, volume / 2)
    assert all(float(value) == 0 for value in (*losses.values(), *terms.values()))
    losses, terms = learned.cycles(volume, labels, volume / 2, volume + 0.25, volume / 2 - 0.125)
    assert float(terms["L_C_mri"]) == pytest.approx(0.25) and float(terms["L_C_pet"]) == pytest.approx(0.125)
    assert all(float(loss) == pytest.approx(10 * 0.375) for loss in losses.values())


def test_each_generators_gradient_is_that_of_the_whole_objective():
    """Zhu et al., eq. 3, whose one backward pass reaches both generators, against our four losses."""
    learned = learner("method.image_weight=3")
    people = batch()
    losses, _ = learned.losses(people, Place(0, 0, [0, 1]))
    generators = [learned.modules[name] for name in ("network", "mri_network")]
    judges = [learned.modules[name] for name in ("discriminator", "mri_discriminator")]
    for name in losses:
        losses[name].backward()
    ours = [p.grad.clone() for module in generators for p in module.parameters()]
    assert all(p.grad is not None for module in judges for p in module.parameters())

    G, F = generators
    for module in generators:
        module.zero_grad()
    mri, labels, pet = learned.inputs(people)
    made_pet, made_mri = G(mri, labels), F(pet, labels)
    cycle = (F(made_pet, labels) - mri).abs().mean() + (G(made_mri, labels) - pet).abs().mean()
    D_pet, D_mri = (D(made, None, labels)[-1] for D, made in zip(judges, (made_pet, made_mri), strict=True))
    fooled = (D_pet - 1).square().mean() + (D_mri - 1).square().mean()
    (fooled + 10 * cycle + 3 * (made_pet - pet).abs().mean()).backward()
    theirs = [p.grad for module in generators for p in module.parameters()]
    for mine, whole in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["network", "mri_network", "discriminator", "mri_discriminator"])
def test_a_loss_reaches_its_own_player_alone(name):
    learned = learner()
    losses, _ = learned.losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == set(learned.modules)
    losses[name].backward()
    reached = {who for who, module in learned.modules.items() if any(p.grad is not None for p in module.parameters())}
    assert reached == {name} and all(p.requires_grad for m in learned.modules.values() for p in m.parameters())


def test_losses_can_be_taken_away():
    losses, terms = learner("preset.adversarial_weight=0", "method.image_weight=2").losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == {"network", "mri_network"} and set(terms) == {"L_C_pet", "L_C_mri", "L_I"}
    torch.testing.assert_close(
        losses["network"].detach(), 10 * (terms["L_C_pet"] + terms["L_C_mri"]) + 2 * terms["L_I"]
    )


# -- the pool -------------------------------------------------------------------------------------------------------


def numbered(positions):
    """Images that hold their own positions, and labels that follow from them."""
    return torch.tensor(positions, dtype=torch.float32).reshape(-1, 1, 1, 1, 1), torch.tensor(positions) % 3


def shown(pool, steps, batch_size, micro_batch):
    """Numbers of the images that a pool shows."""
    found = []
    for start in range(0, steps * batch_size, batch_size):
        for first in range(start, start + batch_size, micro_batch):
            positions = list(range(first, first + micro_batch))
            images, labels = pool.exchange(*numbered(positions), positions)
            assert torch.equal(labels, images.flatten().long() % 3)
            found += images.flatten().long().tolist()
        pool.settle(ALONE)
    return found


def test_a_pool_shows_itself_first_and_then_one_of_fifty_earlier_images_half_the_time():
    found = shown(ImagePool(50, seed=1), 500, 1, 1)
    assert found[:50] == list(range(50))
    later = found[50:]
    earlier = [number for position, number in enumerate(later, 50) if number != position]
    assert all(number < position for position, number in enumerate(found) if number != position)
    assert 0.4 < len(earlier) / len(later) < 0.6
    # What leaves the pool is shown once: nothing is shown twice but as itself first.
    assert len(set(earlier)) == len(earlier)


def test_a_pool_does_not_depend_on_micro_batches():
    assert shown(ImagePool(4, seed=1), 10, 6, 6) == shown(ImagePool(4, seed=1), 10, 6, 2)


def test_two_pools_of_a_run_and_two_seeds_choose_apart():
    one = [ImagePool(50, seed=1).place_of(position) for position in range(100, 200)]
    assert one != [ImagePool(50, seed=1, number=1).place_of(position) for position in range(100, 200)]
    assert one != [ImagePool(50, seed=2).place_of(position) for position in range(100, 200)]


def test_a_pool_goes_on_from_its_state():
    pool = ImagePool(5, seed=3)
    assert pool.state()["places"] == []
    shown(pool, 10, 2, 2)
    again = ImagePool(5, seed=3)
    again.load_state(pool.state())
    positions = list(range(20, 40))
    for one, other in zip(
        pool.exchange(*numbered(positions), positions), again.exchange(*numbered(positions), positions), strict=True
    ):
        assert torch.equal(one, other)


def test_a_pool_of_none_shows_what_is_made():
    pool = ImagePool(0, seed=1)
    assert shown(pool, 20, 2, 2) == list(range(40)) and pool.state()["places"] == []


def test_the_discriminators_are_shown_pooled_images():
    """With a pool of one, the second step's discriminators see the first step's image wherever the coin says so."""
    learned, people = learner("preset.pool_size=1"), batch()
    pools = learned.pools.values()
    position = next(p for p in range(1, 99) if all(pool.place_of(p) == 0 for pool in pools))
    one = {name: value[:1] for name, value in people.items()}
    other = {name: value[1:] for name, value in people.items()}
    first, _ = learned.losses(one, Place(0, 0, [0]))
    second, _ = learned.losses({**other, "pet": one["pet"], "label": one["label"]}, Place(1, 0, [position]))
    # The generators see another MRI, the discriminator of PET the same measured PET and the same earlier image.
    torch.testing.assert_close(second["discriminator"], first["discriminator"], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(second["network"], first["network"], rtol=1e-3)


# -- the network ----------------------------------------------------------------------------------------------------


def test_sides_that_no_level_halves_are_padded_and_cut_again():
    torch.manual_seed(0)
    network = ResNetTranslator(factor=10, channels=[4, 8, 8], num_res_blocks=1, norm_num_groups=1)
    mri, one, two = torch.randn(1, 2, 9, 10, 7), torch.tensor([0]), torch.tensor([2])
    made = network(mri, one)
    assert made.shape == (1, 1, 9, 10, 7) and made.abs().max() <= 1
    assert not torch.allclose(made, network(mri, two)) and not torch.allclose(made, network(-mri, one))


def test_a_tracer_that_shifts_the_first_layer_is_seen_where_channels_are_normalised_one_by_one():
    """As constant channels it is not: mirrored at the borders, they add a constant, which the normalisation removes."""
    torch.manual_seed(0)
    mri, one, two = torch.randn(1, 2, 8, 8, 8), torch.tensor([0]), torch.tensor([2])
    for shift in (False, True):
        network = ResNetTranslator(channels=[4, 8], num_res_blocks=1, end_kernel=3, tracer_shift=shift)
        change = (network(mri, one) - network(mri, two)).abs().mean() / network(mri, one).std()
        assert change > 0.2 if shift else change < 1e-3


def test_runs_from_before_that_shift_keep_their_network():
    """Their checkpoints know no such key; one of the paper's preset is exported as it was trained."""
    flat = flatten(load_config(["method=cyclegan", "data.cache=m", "out=u"]))
    assert flat.pop("preset.tracer_shift") is True
    arguments = objective(typed(flat)).arguments(3)
    assert arguments["tracer_shift"] is False
    with torch.device("meta"):
        old = ResNetTranslator(**arguments)
    assert {"first.0.weight", "tracer_maps.class_embedding.weight"} < set(old.state_dict())


def test_a_residual_block_of_no_scale_is_the_identity():
    block, volume = ResidualBlock(4, 2), torch.randn(1, 4, 4, 4, 4)
    torch.nn.init.zeros_(block.layers[-1].weight)
    assert torch.equal(block(volume), volume)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["preset.channels=[4,8,8,8,8]", "preset.discriminator_layers=1"], "are too small for 5 levels"),
        (["preset.pool_size=-1"], "preset.pool_size=-1 must be at least 0"),
        (["preset.num_res_blocks=0"], "preset.num_res_blocks=0 must lie between 1 and"),
        (["preset.norm_num_groups=3"], "no multiples of preset.norm_num_groups=3"),
        (["preset.norm_num_groups=0", "preset.tracer_shift=false"], "groups of a single channel would hide the tracer"),
        (["preset.norm_num_groups=4", "preset.tracer_shift=false"], "groups of a single channel would hide the tracer"),
        (["hardware.mode=lean"], "gradients through each other; use plain or fast"),
        (["hardware.strategy=fsdp", "hardware.devices=2"], "gradients through each other; use ddp"),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        load_config([*WORDS, *words])


def test_sizes_of_the_presets():
    with torch.device("meta"):
        paper = objective(load_config(["method=cyclegan", "data.cache=m", "out=u"])).build()
    count = {name: sum(p.numel() for p in player.module.parameters()) for name, player in paper.items()}
    inner = 27 * 2 * (64 * 128 + 128 * 256) + 9 * 2 * 27 * 256 * 256
    for name, ends in (("network", (2, 1)), ("mri_network", (1, 2))):
        expected = inner + 343 * 64 * sum(ends)
        assert expected < count[name] < 1.001 * expected
