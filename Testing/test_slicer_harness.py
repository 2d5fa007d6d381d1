"""The harness catches what Slicer would not forgive, over a small module written here.

The same tests pass over Slicer's own base classes: ``SLICER_PYTHON_DIR=.../Base/Python/slicer pytest ...``.
"""

import os
import sys
import textwrap

import numpy as np
import pytest

REAL_BASE_CLASSES = bool(os.environ.get("SLICER_PYTHON_DIR"))

MODULE = """
import enum
import pathlib
from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Decimals, Default, Maximum, Minimum, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class Tracer(enum.Enum):
    TAU = "18F-AV1451"
    PIB = "11C-PiB"

    def label(self):
        return self.value


@parameterNodeWrapper
class SampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    reference: Optional[vtkMRMLScalarVolumeNode]
    tracer: Tracer = Tracer.PIB
    space: Annotated[str, Choice(["t1w", "mni"])] = "t1w"
    opacity: Annotated[float, WithinRange(0.0, 1.0), Decimals(2)] = 0.5
    samples: Annotated[int, Minimum(1), Maximum(64), Default(4)]
    force: bool
    note: str
    folder: pathlib.Path


class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Sample")
        self.parent.categories = ["Testing"]


class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    events = ["EndCloseEvent", "EndImportEvent"]

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters, self.tag, self.cleaned = None, None, False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        for event in self.events:
            self.addObserver(slicer.mrmlScene, getattr(slicer.mrmlScene, event), self.onSceneChanged)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.clicks = []
        self.follow()
        #SETUP#

    def follow(self):
        self.parameters = SampleParameterNode(self.logic.getParameterNode())
        self.tag = self.parameters.connectGui(self.ui)

    def onSceneChanged(self, caller, event):
        self.parameters.disconnectGui(self.tag)
        self.follow()

    def onApply(self):
        self.clicks.append(self.parameters.tracer)
        #APPLY#

    def cleanup(self):
        if self.parameters:
            self.parameters.disconnectGui(self.tag)
        self.removeObservers()
        self.cleaned = True


class SampleLogic(ScriptedLoadableModuleLogic):
    pass


class SampleTest(ScriptedLoadableModuleTest):
    ran = []

    def runTest(self):
        self.setUp()
        self.test_one()

    def test_one(self):
        self.ran.append(1)
"""

WIDGETS = {
    "inputSelector": ("qMRMLNodeComboBox", "inputVolume"),
    "referenceSelector": ("qMRMLNodeComboBox", None),
    "tracerBox": ("QComboBox", "tracer"),
    "spaceBox": ("QComboBox", "space"),
    "opacitySlider": ("ctkSliderWidget", "opacity"),
    "samplesSpin": ("QSpinBox", "samples"),
    "forceCheck": ("QCheckBox", "force"),
    "noteEdit": ("QLineEdit", "note"),
    "folderEdit": ("ctkPathLineEdit", "folder"),
    "applyButton": ("QPushButton", None),
}


def panel(extra_property="", extra_widget="", parameter="force"):
    """A .ui file as Designer writes it."""
    rows = []
    for name, (cls, bound) in WIDGETS.items():
        bound = parameter if bound == "force" else bound
        inside = f'<property name="SlicerParameterName" stdset="0"><string>{bound}</string></property>' if bound else ""
        if cls == "qMRMLNodeComboBox":
            kinds = "<stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist>"
            inside += f'<property name="nodeTypes">{kinds}</property>'
            inside += '<property name="noneEnabled"><bool>true</bool></property>'
        if name == "applyButton":
            inside += extra_property
        rows.append(f'<item><widget class="{cls}" name="{name}">{inside}</widget></item>')
    connections = "".join(
        f"<connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>{name}</receiver>"
        "<slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
        for name in ("inputSelector", "referenceSelector")
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ui version="4.0"><class>Panel</class>'
        '<widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="verticalLayout">'
        '<item><widget class="ctkCollapsibleButton" name="section">'
        '<property name="text"><string>Inputs</string></property>'
        f'<layout class="QVBoxLayout" name="inner">{"".join(rows)}{extra_widget}</layout></widget></item>'
        f"</layout></widget><connections>{connections}</connections></ui>"
    )


@pytest.fixture
def sample(harness, tmp_path):
    """Loads the small module with a fault planted."""

    def load(setup="pass", apply="pass", **ui):
        (tmp_path / "Resources" / "UI").mkdir(parents=True, exist_ok=True)
        (tmp_path / "Resources" / "UI" / "Sample.ui").write_text(panel(**ui))
        text = MODULE.replace("#SETUP#", setup).replace("#APPLY#", apply)
        (tmp_path / "Sample.py").write_text(textwrap.dedent(text))
        return harness.load_module(tmp_path / "Sample.py")

    yield load
    harness.unload_all()
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def add_volume(slicer, name="T1w", value=1.0):
    return slicer.util.addVolumeFromArray(np.full((4, 5, 6), value, np.float32), name=name)


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
    with pytest.raises(NotImplementedError, match="ctkRangeWidget"):
        sample(extra_widget='<item><widget class="ctkRangeWidget" name="range"/></item>')


def test_stand_in_that_cannot_be_made_fails(sample, monkeypatch):
    from slicer_harness import standins

    def broken(parent):
        raise ZeroDivisionError("broken stand-in")

    monkeypatch.setitem(standins.WIDGETS, "ctkCheckBox", broken)
    with pytest.raises(ZeroDivisionError, match="broken stand-in"):
        sample(extra_widget='<item><widget class="ctkCheckBox" name="box"/></item>')


def test_widget_made_in_python_without_stand_in_fails(sample):
    with pytest.raises(NotImplementedError, match="ctkRangeWidget"):
        sample(setup="import ctk; ctk.ctkRangeWidget()")


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


def test_slice_views_blend_layers(slicer):
    from slicer_harness.rendering import slice_image

    assert slice_image().max() == 0
    background, foreground = coloured(slicer, 1, 0, 2, "half"), coloured(slicer, 2, 0, 2, "white")
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, foregroundOpacity=0.0, fit=True)
    middle = slice_image()[128, 128]
    assert abs(int(middle[0]) - 127) <= 1
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.5)
    assert abs(int(slice_image()[128, 128, 0]) - 191) <= 2
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
