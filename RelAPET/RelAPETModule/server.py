"""The library's process that stays between syntheses: ``relapet serve``, with its imports done and its model loaded.

It ends when nobody has asked anything for a while, with Slicer, and when the environment or the library has changed;
the panel ends its own with the scene and the module. Cancelling frees all that a synthesis held; a crash loses that
synthesis alone.
"""

import json
import time

import qt
import slicer

from .library import libraryParent, pythonExecutable
from .process import (
    PATIENCE,
    ChildProcess,
    JsonLines,
    Listening,
    bytes_,
    childEnvironment,
    crash,
    descendants,
    killAll,
    libraryCommand,
    notStarted,
    shown,
)

#: Seconds without a request after which the process ends.
IDLE = 600.0


class Server:
    """Makes processes for `logic.Run`, which are requests to one process of the library, started by the first.

    command: in place of the library's own, for tests.
    """

    def __init__(self, command=None):
        self._command = command
        self._process = self._idle = self._now = self._made = None
        self._lines, self._connections, self._count = JsonLines(), [], 0

    @property
    def running(self):
        """Whether there is a process now, idle or not."""
        return self._process is not None

    def process(self, arguments, **how):
        """What `process.ChildProcess` would be: a request, or a process of its own where the library has no server."""
        return Served(self, arguments, **how) if self._command or hasServer() else ChildProcess(arguments, **how)

    def processId(self):
        return self._process.processId() if self._process is not None else 0

    def begin(self, served):
        """Hand a request over; its `take` hears the answers."""
        made = _made()
        if self._process is not None and (made != self._made or self._now is not None):
            self.stop()
        self._count += 1
        self._now, served.id = served, self._count
        if self._process is None:
            self._launch(made)
        if self._process is not None:  # it is None again where it could not be started
            self._idle.stop()
            self._send({"type": "run", "id": served.id, "argv": served.arguments})

    def cancel(self, served):
        if self._now is served:
            self._send({"type": "cancel", "id": served.id})

    def kill(self):
        """End the process and all below it at once."""
        if self._process is not None:
            children = descendants(self._process.processId())
            self._process.kill()
            killAll(children)

    def wait(self, until, seconds):
        """Block until something is so or the process has gone, at most so long."""
        end = time.monotonic() + seconds
        while self._process is not None and not until() and time.monotonic() < end:
            self._process.waitForReadyRead(50)

    def stop(self, seconds=PATIENCE):
        """End the process before returning; a request that is under way is cancelled."""
        if self._process is None:
            return
        if self._now is not None:
            self._now.cancel()
        process = self._process
        process.closeWriteChannel()  # the end of its input ends it, and its worker
        if not process.waitForFinished(int(1000 * seconds)):
            self.kill()
            process.waitForFinished(2000)
        self._gone()

    def _launch(self, made):
        self._made, self._lines = made, JsonLines()
        command = self._command or libraryCommand(["serve", "--stdio"])
        self._process, self._idle = qt.QProcess(), qt.QTimer()
        self._process.setProcessEnvironment(childEnvironment())
        self._idle.setSingleShot(True)
        self._connections = [
            (self._process, "readyReadStandardOutput()", self._readOutput),
            (self._process, "readyReadStandardError()", self._readErrors),
            (self._process, "finished(int,QProcess::ExitStatus)", self._finished),
            (self._process, "errorOccurred(QProcess::ProcessError)", self._errorOccurred),
            (self._idle, "timeout()", self.stop),
            (slicer.app, "aboutToQuit()", self.stop),
        ]
        for sender, signal, slot in self._connections:
            sender.connect(signal, slot)
        self._process.start(command[0], command[1:])

    def _send(self, request):
        if self._process is not None:
            self._process.write(json.dumps(request).encode() + b"\n")

    def _readOutput(self):
        for item in self._lines.feed(bytes_(self._process.readAllStandardOutput())):
            served = self._now
            if served is None:
                continue
            if not isinstance(item, dict):
                served.heard(item)
            elif item.get("id") == served.id:
                if item["type"] == "end":
                    self._now = None
                    self._idle.start(int(1000 * IDLE))
                served.take(item)
            elif item["type"] == "error":
                served.heard(str(item.get("message", "")))

    def _readErrors(self):
        for line in bytes_(self._process.readAllStandardError()).decode("utf-8", "replace").splitlines():
            if self._now is not None:
                self._now.heard(line)

    def _errorOccurred(self, error):
        if error == qt.QProcess.FailedToStart:  # the one error after which finished() does not come
            self._gone(notStarted(self._process.program(), self._process.errorString()))

    def _finished(self, exitCode, exitStatus):
        if self._process is not None:
            self._readOutput()
            self._gone()

    def _gone(self, ending=None):
        """The process is no more; the next request gets a new one."""
        if self._process is None:
            return
        served, connections, kept = self._now, self._connections, [self._process, self._idle]
        self._idle.stop()
        self._process = self._idle = self._now = None
        self._connections = []

        def release():
            """PythonQt holds what is connected until it is disconnected; `kept` must live until then."""
            for sender, signal, slot in connections:
                sender.disconnect(signal, slot)
            kept.clear()

        qt.QTimer.singleShot(0, release)  # not now: a signal of the process may be under way
        if served is not None:
            served.lost(ending)


class Served(Listening):
    """One synthesis by the server, with what `process.ChildProcess` has."""

    def __init__(self, server, arguments, onEnd, onProgress=None, onLog=None, names=None):
        Listening.__init__(self, onEnd, onProgress, onLog, names)
        self._server, self.arguments, self.id = server, [str(word) for word in arguments], None
        self._killer = None

    def processId(self):
        return self._server.processId()

    def start(self):
        self._log(" ".join(["relapet", *shown(self.arguments)]))
        self._server.begin(self)

    def cancel(self):
        """Ask for the end, which frees all; everything is killed if it does not come."""
        if not self.running or self._cancelled:
            return
        self._cancelled = True
        self._server.cancel(self)
        self._killer = qt.QTimer()
        self._killer.setSingleShot(True)
        self._killer.connect("timeout()", self.kill)
        self._killer.start(int(2000 * PATIENCE))  # the server itself kills its worker after one PATIENCE

    def kill(self):
        if self.running:
            self._cancelled = True
            self._server.kill()

    def waitForEnd(self, seconds=PATIENCE):
        """Block until it has ended and `onEnd` was called."""
        self._server.wait(lambda: not self.running, seconds)
        if self.running:
            self.kill()
            self._server.wait(lambda: not self.running, 2.0)

    def take(self, item):
        """A line of the server with this request's id."""
        if item["type"] == "end":
            self._end(self._ending(int(item.get("exit_code", 1)), item.get("how") == "crashed"))
        else:
            self._take(str(item.get("text", "")) if item["type"] == "text" else item)

    def heard(self, text):
        """Other output."""
        self._keep(text)

    def lost(self, ending=None):
        """The server is gone."""
        self._end(self._ending(1, True) if self._cancelled else ending or crash())

    def _release(self):
        if self._killer is not None:
            self._killer.stop()
            self._killer.disconnect("timeout()", self.kill)
            self._killer = None


def hasServer():
    """Whether the library that is installed has ``relapet serve``."""
    return (libraryParent() / "RelAPETLib" / "cli" / "serve.py").is_file()


def _made():
    """What a process is made of: another one is wanted when this has changed."""
    files = sorted((libraryParent() / "RelAPETLib").rglob("*.py"))
    times = [(str(file), file.stat().st_mtime_ns) for file in files]
    return pythonExecutable(), sorted(childEnvironment().toStringList()), times
