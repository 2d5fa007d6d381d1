"""Many patients with the real child process and a small model, over the test harness; registration is left out."""

import json
import shutil

import psutil
import pytest
from slicer_cases import load_volume
from slicer_module import MODULE, load_part

pytestmark = pytest.mark.slow


def children():
    """Processes of the library that this one has started; a server of an earlier test may wait among them."""
    return {p.pid for p in psutil.Process().children(recursive=True) if "RelAPETLib" in " ".join(p.cmdline())}


@pytest.fixture
def desk(harness, monkeypatch, tmp_path, tiny_latent):
    """The panel with a small model; its children take the scans for preprocessed ones, which saves the registration."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    shutil.copytree(tiny_latent, tmp_path / "home" / "models" / "tiny-latent")
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    widget.parameters.model, widget.parameters.steps, widget.parameters.samples = "tiny-latent", 1, 2
    widget.ui.batchFolderEdit.text = str(tmp_path / "results ü")
    ChildProcess = load_part("process").ChildProcess
    widget.batch.makeProcess = lambda arguments, **how: ChildProcess([*arguments, "--preprocessed"], **how)
    return widget


def add_person(slicer, name, grid_case, change):
    """A patient with the plain brain, whose T1w `change` makes another."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name), "day 1")
    for title, role in (("T1w", "t1w"), ("FLAIR", "t2f")):
        volume = load_volume(grid_case[role], title)
        change(slicer.util.arrayFromVolume(volume))
        slicer.util.arrayFromVolumeModified(volume)
        hierarchy.CreateItem(study, volume)


def scaled(share):
    def change(values):
        values *= share

    return change


def emptied(values):
    values[:] = 0


@pytest.mark.timeout(900)
def test_from_pairs_to_results_past_a_bad_one(desk, harness, slicer, tmp_path, grid_case):
    before = children()
    for name, change in (("Doe", scaled(1.0)), ("Roe", emptied), ("Poe", scaled(0.5))):
        add_person(slicer, name, grid_case, change)
    desk.ui.findPairsButton.click()

    def run():
        assert desk.ui.batchStartButton.enabled, desk.ui.batchStartButton.toolTip
        desk.ui.batchStartButton.click()
        harness.process_events(lambda: not desk.batch.running, 600)
        return [row.state for row in desk.batch.rows]

    assert run() == ["done", "failed", "done"], desk.ui.logText.toPlainText()
    reason = desk.batch.rows[1].words
    assert "T1w" in reason and "\n" not in reason and str(tmp_path) not in reason, reason
    assert reason in desk.ui.batchFailuresLabel.text.replace("&lt;", "<").replace("&amp;", "&")
    out = tmp_path / "results ü" / "relapet-tiny-latent"
    assert len(list(out.rglob("*desc-synthetic_pet.nii.gz"))) == 2 and "sub-002" in (out / "failures.tsv").read_text()
    assert "DatasetLinks" not in json.loads((out / "dataset_description.json").read_text())
    for path in out.rglob("*"):
        assert not any(name in path.name for name in ("Doe", "Roe", "Poe")), path
    assert run() == ["there", "failed", "there"], "a second run does only what is missing"
    for number in (0, 2):
        desk.batch.show(number)
        found = desk.results.found
        assert found.mri is desk.batch.rows[number].pair.t1w and found.regions.GetNumberOfRows() > 10
        assert slicer.util.arrayFromVolume(found.pet).shape == slicer.util.arrayFromVolume(found.mri).shape
    assert not children() - before


@pytest.mark.timeout(600)
def test_stop_leaves_no_child_and_whole_results(desk, harness, slicer, tmp_path, grid_case):
    before = children()
    for number in range(3):
        add_person(slicer, f"person {number}", grid_case, scaled(1 + number))
    desk.ui.findPairsButton.click()
    desk.ui.batchStartButton.click()
    harness.process_events(lambda: desk.batch.rows[1].state == "running", 300)
    desk.ui.batchStopButton.click()
    harness.process_events(lambda: not desk.batch.running, 60)
    assert [row.state for row in desk.batch.rows] == ["done", "stopped", "stopped"]
    out = tmp_path / "results ü" / "relapet-tiny-latent"
    assert len(list(out.rglob("*_record.json"))) == 1 == len(list(out.rglob("*desc-synthetic_pet.nii.gz")))
    assert not children() - before
    desk.batch.show(0)
    assert desk.results.found is not None
