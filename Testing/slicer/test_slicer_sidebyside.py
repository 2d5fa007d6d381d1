"""Maps side by side, flipping between PET and MRI, colours and windows, and what stands beside the head in a view."""

import numpy as np
import pytest
from slicer_cases import finish, finish_many, marks, write_results
from slicer_harness.rendering import can_render, render_view
from slicer_module import FakeProcess, load_part

from RelAPETLib.tracers import TRACERS


@pytest.fixture
def compared(widget, scans, tmp_path):
    """A result with a measured PET."""
    widget.ui.synthesizeButton.click()
    finish(FakeProcess.made[-1], write_results(tmp_path / "TAU"))
    return widget.results.found


@pytest.fixture
def every(widget, scans, tmp_path):
    """Results of all tracers."""
    widget.ui.tracerSelector.currentIndex = widget.ui.tracerSelector.count - 1
    widget.ui.synthesizeButton.click()
    finish_many(FakeProcess.made[-1], {t: write_results(tmp_path / t, tracer=t) for t in TRACERS})
    return widget.results.found


def columns(slicer):
    """(background, foreground) of our views, by their number."""
    manager, found = slicer.app.layoutManager(), []
    for name in sorted(name for name in manager.sliceViewNames() if name.startswith("RelAPET")):
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        identifiers = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
        found.append(tuple(slicer.mrmlScene.GetNodeByID(each) if each else None for each in identifiers))
    return found


def legends(slicer):
    """Volumes whose legend is shown."""
    logic = slicer.vtkSlicerColorLogic
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    found = {volume: logic.GetColorLegendDisplayNode(volume) for volume in volumes}
    return {volume for volume, legend in found.items() if legend is not None and legend.GetVisibility()}


def slice_node(slicer, name):
    return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()


# Side by side


def test_the_measured_pet_is_no_synthetic_one(widget, slicer, compared):
    node = compared.measured
    assert node.GetName() == "measured TAU PET (T1w)" and node.GetAttribute("RelAPET.Synthetic") is None
    widget.ui.showMeasuredButton.click()
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetForegroundVolumeID() == node.GetID() and "Measured TAU PET" in widget.ui.shownLabel.text
    assert not any(marks(slicer).values())
    assert load_part("guessing").guessInputs(slicer.mrmlScene) == (widget.parameters.t1w, widget.parameters.t2f)


def test_side_by_side_and_back(widget, slicer, harness, scans, compared):
    manager, ui = slicer.app.layoutManager(), widget.ui
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    before = slice_node(slicer, "Red").GetFieldOfView()
    ui.compareButton.click()
    assert ui.compareButton.checked
    t1w, t2f = scans
    volumes = compared.volumes
    assert columns(slicer) == [(t1w, None)] + [(t1w, volumes[kind]) for kind in ("measured", "pet", "difference")]
    texts = marks(slicer)
    assert [texts[f"RelAPET{n}"].split("\n")[0] for n in (1, 2, 3, 4)] == [
        "", "", "SYNTHETIC TAU PET", "SYNTHETIC TAU minus reference",
    ]  # fmt: skip
    nodes = [slice_node(slicer, f"RelAPET{n}") for n in (1, 2, 3, 4)]
    assert len({node.GetViewGroup() for node in nodes}) == 1
    assert slice_node(slicer, "Red").GetViewGroup() != nodes[0].GetViewGroup()
    composites = [manager.sliceWidget(f"RelAPET{n}").mrmlSliceCompositeNode() for n in (1, 2, 3, 4)]
    assert all(each.GetLinkedControl() and each.GetHotLinkedControl() for each in composites)
    assert [node.GetLayoutLabel() for node in nodes] == ["MRI", "measured PET", "SYNTHETIC PET", "difference"]
    ui.compareButton.click()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView and not ui.compareButton.checked
    assert slice_node(slicer, "Red").GetFieldOfView() == before


def test_background_and_plane(widget, slicer, scans, compared):
    ui = widget.ui
    ui.compareButton.click()
    ui.backgroundSelector.currentIndex = 1
    assert {background for background, _ in columns(slicer)} == {scans[1]}
    ui.planeSelector.currentIndex = 2
    nodes = [slice_node(slicer, f"RelAPET{n}") for n in (1, 2, 3, 4)]
    assert {node.GetOrientation() for node in nodes} == {"Sagittal"}
    places = [[node.GetSliceToRAS().GetElement(r, c) for r in range(4) for c in range(4)] for node in nodes]
    np.testing.assert_allclose(places, places[:1] * 4)
    assert len({node.GetFieldOfView() for node in nodes}) == 1


def test_without_a_measured_pet_the_spread_is_beside_it(widget, slicer, scans, tmp_path):
    widget.ui.synthesizeButton.click()
    none = ("reference.nii.gz", "difference.nii.gz")
    finish(FakeProcess.made[-1], write_results(tmp_path / "TAU"), keep=lambda name: name not in none)
    found = widget.results.found
    assert not widget.ui.showMeasuredButton.enabled
    widget.ui.compareButton.click()
    assert columns(slicer) == [(scans[0], None), (scans[0], found.pet), (scans[0], found.uncertainty)]


def test_without_the_mri_the_maps_stand_alone(widget, slicer, harness, compared):
    ui = widget.ui
    slicer.mrmlScene.RemoveNode(compared.mri)
    harness.process_events()
    widget.updatePanel()
    assert not ui.showMriButton.enabled, "there is none to show"
    maps = [compared.measured, compared.pet, compared.difference]
    ui.compareButton.click()
    assert columns(slicer)[:3] == [(each, None) for each in maps] and legends(slicer) == set(maps)
    ui.compareButton.click()
    widget.results.show("mri")
    assert "Nothing: the MRI is not in the scene any more." in ui.shownLabel.text


def test_a_map_whose_display_was_deleted(widget, slicer, compared):
    slicer.mrmlScene.RemoveNode(compared.measured.GetDisplayNode())
    widget.ui.colorSelector.currentIndex = 1
    widget.ui.windowWidget.setValues(0.5, 1.5)
    display = compared.pet.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.5, 1.5)


def test_all_tracers_side_by_side(widget, slicer, scans, every):
    assert widget.ui.tracersButton.enabled
    widget.ui.tracersButton.click()
    shown = [pet.GetAttribute("RelAPET.Tracer") for _mri, pet in columns(slicer)[1:]]
    assert shown == list(TRACERS) and widget.ui.tracersButton.checked and not widget.ui.compareButton.checked
    widget.ui.compareButton.click()
    assert widget.ui.compareButton.checked and not widget.ui.tracersButton.checked


def test_one_tracer_has_no_others_beside_it(widget, compared):
    assert widget.ui.compareButton.enabled and not widget.ui.tracersButton.enabled


def test_leaving_by_slicers_own_menu(widget, slicer, harness, compared):
    widget.ui.compareButton.click()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert not widget.ui.compareButton.checked
    widget.ui.compareButton.click()
    assert widget.ui.compareButton.checked


def test_another_result_takes_the_place(widget, slicer, every):
    widget.ui.compareButton.click()
    assert columns(slicer)[2][1] is every.pet
    widget.ui.resultSelector.currentIndex = 2
    assert columns(slicer)[2][1] is widget.results.found.pet is not every.pet


def test_the_maps_of_the_other_views_stay_theirs(widget, slicer, compared):
    widget.ui.compareButton.click()
    before = columns(slicer)
    widget.ui.showDifferenceButton.click()
    assert columns(slicer) == before
    assert legends(slicer) == {each for _mri, each in before if each is not None}
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetForegroundVolumeID() == compared.difference.GetID()


def test_a_scene_that_was_saved_side_by_side(widget, slicer, harness, compared, tmp_path):
    layout = slicer.app.layoutManager().layout
    widget.ui.compareButton.click()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    harness.process_events()
    assert slicer.app.layoutManager().layout == layout, "there is nothing side by side in an empty scene"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    harness.process_events()
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert node.IsLayoutDescription(load_part("display").FIRST_LAYOUT + 4)
    assert widget.results.found is not None and widget.ui.compareButton.enabled


def test_the_module_takes_its_views_with_it(widget, slicer, harness, compared):
    layout = slicer.app.layoutManager().layout
    widget.ui.compareButton.click()
    assert legends(slicer) == {compared.measured, compared.pet, compared.difference}
    harness.unload_module(widget)
    assert slicer.app.layoutManager().layout == layout


def test_in_mni_space_there_is_no_flair_to_lie_over(widget, slicer, compared):
    compared.pet.SetAttribute("RelAPET.Space", "MNI")
    widget.updatePanel()
    assert not widget.ui.backgroundSelector.enabled
    widget.ui.backgroundSelector.currentIndex = 1
    widget.ui.compareButton.click()
    assert {background for background, _ in columns(slicer)} == {compared.mri}


def test_without_a_main_window_there_is_nothing_to_lay(harness, slicer, compared, widget):
    sides = load_part("layouts").SideBySide()
    with harness.no_main_window():
        sides.show(load_part("layouts").comparison(compared), 0.5)
        assert not sides.shown
        sides.leave()


# PET or MRI


def test_a_key_flips_pet_and_mri(widget, slicer, scans, compared):
    manager = slicer.app.layoutManager()
    other = manager.sliceWidget("Green").mrmlSliceCompositeNode()
    other.SetForegroundVolumeID(scans[1].GetID())  # somebody's own
    other.SetForegroundOpacity(0.3)
    red, ui = manager.sliceWidget("Red").mrmlSliceCompositeNode(), widget.ui
    assert ui.flipButton.shortcut.toString() == "F8" and ui.compareButton.shortcut.toString() == "F9"
    ui.flipButton.click()
    assert red.GetForegroundOpacity() == 0.0 and other.GetForegroundOpacity() == 0.3
    assert marks(slicer)["Red"].startswith("SYNTHETIC"), "it is there all the same"
    ui.flipButton.click()
    assert red.GetForegroundOpacity() == pytest.approx(0.6)
    ui.flipButton.click()
    ui.opacitySlider.value = 0.9
    assert red.GetForegroundOpacity() == pytest.approx(0.9) and not ui.flipButton.checked


# Colours


def seen(node):
    display = node.GetDisplayNode()
    ends = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return display.GetColorNode().GetName(), *(round(each, 6) for each in ends)


def test_looks_of_a_tracer(widget, compared):
    selector, looks = widget.ui.colorSelector, TRACERS["TAU"].every_look
    assert selector.count == len(looks) and selector.currentIndex == 0
    found = set()
    for index, look in enumerate(looks):
        selector.currentIndex = index
        assert seen(compared.pet) == seen(compared.measured) and seen(compared.pet)[1:] == look.window
        assert widget.ui.windowWidget.minimumValue == look.window[0]
        found.add(seen(compared.pet)[0])
    assert len(found) == len(looks)
    assert {look.colours for look in looks} >= {"inverse_grey", "cividis"}


def test_the_window_is_moved_for_both(widget, compared):
    widget.ui.windowWidget.setValues(0.8, 1.5)
    assert seen(compared.pet)[1:] == seen(compared.measured)[1:] == (0.8, 1.5)
    assert "0.8 to 1.5 SUVR" in widget.ui.shownLabel.text
    assert widget.ui.colorSelector.currentIndex == 0
    widget.ui.showDifferenceButton.click()
    assert widget.ui.windowWidget.minimumValue == 0.8, "the difference has its own"


@pytest.mark.parametrize("kind", ["pet", "difference"])
def test_a_window_that_is_changed_elsewhere_is_told(widget, harness, slicer, compared, kind):
    """With the mouse in a view, or in the Volumes module: the panel says what the views show."""
    widget.results.show(kind)
    compared.volumes[kind].GetDisplayNode().SetWindowLevelMinMax(-0.25, 2.5)
    harness.process_events()
    assert "; -0.25 to 2.5 SUVR" in widget.ui.shownLabel.text
    compared.pet.GetDisplayNode().SetWindowLevelMinMax(0.5, 2.75)
    compared.pet.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    harness.process_events()
    assert (widget.ui.windowWidget.minimumValue, widget.ui.windowWidget.maximumValue) == (0.5, 2.75)
    assert widget.ui.colorSelector.currentIndex == -1 and seen(compared.pet)[1:] == (0.5, 2.75)


def test_every_tracer_has_its_own(widget, every):
    for index in range(widget.ui.resultSelector.count):
        widget.ui.resultSelector.currentIndex = index
        tracer = TRACERS[widget.results.found.pet.GetAttribute("RelAPET.Tracer")]
        assert seen(widget.results.found.pet)[1:] == tracer.every_look[0].window
        assert widget.ui.colorSelector.count == len(tracer.every_look)


def colours_of(node, count=101):
    found, color = [], [0.0] * 3
    table = node.GetLookupTable() or node.GetScalarsToColors()
    low, high = table.GetRange()
    for index in range(count):
        table.GetColor(low + (high - low) * index / (count - 1), color)
        found.append(tuple(color))
    return np.array(found)


def test_values_that_differ_have_other_colours(widget, slicer, compared):
    """A tenth of the window is seen everywhere (CIELAB, where 2.3 is just noticed), better than in Slicer's rainbow."""
    from skimage.color import rgb2lab

    colours = load_part("colours")

    def least(node):
        values = rgb2lab(colours_of(node))
        return np.linalg.norm(values[10:] - values[:-10], axis=1).min()

    for name in ("rainbow", "inverse_grey", "cividis", "hot_metal"):
        assert least(colours.petNode(name)) > 4, name
    assert least(colours.petNode("inverse_grey")) > 8 and least(colours.petNode("cividis")) > 8
    former = slicer.mrmlScene.GetNodeByID("vtkMRMLPETProceduralColorNodePET-Rainbow2")
    assert least(colours.petNode("rainbow")) > 20 > 12 > least(former)


def test_the_safe_colours_grow_lighter_all_the_way(widget, compared):
    values = colours_of(load_part("colours").petNode("cividis"))
    light = values @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all() and light[-1] - light[0] > 0.6


def test_a_relative_pet_has_the_window_of_its_units(widget, compared):
    compared.pet.SetAttribute("RelAPET.Units", "relative")
    assert {window for _name, window in load_part("colours").looks(compared.pet)} == {(0.0, 1.0)}


# Beside the head


@pytest.mark.skipif(not can_render(), reason="needs EGL or OSMesa")
@pytest.mark.parametrize("size", [(420, 420), (260, 420), (700, 300)])
def test_legend_and_mark_never_lie_over_the_head(widget, slicer, compared, size):
    """The head fills its volume from wall to wall; whatever a legend and a mark change is outside it."""
    head = np.full((200, 220, 180), 300.0, np.float32)
    mri = slicer.util.addVolumeFromArray(head, name="head")
    mri.GetDisplayNode().AutoWindowLevelOff()
    mri.GetDisplayNode().SetWindowLevelMinMax(0, 400)
    pet = compared.pet
    compared.pet.SetNodeReferenceID("RelAPET.MRI", mri.GetID())
    display, found = load_part("display"), load_part("scene").Results(pet)
    for kind in ("pet", "measured", "difference"):
        widget_of = slicer.app.layoutManager().sliceWidget("Red")
        widget_of.sliceLogic().ResizeSliceNode(*size)
        display.show(found, kind, 0.5, fit=True)
        annotated = render_view("Red", size, fit=False).astype(int)
        display.showLegends(set())
        load_part("marks").viewMarks.stop()
        widget_of.sliceView().cornerAnnotation().SetText(0, "")  # DataProbe's own, not ours
        plain = render_view("Red", size, fit=False).astype(int)
        changed = np.abs(annotated - plain).max(axis=2) > 40
        changed[-40:, : size[0] * 3 // 4] = False  # DataProbe writes its own there
        lit = plain.max(axis=2) > 20
        assert changed.sum() > 200, "legend and mark are there"
        assert not (changed & lit).any(), f"{(changed & lit).sum()} pixels of {kind}"
        assert lit.sum() > 0.3 * lit.size * min(1, size[0] / size[1], size[1] / size[0])
        load_part("marks").viewMarks.start()
