"""Ten runs leave no more behind than one: nodes, Python's objects, connected slots, and the volumes that they hold.

Over stand-in widgets that keep connected callables as PythonQt does (``slicer_harness.pythonqt``), Qt's real QProcess
and the real scene of slicer-core.
"""

import collections
import gc
import sys

import pytest
import vtk
from slicer_cases import CHILD, add_patient, add_scan, nodes_of, real_child, write_derived, write_results
from slicer_module import load_part

REFUSAL = """
import json, sys
print(json.dumps({"type": "error", "message": "no brain", "exit_code": 2}))
sys.exit(2)
"""
DISPLAYED = "vtkMRMLDisplayableNode"
ENDLESS = "import time\ntime.sleep(60)"


@pytest.fixture(autouse=True)
def only_what_is_new():
    """The garbage collection of a whole test session is slow, and none of this test's business."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "results")


class Count:
    """What is there now, after everything that is free was freed."""

    def __init__(self, harness, slicer):
        from slicer_harness import pythonqt

        for _ in range(3):
            harness.process_events()
            gc.collect()
        self.nodes = dict(collections.Counter(node.rstrip("0123456789") for node in nodes_of(slicer)))
        self.slots = pythonqt.connections()
        kinds = collections.Counter(type(thing).__qualname__ for thing in gc.get_objects() if _ours(thing))
        self.objects = dict(kinds)

    def grown(self, before):
        """What there is more of than before, by name."""
        found = {}
        for name, now in vars(self).items():
            then = vars(before)[name]
            pairs = {key: (then.get(key, 0), now[key]) for key in now} if isinstance(now, dict) else {name: (then, now)}
            found |= {key: pair for key, pair in pairs.items() if pair[1] > pair[0]}
        return found


def _ours(thing):
    """Objects of the module's own classes, Qt's objects, and MRML's nodes."""
    kind = type(thing)
    return f"{kind.__module__}".startswith(("RelAPETModule", "PySide6")) or issubclass(kind, vtk.vtkObject)


def flat(harness, slicer, once, times=10):
    """`once` twice, to have made what is made but once; then `times` more change nothing."""
    once(), once()
    before = Count(harness, slicer)
    for _ in range(times):
        once()
    assert Count(harness, slicer).grown(before) == {}


def remove(slicer, *nodes):
    """Nodes with all that they refer to alone, as Slicer's Data module removes them."""
    for node in nodes:
        own = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())] if node.IsA(DISPLAYED) else []
        slicer.mrmlScene.RemoveNode(node)
        for display in filter(None, own):
            slicer.mrmlScene.RemoveNode(display)


def all_of(results):
    return [*results.volumes.values(), results.metrics, results.regions]


class Gone:
    """Counts volumes that were really deleted, which a forgotten reference of any kind prevents."""

    def __init__(self):
        self.count = 0

    def watch(self, *volumes):
        for volume in volumes:
            volume.GetImageData().AddObserver(vtk.vtkCommand.DeleteEvent, self._deleted)

    def _deleted(self, *_):
        self.count += 1


def test_runs_of_the_panel(widget, harness, slicer, results):
    gone = Gone()
    widget.logic.makeProcess = real_child(results)

    def once():
        pair = add_scan("head T1w"), add_scan("head FLAIR")
        gone.watch(*pair)
        widget.parameters.t1w, widget.parameters.t2f = pair
        widget.ui.synthesizeButton.click()
        harness.process_events(lambda: not widget.logic.running, 60)
        assert "Done" in widget.ui.statusLabel.text, widget.ui.statusLabel.text
        made = all_of(widget.results.found)
        widget.parameters.t1w = widget.parameters.t2f = widget.parameters.output = None
        remove(slicer, *pair, *made)

    flat(harness, slicer, once)
    assert gone.count >= 22, "inputs of earlier runs live on"  # a view may still draw from one of the last


@pytest.mark.parametrize("script", [CHILD, REFUSAL, ENDLESS], ids=["done", "refused", "cancelled"])
def test_runs_of_a_script(harness, slicer, results, script):
    module = load_part("logic")
    gone = Gone()

    def once():
        pair = add_scan("head T1w"), add_scan("head FLAIR")
        gone.watch(*pair)
        logic, listener = module.RelAPETLogic(), module._Waiting(None)
        logic.makeProcess = real_child(results, script)
        logic.start(module.Request(*pair, "TAU"), listener)
        if script is ENDLESS:
            logic.stopNow()
        harness.process_events(lambda: listener.ending, 60)
        remove(slicer, *pair, *(all_of(listener.results[0]) if listener.results else ()))

    flat(harness, slicer, once, times=10 if script is CHILD else 3)
    assert gone.count == (24 if script is CHILD else 10)


WHOSE = """
import json
print(json.dumps({"type": "progress", "fraction": 0.5, "message": "working"}))
print(json.dumps({"type": "result", "done": 1, "skipped": 0, "failed": 0, "failures": []}))
"""


def test_many_patients(widget, harness, slicer, results, tmp_path):
    """Found, run, shown and removed: rows, a batch that ended, and results that were shown keep nothing."""
    gone = Gone()
    widget.batch.makeProcess = real_child(results, WHOSE)
    widget.ui.batchFolderEdit.text = str(tmp_path / "batch")

    def once():
        people = [add_patient(name, ["20240102"]) for name in ("Doe^John", "Roe^Jane")]
        for _, made in people:
            gone.watch(*made.values())
        widget.ui.findPairsButton.click()
        widget.ui.batchStartButton.click()
        harness.process_events(lambda: not widget.batch.running, 60)
        for number, row in enumerate(widget.batch.rows):
            write_derived(widget.batch.folder().path, row.who, results)
            widget.batch.show(number)
            assert widget.results.found is not None, widget.ui.statusLabel.text
        load_part("batchresults").forget()
        widget.parameters.t1w = widget.parameters.t2f = widget.parameters.output = None
        for _, made in people:
            remove(slicer, *made.values())

    flat(harness, slicer, once, times=1)
    assert gone.count >= 8, "scans of earlier runs live on"


def test_tasks(widget, harness, slicer):
    ended = []
    make = load_part("process").ChildProcess
    script = 'import json; print(json.dumps({"type": "result"}))'
    widget.tasks.makeProcess = lambda arguments, **how: make([], command=[sys.executable, "-S", "-c", script], **how)

    def once():
        assert widget.tasks.start("task", [], ended.append)
        harness.process_events(lambda: not widget.tasks.running, 60)
        assert ended.pop().ok

    flat(harness, slicer, once)


def test_a_program_that_cannot_be_started(widget, harness, slicer, tmp_path):
    make = load_part("process").ChildProcess
    widget.tasks.makeProcess = lambda arguments, **how: make([], command=[str(tmp_path / "none")], **how)

    def once():
        widget.tasks.start("task", [], lambda ending: None)
        harness.process_events(lambda: not widget.tasks.running, 60)

    flat(harness, slicer, once, times=3)


def test_entering_leaving_and_closing_the_scene(widget, harness, slicer):
    def once():
        widget.exit()
        widget.enter()
        harness.clear_scene()

    flat(harness, slicer, once, times=1)


def test_layouts_and_views(widget, harness, slicer):
    layouts = slicer.vtkMRMLLayoutNode
    manager = slicer.app.layoutManager()

    def once():
        own = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")
        own.UnRegister(None)
        for give in (own.SetName, own.SetLayoutName, own.SetSingletonTag):
            give("Own")
        slicer.mrmlScene.AddNode(own)
        volume = add_scan("guess")
        volume.SetAttribute("RelAPET.Synthetic", "1")
        harness.process_events()
        slicer.util.setSliceViewerLayers(background=volume)
        for layout in (layouts.SlicerLayoutThreeOverThreeView, layouts.SlicerLayoutConventionalView):
            manager.setLayout(layout)
            harness.process_events()
        remove(slicer, volume, own)

    flat(harness, slicer, once, times=3)


def test_the_parameter_node_keeps_nothing_of_a_panel_that_let_go_of_it(widget, harness, monkeypatch):
    """What stays there is emptied by Python's garbage collection, and VTK crashes when it calls that."""
    node, held = widget.parameters.parameterNode, set()
    add, remove = node.AddObserver, node.RemoveObserver

    def observe(*how):
        tag = add(*how)
        held.add(tag)
        return tag

    def leave(tag):
        held.discard(tag)
        remove(tag)

    monkeypatch.setattr(node, "AddObserver", observe)
    monkeypatch.setattr(node, "RemoveObserver", leave)
    for _ in range(3):  # the user comes back to the panel again and again
        widget.exit()
        widget.enter()
    assert held
    widget.setParameterNode(None)
    gc.collect()
    assert not held
    widget.initializeParameterNode()
    widget.parameters.steps = 7
    assert widget.ui.stepsSpinBox.value == 7
