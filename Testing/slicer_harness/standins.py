"""Stand-ins of CTK's and Slicer's widgets over the real vtkMRMLScene of slicer-core.

Each has the properties, slots and signals of the C++ class's header, and nothing else: PythonQt reaches what is a
Q_PROPERTY, a slot or Q_INVOKABLE, so ``ctkSliderWidget.setRange()`` does not exist in Slicer's Python and not here.
Helpers of our own begin with an underscore. ``cpp_signals`` and ``cpp_slots`` list the C++ signatures, by which
connections are checked.
"""

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSlider,
    QWidget,
)

from .collapsible import ctkCollapsibleButton
from .nodecombobox import qMRMLNodeComboBox
from .stored import stored


class qSlicerWidget(QWidget):
    cpp_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    cpp_slots = ("setMRMLScene(vtkMRMLScene*)",)
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLWidget(qSlicerWidget):
    pass


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel that Slicer gives a module's widget as ``parent``."""

    isEntered = stored(bool, "isEntered", False)
    _module_widget = None

    def self(self):
        """The Python object, for ``slicer.util.getModuleWidget``."""
        return self._module_widget


class ctkComboBox(QComboBox):
    defaultText = stored(str, "defaultText", "")
    forceDefault = stored(bool, "forceDefault", False)
    elideMode = stored(int, "elideMode", 0)
    scrollWheelEnabled = stored(bool, "scrollWheelEnabled", True)


class ctkCheckBox(QCheckBox):
    indicatorIcon = stored(object, "indicatorIcon", None)
    invertedControls = stored(bool, "invertedControls", False)


class _Number(QWidget):
    """What the spin box and the slider of CTK share: a QDoubleSpinBox holds the number."""

    cpp_signals = ("valueChanged(double)",)
    cpp_slots = ("setValue(double)",)
    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._spin = QDoubleSpinBox()
        self._spin.setRange(0, 99)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._changed)

    def _changed(self, value):
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._spin.setValue(value)

    def _set_minimum(self, value):
        self._spin.setMinimum(value)

    def _set_maximum(self, value):
        self._spin.setMaximum(value)

    value = Property(float, lambda self: self._spin.value, setValue)
    minimum = Property(float, lambda self: self._spin.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._spin.maximum, _set_maximum)
    singleStep = Property(float, lambda self: self._spin.singleStep, lambda self, v: self._spin.setSingleStep(v))
    decimals = Property(int, lambda self: self._spin.decimals, lambda self, v: self._spin.setDecimals(v))
    prefix = Property(str, lambda self: self._spin.prefix, lambda self, v: self._spin.setPrefix(v))
    suffix = Property(str, lambda self: self._spin.suffix, lambda self, v: self._spin.setSuffix(v))


class ctkDoubleSpinBox(_Number):
    cpp_signals = ("valueChanged(double)", "decimalsChanged(int)", "editingFinished()")
    cpp_slots = ("setValue(double)", "selectAll()", "stepUp()", "stepDown()")
    decimalsChanged = Signal(int)
    editingFinished = Signal()
    readOnly = Property(bool, lambda self: self._spin.readOnly, lambda self, v: self._spin.setReadOnly(v))
    specialValueText = stored(str, "specialValueText", "")
    invertedControls = stored(bool, "invertedControls", False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._spin.editingFinished.connect(self.editingFinished)

    def stepUp(self):
        self._spin.stepUp()

    def stepDown(self):
        self._spin.stepDown()


class ctkSliderWidget(_Number):
    cpp_signals = ("valueChanged(double)", "valueIsChanging(double)")
    cpp_slots = ("setValue(double)", "reset()", "setSpinBoxVisible(bool)")
    valueIsChanging = Signal(float)
    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)
    popupSlider = stored(bool, "popupSlider", False)
    invertedAppearance = stored(bool, "invertedAppearance", False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QSlider(Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self.layout().insertWidget(0, self._slider)
        self._slider.sliderMoved.connect(self._dragged)
        self._slider.sliderReleased.connect(lambda: self._spin.setValue(self._at(self._slider.sliderPosition)))

    def _at(self, position):
        return self.minimum + (self.maximum - self.minimum) * position / 1000

    def _dragged(self, position):
        """Without tracking the value follows only when the slider is let go."""
        if self.tracking:
            self._spin.setValue(self._at(position))
        else:
            self.valueIsChanging.emit(self._at(position))

    def _place(self):
        extent = self.maximum - self.minimum
        self._slider.setValue(round(1000 * (self.value - self.minimum) / extent) if extent else 0)

    def _changed(self, value):
        self._place()
        super()._changed(value)

    def _set_minimum(self, value):
        super()._set_minimum(value)
        self._place()

    def _set_maximum(self, value):
        super()._set_maximum(value)
        self._place()

    def reset(self):
        self.setValue(0)

    def setSpinBoxVisible(self, visible):
        self._spin.setVisible(visible)

    minimum = Property(float, lambda self: self._spin.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._spin.maximum, _set_maximum)
    spinBoxVisible = Property(bool, lambda self: not self._spin.isHidden(), setSpinBoxVisible)


class ctkRangeWidget(QWidget):
    """Two numbers of one range, the lower one never above the other."""

    cpp_signals = (
        "valuesChanged(double,double)",
        "minimumValueChanged(double)",
        "maximumValueChanged(double)",
        "rangeChanged(double,double)",
    )
    cpp_slots = ("setValues(double,double)", "setMinimumValue(double)", "setMaximumValue(double)", "reset()")
    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    rangeChanged = Signal(float, float)
    tracking = stored(bool, "tracking", True)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._low, self._high, self._both = QDoubleSpinBox(), QDoubleSpinBox(), False
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for spin, signal in ((self._low, self.minimumValueChanged), (self._high, self.maximumValueChanged)):
            spin.setRange(0, 99)
            layout.addWidget(spin)
            spin.valueChanged.connect(signal)
            spin.valueChanged.connect(self._changed)

    def _changed(self, _value):
        if not self._both:
            self._low.setMaximum(self._high.value)
            self._high.setMinimum(self._low.value)
            self.valuesChanged.emit(self._low.value, self._high.value)

    def setValues(self, low, high):
        before, self._both = (self._low.value, self._high.value), True
        self._low.setMaximum(self._high.maximum)
        self._high.setMinimum(self._low.minimum)
        self._low.setValue(min(low, high))
        self._high.setValue(max(low, high))
        self._both = False
        self._low.setMaximum(self._high.value)
        self._high.setMinimum(self._low.value)
        if before != (self._low.value, self._high.value):
            self.valuesChanged.emit(self._low.value, self._high.value)

    def setMinimumValue(self, value):
        self._low.setValue(value)

    def setMaximumValue(self, value):
        self._high.setValue(value)

    def reset(self):
        self.setValues(0.0, 0.0)

    def _set_minimum(self, value):
        self._low.setMinimum(value)

    def _set_maximum(self, value):
        self._high.setMaximum(value)

    def _set_decimals(self, value):
        self._low.setDecimals(value)
        self._high.setDecimals(value)

    def _set_step(self, value):
        self._low.setSingleStep(value)
        self._high.setSingleStep(value)

    minimum = Property(float, lambda self: self._low.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._high.maximum, _set_maximum)
    minimumValue = Property(float, lambda self: self._low.value, setMinimumValue)
    maximumValue = Property(float, lambda self: self._high.value, setMaximumValue)
    decimals = Property(int, lambda self: self._low.decimals, _set_decimals)
    singleStep = Property(float, lambda self: self._low.singleStep, _set_step)


class qMRMLSliderWidget(ctkSliderWidget):
    cpp_slots = (*ctkSliderWidget.cpp_slots, "setMRMLScene(vtkMRMLScene*)")
    quantity = stored(str, "quantity", "")
    unitAwareProperties = stored(int, "unitAwareProperties", 0)

    def setMRMLScene(self, scene):
        """Units of the scene are not followed: ``quantity`` changes nothing here."""


class qMRMLSpinBox(ctkDoubleSpinBox):
    cpp_slots = (*ctkDoubleSpinBox.cpp_slots, "setMRMLScene(vtkMRMLScene*)")
    quantity = stored(str, "quantity", "")
    unitAwareProperties = stored(int, "unitAwareProperties", 0)

    def setMRMLScene(self, scene):
        """Units of the scene are not followed: ``quantity`` changes nothing here."""


class ctkPathLineEdit(QWidget):
    cpp_signals = ("currentPathChanged(QString)", "validInputChanged(bool)")
    cpp_slots = ("setCurrentPath(QString)", "browse()", "retrieveHistory()", "addCurrentPathToHistory()")
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    # The filters are flags: any int that the .ui file or the module sets is kept.
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable, Hidden = 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x100
    ShowDirsOnly = 1
    label = stored(str, "label", "")
    filters = stored(int, "filters", 7)
    options = stored(int, "options", 0)
    settingKey = stored(str, "settingKey", "")
    showBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton = stored(bool, "showHistoryButton", True)
    nameFilters = stored("QStringList", "nameFilters", [])
    minimumContentsLength = stored(int, "minimumContentsLength", 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._edit, self._browse = QLineEdit(), QPushButton("...")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    def setCurrentPath(self, path):
        self._edit.setText(path)

    def browse(self):
        """Opens a file dialog, which a test has to answer (``popups``)."""
        from PySide6.QtWidgets import QFileDialog

        chosen = QFileDialog.getOpenFileName(self, self.label, self.currentPath)
        if chosen:
            self.setCurrentPath(chosen)

    def retrieveHistory(self):
        """The history is not kept here."""

    def addCurrentPathToHistory(self):
        """The history is not kept here."""

    currentPath = Property(str, lambda self: self._edit.text, setCurrentPath)


WIDGETS = {
    cls.__name__: cls
    for cls in (
        qSlicerWidget,
        qSlicerScriptedLoadableModuleWidget,
        qMRMLWidget,
        qMRMLNodeComboBox,
        qMRMLSliderWidget,
        qMRMLSpinBox,
        ctkCollapsibleButton,
        ctkSliderWidget,
        ctkRangeWidget,
        ctkComboBox,
        ctkCheckBox,
        ctkPathLineEdit,
        ctkDoubleSpinBox,
    )
}

_missing = {}


def missing(name):
    """A class that can be compared with and never made, for names that Slicer's own code mentions in passing."""
    if name in WIDGETS:
        return WIDGETS[name]
    if not name.startswith(("ctk", "qMRML", "qSlicer")):
        raise AttributeError(f"no attribute {name!r}")

    def refuse(cls, *arguments, **named):
        raise NotImplementedError(f"no stand-in for {name}")

    return _missing.setdefault(name, type(name, (), {"__new__": refuse}))
