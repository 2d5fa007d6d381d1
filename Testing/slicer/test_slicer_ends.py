"""What the Slicer module does when a run fails, is cancelled or overtaken, and with volumes that lie oddly.

Over stand-in widgets, the real scene of slicer-core, and a stand-in for the child process.
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import vtk
from slicer_cases import add_scan, finish, matrix_of, nodes_of, run, write_results
from slicer_module import MODULE, FakeProcess, load_part, load_volume

from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import read_volume, write_volume

# Ends that are no success


@pytest.mark.parametrize("kind", ["failed", "crashed", "refused"])
def test_a_failure_is_one_message_and_changes_nothing(widget, slicer, pair, kind):
    before = nodes_of(slicer)
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].onProgress(0.3, "working", 12)
    assert widget.ui.synthesizeButton.text == "Cancel"
    assert widget.ui.progressBar.value == 300 and "30 %: working, about 12 s to go" in widget.ui.statusLabel.text
    FakeProcess.made[-1].end(kind, "it <broke>")
    assert "it &lt;broke>" in widget.ui.statusLabel.text and "it <broke>" in widget.ui.logText.toPlainText()
    assert nodes_of(slicer) == before and widget.ui.synthesizeButton.text == "Synthesize"
    assert widget.ui.synthesizeButton.enabled


@pytest.mark.parametrize("reached", [None, 0.02, 0.4, 0.7, 0.97, 1.0])
def test_cancel_at_each_stage(widget, slicer, pair, reached):
    before = nodes_of(slicer)
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    if reached is not None:
        process.onProgress(reached, "working", 5)
    widget.ui.synthesizeButton.click()
    assert process.cancelled and not widget.ui.synthesizeButton.enabled
    process.end("cancelled", "cancelled")
    assert "nothing was changed" in widget.ui.statusLabel.text and nodes_of(slicer) == before
    assert widget.ui.synthesizeButton.enabled and not Path(process.option("--t1w")).exists()


def test_a_doubtful_input_is_asked_about_in_the_panel(widget, pair, saved):
    widget.ui.synthesizeButton.click()
    problem = "the T1w does not look like a brain (0.1)"
    refusal = {"acceptedBy": "--force", "problem": problem}
    message = f"{problem}; check the files, or use --force to go on all the same"
    FakeProcess.made[-1].end("refused", message, **refusal)
    assert widget.ui.questionFrame.visible and "does not look like a brain" in widget.ui.questionLabel.text
    assert "--force" not in widget.ui.questionLabel.text, "a clinician knows no options"
    widget.ui.questionYesButton.click()
    assert "--force" in FakeProcess.made[-1].arguments and not widget.ui.questionFrame.visible
    FakeProcess.made[-1].end("refused", "one step takes 60 s: 2 hours; use --yes to accept that", acceptedBy="--yes")
    widget.ui.questionYesButton.click()
    assert {"--force", "--yes"} <= set(FakeProcess.made[-1].arguments)
    finish(FakeProcess.made[-1], saved)
    assert widget.results.found is not None
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", message, **refusal)
    widget.ui.questionNoButton.click()
    assert not widget.ui.questionFrame.visible and not widget.logic.running


@pytest.mark.parametrize("change", ["T1w", "deleted", "tracer", "opacity"])
def test_a_question_goes_with_what_it_is_about(widget, slicer, scans, change):
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", "odd", acceptedBy="--force")
    if change == "T1w":
        widget.parameters.t1w = add_scan("T1w of somebody else")
    elif change == "deleted":
        slicer.mrmlScene.RemoveNode(scans[0])
    elif change == "tracer":
        widget.ui.tracerSelector.currentIndex = 1
    else:
        widget.parameters.opacity = 0.3
    kept = change == "opacity"
    assert widget.ui.questionFrame.isHidden() != kept and ("question" in widget.ui.statusLabel.text) == kept
    widget.onAccept()
    assert len(FakeProcess.made) == 1 + kept, "what the panel does not show is not run"


def test_yes_waits_for_what_was_begun_before_it(widget, scans):
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", "odd", acceptedBy="--force")
    assert widget.ui.questionYesButton.enabled
    widget.tasks.start("Removal", ["models", "remove", "demo"], lambda ending: None)
    widget.ui.questionYesButton.click()
    widget.onAccept()
    assert not widget.ui.questionYesButton.enabled and not widget.logic.running
    FakeProcess.made[-1].end("done", "done")
    widget.ui.questionYesButton.click()
    assert widget.logic.running and "--force" in FakeProcess.made[-1].arguments


@pytest.mark.parametrize("damage", ["missing", "no regions", "truncated", "elsewhere"])
def test_damaged_results_change_nothing(widget, slicer, pair, saved, tmp_path, damage):
    before = nodes_of(slicer)
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    if damage == "missing":
        (folder / "synthetic_pet.json").unlink()
    elif damage == "no regions":
        (folder / "regions.tsv").unlink()
    elif damage == "truncated":
        (folder / "difference.nii.gz").write_bytes(b"\x1f\x8b\x08")
    else:
        import SimpleITK as sitk

        image = sitk.ReadImage(str(folder / "synthetic_pet.nii.gz"))
        image.SetOrigin([1.0, 2.0, 3.0])
        sitk.WriteImage(image, str(folder / "synthetic_pet.nii.gz"))
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        widget.ui.synthesizeButton.click()
        finish(FakeProcess.made[-1], folder)
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()
    assert "could not be taken over" in widget.ui.statusLabel.text
    assert nodes_of(slicer) == before


def test_two_runs_at_once_are_refused(widget, pair):
    logic_module = load_part("logic")
    widget.ui.synthesizeButton.click()
    with pytest.raises(logic_module.SynthesisError, match="another synthesis is running"):
        widget.logic.start(widget.request(), logic_module.Listener())
    FakeProcess.made[-1].end("cancelled", "x")
    assert not widget.logic.running


def test_closing_the_scene_ends_the_run(widget, harness, slicer, pair):
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    harness.clear_scene()
    assert process.cancelled and process.waited and not widget.logic.running
    assert widget.parameters.t1w is None and not widget.ui.synthesizeButton.enabled


@pytest.mark.parametrize("entered", [True, False])
def test_a_scene_of_a_later_version_comes_in_during_the_run(widget, harness, slicer, scans, tmp_path, entered):
    """Its choices cannot be read; the run goes on with its own, and nothing is reported as an error of Slicer's."""
    scene = tmp_path / "scene.mrml"
    slicer.util.saveScene(str(scene))
    text = scene.read_text(encoding="utf-8")
    assert "tracer TAU" in text
    scene.write_text(text.replace("tracer TAU", "tracer LATER"), encoding="utf-8")
    widget.ui.synthesizeButton.click()
    widget.parent.isEntered = entered
    slicer.util.loadScene(str(scene))
    harness.process_events()  # raises what observers raised
    assert widget.ui.synthesizeButton.text == "Cancel" and widget.ui.synthesizeButton.enabled
    finish(FakeProcess.made[-1], write_results(tmp_path / "results"))
    assert widget.results.found.mri is scans[0] and "Done: SYNTHETIC TAU" in widget.ui.statusLabel.text
    assert widget.parameters.tracer.value == "TAU" and widget.ui.synthesizeButton.text == "Synthesize"


def test_closing_slicer_and_unloading_end_the_run(widget, harness, slicer, pair):
    widget.ui.synthesizeButton.click()
    slicer.app.aboutToQuit.emit()
    assert FakeProcess.made[-1].waited and not widget.logic.running
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    harness.unload_module(widget)
    assert process.waited


def test_reloading_reads_the_package_again_and_ends_the_run(widget, slicer, pair):
    """The steps of `slicer.util.reloadScriptedModule` up to the old panel's cleanup."""
    widget.ui.synthesizeButton.click()
    before = sys.modules["RelAPETModule.logic"]
    spec = importlib.util.spec_from_file_location("RelAPET", MODULE / "RelAPET.py")
    sys.modules["RelAPET"] = again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert sys.modules["RelAPETModule.logic"] is not before
    assert again.RelAPETLogic is sys.modules["RelAPETModule.logic"].RelAPETLogic
    slicer.modules.RelAPETWidget.cleanup()
    assert FakeProcess.made[-1].waited and not widget.logic.running


def test_the_t1w_is_deleted_meanwhile(widget, slicer, pair, saved):
    widget.ui.synthesizeButton.click()
    slicer.mrmlScene.RemoveNode(pair[0])
    finish(FakeProcess.made[-1], saved)
    found = widget.results.found
    assert found.pet is not None and found.mri is None
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetBackgroundVolumeID() == found.pet.GetID()


# Geometry


def turned(slicer, degrees=30):
    transform = vtk.vtkTransform()
    transform.RotateX(degrees)
    transform.Translate(5, -7, 11)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


def test_a_volume_under_a_linear_transform_is_taken_where_it_is(widget, slicer, pair, saved, tmp_path):
    t1w, _ = pair
    own = matrix_of(t1w)
    transform = turned(slicer)
    t1w.SetAndObserveTransformNodeID(transform.GetID())
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    world = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(world)
    expected = np.array([[world.GetElement(r, c) for c in range(4)] for r in range(4)]) @ own
    written = read_volume(process.option("--t1w"))
    lps = np.diag([-1, -1, 1])
    np.testing.assert_allclose(lps @ np.array(written.GetOrigin()), expected[:3, 3], atol=1e-6)
    np.testing.assert_array_equal(matrix_of(t1w), own), "the input is untouched"
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    import SimpleITK as sitk

    for name in ("synthetic_pet", "uncertainty", "difference", "reference"):
        image = sitk.ReadImage(str(moved / f"{name}.nii.gz"))
        image.SetOrigin(written.GetOrigin())
        image.SetDirection(written.GetDirection())
        sitk.WriteImage(image, str(moved / f"{name}.nii.gz"))
    finish(process, moved)
    pet = widget.results.found.pet
    assert pet.GetParentTransformNode() is None
    np.testing.assert_allclose(matrix_of(pet), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float64"])
def test_oblique_anisotropic_volumes_are_written_as_they_lie(harness, slicer, tmp_path, dtype):
    """Every voxel of an asymmetric volume, in RAS, against SimpleITK's reading of the file."""
    import SimpleITK as sitk

    array = np.arange(5 * 7 * 9).reshape(9, 7, 5).astype(dtype)
    rotation = turned(slicer, 20).GetMatrixTransformToParent()
    axes = np.array([[rotation.GetElement(r, c) for c in range(3)] for r in range(3)]) @ np.diag([-0.7, 0.9, 5.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (12, -34, 56)
    volume = slicer.util.addVolumeFromArray(array, matrix)
    load_part("scene").writeVolume(volume, tmp_path / "Bild ü.nrrd")
    image = sitk.ReadImage(str(tmp_path / "Bild ü.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    for index in ((0, 0, 0), (4, 0, 0), (0, 6, 0), (1, 2, 8)):
        ras = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(ras, matrix[:3] @ (*index, 1), atol=1e-9)


@pytest.mark.parametrize("flip", [1, -1])
@pytest.mark.parametrize("shear", [0, 9e-4])
def test_odd_axes_that_are_not_refused_do_not_fail_at_the_end(harness, slicer, tmp_path, flip, shear):
    """The library straightens a slight shear, by more than rounding moves a corner; Slicer's reader turns the slices of
    left-handed axes round, as a mirroring transform makes them."""
    scene = load_part("scene")
    values = np.random.default_rng(3).random((60, 61, 62)).astype(np.float32)
    node, back, matrix = slicer.util.addVolumeFromArray(values), slicer.vtkMRMLScalarVolumeNode(), vtk.vtkMatrix4x4()
    matrix.DeepCopy((0, 4, shear * 3.9, 5, -3.8 * flip, 0, 0, -7, 0, 0, 3.9, 11, 0, 0, 0, 1))
    node.SetIJKToRASMatrix(matrix)
    scene.writeVolume(node, tmp_path / "t1w.nrrd")
    write_volume(read_volume(tmp_path / "t1w.nrrd"), tmp_path / "pet.nii")
    scene.readVolume(tmp_path / "pet.nii", back, scene.worldMatrix(node))
    np.testing.assert_allclose(matrix_of(back), matrix_of(node), atol=1e-9)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(back), values)
    matrix.SetElement(0, 3, 5.2)
    node.SetIJKToRASMatrix(matrix)
    with pytest.raises(scene.PlaceError):
        scene.readVolume(tmp_path / "pet.nii", back, scene.worldMatrix(node))


def test_transforms_that_cannot_be_followed_are_refused(widget, slicer, pair):
    t1w, _ = pair
    sheared = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shear")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 1, 0.2)
    sheared.SetMatrixTransformToParent(matrix)
    t1w.SetAndObserveTransformNodeID(sheared.GetID())
    widget.updatePanel()
    assert "sheared" in widget.ui.synthesizeButton.toolTip and not widget.ui.synthesizeButton.enabled
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    grid = vtk.vtkImageData()
    grid.SetDimensions(4, 4, 4)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    slicer.util.arrayFromGridTransform  # noqa: B018 (present in slicer-core)
    warp = slicer.vtkOrientedGridTransform()
    warp.SetDisplacementGridData(grid)
    bent.SetAndObserveTransformFromParent(warp)
    t1w.SetAndObserveTransformNodeID(bent.GetID())
    widget.updatePanel()
    assert "non-linear transform 'bent'" in widget.ui.synthesizeButton.toolTip
    assert not widget.ui.synthesizeButton.enabled


def test_volumes_of_the_same_name_are_not_mixed_up(widget, slicer, grid_case, saved):
    volumes = [load_volume(grid_case[role], "scan") for role in ("t2f", "t1w", "t2f")]
    widget.parameters.t1w, widget.parameters.t2f = volumes[1], volumes[2]
    found = run(widget, saved)
    assert found.mri is volumes[1]
    again = load_part("scene").Results(found.pet)
    assert again.mri is volumes[1]


def test_volumes_that_are_no_single_image(widget, slicer, pair):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    widget.parameters.t1w = empty
    assert "'empty' holds no image" in widget.ui.synthesizeButton.toolTip


def test_results_are_no_inputs(widget, scans, tmp_path):
    found, node = run(widget, write_results(tmp_path / "made")), widget.parameters
    node.output = None
    for role, volume, words in (
        ("reference", found.uncertainty, "another map of a result"),
        ("t2f", found.pet, "'SYNTHETIC TAU PET (T1w)' belongs to a result"),
        ("t1w", found.measured, "'measured TAU PET (T1w)' belongs to a result"),
    ):
        kept = getattr(node, role)
        setattr(node, role, volume)
        assert words in widget.ui.synthesizeButton.toolTip and not widget.ui.synthesizeButton.enabled
        setattr(node, role, kept)
        assert widget.ui.synthesizeButton.enabled
    for pet in (found.measured, found.pet):  # about the synthetic one the library asks
        node.reference = pet
        assert widget.ui.synthesizeButton.enabled
    node.reference = found.measured
    found.measured.SetAttribute("RelAPET.Kind", "zscore")
    widget.updatePanel()
    assert "a map of z-scores" in widget.ui.synthesizeButton.toolTip


@pytest.mark.parametrize("told", ["sidecar", "name", "result", "nothing"])
def test_a_measured_pet_of_another_tracer_is_not_compared(widget, scans, tmp_path, told):
    """Where its tracer is known: of a simulated person by the sidecar, of a BIDS file by its name."""
    pet = add_scan("sub-1_trc-18FAV1451_pet" if told == "name" else "PET")
    if told == "sidecar":
        pet.SetAttribute("RelAPET.Sidecar", json.dumps({"TracerName": TRACERS["TAU"].radiopharmaceutical}))
    if told == "result":
        pet = run(widget, write_results(tmp_path / "made")).measured
        widget.parameters.output = None
    widget.parameters.reference = pet
    assert widget.ui.synthesizeButton.enabled, widget.ui.synthesizeButton.toolTip
    widget.ui.tracerSelector.currentIndex = 1
    assert widget.ui.synthesizeButton.enabled == (told == "nothing")
    assert ("is of TAU, not of PIB" in widget.ui.synthesizeButton.toolTip) == (told != "nothing")


def test_a_bar_stays_while_something_runs(widget, scans):
    """An export may go on beside a synthesis; neither's end hides the other's progress."""
    bar = widget.ui.progressBar
    for first in ("synthesis", "export"):
        widget.ui.synthesizeButton.click()
        widget.tasks.start("Report", ["report"], lambda ending: None)
        made = dict(zip(("synthesis", "export"), FakeProcess.made[-2:], strict=True))
        made.pop(first).end("failed", "x")
        assert not bar.isHidden()
        made.popitem()[1].end("failed", "x")
        assert bar.isHidden()
    widget.tasks.start("Looking for GPUs", ["doctor"], lambda ending: None, quiet=True)
    assert bar.isHidden()
    FakeProcess.made[-1].end("done", "done")


def test_the_panel_has_no_stray_properties(widget, harness):
    from slicer_harness.pythonqt import stray_attributes

    assert stray_attributes(widget.parent) == {}
