"""The panel: binds the choices, says what is missing, runs a synthesis, shows its results."""

import time
from dataclasses import replace

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from . import expected, people
from .attributes import TRACER
from .batchpanel import BatchPanel
from .clinicalpanel import ClinicalPanel
from .cutoffpanel import CutoffPanel
from .displaypanel import DisplayPanel
from .inputspanel import InputsPanel
from .installpanel import InstallPanel
from .logic import Listener, RelAPETLogic, Request, SynthesisError
from .managerpanel import ManagerPanel
from .marks import viewMarks
from .modelpanel import ModelPanel
from .parameters import Shown, registrationOf
from .samplepanel import SamplePanel
from .selftestpanel import SelfTestPanel
from .tasks import Tasks
from .viewpanel import ViewPanel
from .words import ALARM, escaped, tone

#: Lines that the log keeps.
LOG_LINES = 2000


class RelAPETWidget(ScriptedLoadableModuleWidget, VTKObservationMixin, Listener):
    """Inputs, Synthesize, Cancel, progress, questions; the sections below it are objects of their own."""

    #: Seconds in which a click on Synthesize, which becomes Cancel and back, is taken for the second of a double click.
    doubleClick = 1.0

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.ui = self._parameterNode = self._guiTag = None
        self._stopped = ""  # what ended with the scene that is being closed
        self._asked = self._question = None  # the request that a question is about, and the ending that puts it
        self.gone = False  # whether the module was read again or went
        self._starting, self._changed = False, -self.doubleClick  # when Synthesize became Cancel, or became it again

    # Setting up and going away

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/RelAPET.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = RelAPETLogic()
        self.tasks = Tasks(self)
        self.inputs = InputsPanel(self)
        self.install = InstallPanel(self)
        self.models = ModelPanel(self)
        self.manager = ManagerPanel(self)
        self.clinical = ClinicalPanel(self)
        self.cutoffs = CutoffPanel(self)
        self.samples = SamplePanel(self)
        self.results = DisplayPanel(self)
        self.views = ViewPanel(self)
        self.batch = BatchPanel(self)
        self.selfTest = SelfTestPanel(self)
        self.ui.logText.setMaximumBlockCount(LOG_LINES)
        self.ui.questionFrame.visible = self.ui.progressBar.visible = False
        for button, slot in (
            (self.ui.synthesizeButton, self.onSynthesizeButton),
            (self.ui.questionYesButton, self.onAccept),
            (self.ui.questionNoButton, self.onDecline),
            (self.ui.copyLogButton, self.onCopyLog),
            (self.ui.normsButton, self.onNorms),
        ):
            button.connect("clicked(bool)", slot)
        for event, slot in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.StartImportEvent, self.onSceneStartImport),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndImport),
            (slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded),
            (slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)
        slicer.app.connect("aboutToQuit()", self.stopAll)
        viewMarks.start()
        self.initializeParameterNode()

    def enter(self):
        self.initializeParameterNode()
        viewMarks.start()
        self.install.update()
        self.models.update()

    def exit(self):
        """The panel is left; a synthesis goes on, and so does the annotation of what is shown."""

    def cleanup(self):
        """The module goes or is read again: nothing of it may go on."""
        slicer.app.disconnect("aboutToQuit()", self.stopAll)
        self.gone = True
        self.stopAll()
        self.views.cleanUp()
        self.manager.cleanUp()
        viewMarks.stop()
        self.setParameterNode(None)
        self.removeObservers()

    def stopAll(self):
        """End every child process before returning."""
        self.selfTest.stop()
        self.logic.stopNow()
        self.batch.stopNow()
        self.tasks.stopNow()
        self.results.exports.cleanUp()

    # Parameters

    @property
    def parameters(self):
        return self._parameterNode

    def initializeParameterNode(self):
        node = self.logic.getParameterNode()
        if node.isNew:
            self.models.recall(node)
        self.setParameterNode(node)
        self.inputs.observeHierarchy()
        self.inputs.guess()

    def setParameterNode(self, node):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(
                self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged
            )
        self._parameterNode = node
        self.clinical.forget()
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            # The node, not its wrapper, which is made anew each time: VTKObservationMixin keeps whatever it observed.
            self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            self.models.update()
            self.updatePanel()

    def onParametersChanged(self, caller=None, event=None):
        self.models.showChoice()
        self.views.onChanged()
        self._keepQuestion()
        self.updatePanel()

    def onSceneStartClose(self, caller, event):
        self.logic.stopNow()
        self.batch.forget()
        self._stopped = self.tasks.stopOfScene()
        self.results.exports.cleanUp()
        self.views.forget()  # now: at the end Slicer puts back the layout that it finds at the start
        self.setParameterNode(None)
        self.inputs.forget()

    def onSceneEndClose(self, caller, event):
        self._ask(None)
        self._asked = None
        self.ui.statusLabel.text = ""
        if not self.selfTest.running:  # which closes its own scenes and hands in the log of them all
            self.ui.logText.clear()  # it names the patient's volumes
        if self._stopped:
            self.tell(_("{task}: cancelled, since the scene was closed.").format(task=self._stopped))
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event):
        """What is read into the node meanwhile may be of another version, and nothing that its wrapper can read."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event):
        self.inputs.adopt()
        if self.parent.isEntered or self.logic.running or self.batch.running:  # whose ends will ask for it
            self.initializeParameterNode()
        if self.parent.isEntered:
            self.results.restore()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """A volume that was just loaded gets its name a moment later; look at it then."""
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and self._parameterNode is not None:
            self.inputs.schedule()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        self.batch.onNodeRemoved(node)
        self.inputs.onNodeRemoved(node)

    # State

    def request(self):
        """What the panel asks for now."""
        p = self._parameterNode
        return Request(
            t1w=p.t1w,
            t2f=p.t2f,
            tracer=p.tracer.value,
            model=p.model,
            reference=p.reference,
            scaleReference=p.scaleReference,
            norms=p.norms.strip(),
            referenceFwhm=p.referenceFwhm,
            output=people.ownOutput(p.output, p.t1w),
            device=p.device,
            seed=p.seed,
            space=p.space.value,
            registration=registrationOf(p),
            cutoffs=self.cutoffs.values(),
            **self.models.options(p),
        )

    def problems(self):
        """Why nothing can be synthesized now, in words; empty when it can."""
        found = self.install.problems() + self.models.problems(self._parameterNode)
        if self.tasks.running:
            found.append(_("wait until this is done: {task}").format(task=self.tasks.title))
        if self.batch.running:
            found.append(_("wait until the batch below is done, or stop it"))
        return found + self.request().problems()

    @property
    def busy(self):
        """Whether models are in use, so that none may be changed."""
        return self.logic.running or self.tasks.running or self.batch.running

    def updatePanel(self):
        """Synthesize says what is missing; while it runs it is Cancel."""
        button, running = self.ui.synthesizeButton, self.logic.running
        if self._parameterNode is None:
            button.enabled = False
            return
        if running:
            button.text, button.toolTip, button.enabled = _("Cancel"), _("End the synthesis; nothing is changed."), True
        else:
            problems = self.problems()
            button.text, button.enabled = _("Synthesize"), not problems
            self.ui.questionYesButton.enabled = not problems  # e.g. a batch that was begun before the answer
            words = _("Make the synthetic PET.")
            missing = _("Missing: {what}").format(what="; ".join(problems))
            button.toolTip = escaped(missing) if problems else words
        for section in (self.ui.inputsSection, self.ui.advancedSection):
            section.enabled = not running and not self.batch.running
        self.clinical.update()
        self.inputs.keepReference()
        self.inputs.update(self.request())
        self._tellExpected(running)
        self.ui.scaleReferenceCheckBox.enabled = self._parameterNode.reference is not None
        self.results.update()
        self.cutoffs.update()
        self.batch.update()
        self.manager.enable()

    def _tellExpected(self, running):
        """Time and memory of the last such run here, below the button."""
        label = self.ui.expectedLabel
        words, scarce = expected.words(self.request(), entry=self.models.entry)
        color = f" style='color:{tone(label, ALARM)}'" if scarce else ""
        label.text = f"<span{color}>{escaped(words)}</span>"
        label.visible = not running

    # Running

    def onSynthesizeButton(self, checked=False):
        if self._starting or time.monotonic() - self._changed < self.doubleClick:
            return  # it was meant for what the button said before
        if self.logic.running:
            self.tell(_("Cancelling..."))
            self.ui.synthesizeButton.enabled = False
            self.logic.cancel()
        else:
            self._run(self.request())

    def _run(self, request):
        self._ask(None)
        self._asked = request
        self.ui.progressBar.visible = True
        self.onProgress(0.0, _("starting"), None)
        self._starting = True
        try:
            slicer.app.processEvents()  # the words above are seen before the volumes are written, which blocks a moment
            if slicer.mrmlScene.IsNodePresent(request.t1w):
                self.logic.start(request, self)
            else:  # the scene was closed, or the T1w deleted, in that moment
                self._asked = None
                self.showBar()
                self.tell(_("Not begun: the T1w is not in the scene any more."))
        except SynthesisError as error:
            self.onEnd(error.ending, None)
        finally:
            self._starting, self._changed = False, time.monotonic()
        self.updatePanel()

    def onProgress(self, fraction, message, remaining):
        """Listener: percentage, stage and remaining time."""
        self.ui.progressBar.value = round(1000 * fraction)
        words = f"{100 * fraction:.0f} %: {message}"
        if remaining:
            words += _(", about {time} to go").format(time=expected.duration(remaining))
        self.tell(words)

    def showBar(self):
        """The progress bar, as long as something runs that it is about: an export may go on beside a synthesis."""
        self.ui.progressBar.visible = self.logic.running or self.tasks.shown

    def onLog(self, line):
        self.log(line)

    def onEnd(self, ending, results):
        """Listener: results into the views, a question into the panel, or one clear message."""
        self.showBar()
        self._changed = time.monotonic()
        if not ending.acceptedBy:
            self._asked = None  # it holds the volumes
        if ending.ok:
            self._finish(results)
        elif ending.acceptedBy:
            self._ask(ending)
        elif ending.kind == "cancelled":
            self.tell(_("Cancelled; nothing was changed."))
        else:
            self.say(ending.message)
        self.updatePanel()

    def _finish(self, results):
        if self._parameterNode is None:  # in the middle of an import
            self.initializeParameterNode()
        self._parameterNode.output = results[0].pet
        self._parameterNode.shown = Shown.PET
        self.results.show("pet", fit=True)
        if len(results) == 1:
            self.tell(_("Done: {name}. It is synthetic: a model's guess.").format(name=results[0].pet.GetName()))
        else:
            tracers = ", ".join(each.pet.GetAttribute(TRACER) for each in results)
            self.tell(_("Done: {tracers}. All are synthetic: a model's guesses.").format(tracers=tracers))

    def tell(self, words):
        """One line on what goes on, shown as it is."""
        self.ui.statusLabel.text = escaped(words)

    def say(self, message):
        """One line that something went wrong, which stays until the next run."""
        self.ui.statusLabel.text = f"<b style='color:{tone(self.ui.statusLabel, ALARM)}'>{escaped(message)}</b>"
        self.log(message)

    # Questions

    def _ask(self, ending):
        """Show the question that a refusal puts, or hide it when `ending` is None."""
        self.ui.questionFrame.visible = ending is not None
        self._question = ending
        self.ui.questionLabel.text = ""
        if ending is not None:
            problem, doubtful = ending.problem or ending.message, ending.acceptedBy in ("--force", people.TWO_PEOPLE)
            advice = _("Check the volumes first; the result may mean nothing.") if doubtful else ""
            self.ui.questionLabel.text = f"{escaped(f'{problem}.')} {advice}".strip()
            self.tell(_("Stopped with a question."))

    def _keepQuestion(self):
        """A question is about what was asked for; once something else is chosen, a Yes would run what nobody sees."""
        if self._question is not None and self.request() != replace(self._asked, accepted=frozenset()):
            self._ask(None)
            self._asked = None
            self.tell("")

    def onAccept(self, checked=False):
        if self._question is not None and not self.logic.running and not self.problems():
            self._run(replace(self._asked, accepted=self._asked.accepted | {self._question.acceptedBy}))

    def onDecline(self, checked=False):
        self._ask(None)
        self._asked = None
        self.tell(_("Not done."))

    def onNorms(self, checked=False):
        """Norms of measured PET that the user has."""
        title, kinds = _("Norms of measured PET"), _("Norms (*.json)")
        file = qt.QFileDialog.getOpenFileName(self.parent, title, self._parameterNode.norms, kinds)
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self._parameterNode.norms = file

    # Log

    def log(self, line):
        self.ui.logText.appendPlainText(line)

    def onCopyLog(self, checked=False):
        qt.QApplication.clipboard().setText(self.ui.logText.toPlainText())
