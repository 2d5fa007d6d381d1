"""What a slice view shows, as numpy arrays: by the slice logic alone, or as a whole view with annotations.

``slice_image`` needs no OpenGL: it is what vtkMRMLSliceLogic blends on the CPU, so pixel tests belong there.
``render_view`` draws the view offscreen with EGL or OSMesa (``can_render`` says whether the machine has one; without,
VTK would crash).
"""

import functools
import subprocess
import sys

import numpy as np

DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
)


def _array(image):
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return pixels[::-1].copy()  # VTK's rows go from the bottom up


def slice_image(view="Red", size=None, fit=False, alpha=False):
    """RGB uint8 [rows, columns, 3] of the slice view; black where nothing is. ``alpha`` adds the fourth channel."""
    import slicer

    logic = slicer.app.layoutManager().sliceWidget(view).sliceLogic()
    if size:
        logic.ResizeSliceNode(*size)
    if fit:
        logic.FitSliceToBackground()
    logic.UpdatePipeline()
    connection = logic.GetImageDataConnection()
    if connection is None:
        width, height = logic.GetSliceNode().GetDimensions()[:2]
        return np.zeros((height, width, 4 if alpha else 3), np.uint8)
    connection.GetProducer().Update()
    pixels = _array(connection.GetProducer().GetOutputDataObject(connection.GetIndex()))
    return pixels if alpha else pixels[..., :3]


@functools.cache
def can_render():
    """Whether VTK draws offscreen here; asked of another process, since a machine without EGL and OSMesa crashes it."""
    script = (
        "import vtk; window = vtk.vtkRenderWindow(); window.SetOffScreenRendering(1);"
        "window.AddRenderer(vtk.vtkRenderer()); window.Render(); raise SystemExit(not window.SupportsOpenGL())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    return done.returncode == 0


def render_view(view="Red", size=(400, 400), fit=True):
    """RGB uint8 of the whole view: slice, corner annotation, ruler, orientation marker, colour legend."""
    import slicer

    widget = slicer.app.layoutManager().sliceWidget(view)
    logic = widget.sliceLogic()
    props = list(widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer().GetViewProps())
    renderer, window, interactor = _offscreen_window(size)
    group = _displayable_managers(renderer)
    group.SetMRMLDisplayableNode(logic.GetSliceNode())
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        # Slicer's views are there before the legends; this one came after, and is told of them now.
        slicer.mrmlScene.InvokeEvent(slicer.vtkMRMLScene.NodeAddedEvent, legend)
    logic.ResizeSliceNode(*size)
    if fit:
        logic.FitSliceToBackground()
    logic.UpdatePipeline()
    if logic.GetImageDataConnection() is not None:
        renderer.AddViewProp(_slice_actor(logic))
    for prop in props:  # annotations of the view, and what modules put beside them
        renderer.AddViewProp(prop)
    window.Render()
    pixels = _grab(window)
    for prop in props:
        renderer.RemoveViewProp(prop)
    group.SetMRMLDisplayableNode(None)
    interactor.SetRenderWindow(None)
    return pixels


def _offscreen_window(size):
    import vtk

    renderer = vtk.vtkRenderer()
    renderer.GetActiveCamera().ParallelProjectionOn()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.Initialize()
    return renderer, window, interactor


def _displayable_managers(renderer):
    import slicer

    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in DISPLAYABLE_MANAGERS:
        if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.Initialize(factory, renderer)
    return group


def _slice_actor(logic):
    import vtk

    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    return actor


def _grab(window):
    import vtk

    grabbed = vtk.vtkWindowToImageFilter()
    grabbed.SetInput(window)
    grabbed.ReadFrontBufferOff()
    grabbed.Update()
    return _array(grabbed.GetOutput())[..., :3]
