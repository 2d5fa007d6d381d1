"""The whole way in the Slicer module with the real child process and the demo model, over the test harness.

Not Slicer: the widgets are stand-ins, and only a person who runs the module's self-test there can say how it does.
"""

import re
import shutil
import sys
import time

import numpy as np
import psutil
import pytest
from slicer_module import MODULE, load_part

pytestmark = pytest.mark.slow


@pytest.fixture
def widget(harness, monkeypatch, tmp_path):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home ü"))
    return harness.load_module(str(MODULE / "RelAPET.py"))


@pytest.mark.timeout(1800)
def test_from_a_click_to_nodes_in_the_scene(widget, harness, slicer):
    """Simulate a person, Synthesize, and look at everything that came."""
    gaps, last = [0.0], [time.monotonic()]
    import qt

    timer = qt.QTimer()
    timer.setInterval(10)

    def tick():
        gaps.append(time.monotonic() - last[0])
        last[0] = time.monotonic()

    timer.connect("timeout()", tick)
    harness.process_events(lambda: not widget.tasks.running, 300)
    assert widget.ui.deviceSelector.count >= 2, "the library told of no device"
    widget.ui.phantomButton.click()
    harness.process_events(lambda: not widget.tasks.running, 900)
    assert widget.ui.synthesizeButton.enabled, widget.ui.synthesizeButton.toolTip
    assert widget.parameters.reference is not None
    timer.start()
    widget.ui.synthesizeButton.click()
    stages = []
    fractions = []

    def done():
        text = widget.ui.statusLabel.text
        if not stages or stages[-1] != text:
            stages.append(text)
        fractions.append(widget.ui.progressBar.value)
        return not widget.logic.running

    harness.process_events(done, 1500)
    timer.stop()
    found = widget.results.found
    assert found is not None, widget.ui.statusLabel.text + widget.ui.logText.toPlainText()
    assert fractions == sorted(fractions) and len(stages) > 20
    assert any("to go" in stage for stage in stages) and any("writing the results" in stage for stage in stages)
    assert set(found.volumes) == {"pet", "measured", "uncertainty", "difference", "departure"}
    pet, reference = (slicer.util.arrayFromVolume(node) for node in (found.pet, found.difference))
    assert pet.shape == slicer.util.arrayFromVolume(widget.parameters.t1w).shape
    assert pet.min() == 0 and 1.0 < pet.max() <= 3.0 and np.abs(reference[pet > 0]).mean() < 0.2
    assert float(found.metrics.GetCellText(0, 2)) > 25, "PSNR inside the brain"
    assert not [p for p in psutil.Process().children(recursive=True) if "RelAPETLib" in " ".join(p.cmdline())]
    print(f"largest gap between ticks of Qt's timer: {max(gaps):.2f} s", file=sys.stderr)


@pytest.mark.timeout(1800)
def test_the_script_in_the_readme(harness, slicer, tmp_path, monkeypatch):
    from RelAPETLib.phantom.bids import write_case

    readme = (MODULE.parent / "README.md").read_text(encoding="utf-8")
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "RelAPETLogic" in block]
    case = write_case(tmp_path, 20_000)
    for patient, t1w in (("good", case["t1w"]), ("wrong", case["t2f"])):
        folder = tmp_path / "patients" / patient
        folder.mkdir(parents=True)
        shutil.copy(t1w, folder / "T1w.nii.gz")
        shutil.copy(case["t2f"], folder / "FLAIR.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(MODULE))
    ended, said = [], []
    monkeypatch.setattr(slicer.util, "exit", lambda *_: ended.append(True), raising=False)
    exec(compile(script, "README.md", "exec"), {"print": said.append})
    assert ended and (tmp_path / "patients" / "good" / "SYNTHETIC_TAU.nii.gz").is_file()
    assert not (tmp_path / "patients" / "wrong" / "SYNTHETIC_TAU.nii.gz").exists()
    assert len(said) == 1 and said[0].startswith("wrong: ")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["test_synthesis", "test_cancel", "test_bad_input"])
def test_the_self_tests_body(harness, slicer, name, request):
    """What a person runs in Slicer, here over the harness."""
    harness.load_module(str(MODULE / "RelAPET.py"))
    case = load_part("selftest").RelAPETTest(name)
    case.setUp()
    request.addfinalizer(type(case).forgetPerson if name == "test_synthesis" else lambda: None)
    getattr(case, name)()
