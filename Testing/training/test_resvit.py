"""Known answers of ResViT."""

import pytest
import torch
from lightning_fabric import Fabric
from training_runs import Phantoms, batch_of, fresh_objective, logged, plain_config, tiny_data

from RelAPETLib.methods.resvit.network import ArtBlock, ResViTNetwork, available
from RelAPETLib.networks.transformer import Transformer
from training import checkpoints
from training.config import load_config
from training.errors import ConfigError
from training.faults import StopRequest
from training.loop import run
from training.methods import objective
from training.methods.base import Place, Work
from training.methods.resvit.objective import FOLDER, present
from training.rehearsal import rehearse
from training.trainer import RunData

SMALL = {"factor": 10, "crop": [16, 16, 16], "channels": [4, 8], "art_blocks": 3, "transformer_blocks": [0, 2],
         "token_halvings": 1, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 16, "dropout": 0.0,
         "norm_num_groups": 1}  # fmt: skip
SIZES = ["method=resvit", "network.factor=10", "preset.channels=[4,8]", "preset.art_blocks=3",
         "preset.transformer_blocks=[0,2]", "preset.token_halvings=1", "preset.hidden_size=8", "preset.num_layers=1",
         "preset.num_heads=2", "preset.mlp_size=16", "preset.dropout=0", "preset.norm_num_groups=1",
         "preset.convolution_steps=0", "preset.discriminator_channels=4", "preset.discriminator_layers=2"]  # fmt: skip
WORDS = [*SIZES, "data.cache=memory", "out=unused", "hardware.accelerator=cpu"]


def on_meta(*words):
    with torch.device("meta"):
        return objective(load_config(["method=resvit", "data.cache=m", "out=u", *words])).build()


def weights(module):
    return sum(p.numel() for p in module.parameters())


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch(count=2):
    return batch_of(Phantoms(count, shape=(16, 16, 16)), *range(count))


def mri_and_label():
    return torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.tensor([1])


def awake(network):
    """Let blocks hear what the transformer says, which at the beginning they do not."""
    for block in network.art:
        if block.asks:
            torch.nn.init.normal_(block.compression.weight, std=0.3)
    return network


# -- the network ----------------------------------------------------------------------------------------------------


def test_blocks_share_one_transformer():
    one, two = (ResViTNetwork(**{**SMALL, "transformer_blocks": blocks}) for blocks in ([0], [0, 2]))
    block = two.art[0]
    way = weights(block.down) + weights(block.up) + weights(block.compression)
    assert weights(two) - weights(one) == way
    asked = []
    two.transformer.register_forward_hook(lambda *_: asked.append(1))
    two(*mri_and_label())
    assert len(asked) == 2
    assert sum(isinstance(m, Transformer) for m in two.modules()) == 1


def test_without_the_transformers_context_a_block_is_its_convolutions():
    torch.manual_seed(0)
    block, volume = ArtBlock(4, 1, hidden_size=8, halvings=1), torch.randn(2, 4, 4, 4, 4)
    torch.nn.init.normal_(block.compression.weight)
    for parameter in block.up.parameters():
        torch.nn.init.zeros_(parameter)
    seen = block.compression(torch.cat([volume, torch.zeros_like(volume)], 1))
    torch.testing.assert_close(block(volume, torch.nn.Identity()), seen + block.convolutions(seen))


def test_a_network_goes_on_from_where_it_was_without_its_transformer():
    torch.manual_seed(0)
    without = ResViTNetwork(**{**SMALL, "transformer_blocks": []})
    whole = ResViTNetwork(**SMALL)
    lacking = whole.load_state_dict(without.state_dict(), strict=False)
    assert without.transformer is None and not lacking.unexpected_keys
    assert {name.split(".")[0] for name in lacking.missing_keys} == {"transformer", "art"}
    mri, label = mri_and_label()
    torch.testing.assert_close(whole(mri, label), without(mri, label))
    # But it has begun to learn to listen.
    whole(mri, label).square().mean().backward()
    assert whole.art[0].compression.weight.grad[:, 8:].abs().max() > 0


def test_the_tracer_is_seen_away_from_the_borders_where_channels_are_normalised_one_by_one():
    torch.manual_seed(0)
    mri, inner = mri_and_label()[0], (..., *[slice(4, 12)] * 3)
    network = ResViTNetwork(**SMALL | {"norm_num_groups": 0, "tracer_shift": True})
    one, two = (network.encoder[0](mri, torch.tensor([label]))[inner] for label in (0, 2))
    assert (one - two).abs().mean() > 0.2 * one.std()


def test_the_transformer_carries_one_place_to_all_others():
    torch.manual_seed(0)
    block, transformer = ArtBlock(4, 1, hidden_size=8, halvings=1), Transformer((8, 4, 4), 8, layers=1, heads=2, mlp=8)
    torch.nn.init.normal_(block.compression.weight)
    # Normalisation looks at the whole volume as well; without it, only attention does.
    for part in (block.down, block.up, block.convolutions):
        for name, module in list(part.named_modules()):
            if isinstance(module, torch.nn.GroupNorm):
                part.get_submodule(name.rpartition(".")[0])[int(name.rpartition(".")[2])] = torch.nn.Identity()
    volume = torch.randn(1, 4, 16, 8, 8, requires_grad=True)
    block(volume, transformer)[..., 0, 0, 0].sum().backward()
    far = volume.grad[..., -1, -1, -1].abs().max()
    volume.grad = None
    block(volume, torch.nn.Identity())[..., 0, 0, 0].sum().backward()
    assert far > 0 and volume.grad[..., -1, -1, -1].abs().max() == 0


def test_a_sequence_that_is_not_there_is_zeros():
    torch.manual_seed(0)
    network, (mri, label) = ResViTNetwork(**SMALL), mri_and_label()
    there = torch.tensor([[True, False]])
    zeroed = mri.clone()
    zeroed[:, 1] = 0
    assert torch.equal(available(mri, there), zeroed) and torch.equal(available(mri, ~there)[:, 0], zeroed[:, 1])
    other = torch.cat([mri[:, :1], torch.randn_like(mri[:, 1:])], 1)
    assert torch.equal(network(available(mri, there), label), network(available(other, there), label))
    assert not torch.allclose(network(mri, label), network(available(mri, there), label))


def test_tracer_and_mri_change_the_pet():
    torch.manual_seed(0)
    network, (mri, label) = awake(ResViTNetwork(**SMALL)), mri_and_label()
    pet = network(mri, label)
    assert pet.shape == (1, 1, 16, 16, 16) and pet.abs().max() <= 1
    assert not torch.allclose(pet, network(mri, label + 1)) and not torch.allclose(pet, network(mri.flip(1), label))
    assert network(torch.randn(1, 2, 12, 18, 13), label).shape == (1, 1, 12, 18, 13)


def test_sizes_of_the_presets():
    paper = {name: player.module for name, player in on_meta().items()}
    assert paper["network"].transformer.tokens == 10 * 12 * 10
    ends = 7**3 * (6 * 64 + 64) + 2 * 27 * (64 * 128 + 128 * 256)
    blocks = 9 * 2 * 27 * 256**2
    ways = 2 * (2 * 27 * (256 * 512 + 512 * 1024) + 2 * 1024 * 768 + 2 * 256**2)
    transformer = 1200 * 768 + 12 * (4 * 768**2 + 2 * 768 * 3072)
    total = ends + blocks + ways + transformer
    assert total < weights(paper["network"]) < 1.001 * total
    for factor in (1, 2):
        fair = on_meta("preset=fair", f"network.factor={factor}")
        assert weights(fair["network"].module) < 1_000_000


# -- what it learns -------------------------------------------------------------------------------------------------


def test_losses_are_those_of_pix2pix():
    learned = learner()
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), 100 * terms["L_I"] + terms["L_A"])
    losses["network"].backward(retain_graph=True)
    G, D = learned.modules["network"], learned.modules["discriminator"]
    assert all(p.grad is not None for p in G.parameters()) and all(p.grad is None for p in D.parameters())
    losses, terms = learner("method.image_weight=0").losses(batch(), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), terms["L_A"])


def test_which_sequence_is_hidden_follows_from_seed_and_position():
    shown = present(0, list(range(600)), 2 / 3)
    assert shown.any(1).all()
    kinds = [int((shown == torch.tensor(kind)).all(1).sum()) for kind in ([1, 1], [1, 0], [0, 1])]
    assert sum(kinds) == 600 and all(160 < n < 240 for n in kinds)
    assert torch.equal(shown[[7, 300]], present(0, [7, 300], 2 / 3))
    assert not torch.equal(shown, present(1, list(range(600)), 2 / 3))
    assert present(0, list(range(50)), 0.0).all() and not present(0, list(range(50)), 1.0).all(1).any()


def test_hidden_sequences_are_not_learned_from():
    place = Place(0, 0, [3, 4])
    learned, given = learner("preset.missing_share=1"), batch()
    shown = present(0, place.positions, 1.0)
    other = {name: torch.where(shown[:, k, None, None, None, None], given[name], torch.randn_like(given[name]))
             for k, name in enumerate(("t1w", "t2f"))}  # fmt: skip
    with torch.no_grad():
        one, two = learned.losses(given, place)[1], learned.losses({**given, **other}, place)[1]
        whole = learner().losses(given, place)[1]
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["L_I"], whole["L_I"]) and not torch.equal(one["L_D"], whole["L_D"])


# -- the stage before -----------------------------------------------------------------------------------------------


def test_the_second_stage_begins_with_what_the_first_learned(tmp_path):
    config = plain_config(tmp_path, *SIZES, "preset.convolution_steps=3", "preset.convolution_learning_rate=1e-3")
    learned = objective(config)
    fresh = {name: player.module.state_dict() for name, player in learned.build().items()}
    (stage,) = learned.trainings_before()
    assert stage.steps == 3 and set(stage.players) == {"network", "discriminator"}
    assert all(player.learning_rate == 1e-3 for player in stage.players.values())
    assert learned.stages(Work(Fabric(accelerator="cpu"), tiny_data(), StopRequest(), quiet=True)) is not None
    first = checkpoints.latest(tmp_path / FOLDER)[1]["players"]
    second = {name: player.module.state_dict() for name, player in learned.build().items()}
    for name, player in first.items():
        assert player["weights"] and all(torch.equal(second[name][key], w) for key, w in player["weights"].items())
        assert any(not torch.equal(fresh[name][key], w) for key, w in player["weights"].items())
    assert not any(key.startswith("transformer") for key in first["network"]["weights"])
    assert torch.equal(second["network"]["transformer.position"], fresh["network"]["transformer.position"])


def test_the_first_stage_does_without_the_t2f_as_the_second(tmp_path):
    """Where every image loses it, another T2-FLAIR leads to the same weights."""

    class Turned(Phantoms):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, "t2f": item["t2f"].flip(1)}

    found = {}
    for share in ("1", "0"):
        for data in (Phantoms, Turned):
            out = tmp_path / f"{share}-{data.__name__}"
            config = plain_config(out, *SIZES, "preset.convolution_steps=2", f"data.drop_t2f={share}")
            work = Work(Fabric(accelerator="cpu"), RunData(data(4), None, "0" * 64), StopRequest(), quiet=True)
            assert objective(config).stages(work) is not None
            found[share, data] = checkpoints.latest(out / FOLDER)[1]["players"]["network"]["weights"]
    same = {s: all(torch.equal(w, found[s, Turned][n]) for n, w in found[s, Phantoms].items()) for s in ("1", "0")}
    assert same == {"1": True, "0": False}


def test_a_run_that_stops_in_its_first_stage_goes_on_there(tmp_path):
    class Stop:
        """Asks after the second step."""

        steps = 0

        @property
        def asked(self) -> bool:
            self.steps += 1
            return self.steps == 2

    config = plain_config(tmp_path, *SIZES, "preset.convolution_steps=4", "run.steps=1", "run.validation_volumes=0")
    work = Work(Fabric(accelerator="cpu"), tiny_data(), Stop(), quiet=True)
    assert objective(config).stages(work) is None
    assert checkpoints.latest(tmp_path / FOLDER)[1]["step"] == 2
    assert run(config, tiny_data(), quiet=True) == 0
    assert checkpoints.latest(tmp_path / FOLDER)[1]["step"] == 4
    assert [line["step"] for line in logged(tmp_path)] == [1]


@pytest.mark.parametrize("steps", [25000, 2])
def test_a_dry_run_measures_the_first_stage_however_long(tmp_path, steps):
    config = plain_config(tmp_path, *SIZES, f"preset.convolution_steps={steps}", "run.validation_volumes=0")
    measured = rehearse(Fabric(accelerator="cpu"), config, tiny_data())
    assert set(measured.stages) == {"training without transformer"} and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("preset.transformer_blocks=[3]", r"preset.transformer_blocks=\[3\]: one or more of the blocks 0 to 2"),
        ("preset.transformer_blocks=[]", r"preset.transformer_blocks=\[\]: one or more"),
        ("preset.token_halvings=4", r"volumes of \(16, 18, 16\) are too small for so many halvings"),
        ("preset.num_heads=3", "must divide preset.hidden_size=8"),
        ("preset.missing_share=1.5", "preset.missing_share=1.5 must be at most 1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(word, says):
    with pytest.raises(ConfigError, match=says):
        learner(word)


@pytest.mark.parametrize("change", [{"art_blocks": 33}, {"art_blocks": 2}, {"art_blocks": 0, "transformer_blocks": []}])
def test_a_bundle_with_such_blocks_builds_no_network(change):
    with pytest.raises(ValueError, match="art_blocks, of which there are 1 to 32"):
        ResViTNetwork(**{**SMALL, **change})
