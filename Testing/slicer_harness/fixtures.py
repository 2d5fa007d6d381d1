"""Fixtures of tests that run the Slicer module's panel; imported by conftest.py."""

import sys

import pytest


@pytest.fixture(scope="session")
def slicer_booted():
    """The ``slicer`` package with an application, one for all tests: Qt and the singletons of MRML allow no second."""
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not installed", exc_type=ImportError)
    pytest.importorskip("slicer_core", reason="slicer-core is not installed", exc_type=ImportError)
    import slicer_harness

    return slicer_harness.boot()


@pytest.fixture
def harness(slicer_booted):
    """``slicer_harness`` with an empty scene.

    Afterwards the test fails if a slot, timer or observer raised, if a pop-up came without an answer, or if an answer
    was not asked for.
    """
    import slicer_harness

    _reset(slicer_harness)
    slicer_harness.watch_errors(True)
    try:
        yield slicer_harness
        slicer_harness.process_events()
        slicer_harness.unload_all()
        slicer_harness.clear_scene()  # raises what observers raise that a module did not take away with its panel
        unanswered, unused = slicer_harness.popups.unanswered, slicer_harness.popups.unused
        assert not unanswered, f"pop-ups that the test did not expect: {unanswered}"
        assert not unused, f"pop-ups that the test expected and did not get: {unused}"
    finally:
        slicer_harness.watch_errors(False)
        _reset(slicer_harness)


def _reset(slicer_harness):
    slicer_harness.unload_all()
    slicer_harness.boot().qSlicerSubjectHierarchyPluginHandler.instance().forget()
    slicer_harness.boot().app.disconnect("startupCompleted()")  # of modules that are gone; Slicer emits it but once
    slicer_harness.boot().app.userSettings().clear()
    slicer_harness.errors.clear()
    slicer_harness.popups.clear()
    slicer_harness.recorder.clear()
    slicer_harness.clear_scene()
    slicer_harness.boot().app.layoutManager()._reset()


@pytest.fixture
def slicer(harness, slicer_booted):
    return slicer_booted


@pytest.fixture
def sample(harness, tmp_path):
    """Loads the small module of ``slicer_sample``, with a fault planted: ``sample(setup="...", apply="...")``."""
    from slicer_sample import write_sample

    yield lambda **planted: harness.load_module(write_sample(tmp_path, **planted))
    harness.unload_all()
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]
