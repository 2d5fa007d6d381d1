"""Scenes, files, processes and pixels in the harness of the Slicer module."""

import os
import sys

import numpy as np
import pytest
from slicer_sample import add_volume

# -- scenes and files ------------------------------------------------------------------------------------------------


def test_closing_the_scene_brings_the_defaults_back(sample, harness, slicer):
    widget = sample()
    widget.parameters.inputVolume = add_volume(slicer)
    widget.parameters.samples = 7
    harness.clear_scene()
    assert widget.parameters.inputVolume is None and widget.ui.inputSelector.currentNode() is None
    assert widget.parameters.samples == widget.ui.samplesSpin.value == 4


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_parameters_survive_a_saved_scene(sample, harness, slicer, tmp_path, suffix):
    widget = sample()
    parameters = widget.parameters
    volume = add_volume(slicer, "T1w", 3.0)
    parameters.inputVolume, parameters.tracer = volume, type(parameters.tracer)["TAU"]
    parameters.opacity, parameters.samples, parameters.force, parameters.note = 0.125, 11, True, "größer"
    parameters.folder = type(parameters.folder)("weights")
    path = str(tmp_path / f"scene{suffix}")
    if suffix == ".mrml":
        slicer.util.saveNode(volume, str(tmp_path / "T1w.nrrd"))
    assert slicer.util.saveScene(path)
    harness.clear_scene()
    assert widget.parameters.samples == 4
    slicer.util.loadScene(path)
    harness.process_events()
    restored = widget.parameters
    assert (restored.tracer.name, restored.opacity, restored.samples) == ("TAU", 0.125, 11)
    assert (restored.force, restored.note, str(restored.folder)) == (True, "größer", "weights")
    assert restored.inputVolume.GetName() == "T1w" and restored.reference is None
    assert slicer.util.arrayFromVolume(restored.inputVolume).max() == 3.0
    assert widget.ui.samplesSpin.value == 11 and widget.ui.inputSelector.currentNode() is restored.inputVolume


def test_wrapper_not_made_again_after_an_import_misses_references(sample, harness, slicer, tmp_path):
    """As in Slicer: the node's last event comes before the scene has resolved its references."""
    widget = sample(setup="self.removeObservers()")
    parameters = widget.parameters
    parameters.inputVolume, parameters.samples = add_volume(slicer), 11
    slicer.util.saveNode(parameters.inputVolume, str(tmp_path / "T1w.nrrd"))
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    harness.clear_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    assert parameters.samples == 11 and parameters.inputVolume is None
    assert parameters.parameterNode.GetNodeReference("inputVolume")


def test_volumes_are_written_and_read(slicer, tmp_path):
    import vtk

    affine = np.array([[0, 0, 2.0, -3], [1, 0, 0, 4], [0, 1.5, 0, 5], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    volume = slicer.util.addVolumeFromArray(voxels, affine, name="PET")
    path = str(tmp_path / "PET.nii.gz")
    assert slicer.util.saveNode(volume, path)
    loaded = slicer.util.loadVolume(path, {"name": "again"})
    assert loaded.GetName() == "again" and loaded.GetDisplayNode()
    np.testing.assert_allclose(slicer.util.arrayFromVolume(loaded), voxels)
    matrix = vtk.vtkMatrix4x4()
    loaded.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), affine, atol=1e-5)
    other = str(tmp_path / "export.nii.gz")
    slicer.util.exportNode(volume, other)
    assert volume.GetStorageNode().GetFileName() == path and os.path.isfile(other)
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "absent.nii.gz"))


def test_tables_are_written_and_read(slicer, tmp_path):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "regions")
    slicer.util.updateTableFromArray(table, [np.arange(3), np.arange(3) / 2], ["label", "mean"])
    path = str(tmp_path / "regions.csv")
    assert slicer.util.saveNode(table, path)
    assert slicer.util.loadTable(path).GetNumberOfRows() == 3


# -- application -----------------------------------------------------------------------------------------------------


def test_process_timer_settings_clipboard_and_links(harness, slicer):
    import qt

    process, output, ended = qt.QProcess(), [], []
    process.connect("readyReadStandardOutput()", lambda: output.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("RELAPET_WORD", "hello")
    process.setProcessEnvironment(environment)
    process.start(sys.executable, ["-u", "-c", "import os; print(os.environ['RELAPET_WORD']); raise SystemExit(3)"])
    harness.process_events(until=lambda: ended)
    assert b"".join(output).strip() == b"hello" and ended == [(3, qt.QProcess.NormalExit)]
    assert process.state() == qt.QProcess.NotRunning and process.exitCode() == 3

    timer, ticks = qt.QTimer(), []
    timer.singleShot, timer.interval = True, 1
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start()
    harness.process_events(until=lambda: ticks)
    assert not timer.active

    slicer.app.settings().setValue("RelAPET/models", "here")
    assert qt.QSettings().value("RelAPET/models") == "here"
    qt.QApplication.clipboard().setText("citation")
    assert slicer.app.clipboard().text() == "citation"
    qt.QDesktopServices.openUrl(qt.QUrl("https://example.org/"))
    assert harness.recorder.urls == ["https://example.org/"]


def test_disconnect_and_application_signals(harness, slicer):
    import qt

    button, clicks, started, quits = qt.QPushButton(), [], [], []
    button.connect("clicked()", lambda: clicks.append(1))
    button.click()
    button.disconnect("clicked()")
    button.click()
    assert clicks == [1]
    slicer.app.connect("startupCompleted()", lambda: started.append(1))
    harness.startup_completed()
    slicer.app.connect("aboutToQuit()", lambda: quits.append(1))
    slicer.app.aboutToQuit.emit()
    assert (started, quits) == ([1], [1])
    slicer.app.disconnect("startupCompleted()")
    slicer.app.disconnect("aboutToQuit()")


def test_installing_is_recorded_and_never_done(harness, slicer, tmp_path):
    from slicer import packaging

    (tmp_path / "requirements.txt").write_text("# comment\nnibabel>=5\n-r other.txt\n")
    packaging.pip_ensure(packaging.load_requirements(tmp_path / "requirements.txt"), requester="RelAPET")
    slicer.util.pip_install("absent-package==99")
    first, second = harness.recorder.pip
    assert (first["function"], first["requirements"], first["requester"]) == ("pip_ensure", ["nibabel>=5"], "RelAPET")
    assert second["requirements"] == ["absent-package==99"]
    assert packaging.pip_check("pytest>=8") and not packaging.pip_check("absent-package")
    with pytest.raises(TypeError):
        packaging.pip_ensure("nibabel", prompt="yes")
    harness.recorder.pip_error = RuntimeError("declined")
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure("nibabel")


def test_stray_attributes_of_a_module_are_its_own(harness):
    import qt
    from slicer_harness.pythonqt import stray_attributes

    class Own(qt.QWidget):
        pass

    root = Own()
    root.state = "mine"
    child = qt.QLabel(root)
    child.__dict__["textt"] = "past the check"
    assert stray_attributes(root) == {"QLabel": ["textt"]}


# -- pixels ----------------------------------------------------------------------------------------------------------


def coloured(slicer, value, low, high, name):
    volume = slicer.util.addVolumeFromArray(np.full((20, 20, 20), value, np.float32), name=name)
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)
    return volume


#: Width and height; a view keeps what it was drawn with last.
SIZE = (256, 256)


def test_slice_views_blend_layers(slicer):
    from slicer_harness.rendering import slice_image

    assert slice_image(size=SIZE).max() == 0
    background, foreground = coloured(slicer, 1, 0, 2, "half"), coloured(slicer, 2, 0, 2, "white")
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, foregroundOpacity=0.0, fit=True)
    middle = slice_image(size=SIZE)[128, 128]
    assert abs(int(middle[0]) - 127) <= 1
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.5)
    assert abs(int(slice_image(size=SIZE)[128, 128, 0]) - 191) <= 2
    assert slice_image("Yellow", size=(100, 80)).shape == (80, 100, 3)


def test_whole_view_is_drawn_with_its_annotation(slicer):
    from slicer_harness.rendering import can_render, render_view

    if not can_render():
        pytest.skip("no EGL or OSMesa on this machine (apt install libegl1 libgl1-mesa-dri)")
    slicer.util.setSliceViewerLayers(background=coloured(slicer, 1, 0, 2, "half"))
    annotation = slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerAnnotation()
    plain = render_view()
    annotation.SetText(2, "SYNTHETIC")
    marked = render_view()
    annotation.ClearAllTexts()
    assert abs(int(plain[200, 200, 0]) - 127) <= 2
    assert (plain != marked).any() and (plain[200:] == marked[200:]).all()  # text in the upper left, nothing below


# -- views -----------------------------------------------------------------------------------------------------------


def test_all_corners_of_a_view_share_one_text_property(harness, slicer):
    annotation = slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerAnnotation()
    before = harness.shared_state()
    annotation.GetTextProperty().SetColor(1, 0, 0)
    changed = harness.shared_state()
    assert changed["Red"]["color"] == (1, 0, 0) != before["Red"]["color"] and changed["Green"] == before["Green"]
    annotation.GetTextProperty().SetColor(1, 1, 1)
    slicer.util.setSliceViewerLayers(background=add_volume(slicer, "probed"))
    assert annotation.GetText(0) == "B: probed", "Slicer's DataProbe writes there too"
    assert harness.shared_state() == before


def test_layouts_add_views_later_and_keep_them(harness, slicer):
    manager, layouts, seen = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode, []
    assert set(manager.sliceViewNames()) == {"Red", "Yellow", "Green"} and manager.threeDViewCount == 1
    manager.connect("layoutChanged(int)", seen.append)
    manager.setLayout(layouts.SlicerLayoutDual3DView)
    manager.setLayout(layouts.SlicerLayoutThreeOverThreeView)
    assert set(manager.sliceViewNames()) == {"Red", "Yellow", "Green", "Red+", "Green+", "Yellow+"}
    assert manager.threeDViewCount == 2 and seen == [layouts.SlicerLayoutDual3DView, manager.layout]
    added = manager.sliceWidget("Yellow+")
    assert added.mrmlSliceCompositeNode().GetLayoutName() == "Yellow+"
    assert added.mrmlSliceNode().GetOrientation() == "Sagittal"
    slicer.util.setSliceViewerLayers(background=add_volume(slicer))
    assert added.mrmlSliceCompositeNode().GetBackgroundVolumeID()
    manager.disconnect("layoutChanged(int)")


def test_a_slicer_without_main_window_has_no_views(harness, slicer):
    with harness.no_main_window():
        assert slicer.app.layoutManager() is None
        assert not slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        slicer.util.setSliceViewerLayers(background=add_volume(slicer), fit=True)
    assert set(slicer.app.layoutManager().sliceViewNames()) == {"Red", "Yellow", "Green"}
    slicer.util.setSliceViewerLayers(background=add_volume(slicer), fit=True)
    assert len(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")) == 3
