"""Maps side by side in slice views of their own, one plane and one place in all; the former layout comes back."""

from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from . import display
from .attributes import TRACER
from .marks import viewMarks

#: Views with the same number are linked with one another, and with no others.
VIEW_GROUP = 527
PLANES = ("Axial", "Coronal", "Sagittal")


@dataclass(frozen=True)
class Column:
    """A view's words and what lies in it."""

    title: str
    background: object
    foreground: object = None


def comparison(results, background=None):
    """MRI, measured PET, synthetic PET and difference, as far as they are there; without a measured PET the spread."""
    mri = background if background is not None else results.mri
    columns = _alone(mri)
    kinds = ("measured", "pet", "difference") if "measured" in results.volumes else ("pet", "uncertainty")
    titles = {
        "measured": _("measured PET"),
        "pet": _("SYNTHETIC PET"),
        "difference": _("difference"),
        "uncertainty": _("spread"),
    }
    for kind in kinds:
        if kind in results.volumes:
            columns.append(Column(titles[kind], mri, results.volumes[kind]))
    return columns


def _alone(mri):
    """The column of the MRI, where it is in the scene still."""
    return [Column(_("MRI"), mri)] if mri is not None else []


def tracers(pets, background):
    """MRI, and one synthetic PET for each tracer: of several of one tracer the latest."""
    latest = {pet.GetAttribute(TRACER): pet for pet in pets}
    words = _alone(background)
    words += [Column(f"SYNTHETIC {tracer}", background, pet) for tracer, pet in latest.items()]
    return words[: display.MOST]


def register():
    """Let Slicer know our layouts, also for scenes that were saved while one of them was shown."""
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    for count in range(1, display.MOST + 1) if node is not None else ():
        if not node.IsLayoutDescription(display.FIRST_LAYOUT + count):
            node.AddLayoutDescription(display.FIRST_LAYOUT + count, _description(count))


class SideBySide:
    """Puts columns into views, and the layout that was there before back."""

    def __init__(self):
        self._former = None

    @property
    def shown(self):
        """Whether one of our layouts is what Slicer shows."""
        return display.columns() > 0

    def show(self, columns, opacity, plane=PLANES[0]):
        """Columns from left to right, all in one plane at one place; nothing without a main window."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        if not self.shown:
            self._former = manager.layout
        register()
        manager.setLayout(display.FIRST_LAYOUT + len(columns))
        widgets = [manager.sliceWidget(_name(index)) for index in range(len(columns))]
        for widget, column in zip(widgets, columns, strict=True):
            sliceNode = widget.mrmlSliceNode()
            sliceNode.SetOrientation(plane)
            sliceNode.SetLayoutLabel(column.title)
            layers = (column.background, column.foreground) if column.background else (column.foreground, None)
            display.lay(widget, *layers, opacity, fit=True)
            widget.mrmlSliceCompositeNode().SetHotLinkedControl(True)
        _samePlace([widget.mrmlSliceNode() for widget in widgets])
        display.showLegends(display.besides())
        viewMarks.start()

    def leave(self):
        """The layout that was there before."""
        manager = slicer.app.layoutManager()
        if self.shown and manager is not None:
            manager.setLayout(self._former or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._former = None


def _name(index):
    return f"{display.COLUMN}{index + 1}"


def _samePlace(nodes):
    """Every view where the first one is, and as near."""
    for node in nodes[1:]:
        node.SetFieldOfView(*nodes[0].GetFieldOfView())
        node.SetXYZOrigin(*nodes[0].GetXYZOrigin())
        node.GetSliceToRAS().DeepCopy(nodes[0].GetSliceToRAS())
        node.UpdateMatrices()


def _description(count):
    """XML of a row of slice views."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{_name(index)}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{index + 1}</property>'
        '<property name="viewcolor" action="default">#808080</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
        "</view></item>"
        for index in range(count)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'
