"""The faster way through the U-Net gives what the plain one gives, up to rounding, and is taken only where it may."""

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn
from torch.nn import functional

from RelAPETLib.networks.generator import build_generator
from RelAPETLib.networks.parts_on_cpu import doubled_and_convolved, normed

SMALL = {"channels": (8, 16), "attention_levels": (False, True), "num_head_channels": 16, "norm_num_groups": 4}
#: Largest difference by rounding, in shares of the output's standard deviation.
TOLERANCE = 2e-5


def made(**arguments):
    torch.manual_seed(0)
    network = build_generator(**{**SMALL, "cross_attention_dim": 16, **arguments}).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # those that begin at zero would hide everything before them
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(8, 10, 6), (12, 4, 8)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"cross_attention_dim": None},
        {"num_class_embeds": None, "channels": (8, 8), "cross_attention_dim": 8, "num_head_channels": 4},
        {"channels": (8, 8, 16), "attention_levels": (False, False, True), "num_res_blocks": 1, "in_channels": 5},
    ],
)
def test_it_equals_the_plain_way(arguments, shape, batch):
    if len(arguments.get("channels", ())) == 3:
        shape = tuple(2 * n for n in shape)
    network = made(**arguments)
    x, t = torch.randn(batch, network.in_channels, *shape), torch.arange(batch) * 400
    labels = None if network.num_class_embeds is None else torch.arange(batch)
    before = x.clone()
    with torch.no_grad():
        assert network.goes_fast(x)
        fast = network(x, t, class_labels=labels)
        plain = DiffusionModelUNet.forward(network, x, t, class_labels=labels)
    assert torch.equal(x, before)
    assert fast.is_contiguous() and fast.shape == plain.shape
    assert (fast - plain).abs().max() < TOLERANCE * plain.std()


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_doubled_voxels(bias):
    torch.manual_seed(1)
    layer, volume = nn.Conv3d(3, 5, 3, padding=1, bias=bias), torch.randn(2, 3, 4, 5, 6)
    with torch.no_grad():
        plain = layer(functional.interpolate(volume, scale_factor=2.0, mode="nearest"))
        assert (doubled_and_convolved(volume, layer) - plain).abs().max() < 1e-5


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_many_voxels_are_normalised_as_exactly_as_the_plain_way_does(mean):
    torch.manual_seed(2)
    norm, volume = nn.GroupNorm(2, 8, eps=1e-6), torch.randn(2, 8, 40, 41, 24) + mean
    wanted = nn.GroupNorm(2, 8, eps=1e-6).double()(volume.double())
    with torch.no_grad():
        found = normed(norm, volume.contiguous(memory_format=torch.channels_last_3d))
        assert (found - wanted).abs().max() < 3e-6
        assert (norm(volume) - wanted).abs().max() < 3e-6


def test_where_it_may_not_be_taken():
    network, x = made(), torch.zeros(1, 3, 4, 4, 4)
    assert not network.goes_fast(x)  # gradients
    with torch.no_grad():
        assert network.goes_fast(x)
        assert not network.goes_fast(x.double())
        assert not network.goes_fast(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not network.goes_fast(x)
        seen = []
        handle = network.middle_block.register_forward_hook(lambda *found: seen.append(found))
        network(x, torch.zeros(1), class_labels=torch.zeros(1, dtype=torch.long))
        assert len(seen) == 1
        handle.remove()
        assert network.goes_fast(x)


def test_gradients_are_those_of_the_plain_way():
    network, x = made(), torch.randn(1, 3, 4, 6, 4, requires_grad=True)
    network(x, torch.tensor([7]), class_labels=torch.tensor([1])).square().sum().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is not None for p in network.parameters())


def test_a_missing_label_is_told():
    with torch.no_grad(), pytest.raises(ValueError, match="class_labels"):
        made()(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1))
