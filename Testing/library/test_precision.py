"""Precision of the network: what computes in bfloat16, what does not, and what the record says of it."""

import contextlib

import pytest
import torch

from RelAPETLib import devices
from RelAPETLib.cli.parser import build_parser
from RelAPETLib.cli.synthesize import drawing
from RelAPETLib.errors import DeviceError, InputError
from RelAPETLib.models import load_model
from RelAPETLib.synthesis import Options, sampling
from RelAPETLib.synthesis.options import resolve


def types_of(network, inside):
    """Types that convolutions of the parts whose names begin so give, filled by hooks while they compute."""
    found = set()

    def note(part, given, made):
        if not made.is_meta:  # else it is the copy that memory is counted with
            found.add(made.dtype)

    for name, part in network.named_modules():
        if name.startswith(inside) and isinstance(part, torch.nn.Conv3d):
            part.register_forward_hook(note)
    return found


def test_the_network_computes_in_bfloat16_and_nothing_else_does(tiny_latent):
    mri = torch.rand(1, 2, 160, 180, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    means, types = {}, {}
    for precision in devices.PRECISIONS:
        model = load_model(tiny_latent)
        (plan,) = resolve(Options(tracers="TAU", precision=precision, steps=1, samples=1), model)
        network = model.method.network
        parts = {part: types_of(network, part) for part in ("unet", "autoencoder")}
        given, predict = set(), network.predict_noise
        network.predict_noise = lambda x_t, *rest, given=given, predict=predict: (
            given.add(x_t.dtype),
            predict(x_t, *rest),
        )[1]
        means[precision] = sampling.draw_samples(sampling.ConditionedModel(model, mri), plan).mean
        types[precision] = parts | {"x_t": given}
    single, half = {torch.float32}, {torch.bfloat16}
    assert types["fp32"] == {"unet": single, "autoencoder": single, "x_t": single}
    assert types["bf16"] == {"unet": half, "autoencoder": single, "x_t": single}
    assert abs(means["bf16"] - means["fp32"]).max() < 0.1


def test_precisions_that_there_are_not(tiny_latent, monkeypatch):
    with pytest.raises(InputError, match="unknown precision 'fp8'; use one of fp32, bf16"):
        Options(tracers="TAU", precision="fp8")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda name: asked.append(name) or contextlib.nullcontext())
    with pytest.raises(DeviceError, match="cuda:0 does not compute in bf16; use --precision fp32"):
        devices.check_precision("bf16", "cuda:0")
    assert asked == ["cuda:0"], "the device's own, not the current one's"
    devices.check_precision("fp32", "cuda:0")


def test_the_record_says_what_a_gpu_rounds(monkeypatch):
    assert devices.describe_precision("fp32", "cpu") == "fp32"
    assert devices.describe_precision("bf16", "cuda:0") == "bf16"
    for on, words in ((True, "fp32, TF32 in convolutions"), (False, "fp32")):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", on)
        assert devices.describe_precision("fp32", "cuda:0") == words


def test_the_back_end_of_attention_is_torchs_own_choice(monkeypatch):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found = devices.attention_backend("cpu")
    assert found.upper() in SDPBackend.__members__
    with sdpa_kernel(SDPBackend.MATH):
        assert devices.attention_backend("cpu") == "math"
    monkeypatch.delattr(torch, "_fused_sdp_choice")
    assert devices.attention_backend("cpu") == "unknown"


def test_the_command_line_takes_a_precision():
    words = ["synthesize", "--t1w", "a", "--t2f", "b", "--tracer", "TAU", "--out", "c"]
    assert drawing(build_parser().parse_args([*words, "--precision", "bf16"]))["precision"] == "bf16"
    assert drawing(build_parser().parse_args(words))["precision"] == "fp32"


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch tells convolutions apart since 2.9")
def test_convolutions_that_were_told_apart_can_be_described():
    before = torch.backends.cudnn.conv.fp32_precision
    try:
        for precision, words in (("ieee", "fp32"), ("tf32", "fp32, TF32 in convolutions")):
            torch.backends.cudnn.conv.fp32_precision = precision
            assert devices.describe_precision("fp32", "cuda:0") == words
    finally:
        torch.backends.cudnn.conv.fp32_precision = before
