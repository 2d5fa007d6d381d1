"""``slicer.app``, ``slicer.modules`` and the layout over slicer-core: MRML, its logics and its files are real."""

import atexit
import os
import shutil
import tempfile
import types
from pathlib import Path

import slicer
import vtk

from .iomanager import IOManager
from .views import layout_manager_class

MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Units": "vtkSlicerUnitsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


def _data_io_manager(scene, folder):
    """The scene unpacks .mrb files into its cache folder."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(os.path.join(folder, "cache"))
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    return cache, manager


def module_manager_class(qt):
    class ModuleManager(qt.QObject):
        cpp_signals = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")
        moduleAboutToBeUnloaded = qt.Signal(str)
        moduleLoaded = qt.Signal(str)

        def module(self, name):
            return getattr(slicer.modules, name.lower(), None)

    return ModuleManager


def application_class(qt):
    """The class of ``slicer.app``; made here since qt exists only after ``pythonqt.install``."""

    class App(qt.QApplication):
        cpp_signals = ("startupCompleted()", "scriptedModuleLoaded()")
        startupCompleted = qt.Signal()
        scriptedModuleLoaded = qt.Signal()
        majorVersion, minorVersion, revision = 5, 12, "0"
        applicationVersion = "5.12.0-harness"
        documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
        testing = False  # so that what users get is run, not a short cut for Slicer's self-tests
        temporaryPath = tempfile.gettempdir()

        def _start(self, scene, folder):
            self._scene, self._modules = scene, module_manager_class(qt)()
            self._io, self._layout, self._folder = IOManager(), None, Path(folder)
            self._logic = slicer.vtkSlicerApplicationLogic()
            self._logic.SetMRMLScene(scene)
            self._logic.SetSliceLogics(vtk.vtkCollection())
            self._logic.SetViewLogics(vtk.vtkCollection())
            self._logic.SetTemporaryPath(str(folder))
            self._files = _data_io_manager(scene, folder)
            self._module_logics = {}
            vtk.vtkObject.GlobalWarningDisplayOff()  # slicer-core's logics miss their resource files
            for name, cls in MODULE_LOGICS.items():
                self._add_module_logic(name, getattr(slicer, cls)())
            self._module_logics["Colors"].AddDefaultColorNodes()
            vtk.vtkObject.GlobalWarningDisplayOn()
            self._layout = layout_manager_class(qt)()

        def _add_module_logic(self, name, logic):
            logic.SetMRMLApplicationLogic(self._logic)
            logic.SetMRMLScene(self._scene)
            self._logic.SetModuleLogic(name, logic)
            self._module_logics[name] = logic
            module = types.SimpleNamespace(name=name, path="", logic=lambda: logic)
            setattr(slicer.modules, name.lower(), module)

        def applicationLogic(self):
            return self._logic

        def mrmlScene(self):
            return self._scene

        def coreIOManager(self):
            return self._io

        ioManager = coreIOManager

        def layoutManager(self):
            return self._layout

        def moduleManager(self):
            return self._modules

        def moduleLogic(self, name):
            return self._module_logics.get(name)

        def testingEnabled(self):
            return self.testing

        def settings(self):
            return qt.QSettings()

        userSettings = revisionUserSettings = settings

        def moduleDocumentationUrl(self, name):
            return self.documentationBaseUrl + name

        def translate(self, context, text):
            return text

        def commandOptions(self):
            return types.SimpleNamespace(noMainWindow=True, testingEnabled=self.testing)

        def startupEnvironment(self):
            return qt.QProcessEnvironment.systemEnvironment()

        def mainWindow(self):
            return None

        def pauseRender(self):
            pass

        resumeRender = pauseRender

        def setRenderPaused(self, paused):
            pass

        def restart(self):
            raise AssertionError("the module restarts Slicer")

    App.__name__ = "qSlicerApplication"
    return App


def start(qt):
    """Make the one application of this process; its settings and files go to a folder of its own."""
    folder = tempfile.mkdtemp(prefix="slicer_harness_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    qt.QCoreApplication.setOrganizationName("RelAPETHarness")
    qt.QCoreApplication.setApplicationName("Slicer")
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, os.path.join(folder, "settings"))
    app = application_class(qt)(["slicer-harness"])
    app.temporaryPath = folder
    return app, folder
