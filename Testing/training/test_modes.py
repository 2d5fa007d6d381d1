"""``hardware.mode``: the same gradients sooner, or in less memory."""

import pytest
import torch
from test_every_method import UNCODED
from torch import nn
from training_runs import logged, plain_config, same_within, tensors, tiny_config, tiny_data

from training.config import load_config, replaced
from training.errors import ConfigError
from training.loop import run
from training.machine import check_machine
from training.modes import NATIVE_SIZE, prepare, quick_convolutions

#: Largest difference of a gradient from plain's, as a share of the largest of its tensor, or of the network.
TOLERANCE, OF_ALL = 1e-3, 1e-5


def gradients_of(module: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    image = image.clone().requires_grad_(True)
    made = module(image)
    return [made.detach(), *torch.autograd.grad(made.square().sum(), [image, *module.parameters()])]


@pytest.mark.parametrize("size", [(4, 5, 3), (1, 3, 40)])
@pytest.mark.parametrize(
    "how",
    [{"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "stride": 2, "bias": False}, {"kernel_size": (3, 1, 2)}],
)
def test_convolutions_by_onednn_are_convolutions(how, size):
    if size[0] < 3 and "padding" not in how:
        size = (3, *size[1:])
    plain = nn.Conv3d(3, 4, **how)
    quick = nn.Conv3d(3, 4, **how)
    quick.load_state_dict(plain.state_dict())
    quick_convolutions(quick)
    assert quick.forward != nn.Conv3d(3, 4, **how).forward and quick.state_dict().keys() == plain.state_dict().keys()
    image = torch.randn(1, 3, *size)
    for one, other in zip(gradients_of(plain, image), gradients_of(quick, image), strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def test_what_onednn_is_taken_for(monkeypatch):
    """Small single images in float32; all else takes torch's own way, which is oneDNN for several or large ones."""
    taken = []
    to_mkldnn = torch.Tensor.to_mkldnn
    monkeypatch.setattr(torch.Tensor, "to_mkldnn", lambda image: taken.append(image.shape) or to_mkldnn(image))
    network = nn.Sequential(nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 3, groups=2))
    prepare(network, "fast", "cpu")
    network(torch.zeros(1, 2, 6, 6, 6))
    assert taken == [(1, 2, 6, 6, 6)]
    network(torch.zeros(2, 2, 6, 6, 6))
    network(torch.zeros(1, 2, NATIVE_SIZE // 20, 11, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.zeros(1, 2, 6, 6, 6))
    prepare(other := nn.Conv3d(2, 2, 3), "plain", "cpu")
    other(torch.zeros(1, 2, 6, 6, 6))
    assert len(taken) == 1


def test_a_gpu_gets_channels_last_and_perhaps_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    prepare(plain := nn.Conv3d(2, 2, 3), "fast", "cuda")
    assert plain.weight.is_contiguous(memory_format=torch.channels_last_3d) and not compiled
    prepare(plain, "fast", "cuda", compiled=True)
    assert compiled == [plain]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["hardware.activation_checkpointing=true"], "true is hardware.mode=lean"),
        (["hardware.channels_last=true"], "true is hardware.mode=fast"),
        (["hardware.mode=quick"], "is not one of plain, fast, lean"),
        (["hardware.compile=true"], "needs hardware.mode=fast"),
    ],
)
def test_what_is_refused(words, why):
    with pytest.raises(ConfigError, match=why):
        load_config(["data.cache=memory", "out=nowhere", *words])


def test_compiling_is_for_gpus(tmp_path):
    config = tiny_config(tmp_path, "hardware.mode=fast", "hardware.compile=true")
    with pytest.raises(ConfigError, match="for CUDA GPUs, and this run is on cpu"):
        check_machine(config)


def test_keys_of_earlier_checkpoints():
    before = {"seed": 1, "hardware.activation_checkpointing": True, "hardware.channels_last": True}
    assert replaced(before) == {"seed": 1, "hardware.mode": "lean"}
    assert replaced(dict.fromkeys(before, False)) == {"seed": False}


def test_modes_change_nothing(tmp_path):
    for mode in ("plain", "fast", "lean"):
        config = tiny_config(tmp_path / mode, "run.steps=2", "run.validation_volumes=0", f"hardware.mode={mode}")
        assert run(config, tiny_data(), quiet=True) == 0
    for mode in ("fast", "lean"):
        same_within(logged(tmp_path / "plain"), logged(tmp_path / mode), 1e-4)


def test_a_run_goes_on_in_another_mode(tmp_path):
    for steps, mode in ((1, "plain"), (2, "fast"), (3, "lean")):
        config = tiny_config(tmp_path, f"run.steps={steps}", "run.validation_volumes=0", f"hardware.mode={mode}")
        assert run(config, tiny_data(), quiet=True) == 0
    assert [line["step"] for line in logged(tmp_path)] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("row", UNCODED, ids=[row.choice for row in UNCODED])
def test_gradients_of_every_method(tmp_path, row):
    """After one step Adam's first moments are the gradients, but for a factor."""
    more = ["preset.convolution_steps=0"] * (row.choice == "resvit")
    found = {}
    for mode in ("plain", "fast", *["lean"] * (row.choice != "cyclegan")):
        words = [*row.words, *more, f"hardware.mode={mode}", "run.steps=1", "run.validation_volumes=0"]
        assert run(plain_config(tmp_path / mode, *words), tiny_data(3), quiet=True) == 0
        found[mode] = {place: at for place, at in tensors(tmp_path / mode).items() if place.endswith(".exp_avg")}
    plain = found.pop("plain")
    assert len(plain) > 10
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for gradients in found.values():
        assert gradients.keys() == plain.keys()
        for place, gradient in plain.items():
            worst = float((gradients[place] - gradient).abs().max())
            assert worst <= TOLERANCE * float(gradient.abs().max()) + OF_ALL * largest, place


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "lean"])
def test_each_mode_resumes_bit_by_bit(tmp_path, mode):
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        for until in steps:
            words = [f"run.steps={until}", "run.checkpoint_every=2", "run.validate_every=4", f"hardware.mode={mode}"]
            assert run(tiny_config(tmp_path / name, *words), tiny_data(3), quiet=True) == 0
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[place], parts[place]) for place in whole)
