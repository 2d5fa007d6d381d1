"""Taking results over: a volume an event turn, announced, the panel alive between; never half of it in the scene."""

import pytest
from slicer_cases import add_scan, done, nodes_of, write_results
from slicer_module import FakeProcess, load_part


@pytest.fixture
def ending(widget, scans, tmp_path):
    """A run whose process has just ended well, with nothing of its results taken over yet; the folder's path."""
    widget.ui.synthesizeButton.click()
    folder = write_results(tmp_path / "results")
    files = {path.name: str(path) for path in folder.iterdir()}
    FakeProcess.made[-1].end("done", "done", result={"folder": str(folder), "files": files})
    return folder


@pytest.fixture
def reads(monkeypatch):
    """Files that were read, in their order."""
    module, found = load_part("resultfiles"), []
    before = module.readVolume
    monkeypatch.setattr(module, "readVolume", lambda path, *rest: (found.append(path.name), before(path, *rest)))
    return found


def turns(harness, until):
    """Event turns, which have a pause between them, until something is so."""
    harness.process_events(until, 30)


def test_each_volume_is_announced_before_its_own_turn(widget, harness, slicer, scans, tmp_path, reads):
    import qt

    before, heard, ticks = nodes_of(slicer), [], []
    timer = qt.QTimer()
    timer.setInterval(0)
    timer.connect("timeout()", lambda: ticks.append((len(reads), nodes_of(slicer) == before)))
    widget.ui.synthesizeButton.click()
    told = widget.onProgress
    widget.onProgress = lambda *said: (heard.append((said[1], len(reads))), told(*said))
    timer.start()
    done(FakeProcess.made[-1], _result(write_results(tmp_path / "results")))
    timer.stop()
    volumes = [(words, count) for words, count in heard if "taking over volume" in words]
    assert [count for _words, count in volumes] == [0, 1, 2, 3], "told before it is read, one at a time"
    assert volumes[0][0] == "taking over volume 1 of 4: SYNTHETIC TAU PET"
    assert {count for count, _same in ticks} >= {1, 2, 3}, "Qt goes on between two volumes"
    assert all(same for count, same in ticks if count < 4), "nothing is in the scene before all are read"
    assert "Done" in widget.ui.statusLabel.text


def _result(folder):
    return {"folder": str(folder), "files": {path.name: str(path) for path in folder.iterdir()}}


@pytest.mark.parametrize("number", [0, 1, 3])
def test_cancel_between_two_volumes_leaves_nothing(widget, harness, slicer, ending, reads, number):
    before = nodes_of(slicer)
    turns(harness, lambda: len(reads) >= number)
    assert widget.ui.synthesizeButton.text == "Cancel" and widget.logic.running
    widget.ui.synthesizeButton.click()
    harness.process_events(lambda: not widget.logic.running)
    assert len(reads) == number and nodes_of(slicer) == before
    assert "nothing was changed" in widget.ui.statusLabel.text and widget.ui.synthesizeButton.text == "Synthesize"


def test_closing_the_scene_between_two_volumes(widget, harness, slicer, ending, reads):
    turns(harness, lambda: len(reads) == 2)
    harness.clear_scene()
    assert not widget.logic.running
    harness.process_events()
    assert len(reads) == 2 and not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def test_closing_slicer_between_two_volumes(widget, harness, slicer, ending, reads):
    before = nodes_of(slicer)
    turns(harness, lambda: len(reads) == 2)
    slicer.app.aboutToQuit.emit()
    assert not widget.logic.running and nodes_of(slicer) == before


def test_cancel_after_the_volumes_are_in_the_scene_is_too_late(widget, harness, slicer, ending):
    """The words 'nothing was changed' would be wrong then."""
    turns(harness, lambda: widget.logic._run._taking.placed is not None)
    widget.logic.cancel()
    harness.process_events(lambda: not widget.logic.running)
    assert "Done" in widget.ui.statusLabel.text and widget.results.found.pet is not None


def test_a_damaged_last_volume_leaves_nothing(widget, harness, slicer, ending, reads):
    before = nodes_of(slicer)
    (ending / "difference.nii.gz").write_bytes(b"no image")
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        harness.process_events(lambda: not widget.logic.running)
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()
    assert len(reads) == 4 and "could not be taken over" in widget.ui.statusLabel.text and nodes_of(slicer) == before


def test_inputs_deleted_between_two_volumes_are_done_without(widget, harness, slicer, scans, ending, reads):
    turns(harness, lambda: len(reads) == 1)
    slicer.mrmlScene.RemoveNode(scans[0])
    harness.process_events(lambda: not widget.logic.running)
    assert widget.results.found.pet is not None and widget.results.found.mri is None


def test_no_display_node_computes_a_window_of_its_own(widget, harness, slicer, ending):
    harness.process_events(lambda: not widget.logic.running)
    for node in widget.results.found.volumes.values():
        assert not node.GetDisplayNode().GetAutoWindowLevel()


def test_a_fingerprint_is_of_the_voxels_and_taken_once(harness, slicer, monkeypatch):
    import hashlib
    import json

    history = load_part("history")
    volume = add_scan("T1w")
    values = slicer.util.arrayFromVolume(volume)
    wanted = hashlib.sha256(json.dumps([str(values.dtype), values.shape]).encode() + values.tobytes()).hexdigest()
    assert history.fingerprint(volume)["voxels"] == wanted, "as scenes that were saved before have it"
    monkeypatch.setattr(history.slicer.util, "arrayFromVolume", lambda node: pytest.fail("computed again"))
    assert history.fingerprint(volume)["voxels"] == wanted
    monkeypatch.undo()
    slicer.util.arrayFromVolume(volume)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(volume)
    assert history.fingerprint(volume)["voxels"] != wanted
