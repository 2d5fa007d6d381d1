"""The layout's views: their nodes and logics are MRML's own, the widgets around them hold what modules reach for.

As in Slicer, a view's widget comes after its node, whoever added that: a layout (by the real ``vtkMRMLLayoutLogic``) or
a script. All corners of a view's annotation share one text property, and Slicer's DataProbe writes into it too.
"""

import contextlib

import slicer
import vtk

from .interaction import recorder

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
VIEW_SIZE = (256, 256)
CORNERS = range(8)
DATA_PROBE_CORNER, DATA_PROBE_FONT = vtk.vtkCornerAnnotation.LowerLeft, 14


class RenderWindow:
    """The renderers of a view, which is never drawn by itself (``rendering.render_view`` draws a copy)."""

    def __init__(self):
        self._renderers = vtk.vtkRendererCollection()

    def GetRenderers(self):
        return self._renderers

    def AddRenderer(self, renderer):
        self._renderers.AddItem(renderer)

    def Render(self):
        pass


class View:
    """What slice and 3-D views share: a window, a corner annotation in its first renderer, requests to draw."""

    def __init__(self):
        self._window, self._annotation = RenderWindow(), vtk.vtkCornerAnnotation()
        self._annotation.SetMaximumLineHeight(0.07)
        self._annotation.GetTextProperty().ShadowOn()
        renderer = vtk.vtkRenderer()
        renderer.AddViewProp(self._annotation)
        self._window.AddRenderer(renderer)
        self._requests = 0

    def renderWindow(self):
        return self._window

    def cornerAnnotation(self):
        return self._annotation

    def scheduleRender(self):
        self._requests += 1

    forceRender = scheduleRender

    def _state(self):
        """What belongs to everybody who annotates this view."""
        text = self._annotation.GetTextProperty()
        return {
            "texts": [self._annotation.GetText(corner) or "" for corner in CORNERS],
            "color": text.GetColor(),
            "font": (text.GetFontFamily(), text.GetFontSize(), text.GetBold(), text.GetItalic(), text.GetShadow()),
            "opacity": text.GetOpacity(),
            "limits": (self._annotation.GetMinimumFontSize(), self._annotation.GetMaximumFontSize()),
        }


class SliceController:
    """The buttons above a slice view that modules press."""

    def __init__(self, widget):
        self._widget = widget

    def fitSliceToBackground(self):
        self._widget.sliceLogic().FitSliceToBackground()

    def setSliceLink(self, linked):
        """Links all views, as the button does."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetLinkedControl(linked)

    def setSliceVisible(self, visible):
        self._widget.mrmlSliceNode().SetSliceVisible(visible)


class SliceWidget:
    def __init__(self, node):
        self._view, self._controller = View(), SliceController(self)
        application = slicer.app.applicationLogic()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        node.SetOrientation(ORIENTATIONS.get(node.GetLayoutName().rstrip("+"), "Axial"))
        self._logic.ResizeSliceNode(*VIEW_SIZE)
        self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._probe)

    def _probe(self, _caller, _event):
        """Slicer's DataProbe: names of the volumes, with the font that the view's one text property then has."""
        layers = (("L", "Label"), ("F", "Foreground"), ("B", "Background"))
        lines = []
        for letter, layer in layers:
            node = getattr(self._logic, f"Get{layer}Layer")().GetVolumeNode()
            if node is not None:
                lines.append(f"{letter}: {node.GetName()}")
        annotation = self._view.cornerAnnotation()
        annotation.SetMinimumFontSize(DATA_PROBE_FONT)
        annotation.SetMaximumFontSize(DATA_PROBE_FONT)
        annotation.SetText(DATA_PROBE_CORNER, "\n".join(lines))

    def _remove(self):
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        composite = self._logic.GetSliceCompositeNode()
        self._logic.DeleteSliceModel()
        self._logic.SetMRMLScene(None)
        if composite is not None:
            slicer.mrmlScene.RemoveNode(composite)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._controller


class ThreeDView(View):
    def __init__(self, node):
        super().__init__()
        self._node = node

    def mrmlViewNode(self):
        return self._node

    def resetFocalPoint(self):
        pass

    resetCamera = resetFocalPoint


class ThreeDWidget:
    def __init__(self, node):
        self._view = ThreeDView(node)

    def threeDView(self):
        return self._view

    def mrmlViewNode(self):
        return self._view.mrmlViewNode()

    def _remove(self):
        """Nothing but the widget itself goes."""


FACTORIES = {"vtkMRMLSliceNode": SliceWidget, "vtkMRMLViewNode": ThreeDWidget}


def layout_manager_class(qt):
    """The class of ``slicer.app.layoutManager()``; made here since qt exists only after ``pythonqt.install``."""

    class LayoutManager(qt.QObject):
        cpp_signals = ("layoutChanged(int)",)
        layoutChanged = qt.Signal(int)

        def __init__(self):
            super().__init__()
            self._widgets = {}  # view node's ID: widget, in the order in which they came
            self._logic = slicer.vtkMRMLLayoutLogic()
            slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene, True)
            scene = slicer.mrmlScene
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                scene.AddObserver(event, lambda *_: self._follow())
            self._logic.SetMRMLScene(scene)
            self._follow()
            self._first = set(self._widgets)

        def _follow(self):
            """Make and remove widgets after the scene's view nodes; during a batch Slicer waits for its end."""
            scene = slicer.mrmlScene
            if scene.IsBatchProcessing():
                return
            nodes = {node.GetID(): node for cls in FACTORIES for node in slicer.util.getNodesByClass(cls)}
            for identifier in [known for known in self._widgets if known not in nodes]:
                self._widgets.pop(identifier)._remove()
            for identifier, node in nodes.items():
                if identifier not in self._widgets:
                    self._widgets[identifier] = None  # making it adds nodes, which comes back to here
                    self._widgets[identifier] = FACTORIES[node.GetClassName()](node)

        def _reset(self):
            """As after Slicer's start: what layouts and scripts added goes, what the first views show too."""
            layout = self._logic.GetLayoutNode()
            layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
            for identifier in set(self._widgets) - self._first:
                slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(identifier))
            for widget in self._of(SliceWidget):
                widget.mrmlSliceNode().SetSliceVisible(False)

        def _of(self, cls):
            return [widget for widget in self._widgets.values() if isinstance(widget, cls)]

        @property
        def layout(self):
            return self._logic.GetLayoutNode().GetViewArrangement()

        def setLayout(self, layout):
            """The layout's view nodes come into the scene; all views that there ever were stay, hidden."""
            recorder.layouts.append(layout)
            self._logic.GetLayoutNode().SetViewArrangement(layout)
            self.layoutChanged.emit(layout)

        def sliceViewNames(self):
            return tuple(widget.mrmlSliceNode().GetLayoutName() for widget in self._of(SliceWidget))

        def sliceWidget(self, name):
            named = [w for w in self._of(SliceWidget) if w.mrmlSliceNode().GetLayoutName() == name]
            return named[0] if named else None

        @property
        def threeDViewCount(self):
            return len(self._of(ThreeDWidget))

        def threeDWidget(self, index):
            return self._of(ThreeDWidget)[index] if 0 <= index < self.threeDViewCount else None

        tableViewCount = plotViewCount = property(lambda self: 0)

        def mrmlSliceLogics(self):
            return slicer.app.applicationLogic().GetSliceLogics()

        def resetSliceViews(self):
            for widget in self._of(SliceWidget):
                widget.sliceLogic().FitSliceToBackground()

        def resetThreeDViews(self):
            pass

    return LayoutManager


def shared_state():
    """What all who annotate the views share, by view: texts, colour, font. Equal before and after: nobody's was taken.

    DataProbe's own texts, which follow the volumes, are left out.
    """
    manager = slicer.app.layoutManager()
    views = {name: manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()}
    views |= {index: manager.threeDWidget(index).threeDView() for index in range(manager.threeDViewCount)}
    found = {name: view._state() for name, view in views.items()}
    for state in found.values():
        state["texts"][DATA_PROBE_CORNER] = ""
        state.pop("limits")
    return found


def texts_of(view):
    """Everything that is written in a view, by whatever prop of its renderers."""
    found = []
    renderers = view.renderWindow().GetRenderers()
    for index in range(renderers.GetNumberOfItems()):
        for prop in renderers.GetItemAsObject(index).GetViewProps():
            if isinstance(prop, vtk.vtkCornerAnnotation) and prop.GetVisibility():
                found += [prop.GetText(corner) for corner in CORNERS if prop.GetText(corner)]
            elif isinstance(prop, vtk.vtkTextActor) and prop.GetVisibility():
                found.append(prop.GetInput())
    return found


@contextlib.contextmanager
def no_main_window():
    """Slicer started with --no-main-window: no layout manager, and no views in the scene."""
    manager, app = slicer.app._layout, slicer.app
    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in manager._widgets]
    for node in nodes:
        slicer.mrmlScene.RemoveNode(node)
    app._layout = None
    try:
        yield
    finally:
        app._layout = manager
        for node in nodes:
            slicer.mrmlScene.AddNode(node)
        manager._first = set(manager._widgets)
