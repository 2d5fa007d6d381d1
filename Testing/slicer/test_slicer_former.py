"""Nothing of a former patient or a former result is left in the panel: after a scene close, another T1w, a new run."""

import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
from slicer_cases import add_scan, run, write_results
from slicer_module import FakeProcess, load_part

# The scene is closed


def end_late(process):
    """The child process ends well, although nobody waits for it any more; one that was stopped has ended before."""
    if not process.waited:
        process.end("done", "done", result={"instances": {"a.dcm": "1.2"}})


def test_a_simulated_person_does_not_come_into_the_next_scene(widget, harness, monkeypatch):
    made = []
    monkeypatch.setattr(load_part("sampledata"), "loadPerson", lambda *_: made.append(1) or [add_scan("x")] * 3)
    widget.ui.phantomButton.click()
    process = FakeProcess.made[-1]
    harness.clear_scene()
    assert process.waited and not widget.tasks.running and widget.ui.progressBar.isHidden()
    assert "Simulating: cancelled" in widget.ui.statusLabel.text
    chosen = add_scan("sub-7_T1w"), add_scan("sub-7_FLAIR")
    widget.inputs.choose(*chosen)
    end_late(process)
    harness.process_events()
    assert (widget.parameters.t1w, widget.parameters.t2f) == chosen and not made
    assert not Path(process.option("--out")).parent.exists()


@pytest.fixture
def exported(widget, tmp_path):
    """A shown result that can be exported, and what is opened in a browser or taken into the database."""
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    found = run(widget, write_results(tmp_path / "made"))
    record = load_part("attributes").readDict(found.pet, "RelAPET.Provenance")
    found.pet.SetAttribute("RelAPET.Provenance", load_part("scene").json.dumps(record | {"outputs": {}}))
    return widget.results.exports


def test_a_report_is_not_opened_in_the_next_scene(widget, harness, exported, monkeypatch):
    opened, service = [], load_part("exportpanel").qt.QDesktopServices
    monkeypatch.setattr(service, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    exported.onPage()
    FakeProcess.made[-1].end("done", "done")
    exported.onPage()
    process = FakeProcess.made[-1]
    folders = [Path(opened[0]).parent, Path(process.option("--out")).parent]
    assert all(folder.is_dir() for folder in folders)
    harness.clear_scene()
    assert process.waited and not any(folder.exists() for folder in folders), "a page shows a brain"
    end_late(process)
    assert len(opened) == 1 and "Report: cancelled" in widget.ui.statusLabel.text


def test_dicom_of_a_closed_scene_goes_nowhere(widget, harness, slicer, exported, monkeypatch):
    taken = []
    monkeypatch.setattr(slicer, "dicomDatabase", type("Open", (), {"isOpen": True})(), raising=False)
    monkeypatch.setattr(exported, "_take", lambda *what: taken.append(what))
    exported.exportToDatabase()
    process = FakeProcess.made[-1]
    assert process.arguments[0] == "dicom"
    harness.clear_scene()
    assert process.waited and not Path(process.option("--out")).parent.exists()
    end_late(process)
    assert not taken


def test_a_download_goes_on_over_a_closed_scene(widget, harness):
    """It is of no patient, and may have taken long already."""
    widget.tasks.start("Download", ["models", "fetch", "x"], lambda ending: None)
    harness.clear_scene()
    assert widget.tasks.running and not FakeProcess.made[-1].cancelled and widget.ui.statusLabel.text == ""


def test_the_log_of_a_closed_scene_is_gone(widget, harness, scans):
    """It names the patient's volumes; an end that comes with the close names them, too."""
    widget.say("'DOE^JANE T1w' is odd")
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].onLog("warning: 'DOE^JANE T1w' is odd")
    harness.clear_scene()
    assert widget.ui.logText.toPlainText() == "" and "JANE" not in widget.ui.statusLabel.text


def test_the_log_of_the_self_test_outlives_its_scenes(widget, harness, monkeypatch):
    """It closes one itself, and its report has the log of all steps."""
    widget.log("made")
    monkeypatch.setattr(type(widget.selfTest), "running", True)
    harness.clear_scene()
    assert widget.ui.logText.toPlainText() == "made"


def close_soon(slicer):
    """The scene is closed as soon as Slicer hears of anything."""
    import qt

    qt.QTimer.singleShot(0, lambda: slicer.mrmlScene.Clear(0))


def test_closed_before_a_synthesis_begins(widget, harness, slicer):
    """Its results would come into the next scene."""
    widget.inputs.choose(add_scan("A_T1w"), add_scan("A_FLAIR"))
    harness.process_events()
    close_soon(slicer)
    made = len(FakeProcess.made)
    widget.ui.synthesizeButton.click()
    assert len(FakeProcess.made) == made and not widget.logic.running and widget.parameters.t1w is None
    assert "Not begun" in widget.ui.statusLabel.text and widget.ui.progressBar.isHidden()
    assert widget.ui.synthesizeButton.text == "Synthesize" and not widget.ui.synthesizeButton.enabled


def test_closed_before_the_sample_is_chosen(widget, slicer, monkeypatch):
    def download():
        close_soon(slicer)
        return [add_scan("T1w"), add_scan("FLAIR")]

    monkeypatch.setattr(load_part("sampledata"), "downloadSample", download)
    widget.ui.sampleButton.click()
    assert widget.parameters.t1w is None and widget.ui.sampleButton.enabled
    assert "Loaded" not in widget.ui.statusLabel.text


def test_closed_before_results_of_a_batch_are_read(widget, slicer, monkeypatch):
    read = []
    widget.inputs.choose(add_scan("A_T1w"), add_scan("A_FLAIR"))
    widget.batch.find()
    key = load_part("batchfolder").keyOf(widget.batch.rows[0].pair)
    folder = SimpleNamespace(known=lambda: {key: ("001", "1")}, records=lambda who: {"TAU": None})
    monkeypatch.setattr(widget.batch, "folder", lambda: folder)
    monkeypatch.setattr(load_part("batchresults"), "load", lambda *what: read.append(what) or {})
    close_soon(slicer)
    widget.batch.show(0)
    assert not read and not widget.batch.rows and "Reading" not in widget.ui.statusLabel.text


def held():
    """Volumes that somebody holds in Python."""
    return [each for each in gc.get_objects() if type(each).__name__ == "vtkMRMLScalarVolumeNode"]


def test_neither_words_nor_nodes_outlive_the_scene(widget, harness, slicer, tmp_path):
    widget.inputs.choose(add_scan("sub-JANE_T1w"), add_scan("sub-JANE_FLAIR"))
    run(widget, write_results(tmp_path / "made"))
    widget.batch.find()
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", "'sub-JANE_T1w' is odd", acceptedBy="--force")
    assert held()
    labels = [each for name, each in vars(widget.ui).items() if name.endswith("Label")]
    assert len([label for label in labels if "JANE" in label.text]) >= 3
    FakeProcess.made.clear()
    harness.clear_scene()
    gc.collect()
    assert not [label.text for label in labels if "JANE" in label.text]
    assert widget.ui.resultSelector.count == widget.ui.batchTable.rowCount == 0
    assert not [node.GetName() for node in held() if "JANE" in node.GetName()]


# Another T1w


def by_hand(widget, **volumes):
    """Choose in the selectors, as a user does."""
    for role, node in volumes.items():
        setattr(widget.parameters, role, node)
        widget.inputs._onActivated(role, node)


@pytest.fixture
def measured(widget, harness, slicer):
    """Chooses a T1w, a FLAIR and a measured PET of the given names, with a resolution."""

    def make(t1w="A_T1w", pet="A_pet"):
        harness.process_events()
        by_hand(widget, t1w=add_scan(t1w), t2f=add_scan("A_FLAIR"))
        widget.parameters.reference = add_scan(pet)
        widget.parameters.referenceFwhm = 6.0
        harness.process_events()
        return widget.parameters.reference

    return make


@pytest.mark.parametrize(
    ("t1w", "pet", "other", "how", "stays"),
    [
        ("A_T1w", "A_pet", "B_T1w", "at once", False),
        ("sub-7_T1w", "pet", "sub-7_run-2_T1w", "at once", True),
        ("sub-7_ses-1_T1w", "pet", "sub-8_ses-1_T1w", "at once", False),
        ("sub-7_T1w", "pet", "sub-7_run-2_T1w", "deleted", False),  # nobody can tell any more whose the T1w was
        ("A_T1w", "sub-8_pet", "sub-8_T1w", "deleted", True),
    ],
)
def test_a_measured_pet_goes_with_its_person(widget, slicer, harness, measured, t1w, pet, other, how, stays):
    pet = measured(t1w, pet)
    if how == "deleted":
        slicer.mrmlScene.RemoveNode(widget.parameters.t1w)
        harness.process_events()
    by_hand(widget, t1w=add_scan(other))
    harness.process_events()
    node, note = widget.parameters, widget.ui.inputsNoteLabel.text
    assert (node.reference, node.referenceFwhm) == ((pet, 6.0) if stays else (None, 0.0))
    assert ("is not chosen any more" in note and pet.GetName() in note) == (not stays)
    node.reference = pet
    assert node.reference is pet and "any more" not in widget.ui.inputsNoteLabel.text, "the user knows better"


def test_a_resolution_goes_with_its_measured_pet(widget, harness, measured):
    """Of the same person and T1w too: a z-score by another scanner's resolution would be shown as this one's."""
    pet, node = measured(), widget.parameters
    assert "resolution" not in widget.ui.inputsNoteLabel.text
    node.reference = None
    harness.process_events()
    node.reference = pet
    harness.process_events()
    assert node.referenceFwhm == 6.0, "the same one again"
    node.reference = add_scan("A_pet_2")
    harness.process_events()
    assert node.referenceFwhm == 0.0 and widget.request().referenceFwhm == 0.0
    assert "resolution of the measured PET 'A_pet_2' is not known" in widget.ui.inputsNoteLabel.text
    node.referenceFwhm = 4.0
    harness.process_events()
    assert node.referenceFwhm == 4.0 and "resolution" not in widget.ui.inputsNoteLabel.text
    node.reference = pet
    harness.process_events()
    assert node.referenceFwhm == 0.0, "what it had is forgotten, not guessed"


def test_a_measured_pet_waits_for_its_t1w(widget, harness, measured):
    """The T1w is taken away and comes back; or it is chosen after the PET."""
    pet, t1w = measured(), widget.parameters.t1w
    for other in (None, t1w):
        by_hand(widget, t1w=other)
        harness.process_events()
        assert widget.parameters.reference is pet and widget.parameters.referenceFwhm == 6.0
    by_hand(widget, t1w=None)
    widget.enter()
    by_hand(widget, t1w=add_scan("B_T1w"))
    assert widget.parameters.reference is None


def test_a_scene_that_is_loaded_keeps_its_measured_pet(widget, harness, slicer, measured, tmp_path):
    """Also over another one that is open."""
    measured()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    harness.clear_scene()
    measured("B_T1w", "B_pet")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    harness.process_events()
    assert widget.parameters.t1w.GetName() == "A_T1w"
    assert widget.parameters.reference.GetName() == "A_pet" and widget.parameters.referenceFwhm == 6.0
    by_hand(widget, t1w=slicer.util.getNode("B_T1w"))
    assert widget.parameters.reference is None and widget.parameters.referenceFwhm == 0.0
