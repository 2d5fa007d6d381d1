"""The in-Slicer self-test: the whole way with the demo model on the CPU, without the panel and through it.

A person runs it in Slicer: *Help > Test RelAPET on this computer* does the tutorial and writes a report, *Reload and
Test* does all tests. Its body also runs over the project's test harness, which is not Slicer.
"""

import shutil
import tempfile
import time
import unittest
from pathlib import Path

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from . import attributes, display, install, sampledata
from .library import library
from .logic import Listener, RelAPETLogic, Request, SynthesisError
from .process import ChildProcess

#: Seconds that simulating and synthesizing may take on a slow computer.
TIMEOUT = 900


class RelAPETTest(ScriptedLoadableModuleTest):
    """Sample data, synthesis, geometry, values, display, cancel, bad input; the tutorial in the panel."""

    def setUp(self):
        missing = install.missing()
        if missing:
            self.skipTest(f"Python packages are missing ({', '.join(missing)}); press Install in RelAPET's panel first")
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """What Slicer's Reload and Test calls."""
        try:
            self._runAll()
        except unittest.SkipTest as reason:
            self.delayDisplay(f"Skipped: {reason}")

    def _runAll(self):
        try:
            for name in sorted(name for name in dir(self) if name.startswith("test_")):
                self.setUp()
                try:
                    getattr(self, name)()
                except unittest.SkipTest as reason:  # of this test alone
                    self.delayDisplay(f"Skipped, {name}: {reason}")
                finally:
                    self.doCleanups()  # nobody else does: Slicer calls runTest by itself
        finally:
            self.forgetPerson()

    _person = None  # folder of the simulated person, made once

    @classmethod
    def tearDownClass(cls):
        cls.forgetPerson()

    @classmethod
    def forgetPerson(cls):
        if cls._person is not None:
            shutil.rmtree(cls._person, ignore_errors=True)
            cls._person = None

    def simulatedPerson(self):
        """(T1w, FLAIR, TAU PET) nodes of a simulated person, made by the child process."""
        cls = type(self)
        if cls._person is None:
            folder, endings = Path(tempfile.mkdtemp(prefix="RelAPET-test-")), []
            arguments = ["phantom", "--subjects", "1", "--seed", "20000"]
            arguments += ["--out", str(folder / "bids")]
            child = ChildProcess(arguments, onEnd=endings.append)
            child.start()
            self.waitFor(lambda: endings)
            self.assertTrue(endings[0].ok, endings[0].message)
            cls._person = folder
        return sampledata.loadPerson(cls._person / "bids", "TAU")

    def waitFor(self, condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            slicer.app.processEvents()
            self.assertLess(time.monotonic(), end, "not so in time")
            time.sleep(0.02)

    def logic(self):
        """A logic whose waiting process ends with the test."""
        logic = RelAPETLogic()
        self.addCleanup(logic.stopNow)
        return logic

    def test_synthesis(self):
        t1w, t2f, pet = self.simulatedPerson()
        fractions = []
        results = self.logic().synthesize(
            t1w, t2f, "TAU", reference=pet, device="cpu", show=True, onProgress=lambda f, *_rest: fractions.append(f)
        )
        self.assertEqual(fractions[-1], 1.0)
        self.assertGreater(len(fractions), 10)
        wanted, found = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        t1w.GetIJKToRASMatrix(wanted)
        for kind, node in results.volumes.items():
            node.GetIJKToRASMatrix(found)
            difference = max(abs(found.GetElement(r, c) - wanted.GetElement(r, c)) for r in range(4) for c in range(4))
            self.assertLess(difference, 1e-6, kind)
            self.assertEqual(node.GetImageData().GetDimensions(), t1w.GetImageData().GetDimensions())
            self.assertEqual("SYNTHETIC" in node.GetName(), kind != "measured")
            self.assertEqual(node.GetAttribute(attributes.SYNTHETIC), None if kind == "measured" else "1")
        self.assertEqual(set(results.volumes), {"pet", "measured", "uncertainty", "difference", "departure"})
        low, high = results.pet.GetImageData().GetScalarRange()
        self.assertEqual(low, 0.0)
        self.assertTrue(1.0 < high <= 3.0, high)
        first = library("tracers").TRACERS["TAU"].every_look[0].window
        for node in (results.pet, results.measured):
            for found, wanted in zip(display.shownWindow(node), first, strict=True):
                self.assertAlmostEqual(found, wanted)
        self.assertEqual(results.regions.GetNumberOfRows(), 13)  # the composite stands above the regions
        self.assertIsNotNone(results.metrics)
        self.checkViews(results.pet, t1w)

    def checkViews(self, pet, t1w):
        """What the Red view shows; the rest of its test is done when this is skipped, without a main window."""
        manager = slicer.app.layoutManager()
        if manager is None:
            self.skipTest("there is no main window, so what the views show was not checked; all the rest was")
        composite = manager.sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertEqual(composite.GetForegroundVolumeID(), pet.GetID())
        self.assertEqual(composite.GetBackgroundVolumeID(), t1w.GetID())

    def test_all_tracers(self):
        """One run for all tracers of the model, each with its name, its tables and its mark."""
        t1w, t2f, _pet = self.simulatedPerson()
        found = self.logic().synthesizeMany(t1w, t2f, device="cpu", steps=1, samples=2)
        self.assertEqual(list(found), list(library("tracers").TRACERS))
        for tracer, results in found.items():
            for node in (*results.volumes.values(), results.regions):
                self.assertIn(f"SYNTHETIC {tracer}", node.GetName())
                self.assertEqual(node.GetAttribute(attributes.TRACER), tracer)
            self.assertEqual(set(results.volumes), {"pet", "uncertainty", "departure"})

    def test_tutorial(self):
        """The README's tutorial by the panel's own buttons; the report that it writes says more."""
        report = slicer.util.getModuleWidget("RelAPET").selfTest.run()
        self.assertEqual([f"{step['title']}: {step['error']}" for step in report.failed], [])
        self.assertGreater(report.count("passed"), 0)
        self.assertEqual(report.count("not run"), 0)

    def test_cancel(self):
        t1w, t2f, _pet = self.simulatedPerson()
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        listener, logic = _Recorder(), self.logic()
        logic.start(Request(t1w, t2f, "TAU", device="cpu"), listener)
        self.waitFor(lambda: listener.fraction > 0.02 or listener.ending)
        logic.cancel()
        self.waitFor(lambda: listener.ending)
        self.assertEqual(listener.ending.kind, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), before)
        self.assertFalse(logic.running)

    def test_bad_input(self):
        t1w, t2f, _pet = self.simulatedPerson()
        logic = RelAPETLogic()
        with self.assertRaisesRegex(SynthesisError, "same volume"):
            logic.synthesize(t1w, t1w, "TAU")
        with self.assertRaises(SynthesisError) as caught:
            logic.synthesize(t2f, t1w, "TAU", device="cpu")
        self.assertEqual(caught.exception.ending.acceptedBy, "--force")


class _Recorder(Listener):
    def __init__(self):
        self.fraction, self.ending, self.results = 0.0, None, None

    def onProgress(self, fraction, message, remaining):
        self.fraction = fraction

    def onEnd(self, ending, results):
        self.ending, self.results = ending, results
