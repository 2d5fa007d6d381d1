"""Other ways of a GPU through a network: the same PET up to rounding, and off unless they are asked for."""

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from RelAPETLib.counted_memory import without_values
from RelAPETLib.errors import InputError
from RelAPETLib.models import load_model
from RelAPETLib.networks import execution
from RelAPETLib.networks.execution import SETTING, WAYS, take_ways, ways_asked_for
from RelAPETLib.networks.generator import build_generator
from RelAPETLib.synthesis import Options

#: Largest difference, in standard deviations of the plain way's output.
TOLERANCE = 1e-4


def asked(generator):
    """Of a fixed input, on MONAI's own way: gradients are on, so that the CPU's faster one is not taken."""
    x_t = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    return generator(x_t, torch.tensor([3, 700]), class_labels=torch.tensor([0, 2])).detach()


@pytest.fixture
def generator():
    torch.manual_seed(0)
    made = build_generator(
        channels=(8, 16), attention_levels=(False, True), num_res_blocks=1, num_head_channels=8, norm_num_groups=4,
        cross_attention_dim=16,
    ).eval()  # fmt: skip
    for parameter in made.parameters():  # the last convolution is zero when untrained
        torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.parametrize(
    "ways",
    [("channels_last",), *(pytest.param(("channels_last", way), marks=pytest.mark.slow) for way in WAYS[1:])],
)
def test_every_way_gives_the_same_up_to_rounding(generator, ways):
    """By the back end of torch.compile that needs no compiler of C++: its graph, run operation by operation."""
    names, plain = set(generator.state_dict()), asked(generator)
    take_ways(generator, ways, backend="aot_eager")
    last = generator.conv_in.conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert last == ("channels_last" in ways) and (generator._compiled_call_impl is not None) == (len(ways) > 1)
    assert set(generator.state_dict()) == names
    assert (asked(generator) - plain).abs().max() < TOLERANCE * plain.std()
    assert without_values(generator)._compiled_call_impl is None  # memory is counted on the plain way
    take_ways(generator, ())
    assert torch.equal(asked(generator), plain) and generator._compiled_call_impl is None


def test_what_a_graph_gave_is_kept_when_it_is_replayed():
    """A CUDA graph writes its result to the same place each time; other threads than the main one take no graph."""
    place, calls = torch.zeros(3), []

    def replayed(x, scale=1.0):
        calls.append(x)
        return place.copy_(x * scale)

    call = execution._replayed(replayed, lambda x, scale=1.0: x * scale)
    first = call(torch.ones(3))
    second = call(torch.ones(3), scale=2.0)
    assert (first.tolist(), second.tolist(), len(calls)) == ([1.0] * 3, [2.0] * 3, 2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(call, torch.ones(3), scale=3.0).result().tolist() == [3.0] * 3
    assert len(calls) == 2 and place.tolist() == [2.0] * 3


def test_graphs_are_asked_of_the_compiler(generator, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda call, **how: asked.append(how) or call)
    x_t = torch.zeros(1, 3, 8, 8, 8), torch.tensor([3]), None, torch.tensor([0])
    plain = generator(*x_t)
    take_ways(generator, ("graphs",))
    assert torch.equal(generator(*x_t), plain)
    assert asked == [{"backend": "inductor", "dynamic": False, "mode": "reduce-overhead"}]
    assert pickle.loads(pickle.dumps(generator))._compiled_call_impl is None


def broken(graph, inputs):
    raise OSError("no compiler of C++ was found")


@pytest.mark.slow
def test_a_compiler_that_fails_is_one_line(grid_case, tiny_latent, monkeypatch, capsys):
    """Of synthesis and of training; the compiler works at the first call of the network."""
    from RelAPETLib.cli import main
    from training.errors import user_error

    torch._dynamo.reset()
    with pytest.raises(RuntimeError) as failed:
        torch.compile(lambda x: x + 1, backend=broken)(torch.ones(2))
    assert "leave hardware.compile off" in str(user_error(failed.value)) and user_error(RuntimeError("else")) is None
    model = load_model(tiny_latent)
    take_ways(model.method.network, ("compile",), backend=broken)
    monkeypatch.setattr("RelAPETLib.models.load_model", lambda *_, **__: model)
    words = ["--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--preprocessed", "--tracer", "TAU", "--steps", 1,
             "--out", grid_case["t1w"].parent / "none", "--model", tiny_latent]  # fmt: skip
    assert main(["synthesize", *map(str, words)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "torch.compile failed: " in line]
    assert "no compiler of C++ was found" in line and SETTING in line


def test_ways_are_named_by_one_setting(monkeypatch):
    assert ways_asked_for({}) == ways_asked_for({SETTING: " "}) == ()
    assert ways_asked_for({SETTING: "graphs,compile, channels_last"}) == WAYS
    with pytest.raises(
        InputError, match=f"unknown way 'slabs' in {SETTING}; use some of channels_last, compile, graphs"
    ):
        ways_asked_for({SETTING: "channels_last,slabs"})
    monkeypatch.setenv(SETTING, "slabs")
    with pytest.raises(InputError, match="unknown way 'slabs'"):
        Options("TAU")


def test_a_model_on_the_cpu_goes_the_plain_way(tiny_latent, monkeypatch):
    monkeypatch.setenv(SETTING, "compile")
    model = load_model(tiny_latent)
    assert model.ways == () and model.method.network.unet._compiled_call_impl is None
    take_ways(model.method.network, ("channels_last",))
    model.method.network.unet._compiled_call_impl = asked  # as after compiling
    moved = dataclasses.replace(model, ways=("channels_last",))  # as one that went to the CPU for a person
    take_ways(model.method.network, ())
    assert moved.brought_back() is moved and model.method.network.ways == ("channels_last",)
    back = dataclasses.replace(model, device="cuda:0", ways=WAYS).to("cpu")
    assert back.ways == () and back.method.network.unet._compiled_call_impl is None
