"""*Synthesize PET* on a patient or study; Slicer's half of the plugin is stood in for (`hierarchyplugins`)."""

import pytest
from slicer_cases import add_patient, add_scan
from slicer_module import FakeProcess

DAY, LATER = "20240102", "20250304"


@pytest.fixture
def menu(widget, harness, slicer, tmp_path):
    """Texts and actions of a right click on an item."""
    widget.batch.makeProcess = FakeProcess
    widget.ui.batchFolderEdit.text = str(tmp_path / "results")
    harness.startup_completed()
    handler = slicer.qSlicerSubjectHierarchyPluginHandler.instance()
    assert [plugin.name for plugin in handler.registeredPlugins()] == ["RelAPET"]
    return lambda item: {action.text: action for action in handler.right_click(item)}


def study_of(slicer, volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(volume), "Study")


def test_where_it_is_offered(menu, slicer):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient, made = add_patient("Doe^John", [DAY])
    other, _ = add_patient("Roe^Jane", [DAY], contents=("CT head",))
    assert set(menu(patient)) == set(menu(study_of(slicer, made[DAY, "T1w"]))) == {"Synthesize PET"}
    loose = hierarchy.CreateItem(hierarchy.GetSceneItemID(), add_scan("T1w"))
    for item in (other, loose, hierarchy.GetItemByDataNode(made[DAY, "T1w"]), hierarchy.GetSceneItemID(), 0):
        assert menu(item) == {}


def test_a_study_fills_the_panel(menu, widget, harness, slicer):
    _, made = add_patient("Doe^John", [DAY, LATER])
    add_patient("Roe^Jane", [DAY])
    harness.process_events()
    menu(study_of(slicer, made[DAY, "T1w"]))["Synthesize PET"].trigger()
    harness.process_events()
    assert harness.recorder.selected_modules == ["RelAPET"]
    assert widget.parameters.t1w is made[DAY, "T1w"] and widget.parameters.t2f is made[DAY, "FLAIR"]
    assert "2024-01-02: chosen. Press Synthesize." in widget.ui.statusLabel.text
    assert widget.ui.synthesizeButton.enabled and widget.ui.batchSection.collapsed


def test_a_patient_with_several_studies_is_listed(menu, widget, harness):
    patient, _ = add_patient("Doe^John", [DAY, LATER])
    add_patient("Roe^Jane", [DAY])
    menu(patient)["Synthesize PET"].trigger()
    assert [row.pair.day for row in widget.batch.rows] == ["2024-01-02", "2025-03-04"]
    assert widget.batch.ticked() == [0, 1] and not widget.ui.batchSection.collapsed
    assert "2 studies are listed" in widget.ui.statusLabel.text


def test_a_study_without_a_pair_says_why(menu, widget, harness):
    patient, made = add_patient("Doe^John", [DAY], contents=("T1w",))
    widget.parameters.t1w = widget.parameters.t2f = None
    menu(patient)["Synthesize PET"].trigger()
    assert "no T2-FLAIR" in widget.ui.statusLabel.text and widget.parameters.t1w is None


def test_while_something_runs_nothing_changes(menu, widget, harness, slicer):
    patient, _ = add_patient("Doe^John", [DAY])
    add_patient("Roe^Jane", [DAY])
    widget.ui.findPairsButton.click()
    widget.ui.batchStartButton.click()
    menu(patient)["Synthesize PET"].trigger()
    assert "wait" in widget.ui.statusLabel.text and len(widget.batch.rows) == 2
    widget.batch.stopNow()


def test_a_slicer_without_such_plugins_starts_all_the_same(widget, harness, slicer, monkeypatch, caplog):
    monkeypatch.setattr(slicer, "qSlicerSubjectHierarchyPluginHandler", None)
    with caplog.at_level("INFO"):
        harness.startup_completed()
    monkeypatch.undo()
    assert "Find pairs" in caplog.text
