"""The Slicer module's panel, from what it allows to results in slicer-core's scene, over stand-in widgets.

The child process is stood in for here, so that the test says when it ends and how; `test_slicer_real.py` runs the real
one.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from slicer_cases import matrix_of, nodes_of, run, slice_marks
from slicer_module import FakeProcess, load_part, load_volume

from RelAPETLib.grid import image_to_array
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import read_volume

# What the panel allows


def test_synthesize_says_what_is_missing(widget, grid_case):
    button = widget.ui.synthesizeButton
    assert not button.enabled
    assert "choose a T1-weighted volume" in button.toolTip and "choose a T2-FLAIR volume" in button.toolTip
    volume = load_volume(grid_case["t1w"], "head")
    widget.ui.t1wSelector.setCurrentNode(volume)
    widget.ui.t2fSelector.setCurrentNode(volume)
    assert widget.parameters.t1w is volume
    assert not button.enabled and "are the same volume" in button.toolTip
    widget.ui.t2fSelector.setCurrentNode(load_volume(grid_case["t2f"], "head"))
    assert button.enabled and button.text == "Synthesize", button.toolTip


def test_a_model_that_is_not_installed_or_not_here(widget, pair):
    widget.parameters.model = "rela-diffusion"
    assert "not installed; press Download or Import" in widget.ui.synthesizeButton.toolTip
    facts = widget.ui.modelFactsLabel.text
    assert "relative (0 to 1), not SUVR" in facts and "Apache-2.0" in widget.ui.modelLabel.text
    assert "<b>Network calls a sample:</b> <span>20</span>" in facts
    assert widget.ui.modelInstallButton.enabled and not widget.ui.modelRemoveButton.enabled
    widget.parameters.model = "somebody's"
    assert "not here" in widget.ui.synthesizeButton.toolTip and not widget.ui.synthesizeButton.enabled
    assert "not here" in widget.ui.modelSelector.currentText
    widget.ui.modelSelector.currentIndex = widget.ui.modelSelector.findData("demo")
    assert widget.parameters.model == "demo" and widget.ui.synthesizeButton.enabled
    assert "simulated people only" in widget.ui.modelLabel.text and not widget.ui.modelRemoveButton.enabled


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sub-01_T1w", "sub-01_FLAIR"], (0, 1)),
        (["FLAIR_sag", "MPRAGE", "T2w"], (1, 0)),
        (["3: t1_mprage_sag", "5: t2_spc_da-fl_dark-fluid", "7: ep2d"], (0, 1)),
        (["T1 post Gd", "T1", "T2 FLAIR"], (1, 2)),
        (["CT head", "PET"], (None, None)),
        (["T2FLAIR T1 aligned"], (None, 0)),
        (["st123", "fl"], (None, None)),
    ],
)
def test_volumes_are_guessed_by_their_names(widget, slicer, grid_case, harness, names, expected):
    volumes = []
    for name in names:
        volumes.append(load_volume(grid_case["t1w"], name))
    guess = load_part("guessing").guessInputs(slicer.mrmlScene)
    assert guess == tuple(None if index is None else volumes[index] for index in expected)


def test_what_is_loaded_is_chosen_but_never_instead_of_a_choice(widget, harness, grid_case):
    first = load_volume(grid_case["t1w"], "a_T1w")
    load_volume(grid_case["t2f"], "a_FLAIR")
    harness.process_events()
    assert widget.parameters.t1w is first and widget.parameters.t2f.GetName() == "a_FLAIR"
    load_volume(grid_case["t1w"], "b_T1w")
    harness.process_events()
    assert widget.parameters.t1w is first


# From two volumes and a click to nodes


def test_the_request_becomes_the_command_line(widget, pair, grid_case):
    pet = load_volume(grid_case["pet"], "measured")
    p = widget.parameters
    p.reference, p.scaleReference, p.steps, p.samples, p.seed = pet, True, 7, 3, 11
    widget.ui.tracerSelector.currentIndex = 1
    widget.ui.synthesizeButton.click()
    (process,) = FakeProcess.made
    assert process.started and process.arguments[:2] == ["synthesize", "--no-report"]
    given = {name: process.option(f"--{name}") for name in ("tracer", "model", "steps", "samples", "seed", "space")}
    assert given == {"tracer": "PIB", "model": "demo", "steps": "7", "samples": "3", "seed": "11", "space": "t1w"}
    assert process.option("--reference-region") == "cerebellar_grey"
    for role, path in (("t1w", grid_case["t1w"]), ("t2f", grid_case["t2f"]), ("reference", grid_case["pet"])):
        written, original = read_volume(process.option(f"--{role}")), read_volume(path)
        np.testing.assert_array_equal(image_to_array(written), image_to_array(original))
        np.testing.assert_allclose(written.GetOrigin(), original.GetOrigin(), atol=1e-6)
    process.end("cancelled", "x")
    assert not Path(process.option("--t1w")).parent.exists(), "the temporary folder stays behind"


@pytest.fixture
def scans(widget, slicer):
    """Two small volumes, chosen; and the double click's time as it is for users."""
    t1w, t2f = (slicer.util.addVolumeFromArray(np.ones((4, 4, 4), np.float32), name=n) for n in ("T1 A&B", "<b>FLAIR"))
    widget.parameters.t1w, widget.parameters.t2f = t1w, t2f
    return t1w, t2f


@pytest.fixture
def slow_hand(widget, monkeypatch):
    """Clicks as close together as in a test are those of a double click; returns how to wait for longer."""
    module, now = load_part("widget"), [100.0]
    monkeypatch.setattr(module.RelAPETWidget, "doubleClick", 1.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait():
        now[0] += 1.5

    return wait


def test_a_double_click_does_not_cancel(slow_hand, widget, scans):
    slow_hand()
    button = widget.ui.synthesizeButton
    button.click()
    button.click()
    (process,) = FakeProcess.made
    assert not process.cancelled and button.text == "Cancel" and button.enabled
    slow_hand()
    button.click()
    button.click()
    assert process.cancelled and "Cancelling" in widget.ui.statusLabel.text
    process.end("cancelled", "cancelled")
    button.click()
    assert len(FakeProcess.made) == 1, "the second click of Cancel starts nothing"
    slow_hand()
    button.click()
    assert len(FakeProcess.made) == 2
    FakeProcess.made[1].end("cancelled", "x")


def test_a_click_while_the_run_starts_starts_no_other(widget, scans, slicer, monkeypatch):
    """The panel lets Qt go on before it writes the volumes, and a second click comes in then."""
    process_events = slicer.app.processEvents
    monkeypatch.setattr(
        type(slicer.app), "processEvents", lambda *_: (widget.ui.synthesizeButton.click(), process_events())
    )
    widget.ui.synthesizeButton.click()
    (process,) = FakeProcess.made
    assert widget.logic.running and not process.cancelled and not widget.ui.progressBar.isHidden()
    monkeypatch.undo()
    process.end("cancelled", "x")


def test_a_second_click_simulates_no_second_person(widget):
    widget.ui.phantomButton.click()
    widget.ui.phantomButton.click()
    (process,) = FakeProcess.made
    process.end("cancelled", "x")


def test_messages_show_names_as_they_are(widget, scans):
    """A name's markup is shown, not obeyed; the log is plain text."""
    widget.ui.synthesizeButton.click()
    (process,) = FakeProcess.made
    process.onProgress(0.1, "reading 'A&B' <b>", None)
    assert "reading 'A&amp;B' &lt;b>" in widget.ui.statusLabel.text
    process.onLog("warning: '<b>FLAIR'")
    assert "warning: '<b>FLAIR'" in widget.ui.logText.toPlainText()
    problem = "'A&B' and '<b>FLAIR' lie apart"
    process.end("refused", f"{problem}; check the files", acceptedBy="--force", problem=problem)
    assert "'A&amp;B' and '&lt;b>FLAIR' lie apart." in widget.ui.questionLabel.text
    widget.ui.questionYesButton.click()
    FakeProcess.made[-1].end("failed", "'A&B': a <b>tag</b>")
    assert "'A&amp;B': a &lt;b>tag&lt;/b>" in widget.ui.statusLabel.text
    assert "'A&B': a <b>tag</b>" in widget.ui.logText.toPlainText()


def test_labels_that_show_escaped_words_are_rich_text(widget, scans):
    """Where Qt decides by itself, "A &amp; B" without a tag is shown as it stands here."""
    import qt

    ui = widget.ui
    for label in (ui.statusLabel, ui.questionLabel, ui.installLabel, ui.exportLabel, ui.modelLabel, ui.inputsNoteLabel):
        assert label.textFormat == qt.Qt.RichText, label.objectName
    widget.parameters.t2f = widget.parameters.t1w
    widget.parameters.model = "<i>A&B"
    assert "model '&lt;i>A&amp;B' is not here" in ui.synthesizeButton.toolTip


def test_results_in_the_scene(widget, slicer, pair, saved):
    t1w, _ = pair
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    item = hierarchy.GetItemByDataNode(t1w) or hierarchy.CreateItem(study, t1w)
    hierarchy.SetItemParent(item, study)
    found = run(widget, saved, keep=lambda name: "space-MNI" not in name)
    assert widget.parameters.output is found.pet and set(found.volumes) == {
        "pet",
        "measured",
        "uncertainty",
        "difference",
    }
    for kind, stem in (("pet", "synthetic_pet"), ("uncertainty", "uncertainty"), ("difference", "difference")):
        node = found.volumes[kind]
        assert "SYNTHETIC" in node.GetName() and "patient T1w" in node.GetName()
        np.testing.assert_array_equal(matrix_of(node), matrix_of(t1w))
        expected = image_to_array(read_volume(saved / f"{stem}.nii.gz"))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node).T, expected)
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
        assert node.GetVoxelValueUnits().GetCodeValue() == "1"
        assert "SUVR" in node.GetVoxelValueQuantity().GetCodeValue()
        assert node.GetAttribute("RelAPET.Synthetic") == "1" and node.GetStorageNode() is None
    assert "not the error" in found.uncertainty.GetAttribute("RelAPET.Meaning")
    assert '"weights_sha256"' in found.pet.GetAttribute("RelAPET.Provenance")
    assert "Done" in widget.ui.statusLabel.text and "guess" in widget.ui.statusLabel.text
    assert widget.ui.synthesizeButton.text == "Synthesize" and not widget.ui.progressBar.visible


def test_colours_windows_and_layers(widget, slicer, pair, saved):
    t1w, _ = pair
    found = run(widget, saved)
    pet, difference, spread = (found.volumes[kind].GetDisplayNode() for kind in ("pet", "difference", "uncertainty"))
    ends = pet.GetWindowLevelMin(), pet.GetWindowLevelMax()
    assert ends == pytest.approx(TRACERS["TAU"].every_look[0].window) and not pet.GetAutoWindowLevel()
    assert pet.GetColorNode().GetName() == "RelAPET rainbow"
    assert difference.GetWindowLevelMin() == -difference.GetWindowLevelMax() == -0.5
    table = difference.GetColorNode().GetLookupTable()
    assert table.GetTableValue(127)[3] == 0 and table.GetTableValue(255)[3] == table.GetTableValue(0)[3] == 1
    assert table.GetTableValue(255)[0] > table.GetTableValue(255)[2] and table.GetTableValue(0)[2] == 1
    assert spread.GetWindowLevelMin() == 0
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(composites) == 3
    for composite in composites:
        assert composite.GetBackgroundVolumeID() == t1w.GetID() and composite.GetLinkedControl()
        assert composite.GetForegroundVolumeID() == found.pet.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    widget.ui.opacitySlider.value = 0.25
    assert {c.GetForegroundOpacity() for c in composites} == {0.25} and widget.parameters.opacity == 0.25
    for button, node in (
        (widget.ui.showDifferenceButton, found.difference),
        (widget.ui.showUncertaintyButton, found.uncertainty),
        (widget.ui.showPetButton, found.pet),
        (widget.ui.showMriButton, None),
    ):
        button.click()
        assert {c.GetForegroundVolumeID() for c in composites} == {node.GetID() if node else None}
        assert button.checked


def test_a_departure_has_its_own_colours_legend_and_words(widget, slicer, pair, departed):
    found = run(widget, departed)
    assert set(found.volumes) == {"pet", "uncertainty", "departure"}
    node = found.departure
    display = node.GetDisplayNode()
    assert "not a disease map" in node.GetName() and "not a disease map" in node.GetAttribute("RelAPET.Meaning")
    assert node.GetVoxelValueQuantity().GetCodeValue() == "DEPARTURE"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-3.0, 3.0)
    table = display.GetColorNode().GetLookupTable()
    light = [sum(table.GetTableValue(index)[:3]) for index in range(256)]
    assert table.GetTableValue(127)[3] == 0 and table.GetTableValue(255)[3] == table.GetTableValue(0)[3] == 1
    low, high = table.GetTableValue(0), table.GetTableValue(255)
    assert low[2] > low[0] > low[1] and high[0] > high[1] > high[2], "purple below, orange above"
    assert light[:115] == sorted(light[:115], reverse=True) and light[141:] == sorted(light[141:]), "lighter outwards"
    widget.ui.showDepartureButton.click()
    assert widget.ui.showDepartureButton.checked and widget.parameters.shown.value == "departure"
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {c.GetForegroundVolumeID() for c in composites} == {node.GetID()}
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "TAU\nSD" and legend.GetVisibility()
    words = widget.ui.shownLabel.text
    assert "what this MRI changed against the mean of synthetic TAU PET of the training people" in words
    assert "not a disease map" in words and "-3 to 3 SD" in words and "50 simulated training people" in words
    assert slice_marks(slicer) == {"SYNTHETIC TAU: departure\nnot a disease map\nresearch only"}


def test_a_model_without_norms_has_no_departure_to_show(widget, slicer, pair, saved):
    found = run(widget, saved)
    assert found.departure is None and not widget.ui.showDepartureButton.enabled
    assert "not in this model" in widget.ui.showDepartureButton.toolTip


def test_the_legend_is_that_of_what_is_shown(widget, slicer, pair, saved):
    found = run(widget, saved)
    legend = {kind: slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node) for kind, node in found.volumes.items()}
    assert {node.GetTitleText() for node in legend.values()} == {"TAU\nSUVR"}, "which map it is, the mark says"
    for kind in legend:
        widget.results.show(kind)
        assert {name for name, node in legend.items() if node.GetVisibility()} == {kind}
    widget.ui.showMriButton.click()
    assert not any(node.GetVisibility() for node in legend.values())


def test_views_say_synthetic_whenever_they_show_it(widget, slicer, pair, saved):
    found = run(widget, saved)
    assert slice_marks(slicer) == {"SYNTHETIC TAU PET\nresearch only"}
    widget.ui.showUncertaintyButton.click()
    (text,) = slice_marks(slicer)
    assert "spread of samples" in text and "not the error" in text
    widget.ui.showMriButton.click()
    assert slice_marks(slicer) == {""}
    slicer.util.setSliceViewerLayers(background=found.pet)  # by hand, in another module
    assert slice_marks(slicer) == {"SYNTHETIC TAU PET\nresearch only"}


def test_the_pet_is_seen_over_the_mri(widget, harness, slicer, pair, saved):
    from slicer_harness.rendering import slice_image

    run(widget, saved)
    widget.ui.showMriButton.click()
    mri = slice_image("Red", (200, 200), fit=True).astype(int)
    assert (mri[..., 0] == mri[..., 1]).all() and mri.max() > 50, "the MRI alone is grey"
    widget.ui.showPetButton.click()
    both = slice_image("Red", (200, 200)).astype(int)
    coloured = np.abs(both[..., 0] - both[..., 1]) > 20
    assert 0.1 < coloured.mean() < 0.7
    assert not coloured[:20, :20].any(), "nothing is coloured outside the head"
    assert both[~coloured].max() > 0 or mri[~coloured].max() == 0


def test_means_in_a_segmentation(widget, slicer, pair, saved):
    found = run(widget, saved)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(found.pet)
    labels = np.zeros(slicer.util.arrayFromVolume(found.pet).shape, np.uint8)
    labels[60:70, 80:90, 60:70] = 1
    label = slicer.util.addVolumeFromArray(labels, nodeClassName="vtkMRMLLabelMapVolumeNode")
    label.CopyOrientation(found.pet)
    logic = slicer.modules.segmentations.logic()
    logic.ImportLabelmapToSegmentationNode(label, segmentation)
    widget.parameters.segmentation = segmentation
    widget.ui.regionsButton.click()
    table = slicer.util.getNode("SYNTHETIC TAU means in mine")
    expected = slicer.util.arrayFromVolume(found.pet)[60:70, 80:90, 60:70].mean()
    assert float(table.GetCellText(0, 1)) == pytest.approx(expected, rel=1e-4)


def test_a_second_run_into_the_same_output_replaces_it(widget, slicer, pair, saved):
    found = run(widget, saved)
    before = nodes_of(slicer)
    identifiers = {kind: node.GetID() for kind, node in found.volumes.items()}
    again = run(widget, saved, keep=lambda name: not name.startswith("uncertainty"))
    assert again.pet.GetID() == identifiers["pet"] and again.uncertainty is None
    assert set(before) - set(nodes_of(slicer)) >= {identifiers["uncertainty"]}
    assert not widget.ui.showUncertaintyButton.enabled


def test_an_output_that_the_user_made_gets_the_word_into_its_name(widget, slicer, pair, saved):
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "my result")
    widget.parameters.output = own
    found = run(widget, saved)
    assert found.pet is own and own.GetName() == "SYNTHETIC my result"


def test_results_in_mni_space_lie_over_the_template(widget, slicer, pair, saved):
    widget.parameters.space = load_part("parameters").Space.MNI
    found = run(widget, saved)
    assert found.mri.GetName().startswith("MNI template T1")
    assert found.pet.GetImageData().GetDimensions() == (160, 180, 160)
    widget.parameters.output = None
    widget.parameters.space = load_part("parameters").Space.BOTH
    found = run(widget, saved)
    assert found.mri is pair[0]
    other = slicer.util.getNode("SYNTHETIC TAU PET (patient T1w, MNI space)_1")
    assert other.GetAttribute("RelAPET.Synthetic") == "1" and other.GetDisplayNode().GetWindowLevelMax() == 1.8
    widget.parameters.output = other
    assert not widget.ui.regionsButton.enabled, "the table stands beside the PET in the T1w's space"
    assert set(widget.results.found.volumes) == {"pet", "measured", "uncertainty", "difference"}
    assert widget.results.found.mri.GetName().startswith("MNI template T1")


def test_the_scene_keeps_choices_and_results(widget, harness, slicer, pair, saved, tmp_path):
    found = run(widget, saved)
    widget.parameters.seed = 42
    widget.ui.showDifferenceButton.click()
    values = slicer.util.arrayFromVolume(found.pet).copy()
    path = str(tmp_path / "Szene ü.mrb")
    assert slicer.util.saveScene(path)
    harness.clear_scene()
    assert widget.parameters.t1w is None and widget.parameters.seed == 0
    slicer.util.loadScene(path)
    harness.process_events()
    again = widget.results.found
    assert widget.parameters.seed == 42 and widget.parameters.t1w.GetName() == "patient T1w"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again.pet), values)
    assert set(again.volumes) == {"pet", "measured", "uncertainty", "difference"} and again.mri is widget.parameters.t1w
    assert again.difference.GetDisplayNode().GetWindowLevelMax() == 0.5
    assert slice_marks(slicer) == {"SYNTHETIC TAU minus reference\nresearch only"}
    assert again.pet.GetAttribute("RelAPET.Provenance")
