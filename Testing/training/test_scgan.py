"""Known answers of SC-GAN."""

import copy

import pytest
import torch
from gpu_autocast import GpuAutocast
from torch import nn
from training_runs import Phantoms, batch_of, fresh_objective

from RelAPETLib.methods.scgan.network import AttentiveUNet
from RelAPETLib.networks.self_attention import SelfAttention
from training.config import load_config
from training.errors import ConfigError
from training.methods import objective
from training.methods.adversarial import cross_entropy
from training.methods.base import Place
from training.methods.dropout import PlacedDropout, place_dropouts, set_positions
from training.methods.scgan.discriminator import AttentivePatches
from training.methods.scgan.losses import inside_rmse, kernel_norms, matching
from training.methods.scgan.spectral import advance, normalise, normalised, plain

SMALL = {"factor": 10, "crop": [8, 8, 8], "channels": [4, 8, 8], "kernels": [5, 3, 2], "norm_num_groups": 1,
         "encoder_attention": 2, "decoder_attention": 1}  # fmt: skip
WORDS = ["method=scgan", "data.cache=memory", "out=unused", "hardware.accelerator=cpu", "network.factor=10",
         "preset.channels=[4,8,8]", "preset.kernels=[5,3,2]", "preset.norm_num_groups=1", "preset.encoder_attention=2",
         "preset.decoder_attention=1", "preset.discriminator_channels=4", "preset.discriminator_layers=2"]  # fmt: skip


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch():
    return batch_of(Phantoms(2, shape=(12, 12, 12)), 0, 1)


# -- spectral normalisation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: AttentiveUNet(**SMALL), lambda: AttentivePatches(3, 4, 3)])
def test_every_kernels_largest_singular_value_is_one(make):
    torch.manual_seed(0)
    network = normalise(make())
    for _ in range(50):
        advance(network)
    changed = normalised(network)
    assert (
        len(changed) == sum(isinstance(m, torch.nn.Conv3d | torch.nn.ConvTranspose3d) for m in network.modules()) >= 8
    )
    for module in changed:
        kernel = module.weight.transpose(0, 1) if isinstance(module, torch.nn.ConvTranspose3d) else module.weight
        assert float(torch.linalg.matrix_norm(kernel.flatten(1), 2)) == pytest.approx(1, abs=0.02)


def test_the_norms_move_once_a_step_and_not_with_a_forward_pass():
    learned, people = learner("preset.dropout=0"), batch()
    estimates = {n: b for n, b in learned.modules["network"].named_buffers() if n.endswith("_u")}
    assert estimates
    found = []
    for step in (0, 0, 1):
        losses, terms = learned.losses(people, Place(step, 0, [0, 1]))
        found.append(({name: u.clone() for name, u in estimates.items()}, losses["network"].detach()))
    (first, loss), (again, same), (moved, _) = found
    assert all(torch.equal(first[name], again[name]) for name in first) and torch.equal(loss, same)
    assert any(not torch.equal(first[name], moved[name]) for name in first)


def test_the_norms_are_taken_in_float32_under_autocast():
    network = normalise(nn.Sequential(nn.Conv3d(3, 5, 3)))
    advance(network)
    other = copy.deepcopy(network)
    with GpuAutocast(), torch.autocast("cpu", torch.bfloat16):
        assert torch.mv(torch.eye(2), torch.ones(2)).dtype == torch.bfloat16
        assert torch.equal(network[0].weight, other[0].weight)
        advance(network)
    advance(other)
    assert torch.equal(network[0].weight, other[0].weight)


def test_the_bundle_has_plain_kernels_that_give_the_same_pet():
    learned, people = learner(), batch()
    learned.losses(people, Place(0, 0, [0, 1]))
    network = learned.modules["network"].eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)  # as an average of the weights, whose norms are not those of the last step
    mri, labels, _ = learned.inputs(people)
    expected = network(mri, labels)
    bundle = learned.bundle({"network": network.state_dict()}, "phantoms", 1)
    assert not normalised(bundle.network) and not any(
        "parametrizations" in name for name in bundle.network.state_dict()
    )
    torch.testing.assert_close(bundle.network.eval()(mri, labels), expected)
    assert normalised(network) and not normalised(plain(network))


# -- attention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 2])
def test_attention_begins_as_the_identity_and_then_looks_everywhere(most):
    torch.manual_seed(0)
    attention, volume = SelfAttention(9, most), torch.randn(2, 9, 3, 5, 4)
    assert torch.equal(attention(volume), volume)
    torch.nn.init.ones_(attention.gamma)
    other = volume.clone()
    other[:, :, 2, 4, 3] += 1
    added, now = attention(volume) - volume, attention(other) - other
    assert (now[:, :, 0, 0, 0] - added[:, :, 0, 0, 0]).abs().max() > 1e-5


def test_attention_is_the_papers_formula():
    torch.manual_seed(0)
    attention, volume = SelfAttention(8), torch.randn(1, 8, 2, 3, 2)
    torch.nn.init.constant_(attention.gamma, 0.7)
    f, g, h = (layer(volume).flatten(2)[0] for layer in (attention.keys, attention.queries, attention.values))
    beta = (f.T @ g).softmax(0)  # [i, j]: how much place j looks at place i
    expected = volume + 0.7 * attention.out((h @ beta).reshape(1, 8, 2, 3, 2))
    torch.testing.assert_close(attention(volume), expected)


# -- losses ---------------------------------------------------------------------------------------------------------


def test_the_error_inside_knows_no_background():
    torch.manual_seed(0)
    pet = torch.rand(2, 1, 6, 6, 6)
    pet[:, :, :3] = -1
    made = pet + 0.5
    assert float(inside_rmse(made, pet)) == pytest.approx(0.5, abs=1e-6)
    made[:, :, :3] = torch.randn(2, 1, 3, 6, 6)
    assert float(inside_rmse(made, pet)) == pytest.approx(0.5, abs=1e-6)
    made[1] = made[1] + 0.5 * (pet[1] > -1)
    assert float(inside_rmse(made, pet)) == pytest.approx(0.75, abs=1e-6)


def test_the_error_inside_has_gradients_where_there_is_no_error_and_no_brain():
    pet = torch.cat([torch.rand(1, 1, 4, 4, 4), torch.full((1, 1, 4, 4, 4), -1.0)])
    made = pet.clone().requires_grad_()
    inside_rmse(made, pet).backward()
    assert torch.equal(made.grad, torch.zeros_like(made))


def test_maps_of_real_for_fake_match_and_tiny_differences_count_as_none():
    maps = [torch.randn(2, 3, 4, 4, 4), torch.randn(2, 5, 2, 2, 2)]
    assert matching(maps, maps) == 0
    assert float(matching([m + 0.5 for m in maps], maps)) == pytest.approx(0.5, abs=1e-6)
    assert matching([m + 1e-4 for m in maps], maps) == 0
    one = [torch.cat([m[:1] + 0.5, m[1:] + 1e-4]) for m in maps]
    assert float(matching(one, maps)) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 0.7])
def test_cross_entropy_of_constant_logits(logit):
    logits, sigmoid = torch.full((2, 1, 3, 3, 3), logit), torch.sigmoid(torch.tensor(logit))
    torch.testing.assert_close(cross_entropy(logits, True), -sigmoid.log())
    torch.testing.assert_close(cross_entropy(logits, False), -(1 - sigmoid).log())


def test_the_losses_are_the_weighted_terms_and_reach_no_other_player():
    learned = learner()
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    G, D = learned.modules["network"], learned.modules["discriminator"]
    weights = {"L_I": 200, "L_R": 200, "L_A": 1, "L_F": 20, "L_W": 1e-3}
    torch.testing.assert_close(losses["network"].detach(), sum(w * terms[name] for name, w in weights.items()))
    assert float(terms["L_W"]) == pytest.approx(
        sum(float(p.detach().square().sum()) for p in G.parameters() if p.ndim == 5) / 2, rel=1e-5
    )
    assert terms["L_D"] > 1e-3 * kernel_norms(D)
    losses["discriminator"].backward(retain_graph=True)
    assert all(p.grad is None for p in G.parameters()) and any(p.grad is not None for p in D.parameters())
    D.zero_grad()
    losses["network"].backward()
    assert all(p.grad is None for p in D.parameters()) and any(p.grad.abs().max() > 0 for p in G.parameters())


def test_losses_can_be_taken_away():
    alone = learner(
        "method.image_weight=0", "preset.inside_weight=0", "preset.kernel_weight=0", "preset.matching_weight=0"
    )
    losses, terms = alone.losses(batch(), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), terms["L_A"])
    losses, terms = learner("preset.adversarial_weight=0").losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == {"network"} and set(terms) == {"L_I", "L_R", "L_W"}


# -- the network ----------------------------------------------------------------------------------------------------


def test_levels_of_odd_sides_are_padded_and_cut_again():
    torch.manual_seed(0)
    network = AttentiveUNet(**{**SMALL, "crop": None}).eval()
    mri, one, two = torch.randn(1, 2, 13, 9, 6), torch.tensor([0]), torch.tensor([2])
    made = network(mri, one)
    assert made.shape == (1, 1, 13, 9, 6) and made.abs().max() <= 1
    assert not torch.allclose(made, network(mri, two)) and not torch.allclose(made, network(-mri, one))


def test_what_is_dropped_follows_from_the_images_positions():
    torch.manual_seed(0)
    network = AttentiveUNet(**SMALL)
    place_dropouts(network, seed=5)
    assert any(isinstance(module, PlacedDropout) for module in network.modules())
    mri, labels = torch.randn(2, 2, 8, 8, 8), torch.tensor([0, 1])

    def made(which, positions):
        set_positions(network, positions)
        return network(mri[which], labels[which])

    both = made([0, 1], [7, 12])
    torch.testing.assert_close(both[1:], made([1], [12]))
    torch.testing.assert_close(both[:1], made([0], [7]))
    assert not torch.allclose(made([0], [8]), both[:1])
    network.eval()
    assert torch.equal(made([0], []), made([0], [7]))


def test_dropped_channels_are_whole_and_as_many_as_asked_for():
    dropout = PlacedDropout(0.25, seed=0, layer=0)
    dropout.positions = range(50)
    made = dropout(torch.ones(50, 40, 2, 2, 2))
    assert set(made.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert torch.equal(made.amin((2, 3, 4)), made.amax((2, 3, 4)))
    assert float((made == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["preset.kernels=[5,3]"], r"preset.kernels=\[5, 3\]: one a level is wanted, 3"),
        (["preset.decoder_attention=3"], "preset.decoder_attention=3 must lie between 0 and 2"),
        (["preset.channels=[4,8,8,8,8,8]", "preset.kernels=[3,3,3,3,3,3]"], "too small for 6 levels"),
        (["preset.discriminator_layers=3"], "too small for so many strided layers"),
        (["hardware.strategy=fsdp", "hardware.devices=2"], "needs whole kernels; use ddp"),
    ],
)
def test_sizes_that_cannot_be_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        load_config([*WORDS, *words])


def test_sizes_of_the_presets():
    with torch.device("meta"):
        paper = objective(load_config(["method=scgan", "data.cache=m", "out=u"])).build()
    count = {name: sum(p.numel() for p in player.module.parameters()) for name, player in paper.items()}
    sides, widths = [5, 5, 5, 5, 3, 3, 3, 2], [64, 128, 256, 512, 512, 512, 512, 512]
    down = sum(k**3 * a * b for k, a, b in zip(sides, [6, *widths], widths, strict=False))
    up = sum(k**3 * 2 * a * b for k, a, b in zip(sides[:-1], widths, [1, *widths], strict=False)) + 2**3 * 512 * 512
    assert down + up < count["network"] < 1.005 * (down + up)
    judges = 125 * (7 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert judges < count["discriminator"] < 1.005 * judges
