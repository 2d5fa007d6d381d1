"""Many patients one after another: each by the library's cohort command in a child process, with its records."""

import csv
import os
import shutil
import tempfile
import time
from dataclasses import dataclass

import qt
import slicer
from slicer.i18n import tr as _

from . import attributes, models, people, scene
from .batchfolder import BatchFolder, keyOf
from .logic import cutoffWords
from .process import ChildProcess, Names

WAITING, RUNNING, DONE, THERE, FAILED, STOPPED = "waiting", "running", "done", "there", "failed", "stopped"


def gone():
    """The words, in the language that is chosen now."""
    return _("its volumes are not in the scene any more")


@dataclass(frozen=True)
class Choices:
    """What is asked for of everybody; None means the library's own default."""

    tracer: str
    model: str = "demo"
    device: str = "auto"
    seed: int = 0
    sampler: str = None
    steps: int = None
    quality: str = None
    samples: int = None
    registration: str = None
    cutoffs: dict = None

    def arguments(self, table, out):
        """Command line of the library for the persons of a table. A long run is what was asked for: --yes."""
        words = ["bids", str(table), str(out), "participant", "group", "--no-report", "--unlinked", "--yes"]
        given = {"--tracer": self.tracer, "--model": self.model, "--device": self.device, "--seed": self.seed,
                 "--sampler": self.sampler, "--steps": self.steps or None, "--quality": self.quality,
                 "--samples": self.samples or None, "--registration": self.registration}  # fmt: skip
        for name, value in given.items():
            if value is not None:
                words += [name, str(value)]
        return words + cutoffWords(self.cutoffs)


class BatchListener:
    """What a batch tells whoever started it."""

    def onState(self, number, state, words):
        """A person begins or ends: WAITING, RUNNING, DONE, THERE (was done before), FAILED or STOPPED; one line."""

    def onBatchProgress(self, fraction, words, remaining):
        """`fraction` 0 to 1 of all; seconds remaining or None."""

    def onLog(self, line):
        """Something worth keeping in the log."""

    def onBatchEnd(self, words):
        """The end, once; one line."""


class Batch:
    """Persons one after another. A failed one stops nobody; the results stay on the disk, none comes into the scene.

    Each person's scans are written when it is their turn and removed after; a process of their own computes them, so
    that its memory goes with it, and what kills it, such as a full memory, costs one person.
    """

    def __init__(self, pairs, everybody, choices, folder, listener, makeProcess=ChildProcess):
        """
        pairs: `pairs.Pair` to be done, in this order, by their numbers; everybody: all that are known in the scene.
        folder: for the results, made when missing.
        """
        self._pairs, self._everybody, self._choices = dict(pairs), list(everybody), choices
        self._folder, self._listener, self._makeProcess = BatchFolder(folder), listener, makeProcess
        self._waiting, self._total = list(self._pairs), len(self._pairs)
        self._number = self._process = self._scratch = self._stopped = None
        self._named = Names({})  # puts the volumes' names where the library names their files
        self.counts = dict.fromkeys((DONE, THERE, FAILED, STOPPED), 0)
        self.who = {}  # (subject, session) by number
        self.ended = False
        self._began = time.monotonic()
        self._closing = slicer.mrmlScene.AddObserver(slicer.mrmlScene.StartCloseEvent, self._sceneCloses)

    @property
    def stopping(self):
        return self._stopped is not None

    def start(self):
        for number in self._waiting:
            self._listener.onState(number, WAITING, _("waiting"))
        self._next()

    def stop(self):
        """End the person at work, and begin no other; who is done stays done."""
        self._stopped = self._stopped or _("stopped")
        if self._process is not None:
            self._process.cancel()

    def stopNow(self):
        """For a Slicer or a scene that closes: returns once the process is gone."""
        if self.ended:
            return
        self.stop()
        if self._process is not None:
            self._process.waitForEnd(2.0)
        if not self.ended:
            self._finish()

    def _sceneCloses(self, *event):
        self._listener.onLog(_("the scene is closed: the batch is stopped"))
        self.stopNow()

    # One person after another

    def _later(self):
        qt.QTimer.singleShot(0, self._next)  # the panel shows the last one's end first

    def _next(self):
        if self.ended or self._process is not None:
            return
        if self._stopped or not self._waiting:
            self._finish()
            return
        self._number = self._waiting.pop(0)
        self._listener.onState(self._number, RUNNING, _("at work"))
        self._progress(0.0, _("handing the MRI over"))
        slicer.app.processEvents()  # the words are seen before the volumes are written, which blocks a moment
        if self.ended:  # the scene or the module went just now
            return
        if self._stopped:  # by a click just now
            self._end(STOPPED, _("stopped"))
            return
        try:
            arguments, names = self._prepare(self._pairs[self._number])
        except (scene.SceneError, OSError, ValueError) as error:
            self._end(FAILED, getattr(error, "strerror", None) or str(error))
            return
        self._named = Names(names)
        self._process = self._makeProcess(
            arguments, onEnd=self._processEnded, onProgress=self._onProgress, onLog=self._listener.onLog, names=names
        )
        self._process.start()

    def _prepare(self, pair):
        """Write a person's scans and the table that names them; returns the command's arguments, and names for files.

        Raises scene.SceneError or OSError.
        """
        volumes = {role: volume for role, volume in (("t1w", pair.t1w), ("t2f", pair.t2f)) if volume is not None}
        for volume in volumes.values():
            if not slicer.mrmlScene.IsNodePresent(volume):
                raise scene.SceneError(gone())
            scene.worldMatrix(volume)
        two = people.difference(*map(people.originOf, volumes.values())) if len(volumes) == 2 else None
        if two:  # the scene may have changed since the pair was found
            raise scene.SceneError(_("T1w and T2-FLAIR are of two people by their {what}").format(what=two))
        who = self._claim(pair)
        for number, same in self.who.items():
            if same == who and self._pairs[number].person != pair.person:
                words = _("these are the same scans as those of {other}: one of them is misfiled")
                raise scene.SceneError(words.format(other=self._pairs[number].words))
        self.who[self._number] = who
        temporary = slicer.app.temporaryPath
        self._scratch = tempfile.mkdtemp(prefix="RelAPET-", dir=temporary if os.path.isdir(temporary) else None)
        names, row = {}, {"subject": who[0], "session": who[1]}
        for role, volume in volumes.items():
            path = os.path.join(self._scratch, f"{role}.nrrd")
            names[path], row[role] = volume.GetName(), f"{role}.nrrd"
            scene.writeVolume(volume, path)
            if volume.GetAttribute(attributes.SIDECAR):  # that it is simulated
                scene.writeSidecar(volume, path)
        if models.toldClinical(self._choices.model):
            row |= people.clinicalOf(pair.t1w)
        table = os.path.join(self._scratch, "table.csv")
        with open(table, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
            writer.writerow(row)
        return self._choices.arguments(table, self._folder.path), names

    def _claim(self, pair):
        """The person's number in the folder: that of their other scans there, or a new one."""
        known = self._folder.known()
        key = keyOf(pair)
        if key in known:
            return known[key]
        others = [p for p in self._everybody if pair.person and p.person == pair.person and p is not pair]
        subjects = [known[k][0] for k in map(self._keyIfPresent, others) if k in known]
        return self._folder.claim(key, subjects[0] if subjects else None)

    @staticmethod
    def _keyIfPresent(pair):
        volumes = [volume for volume in (pair.t1w, pair.t2f) if volume is not None]
        return keyOf(pair) if all(map(slicer.mrmlScene.IsNodePresent, volumes)) else None

    def _onProgress(self, fraction, message, remaining):
        self._progress(fraction, message)

    def _progress(self, fraction, message):
        before = self._total - len(self._waiting) - 1
        share = (before + fraction) / self._total
        worked, past = before - self.counts[THERE] + fraction, time.monotonic() - self._began
        rest = past / worked * (len(self._waiting) + 1 - fraction) if worked > 0.1 else None
        words = _("{n} of {all}, {who}: {message}").format(
            n=before + 1, all=self._total, who=self._pairs[self._number].words, message=message
        )
        self._listener.onBatchProgress(share, words, rest)

    def _processEnded(self, ending):
        self._process = None
        result = ending.result or {}
        if ending.kind == "cancelled":
            self._end(STOPPED, _("stopped"))
        elif ending.kind == "refused":  # what is wrong with one person is in the result: this is wrong with all
            self._stopped = ending.message
            self._end(FAILED, ending.message)
        elif not ending.ok:
            self._end(FAILED, ending.message)
        elif result.get("failed"):
            self._end(FAILED, self._named(_reasons(result)))
        else:
            self._end(DONE if result.get("done") else THERE, "")

    def _end(self, state, words):
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        self.counts[state] += 1
        who = "/".join(self.who.get(self._number, ()))
        ending = {
            DONE: _("done: {who}").format(who=who),
            THERE: _("was there already: {who}").format(who=who),
        }
        self._listener.onState(self._number, state, ending.get(state, words))
        self._later()

    def _finish(self):
        self.ended = True
        slicer.mrmlScene.RemoveObserver(self._closing)
        for number in self._waiting:
            self.counts[STOPPED] += 1
            self._listener.onState(number, STOPPED, _("not begun"))
        self._waiting = []
        words = _("{done} made, {there} were there, {failed} failed, {stopped} not done").format(**self.counts)
        self._listener.onBatchEnd(f"{self._stopped}: {words}" if self._stopped else words)


def _reasons(result):
    """One line on why a person has no result, or not of all tracers."""
    failures = result.get("failures") or []
    reasons = {}
    for failure in failures:
        reasons.setdefault(str(failure.get("reason")), []).append(str(failure.get("tracer")))
    if len(reasons) == 1 and len(failures) == result["failed"] and not result.get("done"):
        return next(iter(reasons))
    return "; ".join(f"{', '.join(tracers)}: {reason}" for reason, tracers in reasons.items())
