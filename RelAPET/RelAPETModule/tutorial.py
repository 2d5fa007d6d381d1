"""The README's tutorial, done in the panel by its own buttons, on a simulated person; each step says what is wrong.

Run by the self-test in Slicer, and over the project's test harness, which is not Slicer.
"""

import tempfile
import time
import unittest
from pathlib import Path

import qt
import slicer
import vtk

from . import attributes, display, install
from .library import library
from .parameters import ALL
from .testreport import Stopped

#: Seconds that one piece of work may take on a slow computer.
TIMEOUT = 900


def check(condition, words):
    """Raise AssertionError with words for the report unless a condition holds."""
    if not condition:
        raise AssertionError(words)


class Tutorial:
    """Steps of the README's section "In 3D Slicer", in order; the panel's scene is theirs meanwhile."""

    def __init__(self, panel, stopped=lambda: False):
        self.panel, self.ui, self._stopped = panel, panel.ui, stopped
        self.tracer = next(iter(library("tracers").TRACERS))
        self._scratch = tempfile.TemporaryDirectory(prefix="RelAPET-test-")

    #: Name, title with the number of the README's step, and what must have passed before.
    STEPS = (
        ("install", "1. Install: all packages are there", ()),
        ("person", "2. MRI: Simulate a person", ("install",)),
        ("sample", "2. MRI: the sample pair is registered", ()),
        ("model", "3. Tracer and model: what the panel says of them", ("person",)),
        ("manager", "3. Tracer and model: the list of all models, and a card", ("install",)),
        ("cancel", "4. Synthesize: percentage, then cancel", ("person",)),
        ("synthesize", "4. Synthesize: a PET on the T1w's grid", ("person",)),
        ("question", "4. Synthesize: odd input is asked about", ("person",)),
        ("look", "5. Look: every map, and MRI only", ("synthesize",)),
        ("sidebyside", "5. Look: side by side, and back", ("synthesize",)),
        ("tables", "5. Look: tables shown, copied, written", ("synthesize",)),
        ("marks", "5. Look: every view says SYNTHETIC", ("synthesize",)),
        ("alltracers", "5. Look: all tracers in one run", ("synthesize",)),
        ("dicom", "6. Keep: DICOM export", ("synthesize",)),
        ("save", "6. Keep: the scene is saved and comes back", ("synthesize",)),
    )

    def step(self, name):
        """The function of a step."""
        return getattr(self, f"_{name}")

    def clean(self):
        self._scratch.cleanup()

    def wait(self, condition, words):
        """Let Slicer work until a condition holds."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            if self._stopped():
                raise Stopped
            slicer.app.processEvents()
            check(time.monotonic() < end, f"not in time: {words}")
            time.sleep(0.01)

    def waitForTasks(self, words):
        self.wait(lambda: not self.panel.tasks.running, words)

    def click(self, button):
        check(button.enabled, f"the button '{button.text}' cannot be pressed: {button.toolTip}")
        button.click()

    @property
    def said(self):
        return self.ui.statusLabel.text

    # 1 to 3

    def _install(self):
        missing = install.missing()
        check(not missing, f"missing: {', '.join(missing)}; press Install in RelAPET's panel, then test again")
        self.waitForTasks("looking for GPUs")
        selector = self.ui.deviceSelector
        names = [selector.itemText(index) for index in range(selector.count)]
        check(any(":" in name for name in names), f"the library told of no device: {names}")

    def _person(self):
        node = self.panel.parameters
        node.tracer, node.model, node.steps, node.samples = type(node.tracer)(self.tracer), "demo", 0, 0
        node.quality = node.cutoffs = ""
        node.fineRegistration = False
        self.click(self.ui.phantomButton)
        self.waitForTasks("simulating a person")
        for role in ("t1w", "t2f", "reference"):
            check(getattr(node, role) is not None, f"no {role} was chosen: {self.said}")
        check(self.ui.synthesizeButton.enabled, f"Synthesize cannot be pressed: {self.ui.synthesizeButton.toolTip}")

    def _sample(self):
        """Registered alone: nothing is downloaded by a test."""
        from .sampledata import SAMPLE, registerSampleData

        try:
            import SampleData
        except ImportError as error:
            raise unittest.SkipTest("this application has no Sample Data module") from error
        if SampleData.SampleDataLogic().sourceForSampleName(SAMPLE) is None:
            registerSampleData()
        check(SampleData.SampleDataLogic().sourceForSampleName(SAMPLE) is not None, "Sample Data does not know it")

    def _model(self):
        ui, node = self.ui, self.panel.parameters
        check("simulated people" in ui.modelLabel.text and "Apache-2.0" in ui.modelLabel.text, ui.modelLabel.text)
        folded = not ui.modelFacts.visible
        self.panel.models.onFold()  # what the link calls
        check(folded and ui.modelFacts.visible, "the link opened no facts")
        self.panel.models.onFold()
        index = ui.tracerSelector.count - 1
        ui.tracerSelector.currentIndex = index
        check(node.tracer.value == ALL, f"the last tracer is not all of them but {node.tracer.value}")
        check(not ui.synthesizeButton.enabled, "a measured PET of one tracer may be compared with all")
        ui.tracerSelector.currentIndex = 0

    def _manager(self):
        manager = self.panel.manager
        self.click(self.ui.modelManagerButton)
        table = manager.ui.modelTable
        check(table.rowCount >= 2, f"{table.rowCount} models are listed")
        table.selectRow(0)
        self.click(manager.ui.cardButton)
        self.waitForTasks("a model card")
        check("Model card" in manager.ui.cardText.toPlainText(), manager.ui.managerStatusLabel.text)
        self.click(manager.ui.closeButton)

    # 4

    def _begin(self):
        end = time.monotonic() + 2 * self.panel.doubleClick
        self.wait(lambda: time.monotonic() > end, "a moment after the last click")
        self.click(self.ui.synthesizeButton)

    def _cancel(self):
        volumes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        self._begin()
        check(self.panel.logic.running, f"it did not start: {self.said}")
        self.wait(lambda: self.ui.progressBar.value > 20 or not self.panel.logic.running, "two per cent")
        check(self.panel.logic.running, f"it ended by itself: {self.said}")
        check("%" in self.said, f"no percentage is shown: {self.said}")
        self._begin()  # the same button
        self.wait(lambda: not self.panel.logic.running, "the end after Cancel")
        check("Cancelled" in self.said, self.said)
        now = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        check(now == volumes, f"{now - volumes} volumes were left behind")

    def _synthesize(self):
        self._begin()
        self.wait(lambda: not self.panel.logic.running, "the synthesis")
        found, t1w = self.panel.results.found, self.panel.parameters.t1w
        check(found is not None, f"no result: {self.said}")
        kinds = {"pet", "measured", "uncertainty", "difference", "departure"}
        check(set(found.volumes) == kinds, f"the maps are {sorted(found.volumes)}")
        wanted, matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        t1w.GetIJKToRASMatrix(wanted)
        for kind, node in found.volumes.items():
            node.GetIJKToRASMatrix(matrix)
            off = max(abs(matrix.GetElement(r, c) - wanted.GetElement(r, c)) for r in range(4) for c in range(4))
            check(off < 1e-6, f"{kind} does not lie on the T1w: its matrix is off by {off:g}")
            check(node.GetImageData().GetDimensions() == t1w.GetImageData().GetDimensions(), f"{kind} has another size")
            check(("SYNTHETIC" in node.GetName()) == (kind != "measured"), f"{kind} is called {node.GetName()}")
        low, high = found.pet.GetImageData().GetScalarRange()
        check(low == 0.0 and 1.0 < high <= 3.0, f"the PET is {low:g} to {high:g} SUVR")
        check("synthetic" in self.said, self.said)

    def _question(self):
        """T1w and FLAIR the wrong way round are asked about, and No leaves all as it was."""
        node = self.panel.parameters
        t1w, t2f, output = node.t1w, node.t2f, node.output
        node.t1w, node.t2f = t2f, t1w
        try:
            self._begin()
            self.wait(lambda: not self.panel.logic.running, "the refusal")
            check(self.ui.questionFrame.visible, f"nothing was asked: {self.said}")
            self.click(self.ui.questionNoButton)
            check(not self.ui.questionFrame.visible, "the question stays")
        finally:
            node.t1w, node.t2f, node.output = t1w, t2f, output

    # 5

    def _needViews(self):
        if slicer.app.layoutManager() is None:
            raise unittest.SkipTest("there is no main window, so there are no views")

    def _look(self):
        self._needViews()
        ui, found = self.ui, self.panel.results.found
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        buttons = {
            "pet": ui.showPetButton,
            "measured": ui.showMeasuredButton,
            "difference": ui.showDifferenceButton,
            "uncertainty": ui.showUncertaintyButton,
            "departure": ui.showDepartureButton,
        }
        for kind, button in buttons.items():
            self.click(button)
            check(composite.GetForegroundVolumeID() == found.volumes[kind].GetID(), f"Red does not show {kind}")
            check(composite.GetBackgroundVolumeID() == found.mri.GetID(), f"{kind} does not lie over the T1w")
            check(ui.shownLabel.text, f"nothing is said of {kind}")
        self.click(ui.showMriButton)
        check(not composite.GetForegroundVolumeID(), "MRI only shows a map, too")
        self.click(ui.showPetButton)
        first = library("tracers").TRACERS[self.tracer].every_look[0].window
        shown = display.shownWindow(found.pet)
        check(max(abs(a - b) for a, b in zip(shown, first, strict=True)) < 1e-6, f"the window is {shown}, not {first}")
        self.click(ui.flipButton)
        check(composite.GetForegroundOpacity() == 0.0, "Hide PET hides nothing")
        self.click(ui.flipButton)
        check(composite.GetForegroundOpacity() > 0.0, "Hide PET pressed again shows nothing")

    def _sidebyside(self):
        self._needViews()
        manager = slicer.app.layoutManager()
        before = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        manager.setLayout(before)
        self.click(self.ui.compareButton)
        slicer.app.processEvents()
        check(self.ui.compareButton.checked and manager.layout != before, "there is no other layout")
        views = [name for name in manager.sliceViewNames() if name.startswith("RelAPET")]
        check(len(views) >= 4, f"{len(views)} views of RelAPET's")
        self.click(self.ui.compareButton)
        check(manager.layout == before, "the former layout did not come back")

    def _tables(self):
        found = self.panel.results.found
        rows = 12 + (library("tracers").TRACERS[self.tracer].composite is not None)
        check(found.regions.GetNumberOfRows() == rows, f"{found.regions.GetNumberOfRows()} rows of regions")
        check(found.metrics is not None, "no comparison with the measured PET")
        layout = slicer.app.layoutManager().layout if slicer.app.layoutManager() is not None else None
        self.click(self.ui.regionsButton)
        self.click(self.ui.metricsButton)
        if layout is not None:
            slicer.app.layoutManager().setLayout(layout)
        self.click(self.ui.copyTableButton)
        text = qt.QApplication.clipboard().text()
        check("a model's guess" in text and len(text.splitlines()) > 12, f"the clipboard has {text[:80]!r}")
        file = Path(self._scratch.name) / "regions ü.csv"
        self.panel.results.regions.save(str(file))
        check(file.is_file(), self.said)
        check(len(file.read_text(encoding="utf-8-sig").splitlines()) >= 13, "the CSV is too short")

    def _marks(self):
        self._needViews()
        self.click(self.ui.showPetButton)
        slicer.app.processEvents()
        view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        texts, renderers = [], view.renderWindow().GetRenderers()
        for index in range(renderers.GetNumberOfItems()):
            for prop in renderers.GetItemAsObject(index).GetViewProps():
                if isinstance(prop, vtk.vtkCornerAnnotation):
                    texts += [prop.GetText(corner) or "" for corner in range(8)]
                elif isinstance(prop, vtk.vtkTextActor):
                    texts.append(prop.GetInput() or "")
        check(any("SYNTHETIC" in text for text in texts), f"the Red view says {texts}")

    def _alltracers(self):
        ui, node = self.ui, self.panel.parameters
        reference, output = node.reference, node.output
        node.reference, node.steps, node.samples = None, 1, 2
        ui.tracerSelector.currentIndex = ui.tracerSelector.count - 1
        try:
            self._begin()
            self.wait(lambda: not self.panel.logic.running, "all tracers")
            tracers = list(library("tracers").TRACERS)
            check(ui.resultSelector.count >= len(tracers), f"{ui.resultSelector.count} results to choose: {self.said}")
            names = [ui.resultSelector.itemText(index) for index in range(ui.resultSelector.count)]
            for tracer in tracers:
                check(any(f"SYNTHETIC {tracer}" in name for name in names), f"no {tracer} among {names}")
            if slicer.app.layoutManager() is not None:
                self.click(ui.tracersButton)
                check(ui.tracersButton.checked, "the tracers are not side by side")
                self.click(ui.tracersButton)
        finally:
            ui.tracerSelector.currentIndex = 0
            node.reference, node.output, node.steps, node.samples = reference, output, 0, 0

    # 6

    def _dicom(self):
        missing = install.missingForExport()
        if missing:
            raise unittest.SkipTest(f"the export's packages are not installed: {', '.join(missing)}")
        self.panel.results.exports.exportDicom(self._scratch.name)
        self.waitForTasks("the DICOM export")
        files = list(Path(self._scratch.name).rglob("*.dcm"))
        check(any(file.name == "synthetic_pet_map.dcm" for file in files), f"{len(files)} DICOM files: {self.said}")

    def _save(self):
        pet = self.panel.results.found.pet
        name, range_ = pet.GetName(), pet.GetImageData().GetScalarRange()
        file = Path(self._scratch.name) / "scene.mrb"
        check(slicer.util.saveScene(str(file)) and file.is_file(), "the scene was not saved")
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        slicer.util.loadScene(str(file))
        slicer.app.processEvents()
        found = self.panel.results.found
        check(found is not None, "the result did not come back with the scene")
        check(found.pet.GetName() == name, f"another PET came back: {found.pet.GetName()}")
        back = found.pet.GetImageData().GetScalarRange()
        check(max(abs(a - b) for a, b in zip(back, range_, strict=True)) < 1e-5, f"its values are {back}, not {range_}")
        check(found.pet.GetAttribute(attributes.SYNTHETIC) == "1", "it lost its mark")
