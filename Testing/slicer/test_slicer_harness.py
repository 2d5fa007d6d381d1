"""The harness catches what Slicer would not forgive, over the small module of ``slicer_sample``.

The same tests pass over Slicer's own base classes: ``SLICER_PYTHON_DIR=.../Base/Python/slicer pytest ...``.
"""

import gc
import os
import sys
import weakref

import pytest
from slicer_sample import add_volume

REAL_BASE_CLASSES = bool(os.environ.get("SLICER_PYTHON_DIR"))


# -- the module as a whole -------------------------------------------------------------------------------------------


def test_module_loads_clicks_and_unloads(sample, slicer):
    widget = sample()
    assert slicer.modules.sample.title == "Sample"
    assert slicer.util.modulePath("Sample").endswith("Sample.py")
    assert widget.parent.isEntered and widget.parent.visible
    widget.ui.applyButton.click()
    assert [tracer.name for tracer in widget.clicks] == ["PIB"]
    import slicer_harness

    slicer_harness.unload_module(widget)
    assert widget.cleaned and not hasattr(slicer.modules, "sample")


def test_self_test_runs(sample, slicer):
    widget = sample()
    slicer.modules.SampleInstance.runTest(msec=0)
    assert sys.modules[type(widget).__module__].SampleTest.ran == [1]


# -- planted faults --------------------------------------------------------------------------------------------------


def test_misspelt_property_of_a_widget_fails(sample):
    with pytest.raises(AttributeError, match="enabledd"):
        sample(setup="self.ui.applyButton.enabledd = False")


def test_misspelt_property_of_a_stand_in_fails(sample):
    with pytest.raises(AttributeError, match="maximun"):
        sample(setup="self.ui.opacitySlider.maximun = 2")


def test_misspelt_property_in_the_ui_file_fails(sample):
    with pytest.raises(ValueError, match="'toolTipp'"):
        sample(extra_property='<property name="toolTipp"><string>Go</string></property>')


def test_property_called_as_a_method_fails(sample):
    with pytest.raises(TypeError, match="not callable"):
        sample(setup="self.ui.noteEdit.text()")


def test_wrong_signal_fails(sample):
    with pytest.raises(ValueError, match="has no signal clickd"):
        sample(setup="self.ui.applyButton.connect('clickd(bool)', self.onApply)")


@pytest.mark.parametrize("signal", ["currentNodeChanged()", "currentNodeChange(vtkMRMLNode*)", "currentNodeChanged"])
def test_wrong_signal_of_a_stand_in_fails(sample, signal):
    with pytest.raises(ValueError, match="signal"):
        sample(setup=f"self.ui.inputSelector.connect('{signal}', self.onApply)")


def test_widget_without_stand_in_fails(sample):
    with pytest.raises(NotImplementedError, match="ctkMatrixWidget"):
        sample(extra_widget='<item><widget class="ctkMatrixWidget" name="range"/></item>')


def test_stand_in_that_cannot_be_made_fails(sample, monkeypatch):
    from slicer_harness import standins

    def broken(parent):
        raise ZeroDivisionError("broken stand-in")

    monkeypatch.setitem(standins.WIDGETS, "ctkCheckBox", broken)
    with pytest.raises(ZeroDivisionError, match="broken stand-in"):
        sample(extra_widget='<item><widget class="ctkCheckBox" name="box"/></item>')


def test_widget_made_in_python_without_stand_in_fails(sample):
    with pytest.raises(NotImplementedError, match="ctkMatrixWidget"):
        sample(setup="import ctk; ctk.ctkMatrixWidget()")


def test_unknown_parameter_in_the_ui_file_fails(sample):
    with pytest.raises(ValueError, match="forse"):
        sample(parameter="forse")


def test_unknown_parameter_in_python_fails(sample):
    widget = sample()
    with pytest.raises(AttributeError):
        _ = widget.parameters.forse
    with pytest.raises(ValueError, match="forse"):
        widget.parameters.setValue("forse", True)


@pytest.mark.skipif(REAL_BASE_CLASSES, reason="Slicer's own wrapper keeps unknown attributes silently")
def test_setting_an_unknown_parameter_fails(sample):
    with pytest.raises(AttributeError, match="forse"):
        sample().parameters.forse = True


@pytest.mark.parametrize(
    ("name", "value"), [("opacity", 1.5), ("opacity", -0.1), ("samples", 0), ("samples", 65), ("space", "mars")]
)
def test_value_out_of_range_fails(sample, name, value):
    parameters = sample().parameters
    before = getattr(parameters, name)
    with pytest.raises(ValueError):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


@pytest.mark.parametrize(("name", "value"), [("samples", "four"), ("force", "yes"), ("note", 3), ("tracer", "TAU")])
def test_value_of_wrong_type_fails(sample, name, value):
    with pytest.raises(TypeError):
        setattr(sample().parameters, name, value)


def test_unanswered_pop_up_fails_although_it_comes_in_a_slot(sample, harness):
    widget = sample(apply="slicer.util.errorDisplay('FLAIR is missing')")
    widget.ui.applyButton.click()
    with pytest.raises(AssertionError, match="pop-up errorDisplay: FLAIR is missing"):
        harness.process_events()
    assert harness.popups.unanswered == [("errorDisplay", "FLAIR is missing")]
    harness.popups.clear()


def test_dialogs_of_qt_are_pop_ups(sample, harness):
    import qt

    sample()
    with pytest.raises(AssertionError, match="pop-up QDialog.exec"):
        qt.QDialog().exec_()
    with pytest.raises(AssertionError, match="getExistingDirectory"):
        qt.QFileDialog.getExistingDirectory(None, "Weights", ".")
    with pytest.raises(AssertionError, match="pop-up delayDisplay"):
        import slicer

        slicer.util.delayDisplay("wait", 2000)
    harness.popups.clear()


def test_answered_pop_up_gives_its_answer(sample, harness):
    widget = sample(apply="self.clicks.append(slicer.util.confirmOkCancelDisplay('Install torch?'))")
    harness.popups.answer("confirmOkCancelDisplay", False, containing="torch")
    widget.ui.applyButton.click()
    assert widget.clicks[-1] is False
    assert harness.popups.shown == [("confirmOkCancelDisplay", "Install torch?")]


@pytest.mark.parametrize(
    "apply",
    [
        "raise RuntimeError('broken slot')",
        "qt.QTimer.singleShot(0, lambda: 1 / 0)",
        "self.addObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, lambda *a: 1 / 0); self.parameters.note = 'x'",
    ],
)
def test_exceptions_of_slots_timers_and_observers_are_not_lost(sample, harness, apply):
    widget = sample(apply=apply)
    widget.ui.applyButton.click()
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        for _ in range(3):
            harness.process_events()
    harness.errors.clear()


# -- parameters and widgets ------------------------------------------------------------------------------------------


def test_parameters_have_their_defaults(sample):
    parameters = sample().parameters
    assert parameters.tracer.name == "PIB" and parameters.space == "t1w"
    assert (parameters.opacity, parameters.samples, parameters.force, parameters.note) == (0.5, 4, False, "")
    assert parameters.inputVolume is None and parameters.reference is None


def test_enum_is_kept_by_name(sample):
    parameters = sample().parameters
    parameters.tracer = type(parameters.tracer)["TAU"]
    assert parameters.parameterNode.GetParameter("tracer") == "TAU"


def test_widgets_show_the_parameters(sample, slicer):
    widget = sample()
    parameters, ui = widget.parameters, widget.ui
    parameters.tracer = type(parameters.tracer)["TAU"]
    parameters.space, parameters.opacity, parameters.samples = "mni", 0.25, 9
    parameters.force, parameters.note = True, "note"
    parameters.folder = type(parameters.folder)("weights")
    parameters.inputVolume = add_volume(slicer)
    assert (ui.tracerBox.currentText, ui.spaceBox.currentText) == ("18F-AV1451", "mni")
    assert (ui.opacitySlider.value, ui.samplesSpin.value, ui.forceCheck.checked) == (0.25, 9, True)
    assert (ui.noteEdit.text, ui.folderEdit.currentPath) == ("note", "weights")
    assert ui.inputSelector.currentNode() is parameters.inputVolume
    assert (ui.opacitySlider.minimum, ui.opacitySlider.maximum, ui.opacitySlider.decimals) == (0, 1, 2)
    assert (ui.samplesSpin.minimum, ui.samplesSpin.maximum) == (1, 64)


def test_parameters_follow_the_widgets(sample, slicer):
    widget = sample()
    parameters, ui = widget.parameters, widget.ui
    seen = []
    parameters.AddObserver(slicer.vtkMRMLNode.ReferenceModifiedEvent, lambda *a: None)
    parameters.AddObserver("ModifiedEvent", lambda *a: seen.append(1))
    ui.tracerBox.currentIndex = 0
    ui.spaceBox.setCurrentText("mni")
    ui.opacitySlider.value = 0.75
    ui.samplesSpin.value = 2
    ui.forceCheck.click()
    ui.noteEdit.text = "hand"
    ui.folderEdit.currentPath = "weights"
    volume = add_volume(slicer)
    ui.inputSelector.setCurrentNode(volume)
    assert parameters.tracer.name == "TAU" and parameters.space == "mni"
    assert (parameters.opacity, parameters.samples, parameters.force) == (0.75, 2, True)
    assert (parameters.note, str(parameters.folder)) == ("hand", "weights")
    assert parameters.inputVolume is volume and len(seen) >= 7


def test_disconnected_widgets_change_nothing(sample):
    widget = sample()
    widget.parameters.disconnectGui(widget.tag)
    widget.ui.noteEdit.text = "lost"
    assert widget.parameters.note == ""
    widget.parameters.note = "kept"
    assert widget.ui.noteEdit.text == "lost"
    widget.tag = widget.parameters.connectGui(widget.ui)
    assert widget.ui.noteEdit.text == "kept"


def test_node_combo_boxes_follow_the_scene(sample, slicer):
    box = sample().ui.referenceSelector
    assert box.enabled and box.currentNode() is None and box.nodeCount() == 0
    seen = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    volume, label = add_volume(slicer), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "regions")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    hidden = add_volume(slicer, "hidden")
    hidden.SetHideFromEditors(True)
    assert box.nodeCount() == 2 and box.currentNode() is None  # a label map is a scalar volume; None is offered
    box.showChildNodeTypes = False
    assert box.nodeCount() == 1
    box.setCurrentNode(label)
    assert box.currentNode() is None
    box.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert seen == [volume, None] and box.currentNode() is None
    box.noneEnabled = False
    second = add_volume(slicer, "second")
    assert box.currentNode() is second


def test_node_combo_box_without_scene_is_disabled(harness):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    add_volume(slicer)
    assert not box.enabled and box.nodeCount() == 0 and box.currentNode() is None


def test_connection_decides_what_a_slot_is_given(sample, slicer):
    box, nodes, valid, none = sample().ui.inputSelector, [], [], []
    box.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    box.connect("currentNodeChanged(bool)", valid.append)
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda: none.append(1))
    volume = add_volume(slicer)
    box.setCurrentNode(volume)
    box.setCurrentNode(None)
    assert nodes == [volume, None] and valid == [True, False] and none == [1, 1]


def test_user_adds_a_node(sample, slicer):
    box = sample().ui.inputSelector
    box.baseName = "Synthetic"
    added = []
    box.connect("nodeAddedByUser(vtkMRMLNode*)", added.append)
    node = box.addNode()
    assert node.GetName() == "Synthetic" and box.currentNode() is node and added == [node]


def test_collapsible_button_hides_and_shows(sample):
    ui = sample().ui
    ui.noteEdit.hide()
    ui.section.collapsed = True
    assert not ui.applyButton.visible and not ui.section.checked
    ui.section.collapsed = False
    assert ui.applyButton.visible and not ui.noteEdit.visible


# -- what PythonQt keeps ---------------------------------------------------------------------------------------------


class Holder:
    """Owns a timer that is connected to it, as a module's objects own their processes."""

    def __init__(self):
        import qt

        self.timer = qt.QTimer()
        self.timer.connect("timeout()", self.tick)

    def tick(self):
        pass


def test_connected_callables_live_until_they_are_disconnected(harness):
    from slicer_harness import pythonqt

    before, kept, freed = pythonqt.connections(), Holder(), Holder()
    assert pythonqt.connections() == before + 2
    assert freed.timer.disconnect("timeout()", freed.tick), "an equal bound method is the same callable"
    kept, freed = weakref.ref(kept), weakref.ref(freed)
    gc.collect()
    assert kept() is not None and freed() is None and pythonqt.connections() == before + 1
    kept().timer.disconnect("timeout()")
    gc.collect()
    assert kept() is None and pythonqt.connections() == before


def test_callables_go_with_their_sender(harness):
    import qt
    from slicer_harness import pythonqt

    before, panel = pythonqt.connections(), qt.QWidget()
    button = qt.QPushButton(panel)
    button.connect("clicked()", lambda: None)
    del button  # the panel's child lives on
    gc.collect()
    assert pythonqt.connections() == before + 1
    panel.deleteLater()
    harness.process_events()
    assert pythonqt.connections() == before


def test_disconnecting_takes_the_same_callable_and_one_connection(harness):
    import qt

    button, clicks = qt.QPushButton(), []

    def click():
        clicks.append(1)

    button.connect("clicked()", click)
    button.connect("clicked()", click)
    assert not button.disconnect("clicked()", lambda: click())
    assert button.disconnect("clicked()", click)
    button.click()
    assert clicks == [1]
    assert button.disconnect("clicked()", click) and not button.disconnect("clicked()", click)
