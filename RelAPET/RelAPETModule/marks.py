"""SYNTHETIC in every view that shows a synthetic volume, in whatever layer, and in no other.

Each view gets a text of its own. The view's corner annotation is left alone: all its corners have one text property,
which is Slicer's (its DataProbe writes there) and every other module's too.
"""

import contextlib

import qt
import slicer
import vtk

from . import people
from .attributes import KIND, SYNTHETIC, TRACER

WORDS = {
    "pet": "SYNTHETIC {tracer} PET",
    "difference": "SYNTHETIC {tracer} minus reference",
    "departure": "SYNTHETIC {tracer}: departure\nnot a disease map",
    "measured": "measured {tracer} PET",
    "zscore": "measured {tracer} PET: z-score",
    "uncertainty": "SYNTHETIC {tracer}: spread of samples\nnot the error",
    None: "SYNTHETIC image",  # of a file, which tells no more
}
ADVICE = "research only"
COLOR = 1.0, 0.8, 0.2
#: Part of a view that Slicer's own annotations leave free.
EDGE = vtk.vtkCornerAnnotation.UpperEdge
#: Share of the view's height that a line takes at most, and the largest font: as Slicer's own annotation is.
LINE_HEIGHT, FONT_SIZE = 0.07, 14
#: Nodes that say what a view shows, and those whose coming or going changes it.
_COMPOSITE, _SLICE, _RENDERING, _VIEW, _VOLUME = (
    f"vtkMRML{name}Node" for name in ("SliceComposite", "Slice", "VolumeRenderingDisplay", "View", "ScalarVolume")
)


class ViewMarks:
    """Keeps the marks true while views come and go and change what they show; `viewMarks` is the one there is."""

    def __init__(self):
        self._marks = {}  # the view's renderer: its text
        self._nodes, self._scene, self._due = {}, [], False
        self._asked = {}  # by the volume's ID: the file and the instances that were asked whether they are synthetic

    @property
    def on(self):
        return bool(self._scene)

    def start(self):
        """Begin, or look again; without a main window there is nothing to mark."""
        manager, scene = slicer.app.layoutManager(), slicer.mrmlScene
        if manager is None:
            return
        if not self.on:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
                self._scene.append(scene.AddObserver(event, self._onNode))
            for event in (scene.EndBatchProcessEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._scene.append(scene.AddObserver(event, self._later))
            manager.connect("layoutChanged(int)", self._later)
        self._look()

    def stop(self):
        """Take every mark away and follow nothing any more."""
        manager = slicer.app.layoutManager()
        if self.on and manager is not None:
            manager.disconnect("layoutChanged(int)", self._later)
        for tag in self._scene:
            slicer.mrmlScene.RemoveObserver(tag)
        for identifier in list(self._nodes):
            self._leave(identifier)
        self._scene, self._asked = [], {}
        for renderer in list(self._marks):
            renderer.RemoveViewProp(self._marks.pop(renderer))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, scene, event, node):
        if node is None:
            return
        if not scene.IsNodePresent(node):
            self._asked.pop(node.GetID(), None)
            if node.GetAttribute(SYNTHETIC):
                self.update()
        if any(node.IsA(name) for name in (_COMPOSITE, _SLICE, _RENDERING, _VIEW, _VOLUME)):
            if scene.IsNodePresent(node):
                self._follow(node)
            self._later()

    def _later(self, *_):
        """A view's widget comes after its node, so look when Slicer is done with what it does now."""
        if not self._due:
            self._due = True
            qt.QTimer.singleShot(0, self._look)

    def _look(self):
        self._due = False
        if not self.on:
            return
        names = _COMPOSITE, _SLICE, _RENDERING, _VOLUME
        nodes = [node for name in names for node in slicer.util.getNodesByClass(name)]
        for identifier in set(self._nodes) - {node.GetID() for node in nodes}:
            self._leave(identifier)
        for node in nodes:
            if node.IsA(_VOLUME):
                self._ask(node)
            self._follow(node)
        self.update()

    def _ask(self, volume):
        """A volume whose file or DICOM series says that it is synthetic, as the library's do, says so from now on."""
        storage, identifier = volume.GetStorageNode(), volume.GetID()
        source = storage.GetFileName() if storage is not None else None, volume.GetAttribute("DICOM.instanceUIDs")
        known = volume.GetAttribute(SYNTHETIC) or volume.GetAttribute(KIND) or self._asked.get(identifier) == source
        if known or not any(source):
            return
        with contextlib.suppress(ImportError):  # before the install step the library may not be able to look
            if people.saysSynthetic(volume):
                volume.SetAttribute(SYNTHETIC, "1")
            self._asked[identifier] = source

    def _follow(self, node):
        """Hear of it when the node changes what views show: of a volume, when it is given another display."""
        if node.IsA(_VIEW) or (node.IsA(_VOLUME) and not node.GetAttribute(SYNTHETIC)):
            return
        known = self._nodes.get(node.GetID())
        if known is not None and known[0] is node:
            return
        if known is not None:  # another node had this ID in a scene that was closed
            self._leave(node.GetID())
        event = slicer.vtkMRMLNode.ReferenceAddedEvent if node.IsA(_VOLUME) else vtk.vtkCommand.ModifiedEvent
        self._nodes[node.GetID()] = node, node.AddObserver(event, self.update)

    def _leave(self, identifier):
        node, tag = self._nodes.pop(identifier)
        node.RemoveObserver(tag)

    def update(self, *_):
        """Write into each view what it shows now."""
        if not self.on or slicer.app.layoutManager() is None:
            return
        present = {}
        for view, volumes in _shown():
            renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
            present[renderer] = view, _words(volumes)
        for renderer in set(self._marks) - set(present):  # its view is gone
            renderer.RemoveViewProp(self._marks.pop(renderer))
        for renderer, (view, words) in present.items():
            mark = self._marks.get(renderer)
            if words == (mark.GetText(EDGE) if mark is not None else ""):
                continue
            if not words:
                renderer.RemoveViewProp(self._marks.pop(renderer))
            else:
                if mark is None:
                    mark = self._marks[renderer] = _newMark()
                    renderer.AddViewProp(mark)
                mark.SetText(EDGE, words)
            view.scheduleRender()


def _newMark():
    mark = vtk.vtkCornerAnnotation()
    mark.SetMaximumLineHeight(LINE_HEIGHT)
    mark.SetMaximumFontSize(FONT_SIZE)
    mark.PickableOff()
    text = mark.GetTextProperty()
    text.SetColor(*COLOR)
    text.ShadowOn()
    return mark


def _shown():
    """(view, its volumes) for every slice view and 3-D view, also hidden ones."""
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        widget = manager.sliceWidget(name)
        composite = widget.mrmlSliceCompositeNode() if widget is not None else None
        if composite is not None:
            yield widget.sliceView(), _layers(composite)
    rendered = [node for node in slicer.util.getNodesByClass(_RENDERING) if node.GetVisibility()]
    slices = [node for node in slicer.util.getNodesByClass(_SLICE) if node.GetSliceVisible()]
    for index in range(manager.threeDViewCount):
        widget = manager.threeDWidget(index)
        node = widget.mrmlViewNode() if widget is not None else None
        if node is None:
            continue
        volumes = [each.GetDisplayableNode() for each in rendered if each.IsDisplayableInView(node.GetID())]
        for each in slices:
            if each.IsDisplayableInThreeDView(node.GetID()):
                volumes += _layers(_compositeOf(each))
        yield widget.threeDView(), volumes


def _compositeOf(sliceNode):
    found = slicer.util.getNodesByClass(_COMPOSITE)
    return next((node for node in found if node.GetLayoutName() == sliceNode.GetLayoutName()), None)


def _layers(composite):
    """Volumes of a slice view, whatever their opacity; newer Slicers have layers above the label's."""
    if composite is None:
        return []
    shown = [composite.GetForegroundVolumeID(), composite.GetLabelVolumeID(), composite.GetBackgroundVolumeID()]
    if hasattr(composite, "GetNumberOfAdditionalLayers"):
        more = range(composite.Layer_Last, composite.Layer_Last + composite.GetNumberOfAdditionalLayers())
        shown += [composite.GetNthLayerVolumeID(index) for index in more]
    return [slicer.mrmlScene.GetNodeByID(identifier) for identifier in shown if identifier]


def _words(volumes):
    """What a view with these volumes has to say: which are synthetic, and which beside them is measured."""
    said, synthetic = [], False
    for node in volumes:
        if node is not None and (node.GetAttribute(SYNTHETIC) or node.GetAttribute(KIND)):
            synthetic = synthetic or bool(node.GetAttribute(SYNTHETIC))
            words = WORDS.get(node.GetAttribute(KIND), WORDS["pet"]).format(tracer=node.GetAttribute(TRACER) or "")
            if words not in said:
                said.append(words)
    return "\n".join([*said, *([ADVICE] if synthetic else [])])


viewMarks = ViewMarks()
