"""Runs a scripted module's real panel and MRML logic with no Slicer application (tests only).

Real: MRML, its logics, storage, slice compositing and slicer.util (slicer-core), Qt's widgets and processes (PySide6).
Stood in for: CTK's and qMRML's widgets, slicer.app, and what slicer-core lacks of Slicer's Python (``base_classes``),
unless ``SLICER_PYTHON_DIR`` names Slicer's own ``Base/Python/slicer``. So a test here says "checked over stand-in
widgets", never "tested in Slicer".

    import slicer_harness as harness

    slicer = harness.boot()                     # once in a process; later calls return the same
    widget = harness.load_module("RelAPET/RelAPET.py")
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.applyButton.click()
    harness.process_events(until=lambda: not widget.running, timeout=30)
    harness.raise_errors()                      # what slots, timers and observers raised
    harness.unload_module(widget)
    harness.clear_scene()

Tests use the fixtures ``harness`` and ``slicer`` (``fixtures.py``), which do the first and the last three.
"""

import os
import sys
import time

from .interaction import popups, recorder

__all__ = [
    "boot",
    "clear_scene",
    "errors",
    "load_module",
    "no_main_window",
    "popups",
    "process_events",
    "raise_errors",
    "recorder",
    "shared_state",
    "startup_completed",
    "unload_all",
    "unload_module",
]

errors = []  # exceptions that Qt and VTK only print: those of slots, timers and observers
_booted = None
_hook_before = None


def boot(slicer_python=None):
    """Start the application of this process and return the ``slicer`` package.

    ``slicer_python`` (otherwise SLICER_PYTHON_DIR) names Slicer's own ``Base/Python/slicer``, to use its classes.
    """
    global _booted
    if _booted is not None:
        return _booted
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    slicer_python = slicer_python or os.environ.get("SLICER_PYTHON_DIR")

    from . import application, base_classes, hierarchyplugins, interaction, pythonqt, standins

    slicer = base_classes.prepare_slicer_package(slicer_python)
    qt, _ = pythonqt.install()
    slicer.__getattr__ = standins.missing
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.app, folder = application.start(qt)
    slicer.app._start(slicer.mrmlScene, folder)
    base_classes.install(slicer, real=bool(slicer_python))
    interaction.install(qt, slicer)
    hierarchyplugins.install(qt, slicer)
    _booted = slicer
    return slicer


def watch_errors(on):
    """Collect exceptions of slots, timers and observers in ``errors``; Qt and VTK would print them and go on."""
    global _hook_before
    if on and _hook_before is None:
        _hook_before, sys.excepthook = sys.excepthook, _collect
    elif not on and _hook_before is not None:
        sys.excepthook, _hook_before = _hook_before, None


def _collect(kind, error, traceback):
    errors.append(error)
    sys.__excepthook__(kind, error, traceback)


def raise_errors():
    """Raise the first of the collected exceptions."""
    if errors:
        first = errors[0]
        errors.clear()
        raise first


def process_events(until=None, timeout=10.0):
    """Run Qt's event loop once, or until ``until()`` is true; TimeoutError after ``timeout`` seconds."""
    from PySide6.QtCore import QCoreApplication, QEvent

    end = time.monotonic() + timeout
    while True:
        QCoreApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete.value)
        raise_errors()
        if until is None or until():
            return
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {timeout} s: {getattr(until, '__name__', until)}")
        time.sleep(0.005)


def startup_completed():
    """What Slicer emits once all modules are loaded."""
    _booted.app.startupCompleted.emit()
    process_events()


def no_main_window():
    """Context in which Slicer was started with --no-main-window: no layout manager, no views."""
    from .views import no_main_window

    return no_main_window()


def shared_state():
    """What all who annotate the views share (``views.shared_state``): to be the same after a module as before."""
    from .views import shared_state

    return shared_state()


def load_module(path, panel=True):
    """Import the module file, make its classes as Slicer does, and return its widget, set up, entered and shown.

    Without ``panel`` as after Slicer's start: the module is there and was never entered.
    """
    from .modules import load

    return load(path, panel)


def unload_all():
    """Unload the modules that a test left."""
    from .modules import loaded

    for widget in list(loaded):
        unload_module(widget)


def unload_module(widget):
    """What Slicer does when the module goes: exit, cleanup, and its panel deleted."""
    from .modules import unload

    unload(widget)


def clear_scene():
    """Close the scene as Slicer does: singletons stay, and with them the views."""
    _booted.mrmlScene.Clear(0)
    process_events()
