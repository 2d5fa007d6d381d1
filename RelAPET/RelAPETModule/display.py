"""How results look: colours, windows, legends, and layers of the slice views."""

import json
import logging

import slicer
from slicer.i18n import tr as _

from .library import library
from .marks import viewMarks
from .scene import KIND, SYNTHETIC, TRACER, UNITS, WINDOW, Results

#: Shows differences around SUVR 1 to 2 best of the PET tables, in which most of a brain lies.
PET_COLORS = "vtkMRMLPETProceduralColorNodePET-Rainbow2"
SPREAD_COLORS = ("vtkMRMLColorTableNodeFileViridis.txt", "vtkMRMLColorTableNodeFileInferno.txt")
DIVERGING = "RelAPET difference (blue lower, red higher)"
SPREAD = "RelAPET spread"
#: Share of the difference's half window that stays without colour.
UNCOLOURED = 0.1
#: Half width of the difference's window as a share of the model's: 0.5 SUVR of 0 to 3, alike for every person.
DIFFERENCE_SHARE = 1 / 6


def prepare(results, onlyNew=False):
    """Display nodes, colours, windows and legends; onlyNew leaves what a user may have changed."""
    for kind, node in results.volumes.items():
        if onlyNew and node.GetDisplayNode() is not None:
            continue
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.AutoWindowLevelOff()
        low, high = window(kind, node)
        display.SetAndObserveColorNodeID(_colors(kind).GetID())
        display.SetWindowLevelMinMax(low, high)
        display.SetInterpolate(True)
        if kind == "difference":
            display.ApplyThresholdOff()  # small differences are transparent by their colour
        else:
            # 0 is outside the brain: there the MRI shows. Slicer's slider spans whatever the upper threshold is.
            display.SetThreshold(1e-6, max(high, node.GetImageData().GetScalarRange()[1]))
            display.ApplyThresholdOn()
        _legend(node, kind)
    viewMarks.start()  # a view may show a volume that has become synthetic just now


def window(kind, node):
    """(low, high) of the colours: the tracer's fixed one for a PET, symmetric for a difference, from 0 for a spread."""
    suvr = node.GetAttribute(UNITS) == "SUVR"
    if kind == "pet":
        return library("tracers").TRACERS[node.GetAttribute(TRACER)].display_window if suvr else (0.0, 1.0)
    if kind == "difference":
        low, high = json.loads(node.GetAttribute(WINDOW) or "null") or (0.0, 1.0)
        half = DIFFERENCE_SHARE * (high - low)
        return -half, half
    return 0.0, max(node.GetImageData().GetScalarRange()[1], 1e-3)


def _colors(kind):
    if kind == "difference":
        return _table(DIVERGING, _diverging)
    if kind == "pet":
        node = slicer.mrmlScene.GetNodeByID(PET_COLORS)
        return node if node is not None else slicer.mrmlScene.GetNodeByID("vtkMRMLColorTableNodeRed")
    for identifier in SPREAD_COLORS:
        node = slicer.mrmlScene.GetNodeByID(identifier)
        if node is not None:
            return node
    return _table(SPREAD, _purple)


def _table(name, color):
    """A colour table of our own in the scene, for Slicer ships none that is transparent where nothing differs."""
    node = slicer.mrmlScene.GetFirstNodeByName(name)
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(name)
    node.SetNumberOfColors(256)
    node.SetHideFromEditors(False)
    for index in range(256):
        node.SetColor(index, f"{index}", *color(index / 255))
    return slicer.mrmlScene.AddNode(node)


def _diverging(share):
    """Cyan to dark blue, nothing, dark red to yellow: where next to nothing differs the MRI shows, as around a brain.

    Slice views know no half transparent colours, whatever is not wholly transparent is drawn; so both arms begin dark.
    """
    away = abs(2 * share - 1)
    if away < UNCOLOURED:
        return 0.0, 0.0, 0.0, 0.0
    main, second = min(1.0, 0.35 + 0.9 * away), max(0.0, 1.6 * away - 0.6)
    return (0.2 * second, second, main, 1.0) if share < 0.5 else (main, second, 0.2 * second, 1.0)


def _purple(share):
    """Dark violet to yellow, lighter all the way."""
    return 0.2 + 0.8 * share, share**1.5, 0.45 * (1 - share) + 0.1 * share, 1.0


def _legend(node, kind):
    """Colour legend with its unit; Slicers that lack it show none."""
    logic = _legendLogic()
    legend = logic and (logic.GetColorLegendDisplayNode(node) or logic.AddDefaultColorLegendDisplayNode(node))
    if not legend:
        return
    low, high = window(kind, node)
    words = {"pet": "", "difference": "\ndifference", "uncertainty": "\nspread"}[kind]
    legend.SetTitleText(f"{node.GetAttribute(TRACER)} {node.GetAttribute(UNITS)}{words}")
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(13)
        text.SetFontFamilyToArial()
    whole = kind == "pet" and float(2 * high).is_integer()
    legend.SetNumberOfLabels(round(2 * (high - low)) + 1 if whole else 5)
    legend.SetLabelFormat("%.1f" if whole else "%.2f")
    legend.SetSize(0.12, 0.45)
    legend.SetVisibility(False)


def _legendLogic():
    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    return logic if hasattr(logic, "AddDefaultColorLegendDisplayNode") else None


def sliceComposites():
    """Composite nodes of the slice views; none without a main window."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return []
    return [manager.sliceWidget(name).mrmlSliceCompositeNode() for name in manager.sliceViewNames()]


def show(results, kind, opacity, fit=False):
    """Lay one map, or none ("mri"), over its MRI in all slice views, which are linked.

    Returns the node that is shown, or None, as in a Slicer without main window, where a warning says so.
    """
    node = results.volumes.get(kind)
    if slicer.app.layoutManager() is None:
        logging.warning(_("Slicer runs without a main window: the results are in the scene and are not shown"))
        return None
    for composite in sliceComposites():
        composite.SetLinkedControl(True)
    slicer.util.setSliceViewerLayers(
        background=results.mri if results.mri is not None else node,
        foreground=node if results.mri is not None else None,
        label=None,
        foregroundOpacity=opacity,
        fit=fit,
    )
    logic = _legendLogic()
    for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if logic else ():
        legend = logic.GetColorLegendDisplayNode(each) if each.GetAttribute(SYNTHETIC) else None
        if legend is not None:
            legend.SetVisibility(each is node)
    viewMarks.start()
    return node


def liesUnder(mri):
    """Whether an MRI is what the slice views show already, so that they keep their place."""
    backgrounds = {composite.GetBackgroundVolumeID() for composite in sliceComposites()}
    return mri is not None and backgrounds == {mri.GetID()}


def setOpacity(opacity):
    for composite in sliceComposites():
        composite.SetForegroundOpacity(opacity)


def ofNode(volume):
    """Results that a volume is the PET of, or None."""
    if volume is None or volume.GetAttribute(KIND) != "pet":
        return None
    return Results(volume)
