"""What the panel says of time and memory before the click: what the last run took here, against what is free."""

import sys

import pytest
from slicer_cases import add_scan, finish_many, real_child, write_results
from slicer_module import FakeProcess, load_part

HOLDS = """
import json, os, shutil, sys, time
results, out = sys.argv[1], sys.argv[sys.argv.index("--out") + 1]
held = bytearray(150_000_000)
print(json.dumps({"type": "progress", "fraction": 0.5, "message": "working"}), flush=True)
time.sleep(0.5)
shutil.copytree(results, out)
print(json.dumps({"type": "result", "folder": out, "files": {name: name for name in os.listdir(out)}}), flush=True)
"""


@pytest.fixture
def scans(widget, slicer):
    slicer.app.userSettings().remove("RelAPET/LastRuns")
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    yield widget.parameters.t1w, widget.parameters.t2f
    slicer.app.userSettings().remove("RelAPET/LastRuns")


def test_before_the_first_run_nothing_is_known(widget, scans):
    assert "Not run on this computer yet with this model" in widget.ui.expectedLabel.text
    assert "GB of memory are free" in widget.ui.expectedLabel.text


def test_a_run_tells_what_it_took(widget, scans, harness, tmp_path):
    widget.logic.makeProcess = real_child(write_results(tmp_path / "results"), HOLDS)
    widget.parameters.samples = 2
    widget.ui.synthesizeButton.click()
    assert not widget.ui.expectedLabel.visible
    harness.process_events(lambda: not widget.logic.running, 60)
    last = load_part("expected").of(widget.request())
    assert 0.4 < last["seconds"] < 60 and 150e6 < last["memory"] < 2e9
    assert "Last time here:" in widget.ui.expectedLabel.text and "(1 tracer, 2 samples)" in widget.ui.expectedLabel.text
    widget.parameters.device = "cpu"
    assert "Not run on this computer yet with this model and device" in widget.ui.expectedLabel.text
    widget.parameters.model = "rela-diffusion"
    assert "Not run on this computer yet" in widget.ui.expectedLabel.text, "of this model nothing is known"


def test_tracers_are_counted(widget, scans, tmp_path):
    widget.ui.tracerSelector.currentIndex = widget.ui.tracerSelector.count - 1
    widget.ui.synthesizeButton.click()
    finish_many(FakeProcess.made[-1], {t: write_results(tmp_path / t, tracer=t) for t in ("TAU", "PIB")})
    assert "(2 tracers)" in widget.ui.expectedLabel.text


def test_a_run_that_did_not_end_well_is_not_kept(widget, scans):
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("failed", "x")
    assert load_part("expected").of(widget.request()) is None


def test_too_little_memory_is_said(widget, scans, tmp_path, monkeypatch):
    expected, request = load_part("expected"), widget.request()
    expected.remember(request, 200.0, 4_000_000_000, 1)
    line, scarce = expected.words(request, free=9_000_000_000)
    assert line == "Last time here: 3 min and 4.0 GB (1 tracer); 9.0 GB of memory are free." and not scarce
    line, scarce = expected.words(request, free=2_000_000_000)
    assert scarce and line.endswith("2.0 GB of memory are free, which may be too little.")
    monkeypatch.setattr(expected, "freeMemory", lambda: 2_000_000_000)
    widget.updatePanel()
    assert load_part("words").ALARM[0] in widget.ui.expectedLabel.text or "ff9a8c" in widget.ui.expectedLabel.text
    assert widget.ui.synthesizeButton.enabled, "it may do all the same"


@pytest.mark.parametrize("kept", ["{", "[]", '{"demo on auto": 3}', '{"demo on auto": {"seconds": "x", "memory": 1}}'])
def test_settings_of_others_do_no_harm(widget, slicer, scans, kept):
    slicer.app.userSettings().setValue("RelAPET/LastRuns", kept)
    widget.updatePanel()
    assert "Not run on this computer yet" in widget.ui.expectedLabel.text


def test_before_the_install_step_memory_is_not_known(widget, scans, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    widget.updatePanel()
    assert "free" not in widget.ui.expectedLabel.text
