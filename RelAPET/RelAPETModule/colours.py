"""Colours of PET and of the maps beside it: Slicer's own where it has them, tables of ours where it has none."""

import slicer
from slicer.i18n import tr as _

from .attributes import TRACER, UNITS, WINDOW, readRange
from .library import library

#: Nodes of Slicer's for the library's names of colours; the first that is there.
NODES = {
    "hot_metal": ("vtkMRMLPETProceduralColorNodePET-Heat", "vtkMRMLColorTableNodeIron"),
    "inverse_grey": ("vtkMRMLColorTableNodeInvertedGrey",),
}
SPREAD_COLORS = ("vtkMRMLColorTableNodeFileViridis.txt", "vtkMRMLColorTableNodeFileInferno.txt")
DIVERGING = "RelAPET difference (blue lower, red higher)"
DEPARTURE = "RelAPET departure (purple lower, orange higher)"
SPREAD = "RelAPET spread"
TABLES = {
    "rainbow": "RelAPET rainbow",
    "cividis": "RelAPET blue to yellow",
    "turning": "RelAPET turning in the middle",
}
#: Share of the difference's half window that stays without colour.
UNCOLOURED = 0.1
#: Anchors of a rainbow whose hue goes on all the way; Slicer's have long stretches of one green.
RAINBOW = (
    (0.0, 0.0, 0.0), (0.35, 0.0, 0.5), (0.1, 0.1, 0.95), (0.0, 0.6, 1.0), (0.0, 0.8, 0.55), (0.35, 0.85, 0.0),
    (0.95, 0.9, 0.0), (1.0, 0.55, 0.0), (1.0, 0.1, 0.0), (1.0, 0.75, 0.75),
)  # fmt: skip
#: Anchors of a scale like Cividis (Nunez et al., PLoS ONE 2018;13:e0199239): blue to yellow, lighter all the way, so
#: that people who see red and green alike, and those who see none, order it as everybody does.
BLUE_YELLOW = ((0.0, 0.13, 0.30), (0.26, 0.31, 0.42), (0.49, 0.48, 0.47), (0.74, 0.68, 0.42), (1.0, 0.92, 0.27))


def title(name):
    """Words for colours; those without words here are shown by their name."""
    return {
        "rainbow": _("Rainbow"),
        "hot_metal": _("Hot metal"),
        "inverse_grey": _("Inverse grey"),
        "cividis": _("Blue to yellow (safe for colour-blind readers)"),
        "turning": _("Blue, turning to red in the middle"),
    }.get(name, name)


def looks(pet):
    """The looks of a PET's tracer, in its own units: [(colours, (low, high))], the first shown at first.

    A tracer that this version does not know, as a scene of a later one may have, is seen by its own window.
    """
    tracer = library("tracers").TRACERS.get(pet.GetAttribute(TRACER))
    if tracer is None:
        return [("hot_metal", readRange(pet, WINDOW, (0.0, 1.0)))]
    suvr = pet.GetAttribute(UNITS) == "SUVR"
    return [(look.colours, look.window if suvr else (0.0, 1.0)) for look in tracer.every_look]


def petNode(name):
    """Colour node of a look; grey where this Slicer lacks it."""
    if name in TABLES:
        made = {"rainbow": _between(RAINBOW), "cividis": _between(BLUE_YELLOW), "turning": _turning}
        return _table(TABLES[name], made[name])
    found = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in NODES.get(name, ()))
    return next(filter(None, found), None) or slicer.mrmlScene.GetNodeByID("vtkMRMLColorTableNodeGrey")


def nameOf(node):
    """The library's name of a colour node, or None for one that it does not know."""
    if node is None:
        return None
    for name, identifiers in NODES.items():
        if node.GetID() in identifiers:
            return name
    return next((name for name, words in TABLES.items() if words == node.GetName()), None)


def differenceNode():
    return _table(DIVERGING, _diverging)


def departureNode():
    return _table(DEPARTURE, _departing)


def spreadNode():
    found = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in SPREAD_COLORS)
    return next(filter(None, found), None) or _table(SPREAD, _purple)


def _table(name, color):
    """A colour table of our own in the scene."""
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


def _departing(share):
    """Lilac to dark purple, nothing, dark brown to light orange: purple and orange differ for colour-blind readers too.

    Both arms grow lighter alike, so that equal departures look equally far.
    """
    away = abs(2 * share - 1)
    if away < UNCOLOURED:
        return 0.0, 0.0, 0.0, 0.0
    if share < 0.5:
        return 0.25 + 0.55 * away, 0.1 + 0.6 * away, 0.4 + 0.6 * away, 1.0
    return 0.4 + 0.6 * away, 0.17 + 0.53 * away, 0.02 + 0.23 * away, 1.0


def _purple(share):
    """Dark violet to yellow, lighter all the way."""
    return 0.2 + 0.8 * share, share**1.5, 0.45 * (1 - share) + 0.1 * share, 1.0


def _between(anchors):
    """A function from 0 to 1 to the colours between equally distant anchors."""

    def color(share):
        place = share * (len(anchors) - 1)
        first = min(int(place), len(anchors) - 2)
        one, two = anchors[first : first + 2]
        return (*(a + (place - first) * (b - a) for a, b in zip(one, two, strict=True)), 1.0)

    return color


def _turning(share):
    """Black to light blue below the middle, dark red to yellow above it: nobody overlooks where it turns."""
    if share < 0.5:
        return 0.5 * share, 1.3 * share, 0.2 + 1.6 * share, 1.0
    return 0.55 + 0.9 * (share - 0.5), 2 * (share - 0.5) * 0.95, 0.05, 1.0
