"""A small scripted module with a panel, for the tests of the harness that plant faults in it."""

import numpy as np

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


def write_sample(folder, setup="pass", apply="pass", **ui):
    """The module's file; ``setup`` and ``apply`` are code run in its setup() and when its button is clicked."""
    (folder / "Resources" / "UI").mkdir(parents=True, exist_ok=True)
    (folder / "Resources" / "UI" / "Sample.ui").write_text(panel(**ui))
    path = folder / "Sample.py"
    path.write_text(MODULE.replace("#SETUP#", setup).replace("#APPLY#", apply))
    return path


def add_volume(slicer, name="T1w", value=1.0):
    return slicer.util.addVolumeFromArray(np.full((4, 5, 6), value, np.float32), name=name)
