"""Work in a thread beside other work: what is said and refused, and in which order."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import InputError, ModelError
from RelAPETLib.notices import collected, listening, warn
from RelAPETLib.synthesis.ahead import Ahead, Awaited


def test_result_and_notices_come_in_the_callers_thread():
    heard = []

    def compute():
        warn("the device is full")
        return threading.get_ident()

    ahead = Ahead(compute)
    with listening(lambda message: heard.append((message, threading.get_ident()))):
        first, second = ahead.result(), ahead.result()
    assert first == second != threading.get_ident()
    assert heard == [("the device is full", threading.get_ident())]
    assert ahead.done()


def test_an_error_ends_the_other_work_at_its_next_step():
    go_on, said, steps = threading.Event(), [], []

    def compute():
        go_on.wait(10)
        raise ModelError("the weights are damaged")

    ahead = Ahead(compute)
    awaited = Awaited(ahead, lambda model: model, said)
    report = awaited.watched(lambda fraction, message: steps.append(message))
    report(0.1, "one")
    go_on.set()
    with pytest.raises(ModelError, match="damaged"):
        ahead.result()
    with pytest.raises(ModelError, match="damaged"):
        report(0.2, "two")
    assert steps == ["one", "two"]


def test_the_model_is_refused_before_the_scans_whichever_was_quicker():
    go_on = threading.Event()

    def compute():
        go_on.wait(10)
        raise ModelError("the weights are damaged")

    awaited = Awaited(Ahead(compute), lambda model: model, [])
    with pytest.raises(ModelError, match="damaged"), awaited.before_other_errors():
        go_on.set()
        raise InputError("no head")


def test_settled_once_with_what_it_says_kept():
    said, count, outer = [], [], []

    def settle(value):
        warn("slow")
        count.append(value)
        return value + 1

    awaited = Awaited(Ahead(lambda: 1), settle, said)
    with collected(outer), listening(lambda message: None):
        assert (awaited.get(), awaited.get()) == (2, 2)
    assert (said, count) == (["slow"], [1])
    with pytest.raises(InputError, match="no head"), awaited.before_other_errors():
        raise InputError("no head")


def test_a_bad_model_is_told_though_the_scans_are_bad_too(tmp_path):
    """From the outside: the order that it had when the model was loaded before the registration."""
    from RelAPETLib.models import model_path
    from RelAPETLib.synthesis import Options, run_files

    bundle = tmp_path / "bundle"
    shutil.copytree(model_path("demo"), bundle)
    weights = next(bundle.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-8] + b"12345678")
    noise = np.random.default_rng(0).normal(100, 1, (2, 20, 20, 20)).astype(np.float32)
    images = [sitk.GetImageFromArray(volume) for volume in noise]
    for image in images:
        image.SetSpacing([5.0] * 3)
    with pytest.raises(ModelError):
        list(run_files(*images, Options(tracers=("TAU",), model=bundle, device="cpu")))


def test_loading_a_model_and_counting_its_memory_leave_the_compiler_of_torch_alone():
    """torch._dynamo costs more than a second of CPU, and much of what is done on the meta device imports it."""
    words = "import sys; from RelAPETLib.models import load_model; method = load_model('demo').method"
    words += "; from RelAPETLib.synthesis.memory import DrawOptions, counted_bytes"
    words += "; print(counted_bytes(method, 2, 2, DrawOptions('dpmpp', 2)) > 0, 'torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_the_whole_never_falls_though_stages_overlap():
    from RelAPETLib.synthesis.stages import parts

    seen = []
    part = parts(lambda fraction, message: seen.append(fraction))
    for stage, fraction in (("read", 1.0), ("preprocess", 0.5), ("model", 0.0), ("preprocess", 0.6), ("sample", 0.0)):
        part(stage)(fraction, "")
    assert seen == sorted(seen) and seen[1] == seen[2] < seen[3]
