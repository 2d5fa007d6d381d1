"""The whole way in the Slicer module with the real child process and the demo model, over the test harness.

Not Slicer: the widgets are stand-ins, and only a person who runs the module's self-test there can say how it does.
"""

import json
import re
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

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
    assert widget.logic.server.running, "it waits for the next synthesis"
    widget.logic.stopNow()
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
def test_the_self_tests_body(harness, slicer, request):
    """What a person runs in Slicer without the panel, here over the harness."""
    harness.load_module(str(MODULE / "RelAPET.py"))
    case = load_part("selftest").RelAPETTest("test_synthesis")
    case.setUp()
    request.addfinalizer(type(case).forgetPerson)
    case.test_synthesis()


@pytest.mark.timeout(1800)
def test_the_whole_tutorial_by_the_one_entry(widget, harness, slicer, monkeypatch, tmp_path):
    """Every step of the README's tutorial, by the panel's buttons; the report that a person would send."""
    harness.process_events(lambda: not widget.tasks.running, 300)
    monkeypatch.setattr(load_part("testreport"), "reportFolder", lambda: tmp_path / "reports ü")
    patient = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Doe^Jane")
    widget.log("loaded Doe^Jane")
    widget.parameters.seed = 5
    harness.popups.answer("confirmOkCancelDisplay", True, containing="closes the scene")
    widget.ui.selfTestButton.click()
    assert not slicer.mrmlScene.IsNodePresent(patient) and widget.parameters.seed == 5
    (file,) = (tmp_path / "reports ü").iterdir()
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        texts = {name: archive.read(name).decode() for name in names if not name.endswith(".png")}
    facts = json.loads(texts["report.json"])
    outcomes = {step["name"]: (step["outcome"], step["error"]) for step in facts["steps"]}
    print(texts["report.txt"], file=sys.stderr)
    absent = {"sample"}  # Slicer's Sample Data module is not in slicer-core
    assert {name for name, (outcome, _error) in outcomes.items() if outcome != "passed"} == absent, outcomes
    assert list(outcomes) == [name for name, _title, _needs in load_part("tutorial").Tutorial.STEPS]
    assert {"report.txt", "report.json", "log.txt", "result_panel.png"} <= names
    assert facts["computer"]["torch"][0].isdigit() and "cpu" in facts["computer"]["devices"]
    private = ("Doe", str(tmp_path), str(Path.home()) + "/", tempfile.gettempdir() + "/")
    assert not [(word, name) for word in private for name, text in texts.items() if word in text]
    assert str(file) in widget.ui.selfTestLabel.text and "SlicerRelAPET/issues" in widget.ui.selfTestLabel.text
    assert not list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), "the scene is left empty"
