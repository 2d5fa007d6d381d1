"""The library as a child process: its progress as objects, its end in one clear message, and no survivors.

The panel stays live while the model works, a crash takes nothing with it, and cancelling gives the GPU's memory back.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import qt
from slicer.i18n import tr as _

from .install import exportFolder
from .library import LAUNCHER, libraryParent, pythonExecutable

#: Seconds that a cancelled process has to end by itself, cleaning up, before it is killed.
PATIENCE = 5.0
_MAX_LINE = 1 << 20
#: Commands that see the export's own packages.
NEED_EXPORT = (["dicom"], ["report"])
#: Exit code of a cohort of whom some have no result; its result says who and why.
SOME_FAILED = 3
#: Options whose values are a person's, and are not logged.
PERSONAL = ("--age", "--sex", "--score")
#: Program for ``python -c`` that runs the library with a folder of packages before all others.
_WITH_PACKAGES = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('RelAPETLib', run_name='__main__', alter_sys=True)"
)
#: What that program says of a Python that did not end by itself; its own end is that of any failure then.
_ABNORMAL = "exit abnormally"


class JsonLines:
    """Turns a stream of bytes, in whatever pieces it comes, into dictionaries and lines of other text."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        """List of what became complete: a dict for a line that is a JSON object, else the line as text."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:  # not our protocol; do not let it fill the memory
            lines, self._rest = [*lines, self._rest], b""
        return [item for item in map(self._parse, lines) if item]

    def flush(self):
        rest, self._rest = self._rest, b""
        return [item for item in [self._parse(rest)] if item]

    @staticmethod
    def _parse(line):
        text = line.decode("utf-8", "replace").strip()
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return item if isinstance(item, dict) and isinstance(item.get("type"), str) else text


@dataclass
class Ending:
    """How a child process ended.

    kind: "done", "cancelled", "refused" (the user can mend it), "failed", or "crashed".
    message: one line for the user.
    result: the ``result`` object of a process that is done.
    acceptedBy: the option that accepts what was refused, or None.
    problem: the message without its advice for a shell, where it has such.
    """

    kind: str
    message: str
    result: dict = field(default_factory=dict)
    acceptedBy: str = None
    problem: str = None

    @property
    def ok(self):
        return self.kind == "done"


def crash():
    """The ending of a program that did not end by itself."""
    words = _(
        "the program ended unexpectedly: it crashed, or the system ended it, which it does when memory runs out; the "
        "log says more"
    )
    return Ending("crashed", words)


def notStarted(program, why):
    """The ending of a program that could not even be started."""
    words = _("{program} could not be started: {why}")
    return Ending("failed", words.format(program=Path(program).name, why=why))


class Names:
    """Puts the names of volumes where a text names the temporary files that were written of them.

    files: {path: name of the volume}.
    """

    def __init__(self, files):
        self._words = []
        for path, name in files.items():
            ways = {str(path), os.path.realpath(path)}
            for way in (*sorted(ways, key=len, reverse=True), os.path.basename(path)):
                # Not in the middle of a longer path or word; quotes around it are not doubled.
                pattern = rf"""(?P<quote>['"]?)(?<![\w./\\-]){re.escape(way)}(?!\.?[\w/\\-])(?P=quote)"""
                self._words.append((re.compile(pattern), f"'{' '.join(str(name).split())}'"))

    def __call__(self, text):
        for pattern, words in self._words:
            text = pattern.sub(lambda found, words=words: words, text)
        return text


def libraryCommand(arguments, packages=None):
    """A command of the library as a program and its arguments.

    packages: a folder of packages that come before Slicer's own. PYTHONPATH cannot put them there, since Slicer's
    launcher puts Slicer's own before whatever it has.
    """
    how = ["-m", "RelAPETLib"] if packages is None else ["-c", _WITH_PACKAGES, str(packages)]
    return [pythonExecutable(), *how, *arguments]


def childEnvironment():
    """Slicer's environment, with RelAPETLib on the path, and output neither held back nor in another encoding.

    No module is taken from the folder that Slicer happens to have been started in.
    """
    environment = qt.QProcessEnvironment.systemEnvironment()
    paths = (libraryParent(), environment.value("PYTHONPATH", ""))
    environment.insert("PYTHONPATH", os.pathsep.join(str(path) for path in paths if path))
    for name in ("PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH"):
        environment.insert(name, "1")
    return environment


class Listening:
    """What a command of the library says, and its end, for whoever started it.

    onProgress(fraction, message, remaining): remaining seconds or None.
    onLog(line): warnings, other output and what is worth keeping.
    onEnd(ending): called once.
    names: {path: volume's name} of the temporary files that the command reads; all that it says has the names.
    """

    def __init__(self, onEnd, onProgress=None, onLog=None, names=None):
        self._onEnd, self._onProgress, self._onLog = onEnd, onProgress, onLog
        self._tail, self._named = [], Names(names or {})
        self._result = self._error = self._ended = None
        self._cancelled = False
        self.peak = 0  # most bytes that the process and its children were seen to hold together

    def processId(self):
        """Of the process that works, or of one above it."""
        raise NotImplementedError

    @property
    def running(self):
        return self._ended is None

    def _take(self, item):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "progress" and isinstance(item.get("fraction"), (int, float)):
            if self._onProgress and not self._cancelled:
                self.peak = max(self.peak, memory(self.processId()))
                fraction = min(max(float(item["fraction"]), 0.0), 1.0)
                self._onProgress(fraction, self._named(str(item.get("message", ""))), item.get("remaining"))
        elif kind == "warning":
            self._log("warning: " + str(item.get("message", "")))
        elif kind == "error":
            self._error = item
        elif kind == "result":
            self._result = item
        else:
            self._keep(str(item))

    def _keep(self, text):
        self._tail = [*self._tail[-19:], text]
        self._log(text)

    def _log(self, text):
        if self._onLog:
            self._onLog(self._named(text))

    def _ending(self, exitCode, crashed):
        if self._cancelled:
            return Ending("cancelled", _("cancelled; nothing was changed"))
        if crashed or (self._error is None and self._tail and _ABNORMAL in self._tail[-1]):
            return crash()
        if self._error is not None:
            message = str(self._error.get("message", "unknown error"))
            kind = "refused" if exitCode == 2 else "failed"
            return Ending(kind, message, acceptedBy=self._error.get("accepted_by"), problem=self._error.get("problem"))
        if exitCode in (0, SOME_FAILED) and self._result is not None:
            return Ending("done", "done", self._result)
        missing = [line for line in self._tail if "No module named" in line]
        if missing:
            name = missing[-1].split("No module named")[-1].strip(" '\"")
            return Ending("failed", _("Python package {name} is missing; press Install in the panel").format(name=name))
        last = self._tail[-1] if self._tail else _("it said nothing")
        words = _("the program ended with code {code} and no result: {last}").format(code=exitCode, last=last)
        return Ending("failed", words)

    def _end(self, ending):
        if self._ended is not None:
            return
        problem = ending.problem and self._named(str(ending.problem))
        self._ended = ending = replace(ending, message=self._named(ending.message), problem=problem)
        self._log(f"{ending.kind}: {ending.message}")
        onEnd, self._onEnd, self._onProgress, self._onLog = self._onEnd, None, None, None
        qt.QTimer.singleShot(0, self._release)  # not now: a signal of the process may be under way
        onEnd(ending)

    def _release(self):
        """Let go of Qt's objects, once `onEnd` has returned."""


class ChildProcess(Listening):
    """One command of the library in a process of its own, e.g. ``ChildProcess(["doctor"], onEnd=...)``.

    `onEnd` is called also when the process cannot be started; the rest as `Listening` has it.
    """

    def __init__(self, arguments, onEnd, onProgress=None, onLog=None, command=None, names=None):
        Listening.__init__(self, onEnd, onProgress, onLog, names)
        packages = exportFolder() if arguments[:1] in NEED_EXPORT else None
        self._command = command or libraryCommand([*arguments, "--progress", "json"], packages)
        self._lines, self._errors = JsonLines(), JsonLines()
        self._children = []
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(childEnvironment())
        self._killer = qt.QTimer()
        self._killer.setSingleShot(True)
        self._connections = [
            (self._process, "readyReadStandardOutput()", self._readOutput),
            (self._process, "readyReadStandardError()", self._readErrors),
            (self._process, "finished(int,QProcess::ExitStatus)", self._finished),
            (self._process, "errorOccurred(QProcess::ProcessError)", self._errorOccurred),
            (self._killer, "timeout()", self.kill),
        ]
        for sender, signal, slot in self._connections:
            sender.connect(signal, slot)

    def processId(self):
        return self._process.processId()

    def start(self):
        self._log(" ".join(shown(self._command)))
        self._process.start(self._command[0], self._command[1:])

    def cancel(self):
        """Ask the process to end; it is killed with its children if it does not."""
        if not self.running or self._cancelled:
            return
        self._cancelled = True
        self._children = descendants(self._process.processId())
        if os.name == "nt":  # no signal there that a program without a window could clean up on
            self.kill()
            return
        if not terminateBelow(self._command[0], self._process.processId()):
            self._process.terminate()
        self._killer.start(int(1000 * PATIENCE))

    def kill(self):
        """End the process and its children at once."""
        if not self.running:
            return
        self._cancelled = True
        self._children = [*self._children, *descendants(self._process.processId())]
        self._process.kill()

    def waitForEnd(self, seconds=PATIENCE):
        """Block until the process has ended and `onEnd` was called, for a Slicer that is closing."""
        if self.running and not self._process.waitForFinished(int(1000 * seconds)):
            self.kill()
            self._process.waitForFinished(2000)

    def _readOutput(self):
        for item in self._lines.feed(bytes_(self._process.readAllStandardOutput())):
            self._take(item)

    def _readErrors(self):
        for item in self._errors.feed(bytes_(self._process.readAllStandardError())):
            self._keep(str(item))

    def _errorOccurred(self, error):
        if error == qt.QProcess.FailedToStart:  # the one error after which finished() does not come
            self._end(notStarted(self._command[0], self._process.errorString()))

    def _finished(self, exitCode, exitStatus):
        self._readOutput()
        self._readErrors()
        self._killer.stop()
        for item in [*self._lines.flush(), *self._errors.flush()]:
            self._take(item)
        killAll(self._children)
        self._end(self._ending(int(exitCode), exitStatus == qt.QProcess.CrashExit))

    def _release(self):
        """PythonQt holds what is connected, where Python's garbage collection does not look, until it is disconnected.

        Until then the process would hold this object, and this object the process, for ever.
        """
        for sender, signal, slot in self._connections:
            sender.disconnect(signal, slot)
        self._killer.stop()
        self._connections = []


def shown(command):
    """A command as the log keeps it: without folders, and without what it says of a person."""
    words = [Path(part).name if os.path.isabs(part) else part for part in map(str, command)]
    hidden = [before in PERSONAL or word == _WITH_PACKAGES for before, word in zip(["", *words], words, strict=False)]
    return ["..." if hide else word for hide, word in zip(hidden, words, strict=True)]


def bytes_(array):
    """Bytes of a QByteArray; PythonQt and PySide differ in what its data() is."""
    data = array.data()
    return data.encode() if isinstance(data, str) else bytes(data)


def descendants(pid, recursive=True):
    """Processes below one, as psutil has them; none where psutil is not installed yet, or the process is gone.

    pid: Qt's, which is 0 for a process that is gone: on macOS and Windows that is the system, above all others.
    """
    try:
        import psutil
    except ImportError:
        return []
    try:
        return psutil.Process(int(pid)).children(recursive=recursive) if pid else []
    except psutil.Error:
        return []


def terminateBelow(program, pid):
    """Ask what Slicer's launcher runs to end, and say whether there is such.

    The launcher itself ends at once when it is asked, and leaves what it runs behind, with everything half done.
    """
    below = descendants(pid, recursive=False) if Path(program).stem == LAUNCHER else []
    for process in below:
        _try(process.terminate)
    return bool(below)


def memory(pid):
    """Bytes that a process and those below it hold; 0 where psutil is not installed yet, or the process is gone."""
    try:
        import psutil
    except ImportError:
        return 0
    held = 0
    with contextlib.suppress(psutil.Error):
        for each in (psutil.Process(int(pid)), *descendants(pid)) if pid else ():
            held += each.memory_info().rss
    return held


def killAll(processes):
    """End what is left of them; psutil tells a process from another that took over its number."""
    for process in processes:
        _try(process.kill)


def _try(end):
    """Call what ends a process of psutil's, which may have ended by itself."""
    import psutil

    with contextlib.suppress(psutil.Error):
        end()
