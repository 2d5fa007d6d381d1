"""Known answers of TransUNet, and of the transformer that methods have between their convolutions."""

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective

from RelAPETLib.methods.transunet.network import TransUNetNetwork
from RelAPETLib.networks.transformer import Transformer
from training.config import load_config
from training.errors import ConfigError
from training.methods import objective
from training.methods.base import Place

SMALL = {"factor": 10, "crop": [16, 16, 16], "channels": [4, 8], "residual_blocks": [1], "bottleneck": 1,
         "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 16, "dropout": 0.0,
         "decoder_channels": [4, 4], "norm_num_groups": 1}  # fmt: skip
WORDS = ["method=transunet", "data.cache=memory", "out=unused", "hardware.accelerator=cpu", "network.factor=10",
         "preset.channels=[4,8]", "preset.residual_blocks=[1]", "preset.bottleneck=1", "preset.hidden_size=8",
         "preset.num_layers=1", "preset.num_heads=2", "preset.mlp_size=16", "preset.decoder_channels=[4,4]",
         "preset.norm_num_groups=1", "preset.discriminator_channels=4", "preset.discriminator_layers=2"]  # fmt: skip


def on_meta(*words):
    with torch.device("meta"):
        return objective(load_config(["method=transunet", "data.cache=m", "out=u", *words])).build()


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch():
    return batch_of(Phantoms(2, shape=(16, 16, 16)), 0, 1)


def mri_and_label():
    return torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.tensor([1])


def test_the_papers_transformer_has_1200_tokens_of_the_whole_grid():
    transformer = on_meta()["network"].module.transformer
    assert transformer.position.shape == (1, 768, 10, 12, 10) and transformer.tokens == 1200


def test_sizes_of_the_presets():
    (count,) = (sum(p.numel() for p in player.module.parameters()) for player in on_meta().values())

    def bottleneck(before, after, within):
        return before * within + 27 * within**2 + within * after

    stem = 7**3 * 6 * 64
    encoder = sum(
        bottleneck(before, after, after // 4) + before * after + (n - 1) * bottleneck(after, after, after // 4)
        for before, after, n in [(64, 256, 3), (256, 512, 4), (512, 1024, 9)]
    )
    layer = 4 * 768**2 + 2 * 768 * 3072
    transformer = 1024 * 768 + 1200 * 768 + 12 * layer
    steps = [(512 + 512, 256), (256 + 256, 128), (128 + 64, 64), (64, 16)]
    decoder = 27 * (768 * 512 + sum(before * after + after * after for before, after in steps) + 16)
    total = stem + encoder + transformer + decoder
    assert total < count < 1.003 * total
    for factor in (1, 2):
        (fair,) = on_meta("preset=fair", f"network.factor={factor}").values()
        assert sum(p.numel() for p in fair.module.parameters()) < 1_000_000


def test_the_embedding_of_places_moves_the_output():
    torch.manual_seed(0)
    network, (mri, label) = TransUNetNetwork(**SMALL), mri_and_label()
    before = network(mri, label)
    with torch.no_grad():
        network.transformer.position.copy_(network.transformer.position.flip(2))
    assert before.shape == (1, 1, 16, 16, 16) and before.abs().max() <= 1
    assert not torch.allclose(before, network(mri, label))


def test_without_its_places_a_transformer_knows_no_order_of_tokens():
    torch.manual_seed(0)
    transformer, volume = Transformer((2, 2, 2), 8, layers=2, heads=2, mlp=16), torch.randn(1, 8, 2, 2, 2)
    assert not torch.allclose(transformer(volume.flip(2)), transformer(volume).flip(2), atol=1e-5)
    torch.nn.init.zeros_(transformer.position)
    torch.testing.assert_close(transformer(volume.flip(2)), transformer(volume).flip(2))
    # Attention reaches everywhere: one place's change is seen at all.
    changed = volume.clone()
    changed[:, 0, 0, 0, 0] += 1
    assert ((transformer(changed) - transformer(volume)).abs().amax(1) > 1e-6).all()


def test_another_shape_gets_the_places_interpolated():
    transformer = Transformer((2, 2, 2), 4, layers=1, heads=1, mlp=4)
    torch.nn.init.ones_(transformer.position)
    like, other = Transformer((4, 4, 2), 4, layers=1, heads=1, mlp=4), torch.randn(1, 4, 4, 4, 2)
    like.load_state_dict({**transformer.state_dict(), "position": torch.ones(1, 4, 4, 4, 2)})
    torch.testing.assert_close(transformer(other), like(other))


@pytest.mark.parametrize("level", [0, 1])
def test_features_of_the_encoder_reach_the_output_past_the_transformer(level):
    network, (mri, label) = TransUNetNetwork(**{**SMALL, "channels": [4, 8, 8], "residual_blocks": [1, 1],
                                                "decoder_channels": [4, 4, 4]}), mri_and_label()  # fmt: skip
    before, up = network(mri, label), network.up[1 - level]
    come_up = up.convolutions[0][0].in_channels - [4, 8][level]
    with torch.no_grad():
        up.convolutions[0][0].weight[:, come_up:] = 0
    assert not torch.allclose(before, network(mri, label))


def test_tracer_and_mri_change_the_pet():
    torch.manual_seed(0)
    network, (mri, label) = TransUNetNetwork(**SMALL), mri_and_label()
    assert not torch.allclose(network(mri, label), network(mri, label + 1))
    assert not torch.allclose(network(mri, label), network(mri.flip(1), label))


def test_every_weight_learns_so_that_ranks_can_share_the_work():
    learned = learner()
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == {"network"} and set(terms) == {"L_I"}
    torch.testing.assert_close(losses["network"].detach(), terms["L_I"])
    losses["network"].backward()
    assert all(p.grad is not None for p in learned.modules["network"].parameters())


def test_a_discriminator_can_be_added_as_in_resvits_comparison():
    learned = learner("preset.adversarial_weight=1", "preset.image_weight=100")
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    assert set(losses) == {"network", "discriminator"}
    torch.testing.assert_close(losses["network"].detach(), 100 * terms["L_I"] + terms["L_A"])


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    network, (mri, label) = TransUNetNetwork(**{**SMALL, "dropout": 0.5}), mri_and_label()
    assert not torch.equal(network(mri, label), network(mri, label))
    network.eval()
    assert torch.equal(network(mri, label), network(mri, label))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("preset.num_heads=3", "preset.num_heads=3 must divide preset.hidden_size=8"),
        ("preset.residual_blocks=[1,1]", r"preset.residual_blocks=\[1, 1\]: one number from 1 to 32 is wanted"),
        ("preset.bottleneck=3", r"preset.bottleneck=3: preset.channels=\[4, 8\] divided by it"),
        ("preset.decoder_channels=[4]", r"preset.decoder_channels=\[4\]: 2 multiples of preset.norm_num_groups=1"),
        ("preset.norm_num_groups=4", "groups of a single channel would hide the tracer"),
        ("method.image_weight=0", "leaves nothing to learn from"),
    ],
)
def test_sizes_that_make_no_network_are_refused(word, says):
    with pytest.raises(ConfigError, match=says):
        learner(word)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"residual_blocks": [33]}, "at most 32 a level"),
        ({"residual_blocks": [1, 1]}, "different numbers of levels"),
        ({"num_layers": 33}, "33 layers are more than 32"),
        ({"num_heads": 3}, "divisible"),
    ],
)
def test_a_bundle_with_such_sizes_builds_no_network(change, says):
    with pytest.raises(ValueError, match=says):
        TransUNetNetwork(**{**SMALL, **change})
