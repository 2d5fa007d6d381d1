"""How results look: colours, windows, legends, and layers of the slice views."""

import logging

import slicer
from slicer.i18n import tr as _

from . import colours
from .attributes import KIND, SD, SD_OF_NORMS, TRACER, UNITS, WINDOW, readRange
from .marks import viewMarks
from .scene import Results

#: Names of the views side by side begin so; their layouts' numbers are this one and how many views there are, at most.
COLUMN, FIRST_LAYOUT, MOST = "RelAPET", 52700, 6
#: Maps that show uptake: the synthetic PET and the measured one that it was compared with.
PETS = ("pet", "measured")
#: Labels of a legend, few enough never to touch, its size and the place of its middle, in shares of the view.
LABELS, FEW_LABELS, LEGEND_SIZE, LEGEND_PLACE = 5, 3, (0.09, 0.4), 0.97
#: Shares of a view that legend and marks take, at its right and at its top, where nothing of the head may lie.
RIGHT, TOP = 0.18, 0.12
#: Half width of the difference's window as a share of the model's: 0.5 SUVR of 0 to 3, alike for every person.
DIFFERENCE_SHARE = 1 / 6
#: Half width of the departure's, in SD, alike for every person too: little departs little.
DEPARTURE_HALF = 3.0
#: Maps with a sign.
SIGNED = ("difference", "departure", "zscore")


def prepare(results, onlyNew=False):
    """Display nodes, colours, windows and legends; onlyNew leaves what a user may have changed."""
    for kind, node in results.volumes.items():
        if onlyNew and node.GetDisplayNode() is not None:
            continue
        display = _displayOf(node)
        display.AutoWindowLevelOff()
        low, high = window(kind, node)
        display.SetAndObserveColorNodeID(_colors(kind, node).GetID())
        display.SetWindowLevelMinMax(low, high)
        display.SetInterpolate(True)
        if kind in SIGNED:
            display.ApplyThresholdOff()  # what is small is transparent by its colour
        else:
            # 0 is outside the brain: there the MRI shows. Slicer's slider spans whatever the upper threshold is.
            display.SetThreshold(1e-6, max(high, node.GetImageData().GetScalarRange()[1]))
            display.ApplyThresholdOn()
        _legend(node, kind)
    viewMarks.start()  # a view may show a volume that has become synthetic just now


def _displayOf(node):
    """A volume's display node, made where there is none, as `CreateDefaultDisplayNodes` does.

    But without the window that it takes from a histogram of all voxels, which takes longer than reading them.
    """
    if not isColoured(node):  # none, or a legend alone, where somebody deleted the volume's own
        display = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.UnRegister(None)  # Python's reference is enough
        display.AutoWindowLevelOff()
        display = slicer.mrmlScene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
    return node.GetDisplayNode()


def window(kind, node):
    """(low, high) of the colours at first: the tracer's for a PET, symmetric for signed maps, from 0 for a spread."""
    if kind in PETS:
        return colours.looks(node)[0][1]
    if kind == "difference":
        low, high = readRange(node, WINDOW, (0.0, 1.0))
        half = DIFFERENCE_SHARE * (high - low)
        return -half, half
    if kind in ("departure", "zscore"):
        return -DEPARTURE_HALF, DEPARTURE_HALF
    return 0.0, max(node.GetImageData().GetScalarRange()[1], 1e-3)


def isColoured(node):
    """Whether a volume has colours yet, or still, while a scene is filled or emptied."""
    return hasattr(node.GetDisplayNode(), "GetWindowLevelMin")


def shownWindow(node):
    """(low, high) of the colours now, of a volume that has some."""
    display = node.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _colors(kind, node):
    if kind in PETS:
        return colours.petNode(colours.looks(node)[0][0])
    nodes = {"difference": colours.differenceNode, "departure": colours.departureNode}
    nodes["zscore"] = colours.departureNode
    return nodes.get(kind, colours.spreadNode)()


def look(results):
    """Number of the look that a result's PET has, or None where it has another."""
    display = results.pet.GetDisplayNode()
    shown = colours.nameOf(display.GetColorNode()) if display is not None else None
    names = [name for name, _window in colours.looks(results.pet)]
    return names.index(shown) if shown in names else None


def setLook(results, number):
    """Colours and window of a PET and of the measured one beside it, which are alike."""
    name, (low, high) = colours.looks(results.pet)[number]
    for _kind, node in _colouredPets(results):
        node.GetDisplayNode().SetAndObserveColorNodeID(colours.petNode(name).GetID())
    setWindow(results, low, high)


def setWindow(results, low, high):
    """Window of a PET and of the measured one."""
    for kind, node in _colouredPets(results):
        node.GetDisplayNode().SetWindowLevelMinMax(low, high)
        _legend(node, kind)


def _colouredPets(results):
    """(kind, node) of a PET and the measured one, but for those whose display somebody deleted."""
    return [
        (kind, results.volumes[kind]) for kind in PETS if kind in results.volumes and isColoured(results.volumes[kind])
    ]


def _legend(node, kind):
    """Colour legend with its unit; Slicers that lack it show none.

    Which map it is of, the view's mark says; a longer title would lie over the head.
    """
    logic = _legendLogic()
    legend = logic and logic.GetColorLegendDisplayNode(node)
    new = logic and not legend
    legend = legend or (logic and logic.AddDefaultColorLegendDisplayNode(node))
    if not legend:
        return
    low, high = shownWindow(node)
    units = node.GetAttribute(UNITS) if node.GetAttribute(UNITS) in ("SUVR", SD, SD_OF_NORMS) else _("relative")
    legend.SetTitleText(f"{node.GetAttribute(TRACER)}\n{units}")
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(13)
        text.SetFontFamilyToArial()
    count = FEW_LABELS if kind in SIGNED else LABELS  # a sign takes room
    legend.SetNumberOfLabels(count)
    legend.SetLabelFormat("%.1f" if all(_isTenth(each) for each in (low, (high - low) / (count - 1))) else "%.2f")
    legend.SetSize(*LEGEND_SIZE)
    legend.SetPosition(LEGEND_PLACE, 0.5)
    if new:
        legend.SetVisibility(False)


def _isTenth(value):
    return abs(10 * value - round(10 * value)) < 1e-6


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
    """Lay one map, or none ("mri"), over its MRI in all slice views but those side by side; they are linked.

    Returns the node that is shown, or None, as in a Slicer without main window, where a warning says so.
    """
    node, manager = results.volumes.get(kind), slicer.app.layoutManager()
    if manager is None:
        logging.warning(_("Slicer runs without a main window: the results are in the scene and are not shown"))
        return None
    background = results.mri if results.mri is not None else node
    for name in manager.sliceViewNames():
        if not name.startswith(COLUMN):
            lay(manager.sliceWidget(name), background, node if results.mri is not None else None, opacity, fit)
    showLegends({node} | besides())
    viewMarks.start()
    return node


def columns():
    """How many views are side by side now; 0 in any other layout."""
    manager = slicer.app.layoutManager()
    number = manager.layout - FIRST_LAYOUT if manager is not None else 0
    return number if 0 < number <= MOST else 0


def besides():
    """Volumes that are side by side now."""
    manager, found = slicer.app.layoutManager(), set()
    for index in range(columns()):
        widget = manager.sliceWidget(f"{COLUMN}{index + 1}")
        composite = widget.mrmlSliceCompositeNode() if widget is not None else None
        shown = (composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()) if composite else ()
        found |= {slicer.mrmlScene.GetNodeByID(identifier) for identifier in shown if identifier}
    return found


def lay(widget, background, foreground, opacity, fit):
    """Volumes into one slice view, which is linked; `fit` puts all of the background beside legend and marks."""
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(True)
    composite.SetBackgroundVolumeID(background.GetID() if background is not None else None)
    composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
    composite.SetLabelVolumeID(None)
    composite.SetForegroundOpacity(opacity)
    if fit:
        fitBeside(widget)


def fitBeside(widget):
    """The whole background into the part of a view that legend and marks leave free."""
    logic, node = widget.sliceLogic(), widget.mrmlSliceNode()
    logic.FitSliceToBackground()
    width, height, depth = node.GetFieldOfView()
    extents = [0.0] * 3
    volume = logic.GetBackgroundLayer().GetVolumeNode()
    if volume is None or not (width and height):
        return
    logic.GetVolumeSliceDimensions(volume, extents, [0.0] * 3)
    grown = max(1.0, extents[0] / ((1 - RIGHT) * width), extents[1] / ((1 - TOP) * height))
    node.SetFieldOfView(grown * width, grown * height, depth)
    # The middle of the view lies right of and above the volume's by half of what is kept free.
    free = [max(0.0, 1 - extent / (grown * whole)) for extent, whole in zip(extents, (width, height), strict=False)]
    node.SetXYZOrigin(max(0.0, RIGHT - free[0] / 2) * grown * width, max(0.0, TOP - free[1] / 2) * grown * height, 0.0)
    node.UpdateMatrices()


def showLegends(shown):
    """Legends of the volumes that are shown, and of none of our others."""
    logic = _legendLogic()
    for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if logic else ():
        legend = logic.GetColorLegendDisplayNode(each) if each.GetAttribute(KIND) else None
        if legend is not None:
            legend.SetVisibility(any(each is node for node in shown))


def liesUnder(mri):
    """Whether an MRI is what the slice views show already, so that they keep their place."""
    backgrounds = {c.GetBackgroundVolumeID() for c in sliceComposites() if not c.GetLayoutName().startswith(COLUMN)}
    return mri is not None and backgrounds == {mri.GetID()}


def setOpacity(opacity):
    """Of our maps, wherever they lie over an MRI; what others show stays."""
    for composite in sliceComposites():
        node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        if node is None or node.GetAttribute(KIND):
            composite.SetForegroundOpacity(opacity)


def ofNode(volume):
    """Results that a volume is the PET of, or None."""
    if volume is None or volume.GetAttribute(KIND) != "pet":
        return None
    return Results(volume)
