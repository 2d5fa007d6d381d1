"""*Synthesize PET* on a patient or study of the subject hierarchy: where it is offered, and what it does."""

import logging
from pathlib import Path

import slicer

from .guessing import T1W, T2F
from .pairs import scansOf

NAME = "RelAPET"
#: Where the plugin is kept, beside Slicer's own modules.
_KEPT = "RelAPETHierarchyPlugin"
_PLUGIN = Path(__file__).resolve().parent.parent / "SubjectHierarchyPlugins" / "RelAPETSubjectHierarchyPlugin.py"
#: Slicer's class that runs a plugin written in Python, by the names that it may have.
_CLASSES = ("qSlicerSubjectHierarchyScriptedPlugin", "qSlicerScriptedSubjectHierarchyPlugin")


def register():
    """Add the plugin to Slicer's; where Slicer has no such, the panel's button is there all the same."""
    handlers = getattr(slicer, "qSlicerSubjectHierarchyPluginHandler", None)
    kind = next((found for name in _CLASSES if (found := getattr(slicer, name, None)) is not None), None)
    if handlers is None or kind is None:
        logging.info("RelAPET: this Slicer takes no action for the subject hierarchy; use the panel's Find pairs")
        return
    handler = handlers.instance()
    # Slicer logs a warning when it is asked for a name that it does not know.
    if getattr(slicer.modules, _KEPT, None) is not None and handler.pluginByName(NAME):
        return
    plugin = kind(None)
    plugin.name = NAME
    plugin.setPythonSource(str(_PLUGIN))
    if not handler.pluginByName(NAME):  # Slicer's base class may have done so already
        handler.registerPlugin(plugin)
    setattr(slicer.modules, _KEPT, plugin)


def offers(item):
    """Whether an item is a patient or study with a T1w or T2-FLAIR in it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or not item or hierarchy.GetItemLevel(item) not in ("Patient", "Study"):
        return False
    return any(scan.kind.role in (T1W, T2F) for scan in scansOf(slicer.mrmlScene, item))


def openFor(item):
    """Open the module with what lies below an item: one sure pair is chosen, several are listed."""
    slicer.util.selectModule(NAME)
    panel = getattr(slicer.modules, "RelAPETWidget", None)  # made by now: Slicer makes it when it opens the module
    if panel is not None:
        panel.batch.showBelow(item)
