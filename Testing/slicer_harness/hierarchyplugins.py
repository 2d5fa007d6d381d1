"""Plugins of the subject hierarchy that are written in Python: their class, their handler, and a right click.

Slicer's own run in C++ and call the Python class through PythonQt; nothing of that is here.
"""

import importlib.util
import sys
import types
from pathlib import Path


class AbstractScriptedSubjectHierarchyPlugin:
    """The base class that Slicer has in a module of this name."""

    def __init__(self, scriptedPlugin):
        self.scriptedPlugin = scriptedPlugin
        self.register()

    def register(self):
        qSlicerSubjectHierarchyPluginHandler.instance().registerPlugin(self.scriptedPlugin)


def scripted_plugin_class(qt):
    class qSlicerSubjectHierarchyScriptedPlugin(qt.QObject):
        """Holds the Python object of a file's class, which has the file's name."""

        name = "default"

        def setPythonSource(self, path):
            path = Path(path)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._object = getattr(module, path.stem)(self)
            return True

        def self(self):
            return self._object

    return qSlicerSubjectHierarchyScriptedPlugin


class qSlicerSubjectHierarchyPluginHandler:
    """One for the application; a second plugin of a name is refused, as in Slicer."""

    _instance = None

    def __init__(self):
        self._plugins = []

    @classmethod
    def instance(cls):
        cls._instance = cls._instance or cls()
        return cls._instance

    def registeredPlugins(self):
        return list(self._plugins)

    def pluginByName(self, name):
        return next((plugin for plugin in self._plugins if plugin.name == name), None)

    def registerPlugin(self, plugin):
        if self.pluginByName(plugin.name) is not None:
            return False
        self._plugins.append(plugin)
        return True

    def right_click(self, item):
        """Actions that the menu of an item shows, of all plugins: Slicer hides every one before it asks."""
        shown = []
        for plugin in self._plugins:
            actions = plugin.self().itemContextMenuActions()
            for action in actions:
                action.visible = False
            plugin.self().showContextMenuActionsForItem(item)
            shown += [action for action in actions if action.visible]
        return shown

    def forget(self):
        """Plugins of modules that are gone; Slicer keeps them."""
        self._plugins.clear()


def install(qt, slicer):
    """Make the classes found where modules look for them."""
    slicer.qSlicerSubjectHierarchyPluginHandler = qSlicerSubjectHierarchyPluginHandler
    slicer.qSlicerSubjectHierarchyScriptedPlugin = scripted_plugin_class(qt)
    module = types.ModuleType("AbstractScriptedSubjectHierarchyPlugin", "Testing/slicer_harness's stand-in")
    module.AbstractScriptedSubjectHierarchyPlugin = AbstractScriptedSubjectHierarchyPlugin
    sys.modules[module.__name__] = module
