"""The Slicer module in tests: loading its parts, volumes in the scene, and a stand-in for its child process."""

import importlib
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "RelAPET"


def load_part(name):
    """``RelAPETModule.<name>``, as Slicer finds it: with the module's folder on sys.path."""
    if str(MODULE) not in sys.path:
        sys.path.insert(0, str(MODULE))
    return importlib.import_module(f"RelAPETModule.{name}")


def load_volume(path, name):
    """A volume node of a file, without the application's own reading."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    load_part("scene").readVolume(path, node)
    return node


class FakeProcess:
    """Stands in for `process.ChildProcess` where only its protocol matters; the test says when it does what."""

    made = []

    def __init__(self, arguments, onEnd, onProgress=None, onLog=None, command=None, names=None):
        self.arguments, self.onEnd, self.onProgress, self.onLog = arguments, onEnd, onProgress, onLog
        self.names = names or {}
        self.started = self.cancelled = self.waited = False
        FakeProcess.made.append(self)

    def start(self):
        self.started = True

    def cancel(self):
        self.cancelled = True

    def waitForEnd(self, seconds=0):
        self.waited = True
        self.end("cancelled", "cancelled")

    @property
    def owner(self):
        """The `logic.Run` that made it."""
        return self.onEnd.__self__

    def end(self, kind, message, **rest):
        self.onEnd(load_part("process").Ending(kind, message, **rest))

    def option(self, name):
        """Value of an option on the command line, or None."""
        return self.arguments[self.arguments.index(name) + 1] if name in self.arguments else None
