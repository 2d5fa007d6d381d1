"""Known answers of Pix2Pix, and of what methods with a discriminator of patches share."""

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective

from RelAPETLib.methods.pix2pix.network import Pix2PixUNet
from RelAPETLib.networks.tracer_maps import TracerMaps
from training.config import load_config
from training.errors import ConfigError
from training.methods import objective
from training.methods.adversarial import ConditionalPatches, gap, least_squares
from training.methods.base import Place

SMALL = {"factor": 10, "crop": [16, 16, 16], "channels": [4, 8, 8], "norm_num_groups": 1}
WORDS = ["method=pix2pix", "data.cache=memory", "out=unused", "hardware.accelerator=cpu", "network.factor=10",
         "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.discriminator_channels=4",
         "preset.discriminator_layers=2"]  # fmt: skip


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch():
    return batch_of(Phantoms(2, shape=(16, 16, 16)), 0, 1)


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.3, 1.0])
def test_least_squares_of_constant_logits(level):
    logits = torch.full((2, 1, 3, 3, 3), level)
    both = (least_squares(logits, True) + least_squares(logits, False)) / 2
    assert float(both) == pytest.approx((level**2 + (level - 1) ** 2) / 2, abs=1e-6)


def test_a_patch_of_three_layers_is_70_voxels_wide():
    patches = ConditionalPatches(3, channels=2, layers=3, sees_mri=False).patches
    # Normalisation looks at the whole image; what one patch sees by itself is known without it.
    patches = torch.nn.Sequential(
        *(m for m in patches.modules() if isinstance(m, torch.nn.Conv3d | torch.nn.LeakyReLU))
    )
    image = torch.randn(1, 5, 80, 80, 80, requires_grad=True)
    logits = patches(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle, middle].backward()
    seen = image.grad[0, 0].abs().sum((1, 2)).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70


def test_the_discriminators_step_reaches_no_generator_and_the_generators_no_discriminator():
    learned, seen = learner(), []
    learned.modules["discriminator"].register_forward_hook(lambda module, given, maps: seen.insert(0, maps[-1]))
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    seen = [seen[1], seen[0]]  # of the measured PET, then of the synthetic one, the last two of three calls
    G, D = learned.modules["network"], learned.modules["discriminator"]
    losses["discriminator"].backward(retain_graph=True)
    assert all(p.grad is None for p in G.parameters()) and any(p.grad is not None for p in D.parameters())
    D.zero_grad()
    losses["network"].backward()
    assert all(p.grad is None for p in D.parameters()) and any(p.grad.abs().max() > 0 for p in G.parameters())
    torch.testing.assert_close(losses["network"].detach(), 100 * terms["L_I"] + terms["L_A"])
    assert torch.equal(terms["D_gap"], gap(*seen)) and float(gap(torch.full((2, 1), 0.75), torch.zeros(2, 1))) == 0.75


def test_the_image_loss_can_be_taken_away_and_the_discriminator_too():
    losses, terms = learner("method.image_weight=0").losses(batch(), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), terms["L_A"])
    losses, terms = learner("preset.adversarial_weight=0").losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == {"network"} and set(terms) == {"L_I"}
    with pytest.raises(ConfigError, match="leaves nothing to learn from"):
        learner("method.image_weight=0", "preset.adversarial_weight=0")


def test_volumes_too_small_for_the_discriminator_are_refused():
    with pytest.raises(ConfigError, match=r"preset.discriminator_layers=3: volumes of \(16, 18, 16\) are too small"):
        learner("preset.discriminator_layers=3")


def test_tracer_and_mri_change_the_pet_and_what_is_said_of_it():
    torch.manual_seed(0)
    G, D, mri = Pix2PixUNet(**SMALL), ConditionalPatches(3, 4, 2), torch.randn(1, 2, 16, 16, 16)
    one, two = torch.tensor([0]), torch.tensor([2])
    assert G(mri, one).shape == (1, 1, 16, 16, 16) and G(mri, one).abs().max() <= 1
    assert not torch.allclose(G(mri, one), G(mri, two)) and not torch.allclose(G(mri, one), G(-mri, one))
    pet = G(mri, one)
    assert not torch.allclose(D(pet, mri, one)[-1], D(pet, mri, two)[-1])
    assert not torch.allclose(D(pet, mri, one)[-1], D(pet, -mri, one)[-1])


@pytest.mark.parametrize(("levels", "dropping"), [(3, []), (4, []), (5, [3]), (6, [4, 3]), (8, [6, 5, 4])])
def test_single_numbers_are_dropped_on_coarse_levels_alone(levels, dropping):
    """Of eight levels, as in the authors' code, on those whose features have 1/64 to 1/16 of the image's sides."""
    with torch.device("meta"):
        network = Pix2PixUNet(channels=[2] * levels)
    found = {levels - 1 - at: m for at, up in enumerate(network.up) for m in up if isinstance(m, torch.nn.Dropout)}
    assert list(found) == dropping and not any(isinstance(m, torch.nn.Dropout3d) for m in network.modules())


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    deep = {**SMALL, "channels": [4, 8, 8, 8, 8]}
    network, mri, label = Pix2PixUNet(**deep), torch.randn(1, 2, 16, 16, 16), torch.tensor([1])
    assert not torch.equal(network(mri, label), network(mri, label))
    network.eval()
    assert torch.equal(network(mri, label), network(mri, label))


def test_sides_that_no_level_halves_are_padded_and_cut_again():
    network = Pix2PixUNet(factor=10, channels=[4, 8, 8], norm_num_groups=1)
    assert network(torch.randn(1, 2, 16, 18, 16), torch.tensor([0])).shape == (1, 1, 16, 18, 16)


def test_tracer_maps_are_constant_channels():
    maps = TracerMaps(3, 2)
    made = maps(torch.randn(2, 1, 3, 4, 5), torch.tensor([0, 2]))
    assert made.shape == (2, 3, 3, 4, 5) and made[:, 1:].flatten(2).std(2).max() == 0
    torch.testing.assert_close(made[1, 1:, 0, 0, 0], maps.class_embedding.weight[2])


def test_sizes_of_the_presets():
    with torch.device("meta"):
        paper = objective(load_config(["method=pix2pix", "data.cache=m", "out=u"])).build()
    count = {name: sum(p.numel() for p in player.module.parameters()) for name, player in paper.items()}
    # Convolutions of 4 x 4 x 4: four times those of a 2-D network of these widths.
    down = [(6, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    up = [(512, 512), (1024, 256), (512, 128), (256, 64), (128, 1)]
    assert sum(64 * a * b for a, b in down + up) < count["network"] < 1.001 * sum(64 * a * b for a, b in down + up)
