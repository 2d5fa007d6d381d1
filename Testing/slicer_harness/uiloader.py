"""``qt.QUiLoader`` that knows Slicer's widgets and refuses what Slicer would silently ignore."""

import re
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets
from PySide6.QtCore import QMetaObject, QObject

from . import standins
from .pythonqt import while_loading

# What Qt keeps on a widget for others to read; any other unknown property in a .ui file is taken for a misspelling.
DYNAMIC_PROPERTIES = {"SlicerParameterName", "SlicerPackParameterName"}
# Properties of layouts that the form builder handles itself, though no QLayout has them.
LAYOUT_PROPERTIES = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "margin"}


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; raises on widgets without stand-in, misspelt properties, and connections that lead nowhere."""

    _failure = None

    def createWidget(self, className, parent=None, name=""):
        try:
            return self._create(className, parent, name)
        except Exception as error:  # Qt would lose it, leave the widget out, and go on
            self._failure = self._failure or error
            raise

    def _create(self, className, parent, name):
        if className in standins.WIDGETS:
            widget = standins.WIDGETS[className](parent)
        elif className.startswith(("ctk", "qMRML", "qSlicer")):
            raise NotImplementedError(f"no stand-in for {className}")  # never silently a plain QWidget
        else:
            known = getattr(QtWidgets, className, None)
            if known is None:
                return super().createWidget(className, parent, name)  # "Line" and the like
            widget = known(parent)  # made here, so that PySide6 knows its true class
        widget.setObjectName(name)
        return widget

    def load(self, device, parent=None):
        text = bytes(device.readAll()).decode()
        tree = ElementTree.fromstring(text)
        self._check_classes(tree)
        # Python receivers are unknown to Qt's own loader: the connections are made below.
        plain = re.sub(r"<connections>.*?</connections>", "", text, flags=re.DOTALL)
        buffer = QtCore.QBuffer()
        buffer.setData(plain.encode())
        buffer.open(QtCore.QIODevice.ReadOnly)
        with while_loading():
            root = super().load(buffer, parent)
        if self._failure is not None:
            raise self._failure
        if root is None:
            raise ValueError(f"not a .ui file: {self.errorString()}")
        self._check_properties(tree, root)
        for connection in tree.iter("connection"):
            self._connect(root, connection)
        return root

    @staticmethod
    def _check_classes(tree):
        """Before Qt loads: an exception raised inside createWidget would be lost on Qt's side."""
        for element in tree.iter("widget"):
            name = element.get("class")
            if name.startswith(("ctk", "qMRML", "qSlicer")) and name not in standins.WIDGETS:
                raise NotImplementedError(f"no stand-in for {name}")
            if name != "Line" and name not in standins.WIDGETS and not hasattr(QtWidgets, name):
                raise NotImplementedError(f"no widget class {name}")

    def _check_properties(self, tree, root):
        for kind in ("widget", "layout"):
            for element in tree.iter(kind):
                name = element.get("name")
                found = _find(root, name) if name else None
                if found is None:
                    continue
                known = DYNAMIC_PROPERTIES | (LAYOUT_PROPERTIES if kind == "layout" else set())
                known = known | ({"buddy"} if element.get("class") == "QLabel" else set())  # the loader sets it itself
                for entry in element.findall("property"):
                    key = entry.get("name")
                    if key not in known and found.metaObject().indexOfProperty(key) < 0:
                        raise ValueError(f"{element.get('class')} {name!r} in the .ui file has no property {key!r}")

    @staticmethod
    def _connect(root, connection):
        """What QUiLoader does with SIGNAL() and SLOT() strings, for receivers written in Python too."""
        ends = {}
        for end in ("sender", "receiver"):
            ends[end] = _find(root, connection.findtext(end))
            if ends[end] is None:
                raise ValueError(f"the .ui file connects {connection.findtext(end)!r}, which it does not have")
        slot = connection.findtext("slot")
        declared = QMetaObject.normalizedSignature(slot).data().decode()
        receiver = ends["receiver"]
        if declared not in getattr(receiver, "cpp_slots", ()) and receiver.metaObject().indexOfMethod(declared) < 0:
            raise ValueError(f"{receiver.className()} has no slot {slot}")
        ends["sender"].connect(connection.findtext("signal"), receiver, slot)


def _find(root, name):
    return root if root.objectName == name else root.findChild(QObject, name)
