"""The U-Net computed slab by slab gives what it gives at once, up to rounding, in less memory."""

import threading

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from test_fast_unet import TOLERANCE, made

from RelAPETLib import counted_memory
from RelAPETLib.networks import lean_unet, parts_on_cpu
from RelAPETLib.networks.execution import in_slabs, slabs_wanted, take_ways
from RelAPETLib.networks.generator import build_generator


@pytest.fixture(params=[1, 4000], ids=["thin slabs", "some planes"])
def least(request, monkeypatch):
    monkeypatch.setattr(lean_unet, "LEAST", request.param)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"cross_attention_dim": None, "out_channels": 2},
        {"num_class_embeds": None, "channels": (8, 8), "cross_attention_dim": 8, "num_head_channels": 4},
        {"channels": (8, 8, 16), "attention_levels": (False, False, True), "num_res_blocks": 1, "in_channels": 5},
    ],
)
def test_it_equals_the_plain_way(arguments, batch, least):
    network, shape = made(**arguments), (12, 4, 8)
    x, t = torch.randn(batch, network.in_channels, *shape), torch.arange(batch) * 400
    labels = None if network.num_class_embeds is None else torch.arange(batch)
    before = x.clone()
    with torch.no_grad():
        plain = DiffusionModelUNet.forward(network, x, t, class_labels=labels)
        with in_slabs():
            assert network.goes_lean(x)
            lean = network(x, t, class_labels=labels)
            assert torch.equal(network(x, t, class_labels=labels), lean)
    assert torch.equal(x, before)
    assert lean.is_contiguous() and lean.shape == plain.shape
    assert (lean - plain).abs().max() < TOLERANCE * plain.std()


def test_it_computes_in_bfloat16_where_it_is_asked_to():
    network, x = made(), torch.randn(1, 3, 8, 8, 4)
    given = torch.tensor([7]), None, torch.tensor([1])
    with torch.inference_mode():
        plain = network(x, *given)
        with torch.autocast("cpu", torch.bfloat16):
            half = DiffusionModelUNet.forward(network, x, *given)
            with in_slabs():
                lean = network(x, *given)
    assert 1e-4 * plain.std() < (lean - plain).abs().max() < 2 * (half - plain).abs().max()


def test_it_takes_less_memory_than_half(monkeypatch):
    """Of the published network, on a volume in eight slabs: of twenty it takes a third."""
    monkeypatch.setattr(lean_unet, "LEAST", 1)
    monkeypatch.setattr(lean_unet, "MOST", 8)
    network = counted_memory.without_values(build_generator().eval())
    x, given = torch.empty(1, 3, 32, 36, 32, device="meta"), (torch.tensor([7]), None, torch.tensor([1]))

    def peak(wanted):
        with in_slabs(wanted):
            return counted_memory.peak_bytes(lambda: network(x, *given))

    assert peak(True) < 0.5 * peak(False)


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_moments_of_many_voxels_are_exact(mean):
    torch.manual_seed(2)
    norm, volume = torch.nn.GroupNorm(2, 8, eps=1e-6), torch.randn(2, 8, 40, 41, 24) + mean
    volume = volume.contiguous(memory_format=parts_on_cpu.LAYOUT)
    wanted = torch.nn.GroupNorm(2, 8, eps=1e-6).double()(volume.double())
    with torch.no_grad():
        middle, scale = lean_unet._moments(norm, [volume[:, :3], volume[:, 3:]])
        assert ((volume - middle) * scale - wanted).abs().max() < 3e-6


def test_where_it_may_not_be_taken():
    network, x = made(), torch.zeros(1, 3, 4, 4, 4)
    with in_slabs():
        assert not network.goes_lean(x)  # gradients
        with torch.no_grad():
            assert network.goes_lean(x)
            take_ways(network, ("compile",), backend="eager")
            assert not network.goes_lean(x)
            take_ways(network, ())
            assert network.goes_lean(x)
            network.conv_in.register_forward_hook(lambda *given: None)
            assert not network.goes_lean(x)


def test_one_thread_asks_for_itself_alone():
    found = []
    with in_slabs():
        other = threading.Thread(target=lambda: found.append(slabs_wanted()))
        other.start()
        other.join()
        with in_slabs(False):
            found.append(slabs_wanted())
        found.append(slabs_wanted())
    assert [*found, slabs_wanted()] == [False, False, True, False]
