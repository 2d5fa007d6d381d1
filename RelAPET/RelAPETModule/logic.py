"""The module without its panel: one synthesis from nodes to nodes, started, watched, cancelled, or waited for."""

import os
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass, field, replace

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from . import attributes, display, expected, history, models, people, scene
from .guessing import misfits
from .library import library
from .parameters import RelAPETParameterNode
from .process import ChildProcess, Ending
from .server import Server
from .takeover import DAMAGED, TakeOver


class SynthesisError(RuntimeError):
    """A synthesis that did not come about; `ending` says how (`process.Ending`)."""

    def __init__(self, ending):
        super().__init__(ending.message)
        self.ending = ending


#: What is said when a measured PET is to be compared with several tracers.
def comparesOne():
    """The words, in the language that is chosen now."""
    return _("the measured PET can be compared with its own tracer only; choose that tracer, or no measured PET")


@dataclass
class Request:
    """What is asked for. Volumes are nodes; None means the library's own default.

    tracer: a short name, several with commas between them, or "all" that the model has.
    t2f: may be None for a model that does without.
    norms, referenceFwhm: file or folder of norms for z-scores of the reference, and its resolution in mm.
    quality: in place of sampler and steps, of a model that was measured for it.
    registration: how the T1w is deformed to the template.
    cutoffs: SUVR by tracer, from which on its composite counts as positive; the model's own where there is none.
    age, sex, score: for models that were told them; texts or numbers, None for not known.
    accepted: what accepts a refusal: the options "--force" for doubtful inputs and "--yes" for a long run, and
        `people.TWO_PEOPLE` for inputs whose headers name two people.
    """

    t1w: object
    t2f: object
    tracer: str
    model: str = "demo"
    reference: object = None
    scaleReference: bool = False
    norms: str = None
    referenceFwhm: float = None
    output: object = None
    device: str = "auto"
    sampler: str = None
    steps: int = None
    quality: str = None
    samples: int = None
    seed: int = 0
    space: str = "t1w"
    registration: str = None
    age: object = None
    sex: str = None
    score: object = None
    cutoffs: dict = None
    accepted: frozenset = field(default_factory=frozenset)

    def problems(self):
        """Why this cannot be run, in words for the panel; empty when it can."""
        found = []
        if self.t1w is None:
            found.append(_("choose a T1-weighted volume"))
        if self.t2f is None and not models.doesWithout(self.model, "t2f"):
            found.append(_("choose a T2-FLAIR volume"))
        if self.t1w is not None and self.t1w is self.t2f:
            found.append(_("T1w and T2-FLAIR are the same volume"))
        if self.reference is not None and self.reference in (self.t1w, self.t2f):
            found.append(_("the reference PET is one of the MRIs"))
        found += misfits(self)
        if self.output is not None and self.output in (self.t1w, self.t2f, self.reference):
            found.append(_("the output would replace an input; choose another one or none"))
        if self.comparesMany:
            found.append(comparesOne())
        found += models.clinicalProblems(self.age, self.sex, self.score)
        if found:
            return found
        for volume in filter(None, (self.t1w, self.t2f, self.reference)):
            try:
                scene.worldMatrix(volume)
            except scene.SceneError as error:
                found.append(str(error))
        return found

    @property
    def comparesMany(self):
        """Whether one measured PET is to be compared with several tracers, which means nothing."""
        return self.reference is not None and self.tracer not in library("tracers").TRACERS

    def arguments(self, files, folder):
        """Command line of the library."""
        given = {
            "--t1w": files["t1w"],
            "--t2f": files.get("t2f"),
            "--tracer": self.tracer,
            "--model": self.model,
            "--out": folder,
            "--device": self.device,
            "--seed": self.seed,
            "--space": self.space,
            "--sampler": self.sampler,
            "--steps": self.steps or None,
            "--quality": self.quality,
            "--samples": self.samples or None,
            "--registration": self.registration,
            "--reference": files.get("reference"),
            "--norms": (self.norms or None) if self.reference is not None else None,
            "--reference-fwhm": (self.referenceFwhm or None) if self.reference is not None and self.norms else None,
            "--age": self.age,
            "--sex": self.sex,
            "--score": self.score,
        }
        if self.reference is not None and self.scaleReference:
            given["--reference-region"] = library("tracers").TRACERS[self.tracer].reference_region
        words = ["synthesize", "--no-report", "--uncompressed", *sorted(self.accepted - {people.TWO_PEOPLE})]
        for name, value in given.items():
            if value is not None:
                words += [name, str(value)]
        return words + cutoffWords(self.cutoffs)


def cutoffWords(cutoffs):
    """Cut-offs by tracer as the library's command line has them."""
    return [word for tracer, value in (cutoffs or {}).items() for word in ("--cutoff", f"{tracer}={value}")]


class Listener:
    """What a synthesis tells whoever started it; the panel and the waiting script each have one."""

    def onProgress(self, fraction, message, remaining):
        """`fraction` 0 to 1; `remaining` seconds or None. Messages of the hand-overs come before they begin."""

    def onLog(self, line):
        """Something worth keeping in the log."""

    def onEnd(self, ending, results):
        """The end, once; `results` when `ending.ok`: a list of `scene.Results`, one for each tracer."""


class Run:
    """One synthesis under way: files out, child process, results in; the scene is touched at the very end alone."""

    def __init__(self, request, listener, onDone, makeProcess=ChildProcess):
        self.request, self._listener, self._onDone, self._makeProcess = request, listener, onDone, makeProcess
        self._folder = self._process = self._geometry = self._closing = self._prints = self._began = None
        self._taking = None  # the `TakeOver`, once the process is done
        self.ended = False

    def start(self):
        """Write the inputs and start the process. Raises scene.SceneError before anything was started."""
        self._listener.onProgress(0.0, _("handing the MRI over"), None)
        self._began = time.monotonic()
        self._folder = tempfile.mkdtemp(prefix="RelAPET-", dir=_existing(slicer.app.temporaryPath))
        try:
            files, names = {}, {}
            for role in ("t1w", "t2f", "reference"):
                volume = getattr(self.request, role)
                if volume is not None:
                    files[role] = os.path.join(self._folder, f"{role}.nrrd")
                    names[files[role]] = volume.GetName()
                    scene.writeVolume(volume, files[role])
                    if role == "reference" or volume.GetAttribute(attributes.SIDECAR):  # that an MRI is simulated
                        unit = people.unitOf(volume) if role == "reference" else None
                        names[scene.writeSidecar(volume, files[role], unit)] = volume.GetName()
            self._geometry = scene.worldMatrix(self.request.t1w)
            self._prints = history.fingerprints(self.request)
        except BaseException:
            self._clean()
            raise
        arguments = self.request.arguments(files, os.path.join(self._folder, "out"))
        self._process = self._makeProcess(
            arguments,
            onEnd=self._processEnded,
            onProgress=self._listener.onProgress,
            onLog=self._listener.onLog,
            names=names,
        )
        self._closing = slicer.mrmlScene.AddObserver(slicer.mrmlScene.StartCloseEvent, self._sceneCloses)
        self._process.start()

    def cancel(self):
        """The listener hears when it has ended; what is in the scene already stays."""
        if self._taking is None:
            self._process.cancel()
        elif self._taking.placed is None:
            self._taking.stop()
            qt.QTimer.singleShot(0, self._cancelled)

    def stopNow(self):
        """For a Slicer that closes or a module that goes: returns once the process is gone."""
        if self._taking is None:
            self._process.cancel()
            self._process.waitForEnd(2.0)
        else:
            self._taking.stop()
            self._cancelled()

    def _sceneCloses(self, *event):
        """Its results would come into another scene, maybe another patient's."""
        self._listener.onLog(_("the scene is closed: the synthesis is cancelled"))
        self.stopNow()

    def _processEnded(self, ending):
        if not ending.ok:
            self._end(ending, None)
            return

        def taken(placed, problem):
            self._taken(ending, placed, problem)

        def tell(words):
            self._listener.onProgress(1.0, words, None)

        self._taking = TakeOver(ending.result, self.request.space, self._geometry, tell, self._placeAll, taken)
        self._taking.start()

    def _taken(self, ending, placed, problem):
        if problem is None:
            memory = getattr(self._process, "peak", 0)
            expected.remember(self.request, time.monotonic() - self._began, memory, len(placed))
        elif isinstance(problem, DAMAGED):
            ending = Ending("failed", _("the results could not be taken over: {why}").format(why=problem))
        else:
            ending = Ending("failed", _("the results could not be taken over; please report this with the log"))
        self._end(ending, placed)

    def _cancelled(self):
        self._end(Ending("cancelled", _("cancelled; nothing was changed")), None)

    def _end(self, ending, results):
        """The one end, however it came."""
        if self.ended:
            return
        self.ended = True
        slicer.mrmlScene.RemoveObserver(self._closing)
        self._clean()
        self._onDone(self)
        self._listener.onEnd(ending, results)

    def _placeAll(self, read):
        """What was deleted during the run is done without; by the nodes, since an ID may be another node's by now."""
        present = slicer.mrmlScene.IsNodePresent
        t1w = self.request.t1w if present(self.request.t1w) else None
        if self.request.output is not None and not present(self.request.output):
            self.request = replace(self.request, output=None)
        with scene.allOrNone():
            return self._place(read, t1w)

    def _place(self, read, t1w):
        """Nodes of every tracer, ready to be shown; returns those of the space that was asked for first."""
        wanted, run, first = "MNI" if self.request.space == "mni" else "T1w", uuid.uuid4().hex, []
        outputs = scene.outputsFor(self.request.output, [one.tracer for one in read], wanted)
        for one in read:
            placed = scene.placeResults(one, outputs[one.tracer], t1w, run)
            for results in placed:
                people.remember(results.pet, self.request, t1w)
                history.remember(results.pet, self._prints, self.request.quality)
                display.prepare(results)
            first.append(placed[0])
        return first

    def _clean(self):
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _existing(folder):
    return folder if folder and os.path.isdir(folder) else None


class RelAPETLogic(ScriptedLoadableModuleLogic):
    """Synthesis for panels and scripts. No pop-ups: what went wrong comes as an `Ending` or a `SynthesisError`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._run = None
        self.server = Server()
        self.makeProcess = self.server.process

    def getParameterNode(self):
        return RelAPETParameterNode(super().getParameterNode())

    @property
    def running(self):
        return self._run is not None

    def start(self, request, listener):
        """Begin a synthesis and return at once; the listener hears of the rest.

        Raises SynthesisError when it cannot begin: something is missing, or another one is running.
        """
        problems = [_("another synthesis is running")] if self.running else request.problems()
        if problems:
            raise SynthesisError(Ending("refused", "; ".join(problems)))
        mixed, _notes = people.compare(request)
        if mixed and people.TWO_PEOPLE not in request.accepted:
            raise SynthesisError(Ending("refused", mixed, acceptedBy=people.TWO_PEOPLE))
        self._run = Run(request, listener, self._forget, self.makeProcess)
        try:
            self._run.start()
        except (scene.SceneError, OSError) as error:
            self._run = None
            why = getattr(error, "strerror", None)  # of a full disk, or a temporary folder that cannot be written to
            words = _("the MRI could not be handed over: {why}").format(why=why) if why else str(error)
            raise SynthesisError(Ending("refused", words)) from error
        except BaseException:
            self._run = None
            raise

    def cancel(self):
        """Ask the running synthesis to end; its listener hears when it has."""
        if self._run is not None:
            self._run.cancel()

    def stopNow(self):
        """End the running synthesis, and the process that waits for the next, before returning; for closing."""
        if self._run is not None:
            self._run.stopNow()
        self.server.stop()

    def _forget(self, run):
        if self._run is run:
            self._run = None

    def synthesize(self, t1w, t2f, tracer, show=False, onProgress=None, **options):
        """Make a synthetic PET and wait for it; for scripts (``Slicer --python-script``).

        Args:
            t1w, t2f: volume nodes of one person; t2f may be None for a model that was trained to do without.
            tracer: a short name of the library's ``tracers.TRACERS``.
            show: lay the PET over the T1w in the slice views.
            onProgress: called as onProgress(fraction, message, remaining seconds or None).
            options: further fields of `Request`, e.g. model, age, reference, accepted=frozenset(["--force"]); inputs of
                two people by their headers are refused unless `people.TWO_PEOPLE` ("two people") is accepted.

        Returns:
            scene.Results: the nodes (pet, uncertainty, difference, metrics, regions), in the scene.

        Raises:
            SynthesisError: with one line that says why and what to do.
        """
        (results,) = self._wait(Request(t1w, t2f, tracer, **options), show, onProgress)
        return results

    def synthesizeMany(self, t1w, t2f, tracers="all", show=False, onProgress=None, **options):
        """The same for several tracers of one person, whose MRI is read, registered and encoded once.

        Args:
            tracers: short names, or "all" that the model has.
            show: lay the first tracer's PET over the T1w.

        Returns:
            `scene.Results` by the tracer's short name.
        """
        words = tracers if isinstance(tracers, str) else ",".join(tracers)
        every = self._wait(Request(t1w, t2f, words, **options), show, onProgress)
        return {results.pet.GetAttribute(attributes.TRACER): results for results in every}

    def _wait(self, request, show, onProgress):
        waiting = _Waiting(onProgress)
        self.start(request, waiting)
        while waiting.ending is None:
            slicer.app.processEvents()
            time.sleep(0.02)
        if not waiting.ending.ok:
            raise SynthesisError(waiting.ending)
        if show:
            display.show(waiting.results[0], "pet", 0.6, fit=True)
        return waiting.results


class _Waiting(Listener):
    def __init__(self, onProgress):
        self.ending = self.results = None
        self._onProgress = onProgress

    def onProgress(self, fraction, message, remaining):
        if self._onProgress:
            self._onProgress(fraction, message, remaining)

    def onEnd(self, ending, results):
        self.ending, self.results = ending, results
