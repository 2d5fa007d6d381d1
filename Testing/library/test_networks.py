"""Shapes, memory and strictness of the networks, without reference numbers."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.errors import InputError, ModelError
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.methods.mean_pet import MeanPetNetwork
from RelAPETLib.methods.rela import RelaDiffusion
from RelAPETLib.methods.rela.voxel import VoxelDiffusion
from RelAPETLib.methods.unet.network import RegressionUNet
from RelAPETLib.networks.discriminator import build_discriminator
from RelAPETLib.networks.generator import build_generator, load_release_state_dict, release_name


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation's output had."""

    numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def noise_of(model, shape):
    x_t, condition = torch.randn(1, 1, *shape), torch.randn(1, 2, *shape)
    with torch.no_grad():
        encoded = model.encode_condition(condition)
        return model.predict_noise(x_t, encoded, torch.tensor([500]), torch.tensor([2]))


def test_attention_never_builds_the_score_matrix():
    """On the model grid it would have 72,000 squared elements; here 4,096 squared, more than any feature map."""
    model = VoxelDiffusion(channels=(8, 8, 16), num_head_channels=16, cross_attention_dim=16).eval()
    with LargestTensor() as largest:
        noise_of(model, (64, 64, 64))
    tokens = 16**3
    assert 8 * 64**3 <= largest.numel < tokens**2


def test_full_size_shapes():
    """On the meta device, which computes shapes and no numbers."""
    with torch.device("meta"):
        model = VoxelDiffusion()
        assert model.diffusion_shape == (1, 160, 180, 160)
        assert noise_of(model, (160, 180, 160)).shape == (1, 1, 160, 180, 160)
        assert build_discriminator()(torch.zeros(1, 1, 160, 180, 160))[-1].shape == (1, 1, 38, 43, 38)


def test_tracer_and_both_mri_channels_matter():
    torch.manual_seed(0)
    model = VoxelDiffusion().eval()
    for parameter in model.parameters():  # MONAI starts some at zero
        torch.nn.init.normal_(parameter, std=0.1)
    x_t, condition = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 2, 8, 8, 8)

    def noise(condition, label):
        return model.predict_noise(x_t, condition, torch.tensor([10]), torch.tensor([label]))

    reference = noise(condition, 0)
    for channel in (0, 1):
        changed = condition.clone()
        changed[:, channel] += 1
        assert not torch.allclose(noise(changed, 0), reference, atol=1e-4)
    assert not torch.allclose(noise(condition, 1), reference, atol=1e-4)


def test_group_norm_judges_each_image_by_itself():
    network = build_discriminator()
    assert sum(p.numel() for p in network.parameters()) == 11_573
    images = torch.randn(2, 1, 16, 16, 16)
    torch.testing.assert_close(network(images)[-1][:1], network(images[:1])[-1])
    with pytest.raises(InputError, match="unknown discriminator norm 'layer'"):
        build_discriminator("layer")


@pytest.fixture
def release_weights():
    return {release_name(name): torch.randn(t.shape) for name, t in build_generator().state_dict().items()}


def test_release_weights_load_whole(release_weights):
    generator = build_generator()
    given = {name: tensor.clone() for name, tensor in release_weights.items()}
    load_release_state_dict(generator, given)
    assert given.keys() == release_weights.keys()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, release_weights[release_name(name)])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("out.2.conv.bias"), "1 tensors missing, 0 unknown; 'out.2.conv.bias' is missing"),
        (lambda w: w.update(surplus=torch.zeros(1)), "0 tensors missing, 1 unknown; 'surplus' is not one"),
        (lambda w: w.update({"out.2.conv.bias": torch.zeros(2)}), r"'out.2.conv.bias' is torch.float32 \(2,\)"),
        (lambda w: w.update({"out.2.conv.bias": torch.zeros(1).half()}), "'out.2.conv.bias' is torch.float16"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_loaded(release_weights, spoil, message):
    spoil(release_weights)
    generator = build_generator()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        load_release_state_dict(generator, release_weights)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


@pytest.mark.parametrize(
    "arguments",
    [{"factor": 3}, {"factor": 0}, {"crop": [160, 180]}, {"factor": 2, "crop": [80, 91, 80]}, {"sequences": ["t2w"]}],
)
def test_impossible_blocks_crops_and_sequences(arguments):
    with pytest.raises(ValueError, match="factor|crop|sequences"):
        VoxelDiffusion(**arguments)


SMALL = {"channels": (8, 8), "attention_levels": (False, False), "num_head_channels": 8, "cross_attention_dim": 8}
SCHEDULE = {"kind": "linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000, "zero_terminal_snr": True}


@pytest.mark.parametrize("prediction", ["v", "x0", "edm"])
def test_a_model_of_differences_from_the_mean_gives_the_mean_where_it_predicts_none(prediction):
    """The generator's last layer starts at zero: x0's clean estimate is 0 then, v's and EDM's shrink towards it."""
    torch.manual_seed(0)
    settings = {
        "network": {
            "class": "VoxelDiffusion",
            "arguments": SMALL | {
                "factor": 20, "crop": [8, 8, 8], "in_channels": 4, "prediction": prediction, "sigma_data": 0.5,
                "schedule": SCHEDULE, "mean_pet": "residual", "residual_scale": 0.2,
            },
        },
        "diffusion_space": {"channels": 1, "shape": [8, 8, 8]},
        "schedule": SCHEDULE,
        "prediction": prediction,
        "sampler": {"name": "dpmpp", "steps": 3, "samples": 1, "clip": None},
    }  # fmt: skip
    with torch.device("meta"):
        assert RelaDiffusion.build(settings).defaults.samplers["ddim"] == 20
    method = RelaDiffusion.build(settings)
    network = method.network.eval()
    network.mean_pet.copy_(torch.linspace(-0.8, 0.8, 4 * 512).reshape(4, 1, 8, 8, 8))
    last = network.generator.out[-1].conv
    torch.nn.init.zeros_(last.weight), torch.nn.init.zeros_(last.bias)
    encoded = method.encode(torch.zeros(1, 2, 160, 180, 160))
    noise = seeded_noise(0)
    drawn = method.draw(encoded, 2, 2, DrawOptions("ddim", 1), noise)
    assert drawn.shape == (2, 1, 160, 180, 160)
    x_t = torch.ones(1, 1, 8, 8, 8)
    expected = network.decode(0 * x_t, torch.tensor([2]))
    # From the timestep without signal, one step of a network that says 0 leaves nothing of the noise.
    assert torch.equal(drawn[:1], expected) and torch.equal(drawn[1:], expected)
    clean = method.denoise(x_t, encoded, 500, 2)
    assert bool((clean.abs() < x_t).all()) and (prediction != "x0" or not clean.any())
    seen = network.generator.register_forward_pre_hook(lambda module, args: channels.append(args[0][0, -1]))
    channels = []
    method.denoise(x_t, encoded, 500, 1)
    seen.remove()
    assert torch.equal(channels[0], network.mean_pet[1, 0]), "the generator sees the mean of its tracer"


def test_predictions_and_means_that_cannot_be():
    for arguments, words in (
        ({"prediction": "v"}, "needs the schedule"),
        ({"prediction": "score", "schedule": SCHEDULE}, "unknown prediction 'score'"),
        ({"schedule": SCHEDULE}, "with zero_terminal_snr use v"),
        ({"mean_pet": "added"}, "mean_pet 'added' is not one of"),
        ({"mean_pet": "residual", "residual_scale": [1.0, 2.0]}, "residual_scale: 2 of them for 4 labels"),
    ):
        with pytest.raises((InputError, ValueError), match=words):
            VoxelDiffusion(**SMALL, **arguments)


@pytest.mark.parametrize("use", ["none", "input", "residual"])
def test_uses_of_the_mean_pet(use):
    """The two networks that may know it have it from one place; a U-Net that gives 0 shows what is made of it."""
    network = RegressionUNet(**SMALL, factor=20, crop=[8, 8, 8], mean_pet=use, residual_scale=0.2).eval()
    assert isinstance(network, MeanPetNetwork) and issubclass(VoxelDiffusion, MeanPetNetwork)
    assert ("mean_pet" in network.state_dict()) == (use != "none")
    last = network.generator.out[-1].conv
    torch.nn.init.zeros_(last.weight), torch.nn.init.constant_(last.bias, 0.5)
    mri, labels, expected = torch.zeros(2, 2, 8, 8, 8), torch.tensor([2, 0]), torch.full((2, 1, 8, 8, 8), 0.5)
    if use != "none":
        network.mean_pet.copy_(torch.linspace(-0.8, 0.8, 4 * 512).reshape(4, 1, 8, 8, 8))
        assert torch.equal(network.with_mean(mri, labels)[:, 2:], network.mean_pet[labels])
    if use == "residual":
        expected = network.mean_pet[labels] + 0.2 * expected
    assert torch.equal(network(mri, labels), expected)


def test_differences_are_scaled_by_each_tracers_own_sd():
    network = RegressionUNet(**SMALL, factor=20, crop=[8, 8, 8], mean_pet="residual", residual_scale=[0.1, 1, 0.3, 2])
    values, labels = torch.randn(3, 1, 8, 8, 8), torch.tensor([2, 0, 3])
    for one, label, scale in zip(network.from_residual(values, labels), values, (0.3, 0.1, 2.0), strict=True):
        torch.testing.assert_close(one, scale * label)
    assert not any("scale" in name for name in network.state_dict())
