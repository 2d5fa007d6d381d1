"""What slicer-core lacks of Slicer's Python: stand-ins of our own, put where modules import them from.

``slicer.ScriptedLoadableModule``, ``slicer.parameterNodeWrapper`` (``parameter_node``), ``slicer.i18n`` and
``slicer.packaging`` (fakes that record). With Slicer's own folder they are Slicer's, but installing is always faked.
"""

import importlib
import inspect
import sys
import types
import unittest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .interaction import recorder


def prepare_slicer_package(slicer_python):
    """Import slicer, then let it find Slicer's own Python files: at import slicer-core runs all it finds."""
    import slicer
    import slicer.util

    if slicer_python:
        if not (Path(slicer_python) / "ScriptedLoadableModule.py").is_file():
            raise FileNotFoundError(f"SLICER_PYTHON_DIR is not Slicer's Base/Python/slicer: {slicer_python}")
        slicer.__path__.append(str(slicer_python))
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(f"slicer.{name}")
        setattr(slicer, name, module)
        sys.modules[f"slicer.{name}"] = module
    return slicer


def install(slicer, real):
    """Make ``slicer.ScriptedLoadableModule`` and the others importable."""
    if real:
        for name in ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging"):
            setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
        for function in (pip_ensure, pip_install, pip_uninstall):
            setattr(slicer.packaging, function.__name__, function)
        return
    from . import parameter_node

    _publish(slicer, "i18n", {"tr": tr, "translate": translate})
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    _publish(slicer, "ScriptedLoadableModule", {cls.__name__: cls for cls in classes})
    _publish(slicer, "parameterNodeWrapper", {name: getattr(parameter_node, name) for name in parameter_node.__all__})
    functions = (pip_check, pip_ensure, pip_install, pip_uninstall, load_requirements)
    _publish(slicer, "packaging", {function.__name__: function for function in functions})


def _publish(slicer, name, contents):
    module = types.ModuleType(f"slicer.{name}", "Testing/slicer_harness's stand-in")
    vars(module).update(contents)
    module.__all__ = sorted(contents)
    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)


# -- slicer.i18n -----------------------------------------------------------------------------------------------------


def tr(text):
    return translate("", text)


def translate(context, text):
    import slicer

    return slicer.app.translate(context, text)


# -- slicer.packaging ------------------------------------------------------------------------------------------------


def load_requirements(path):
    from packaging.requirements import Requirement

    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req, _seen=None):
    """Whether all requirements are installed; extras are not followed."""
    from packaging.requirements import Requirement

    for entry in req if isinstance(req, list) else [req]:
        requirement = Requirement(str(entry))
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            return False
        if not requirement.specifier.contains(found, prereleases=True):
            return False
    return True


def _record(function, requirements, arguments):
    entries = requirements if isinstance(requirements, list) else [requirements]
    recorder.pip.append({**arguments, "function": function, "requirements": [str(entry) for entry in entries]})
    error, recorder.pip_error = recorder.pip_error, None
    if error is not None:
        raise error


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    arguments = dict(locals())
    _record("pip_ensure", arguments.pop("requirements"), arguments)
    return [] if skip_packages else None


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    logCallback=None,
    completedCallback=None,
):
    arguments = dict(locals())
    _record("pip_install", arguments.pop("requirements"), arguments)
    if not blocking and completedCallback:
        completedCallback(0)
    return [] if skip_packages else None


def pip_uninstall(
    requirements, blocking=True, show_progress=True, requester=None, logCallback=None, completedCallback=None
):
    arguments = dict(locals())
    _record("pip_uninstall", arguments.pop("requirements"), arguments)


# -- slicer.ScriptedLoadableModule -----------------------------------------------------------------------------------


class ScriptedLoadableModule:
    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        parent.helpText = parent.acknowledgementText = ""

    def resourcePath(self, filename):
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        import slicer

        url = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        test = getattr(inspect.getmodule(type(self)), self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        super().__init__()
        import qt
        import slicer

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        manager = slicer.app.moduleManager()
        manager.connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        import slicer

        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self):
        """Modules extend it; Slicer's adds the developer's section, off by default."""

    def cleanup(self):
        """Modules override it."""

    def _onModuleAboutToBeUnloaded(self, moduleName):
        import slicer

        if moduleName == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """The module's node in the scene, made when there is none."""
        import slicer

        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                node.SetAttribute("ModuleName", self.moduleName)  # closing the scene may have taken it
                return node
        else:
            existing = self.getAllParameterNodes()
            if existing:
                return existing[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        import slicer

        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # Python's variable owns it
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self-test, which Slicer runs; here ``runTest`` does the same without the application."""

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        import slicer

        slicer.util.delayDisplay(message, getattr(self, "messageDelay", msec or requestedDelay or 100))

    def runTest(self):
        for name in [name for name in dir(self) if name.startswith("test") and callable(getattr(self, name))]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
