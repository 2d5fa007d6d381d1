"""SYNTHETIC stands in every view that shows a synthetic volume, in whatever layer, and nothing of others is changed.

Over stand-in views with MRML's own nodes, logics and layouts; the child process is stood in for.
"""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from slicer_cases import marks, slice_marks
from slicer_module import MODULE, load_part

from RelAPETLib.volumes import mark_synthetic, write_volume

PET = "SYNTHETIC TAU PET\nresearch only"


@pytest.fixture
def synthetic(slicer):
    """Makes a synthetic volume as a run leaves it in the scene."""

    def make(kind="pet", name="guess", **how):
        values = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
        node = slicer.util.addVolumeFromArray(values, name=name, **how)
        attributes = load_part("attributes")
        for attribute, value in ((attributes.SYNTHETIC, "1"), (attributes.KIND, kind), (attributes.TRACER, "TAU")):
            node.SetAttribute(attribute, value)
        return node

    return make


@pytest.fixture
def marking(harness):
    """The marks at work without the panel, as in a Slicer that has just started."""
    view_marks = load_part("marks").viewMarks
    view_marks.start()
    yield
    view_marks.stop()


def test_entering_the_module_changes_nothing_that_others_share(harness, slicer, monkeypatch, tmp_path):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path))
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    annotation = slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerAnnotation()
    annotation.SetText(vtk.vtkCornerAnnotation.UpperLeft, "patient's name")
    before = harness.shared_state()
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    assert harness.shared_state() == before
    widget.exit()
    assert harness.shared_state() == before
    annotation.SetText(vtk.vtkCornerAnnotation.UpperLeft, "")


def test_marks_change_nothing_that_others_share(widget, harness, slicer, synthetic):
    before = harness.shared_state()
    slicer.util.setSliceViewerLayers(background=synthetic())
    assert slice_marks(slicer) == {PET} and harness.shared_state() == before
    harness.unload_module(widget)
    assert slice_marks(slicer) == {""} and harness.shared_state() == before, "the module is gone"


@pytest.mark.parametrize("layer", ["background", "foreground", "label", "additional"])
def test_every_layer_counts(marking, slicer, synthetic, layer):
    how = {"nodeClassName": "vtkMRMLLabelMapVolumeNode"} if layer == "label" else {}
    node = synthetic(**how)
    if layer == "additional":
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetNthLayerVolumeID(composite.Layer_Last, node.GetID())
    else:
        slicer.util.setSliceViewerLayers(**{layer: node})
    assert slice_marks(slicer) == {PET}
    slicer.mrmlScene.RemoveNode(node)
    assert slice_marks(slicer) == {""}, "the volume is gone"


def test_two_maps_of_one_view_are_both_named(marking, slicer, synthetic):
    slicer.util.setSliceViewerLayers(background=synthetic(), foreground=synthetic("difference"))
    (text,) = slice_marks(slicer)
    assert "minus reference" in text and "TAU PET" in text and text.count("research only") == 1


def test_views_that_a_layout_adds_later(marking, harness, slicer, synthetic):
    node = synthetic()
    slicer.util.setSliceViewerLayers(background=node)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    harness.process_events()
    names = slicer.app.layoutManager().sliceViewNames()
    assert len(names) == 6
    slicer.app.layoutManager().sliceWidget("Red+").mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    assert {name for name, text in marks(slicer).items() if text} == {"Red", "Yellow", "Green", "Red+"}
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    harness.process_events()
    assert marks(slicer)["Red+"] == PET, "a hidden view comes back with its mark"


def test_views_that_a_script_adds(marking, harness, slicer, synthetic):
    own = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")
    own.UnRegister(None)
    for give in (own.SetName, own.SetLayoutName, own.SetSingletonTag):
        give("Own")
    slicer.mrmlScene.AddNode(own)
    node = synthetic()
    slicer.app.layoutManager().sliceWidget("Own").mrmlSliceCompositeNode().SetForegroundVolumeID(node.GetID())
    harness.process_events()
    assert marks(slicer)["Own"] == PET and marks(slicer)["Red"] == ""
    slicer.mrmlScene.RemoveNode(own)
    harness.process_events()
    assert "Own" not in marks(slicer)


def test_slices_in_3d_views(marking, harness, slicer, synthetic):
    slicer.util.setSliceViewerLayers(background=synthetic())
    assert marks(slicer)[0] == ""
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetSliceVisible(True)
    assert marks(slicer)[0] == PET
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutDual3DView)
    harness.process_events()
    assert marks(slicer)[1] == PET, "a 3-D view that came later"
    red.AddThreeDViewID(slicer.app.layoutManager().threeDWidget(0).mrmlViewNode().GetID())
    assert (marks(slicer)[0], marks(slicer)[1]) == (PET, "")
    red.SetSliceVisible(False)
    assert marks(slicer)[0] == ""


@pytest.mark.parametrize("renderer", ["CPU", "GPU"])
def test_volume_rendering(marking, harness, slicer, synthetic, renderer):
    node = synthetic()
    harness.process_events()
    display = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{renderer}RayCastVolumeRenderingDisplayNode")
    node.AddAndObserveDisplayNodeID(display.GetID())
    assert marks(slicer) == {"Red": "", "Yellow": "", "Green": "", 0: PET}
    display.SetVisibility(False)
    assert marks(slicer)[0] == ""
    display.SetVisibility(True)
    slicer.mrmlScene.RemoveNode(node)
    assert marks(slicer)[0] == ""


def test_closing_the_scene_takes_all_marks(marking, harness, slicer, synthetic):
    slicer.util.setSliceViewerLayers(background=synthetic())
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceVisible(True)
    assert all(marks(slicer).values())
    harness.clear_scene()
    assert not any(marks(slicer).values())
    slicer.util.setSliceViewerLayers(background=synthetic())
    assert slice_marks(slicer) == {PET}, "and goes on in the next scene"


def test_marks_stand_before_the_panel_was_opened(harness, slicer, synthetic, request):
    """A saved scene with a synthetic PET, in a Slicer whose user never enters the module."""
    request.addfinalizer(load_part("marks").viewMarks.stop)
    harness.load_module(str(MODULE / "RelAPET.py"), panel=False)
    harness.startup_completed()
    slicer.util.setSliceViewerLayers(background=synthetic())
    assert slice_marks(slicer) == {PET}


def test_the_mark_is_drawn(marking, slicer, synthetic):
    from slicer_harness.rendering import can_render, render_view

    if not can_render():
        pytest.skip("no EGL or OSMesa on this machine (apt install libegl1 libgl1-mesa-dri)")
    node = synthetic()
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    marked = render_view()
    node.RemoveAttribute("RelAPET.Synthetic")
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().Modified()
    plain = render_view()
    changed = np.abs(marked.astype(int) - plain).sum(axis=2) > 60
    assert changed[:100].any() and not changed[100:].any(), "at the upper edge"
    red, green, blue = np.moveaxis(marked[changed].astype(int), -1, 0)
    assert (red - blue > 120).any() and (green > 100).any(), "in yellow"


@pytest.mark.parametrize("says", ["header", "record", "series", "nothing"])
def test_a_file_of_the_librarys_is_marked_too(marking, harness, slicer, monkeypatch, tmp_path, says):
    """Results of a shell or of a cohort that somebody loads: their nodes have none of this module's attributes."""
    image = sitk.GetImageFromArray(np.ones((4, 4, 4), np.float32))
    write_volume(mark_synthetic(image) if says == "header" else image, tmp_path / "guess.nii.gz")
    if says == "record":
        content = {"outputs": {"guess.nii.gz": {"content": "synthetic PET"}}}
        (tmp_path / "synthetic_pet.json").write_text(json.dumps(content), encoding="utf-8")
    for _again in range(2):  # a volume of the next scene has the same ID and file
        volume = slicer.util.loadVolume(str(tmp_path / "guess.nii.gz"))
        if says == "series":
            volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
            volume.SetAttribute("DICOM.SyntheticData", "YES")
        slicer.util.setSliceViewerLayers(background=volume)
        harness.process_events()
        assert slice_marks(slicer) == ({""} if says == "nothing" else {"SYNTHETIC image\nresearch only"})
        harness.clear_scene()
