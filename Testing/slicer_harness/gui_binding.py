"""Which widget shows which type of parameter, as in Slicer: what Slicer cannot join raises here too."""

import enum
import pathlib

import ctk
import qt
import slicer

from .parameter_node import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

FLOAT_WIDGETS = (
    qt.QDoubleSpinBox,
    ctk.ctkSliderWidget,
    ctk.ctkDoubleSpinBox,
    slicer.qMRMLSliderWidget,
    slicer.qMRMLSpinBox,
)
COMBO_BOXES = (qt.QComboBox, ctk.ctkComboBox)
SLIDERS = (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)


class Binding:
    """One widget joined with one parameter."""

    def __init__(self, widget, parameter):
        self._widget, self._parameter, self._changed = widget, parameter, None
        kind, cls = parameter.kind, type(widget)
        if parameter.is_node and cls is slicer.qMRMLNodeComboBox:
            self._plain("currentNodeChanged", widget.currentNode, widget.setCurrentNode)
            widget.nodeTypes = [node_class.__name__ for node_class in parameter.kinds]
        elif parameter.is_node or parameter.optional:
            self._refuse()
        elif kind is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton):
            self._attribute("toggled", "checked")
        elif kind is int and cls in (qt.QSpinBox, qt.QSlider):
            self._number(whole=True)
        elif kind in (int, float) and cls in FLOAT_WIDGETS:
            self._number(whole=kind is int)
        elif cls in COMBO_BOXES and (kind in (str, int, float, bool) or issubclass(kind, enum.Enum)):
            self._combo_box()
        elif kind is str and cls is qt.QLineEdit:
            self._attribute("textChanged", "text")
        elif kind is str and cls is qt.QLabel:
            self._attribute(None, "text")
        elif kind is str and cls is qt.QTextEdit:
            self._plain("textChanged", widget.toPlainText, widget.setPlainText)
        elif kind is pathlib.Path and cls is ctk.ctkPathLineEdit:
            self._attribute("currentPathChanged", "currentPath", str, pathlib.Path)
        else:
            self._refuse()

    def _refuse(self):
        hint, cls = self._parameter.hint, type(self._widget).__name__
        raise RuntimeError(f"Unable to create GUI connector from {self._parameter.name}: {hint} to widget type {cls}")

    def _plain(self, signal, read, write):
        self._signal, self.read, self._write = signal, read, write

    def _attribute(self, signal, attribute, to_widget=lambda value: value, from_widget=lambda value: value):
        widget = self._widget

        def write(value):
            if getattr(widget, attribute) != to_widget(value):  # a line edit's cursor would jump
                setattr(widget, attribute, to_widget(value))

        self._plain(signal, lambda: from_widget(getattr(widget, attribute)), write)

    def _annotation(self, kind):
        return next((entry for entry in self._parameter.annotations if isinstance(entry, kind)), None)

    def _number(self, whole):
        """Range, decimals and step of the widget are the annotations', whatever the .ui file says."""
        widget, within = self._widget, self._annotation(WithinRange)
        low = within or self._annotation(Minimum)
        high = within or self._annotation(Maximum)
        if isinstance(widget, SLIDERS) and not (low and high):
            raise RuntimeError(
                f"{self._parameter.name} is unbounded, so a slider cannot show it: annotate a WithinRange"
            )
        is_int = isinstance(widget, (qt.QSpinBox, qt.QSlider))
        limits = (-(2**31), 2**31 - 1) if is_int else (float("-inf"), float("inf"))
        if not is_int:
            decimals = self._annotation(Decimals)
            if whole or decimals:
                widget.decimals = 0 if whole else decimals.value
        step = self._annotation(SingleStep)
        if step:
            widget.singleStep = step.value
        widget.minimum = low.minimum if low else limits[0]
        widget.maximum = high.maximum if high else limits[1]
        convert = int if whole else (lambda value: value)
        self._attribute("valueChanged", "value", convert, convert)

    def _combo_box(self):
        """Filled with the choices, or the enum's labels (``label()`` where it has one)."""
        widget, kind = self._widget, self._parameter.kind
        if issubclass(kind, enum.Enum):
            choices = list(kind)
            labels = [kind.label(choice) if hasattr(kind, "label") else choice.name for choice in choices]
        else:
            choice = self._annotation(Choice)
            if choice is None:
                raise RuntimeError(f"{self._parameter.name} needs a Choice annotation to be shown in a combo box")
            choices, labels = list(choice.choices), [str(entry) for entry in choice.choices]
        widget.clear()
        widget.addItems(labels)

        def write(value):
            if value not in choices:
                raise ValueError(f"Unable to find value {value} in choices {choices}")
            widget.currentIndex = choices.index(value)

        self._plain("currentIndexChanged", lambda: choices[widget.currentIndex], write)

    def write(self, value):
        self._write(value)

    def connect(self, changed):
        if self._signal:
            self._changed = lambda *values: changed()
            getattr(self._widget, self._signal).connect(self._changed)

    def disconnect(self):
        if self._changed:
            getattr(self._widget, self._signal).disconnect(self._changed)
            self._changed = None
