"""Results that come back with a scene: what made them, and what has changed since."""

import gc
import json

import numpy as np
import pytest
from slicer_cases import add_scan, reopened, run, write_results
from slicer_module import load_part


@pytest.fixture
def made(widget, scans, tmp_path):
    """A function that makes a result whose record says more, and returns it."""

    def make(**record):
        folder = write_results(tmp_path / "made")
        content = json.loads((folder / "synthetic_pet.json").read_text(encoding="utf-8"))
        content |= {"created": "2026-11-28T10:00:00+00:00", "versions": {"relapet": "0.1.0"}, **record}
        (folder / "synthetic_pet.json").write_text(json.dumps(content), encoding="utf-8")
        return run(widget, folder)

    return make


def demo(widget):
    return next(entry for entry in widget.models.entries if entry["name"] == "demo")


def test_a_result_says_what_made_it(widget, made):
    assert not widget.ui.historyLabel.visible
    made()
    said = widget.ui.historyLabel.text
    assert "Made with model toy 1 on 2026-11-28 by RelAPET 0.1.0." in said and "<b" not in said


def test_the_same_in_a_scene_that_is_opened_again(widget, slicer, harness, made, tmp_path):
    weights = demo(widget)["weights_sha256"]
    made(model={"name": "demo", "version": "3", "weights_sha256": weights})
    reopened(slicer, harness, tmp_path)
    found = widget.results.found
    assert found.pet.GetAttribute("RelAPET.Synthetic") == "1" and found.measured is not None
    assert widget.ui.historyLabel.text.startswith("<span>Made with model demo 3 on 2026-11-28")
    assert "<b" not in widget.ui.historyLabel.text, "nothing has changed"


def test_another_model_of_the_same_name(widget, made):
    made(model={"name": "demo", "version": "1", "weights_sha256": "0" * 64})
    assert "Model 'demo' has changed since" in widget.ui.historyLabel.text


def test_a_model_that_is_not_here(widget, made):
    made(model={"name": "theirs <b>", "version": "1", "weights_sha256": "0" * 64})
    assert "Model 'theirs &lt;b>', which made this, is not on this computer." in widget.ui.historyLabel.text


@pytest.mark.parametrize("change", ["voxels", "moved", "under a transform"])
def test_an_input_that_has_changed_since(widget, slicer, harness, scans, made, tmp_path, change):
    made()
    reopened(slicer, harness, tmp_path)
    t1w = widget.parameters.t1w
    widget.updatePanel()
    assert "<b" not in widget.ui.historyLabel.text
    if change == "voxels":
        slicer.util.arrayFromVolume(t1w)[3, 3, 3] += 1
        slicer.util.arrayFromVolumeModified(t1w)
    elif change == "moved":
        t1w.SetOrigin(0.0, 0.0, 0.5)
    else:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
        slicer.util.updateTransformMatrixFromArray(transform, np.array(np.eye(4) + np.eye(4, k=3) * 2))
        t1w.SetAndObserveTransformNodeID(transform.GetID())
    widget.updatePanel()
    assert "'T1w', the T1w that this was made from, has changed or moved since." in widget.ui.historyLabel.text


def test_a_result_of_another_t1w_says_so(widget, scans, tmp_path):
    """Tables, reports and DICOM are of the shown result, whoever is chosen above."""
    run(widget, write_results(tmp_path / "made"))
    label = widget.ui.historyLabel
    assert "not of the T1w" not in label.text
    widget.parameters.t1w = add_scan("T1w of somebody else")
    assert "This result is of 'T1w', not of the T1w that is chosen above." in label.text
    widget.parameters.t1w = None
    assert "not of the T1w" not in label.text


def test_an_input_that_has_gone(widget, slicer, scans, made):
    made()
    slicer.mrmlScene.RemoveNode(scans[1])
    widget.updatePanel()
    assert "The T2-FLAIR that this was made from is not in the scene." in widget.ui.historyLabel.text


def test_results_of_earlier_versions_say_less(widget, made):
    """They carry no fingerprints, and damaged records none that can be read."""
    pet = made().pet
    for name in ("RelAPET.Inputs", "RelAPET.Provenance", "RelAPET.Model"):
        pet.SetAttribute(name, None)
    history = load_part("history")
    assert history.changes(pet, widget.models.entries) == []
    assert history.madeWith(pet) == "Made with model that it does not name."


DAMAGED = ("{", "[1]", "7", '{"t1w": [1], "created": 5, "versions": [], "verdict": "x", "outputs": {"pet": 1}}')


@pytest.mark.parametrize("damaged", DAMAGED)
def test_damaged_records_stop_nothing(widget, made, slicer, harness, tmp_path, damaged):
    """Whatever an attribute of a scene holds, the panel shows the PET and goes on."""
    pet = made().pet
    for name in ("Inputs", "Provenance", "Window", "Sidecar"):
        pet.SetAttribute(f"RelAPET.{name}", damaged)
        widget.parameters.t1w.SetAttribute(f"RelAPET.{name}", damaged)
    reopened(slicer, harness, tmp_path)
    pet = widget.results.found.pet
    assert load_part("history").changes(pet, widget.models.entries) == []
    widget.updatePanel()
    widget.results.show("pet")
    with pytest.raises(load_part("scene").SceneError, match="record of how it was made is damaged"):
        load_part("export").Export(widget.results.found, tmp_path).prepare()
    load_part("scene").writeVolume(widget.parameters.t1w, tmp_path / "t1w.nrrd")
    load_part("scene").writeSidecar(widget.parameters.t1w, tmp_path / "t1w.nrrd")


UNREADABLE = {
    "tracer": "FDG", "sex": "X", "space": "TALAIRACH", "shown": "SUM", "steps": "many", "samples": "999",
    "opacity": "x", "seed": "1e30",
}  # fmt: skip


@pytest.mark.parametrize("entered", [True, False])
def test_a_scene_of_a_later_version_opens(widget, harness, slicer, made, tmp_path, caplog, entered):
    """What this version does not know has its default, and is told of; all else is as it was saved."""
    pet = made().pet
    widget.parameters.plane = load_part("parameters").Plane.CORONAL
    for attribute in ("Tracer", "Units", "Run"):
        pet.SetAttribute(f"RelAPET.{attribute}", "of a later version")
    node = widget.parameters.parameterNode
    widget.exit()
    widget.setParameterNode(None)
    gc.collect()
    for name, value in UNREADABLE.items():
        node.SetParameter(name, value)
    widget.parent.isEntered = entered
    reopened(slicer, harness, tmp_path)
    widget.enter()
    defaults = load_part("parameters").RelAPETParameterNode(slicer.vtkMRMLScriptedModuleNode())
    parameters = widget.parameters
    for name in UNREADABLE:
        assert getattr(parameters, name) == getattr(defaults, name), name
        assert f"as {name}, which is left out" in caplog.text
    assert parameters.plane.name == "CORONAL" and parameters.output.GetName() == pet.GetName()
    for look in range(widget.ui.colorSelector.count):
        widget.ui.colorSelector.currentIndex = look
    for button in (
        widget.ui.showPetButton,
        widget.ui.compareButton,
        widget.ui.regionsButton,
        widget.ui.copyTableButton,
    ):
        button.click()
    assert "of a later version PET" in widget.ui.shownLabel.text


def contrast(one, two):
    """Contrast of two colours, "#rrggbb", after WCAG 2.1."""

    def light(color):
        parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    first, second = sorted((light(one), light(two)), reverse=True)
    return first / second


@pytest.mark.parametrize(("dark", "panel"), [(False, "#efefef"), (True, "#353535")])
def test_warnings_and_links_are_readable_on_light_and_dark_panels(widget, made, dark, panel):
    import qt

    words, palette = load_part("words"), qt.QPalette()
    palette.setColor(qt.QPalette.Window, qt.QColor(panel))
    palette.setColor(qt.QPalette.WindowText, qt.QColor("#ffffff" if dark else "#000000"))
    for label in (widget.ui.statusLabel, widget.ui.modelLabel, widget.ui.historyLabel):
        label.palette = palette
    assert contrast(words.tone(widget.ui.statusLabel, words.ALARM), panel) > 4.5
    widget.say("something went wrong")
    assert words.ALARM[dark] in widget.ui.statusLabel.text
    widget.models.showChoice()
    color = widget.ui.modelLabel.text.split("style='color:")[1][:7]
    assert contrast(color, panel) > 4.5
    widget.ui.inputsSection.enabled = False  # as while a synthesis runs
    widget.models.showChoice()
    assert widget.ui.modelLabel.text.split("style='color:")[1][:7] == color
