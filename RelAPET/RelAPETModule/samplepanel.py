"""The two buttons that fill the panel with something to try."""

import shutil
import tempfile
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from . import sampledata

#: Seed of the simulated person; training uses others.
PERSON_SEED = 20_000


class SamplePanel:
    def __init__(self, panel):
        self._panel = panel
        panel.ui.sampleButton.connect("clicked(bool)", self.onSample)
        panel.ui.phantomButton.connect("clicked(bool)", self.onPhantom)

    def onSample(self, checked=False):
        button = self._panel.ui.sampleButton
        button.enabled = False  # a second click would download it again
        self._panel.tell(_("Downloading the sample..."))
        slicer.app.processEvents()
        try:
            t1w, t2f = sampledata.downloadSample()
        except RuntimeError as error:
            self._panel.say(str(error))
            return
        finally:
            slicer.app.processEvents()  # what was clicked meanwhile still meets a disabled button
            button.enabled = True
        if not all(map(slicer.mrmlScene.IsNodePresent, (t1w, t2f))):  # the scene was closed in that moment
            self._panel.tell("")
            return
        self._choose(t1w, t2f)
        self._panel.tell(_("Loaded. Press Synthesize."))

    def onPhantom(self, checked=False):
        """Simulate a person in a process of its own, and load the scans."""
        if self._panel.tasks.running or self._panel.logic.running:
            return
        try:
            folder = tempfile.mkdtemp(prefix="RelAPET-")
        except OSError as error:
            self._panel.say(_("no temporary folder could be made: {why}").format(why=error.strerror or error))
            return
        arguments = ["phantom", "--subjects", "1", "--seed", str(PERSON_SEED)]
        arguments += ["--out", str(Path(folder) / "bids")]

        def ended(ending):
            try:
                if ending.ok and self._panel.parameters is not None:
                    tracer = self._panel.parameters.tracer.value
                    t1w, t2f, pet = sampledata.loadPerson(Path(folder) / "bids", tracer)
                    self._choose(t1w, t2f, pet)
                    self._panel.tell(_("A simulated person, no patient. Press Synthesize."))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        self._panel.tasks.start(_("Simulating"), arguments, ended, ofScene=True)

    def _choose(self, t1w, t2f, pet=None):
        node = self._panel.parameters
        self._panel.inputs.put(t1w, t2f)
        node.reference, node.output = pet, None
        slicer.util.setSliceViewerLayers(background=t1w, foreground=None, label=None, fit=True)
