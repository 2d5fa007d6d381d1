"""Loading and unloading of a scripted module."""

import importlib.util
import sys
import types
from pathlib import Path

import slicer

from . import process_events, standins

loaded = []  # widgets of the modules in use
# Widgets of modules that are gone, kept: Python's garbage collection would empty the functions that a module left as
# observers of a node, which VTK then calls and crashes.
_gone = []


def load(path, panel=True):
    """As qSlicerScriptedLoadableModule: the file's folder on sys.path, then Module, Widget, setup() and enter().

    Slicer makes the widget when the module is first entered; without ``panel`` it never is, and None is returned.
    """
    import qt

    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)

    parent = types.SimpleNamespace(path=str(path), name=name, title=name, icon=None)
    instance = getattr(module, name)(parent)
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, name + "Instance", instance)
    setattr(slicer.moduleNames, name, name)
    if not panel:
        return None

    panel = standins.qSlicerScriptedLoadableModuleWidget()
    panel.setObjectName(name + "Panel")
    panel.setLayout(qt.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, name + "Widget")(panel)
    setattr(slicer.modules, name + "Widget", widget)
    parent.widgetRepresentation = lambda: panel
    panel._module_widget = widget
    loaded.append(widget)
    widget.setup()
    panel.isEntered = True
    if hasattr(widget, "enter"):
        widget.enter()
    panel.show()
    process_events()
    return widget


def unload(widget):
    loaded.remove(widget)
    _gone.append(widget)
    if hasattr(widget, "exit"):
        widget.exit()
    widget.parent.isEntered = False
    name = type(widget).__name__.removesuffix("Widget")
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    for attribute in (name.lower(), name + "Instance", name + "Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    widget.parent.hide()
    widget.parent.deleteLater()
    process_events()
