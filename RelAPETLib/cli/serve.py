"""``relapet serve --stdio``: one process, many requests, JSON lines in and out (`Resources/serve.schema.json`).

The server itself computes nothing and imports nothing heavy. A worker process of its own does one request after the
other and keeps what it imported and loaded. A worker that crashes loses the one request that it was at; cancelling a
request ends the worker, so that its memory, its GPU and its temporary files are free. The next request gets a new one.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections import deque

from .requests import Refused, Request, TakesOne, Turn, read_request
from .terminal import lines_of

#: Bytes that a request may have.
LONGEST = 1 << 20
#: Seconds that a worker has to clean up before it is killed.
PATIENCE = 5.0
CANCELLED, CRASHED = 143, 1
_CRASH = (
    "the process that worked on it ended unexpectedly ({how}): it crashed, or the system ended it, which it does when "
    "memory runs out"
)


def add_parser(commands, common, takes_one: TakesOne) -> None:
    parser = commands.add_parser(
        "serve",
        parents=[common],
        help="do many requests in one process, for programs",
        description="Read requests as JSON lines on stdin and answer with JSON lines on stdout, each with the "
        "request's id; imports and the model are kept between requests. The end of stdin ends the server and cancels "
        "what it is doing; see serve.schema.json among the data files.",
        allow_abbrev=False,
    )
    parser.add_argument("--stdio", action="store_true", required=True, help="by stdin and stdout, the one way there is")
    # JSON whatever --progress says, whose default all commands share.
    parser.set_defaults(run=run, speaks="json", takes_one=takes_one)


def run(arguments, reporter) -> int:
    server = Server(reporter.line, arguments.takes_one)
    threading.Thread(target=_listen, args=(server.events,), daemon=True).start()
    try:
        server.serve()
    finally:
        server.close()
    return 0


def _listen(events: queue.Queue) -> None:
    """Every line of stdin as an event, then its end."""
    with contextlib.suppress(OSError):
        for line in lines_of(0, LONGEST):
            if line.strip():
                events.put(("request", line))
    events.put(("end", None))


class Server:
    """Requests in, lines out, one at a time in the order in which they came.

    Args:
        say: writes one JSON object to whoever asked. Called in the thread of `serve` alone.
        takes_one: as `read_request` has it.
    """

    def __init__(self, say, takes_one: TakesOne):
        self.events: queue.Queue = queue.Queue()
        self._say, self._takes_one, self._worker = say, takes_one, None
        self._now: Request | None = None
        self._waiting: deque[Request] = deque()
        self._quits = False

    def serve(self) -> None:
        """Until stdin ends, or until all is done after a quit."""
        from .. import __version__

        self._say({"type": "ready", "version": __version__})
        while not (self._quits and self._now is None and not self._waiting):
            kind, content = self.events.get()
            if kind == "request":
                self._take(content)
            elif kind == "end" and not self._quits:  # after a quit it is what was to be expected
                return
            elif kind == "said" and content[0] is self._worker:
                self._relay(content[1])
            elif kind == "gone" and content is self._worker:
                self._gone()

    def close(self) -> None:
        """End the worker, cleaning up, before returning."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _take(self, line: bytes) -> None:
        known = {request.id for request in (*self._waiting, self._now) if request is not None}
        try:
            asked = read_request(line, LONGEST, known, self._takes_one)
        except Refused as error:
            self._say({"type": "error", "id": error.id, "message": error.message, "exit_code": 2})
            return
        if asked is Turn.QUIT:
            self._quits = True
        elif isinstance(asked, Request):
            self._waiting.append(asked)
            self._next()
        else:
            self._cancel(asked)

    def _cancel(self, identifier) -> None:
        if self._now is not None and self._now.id == identifier:
            self.close()
            self._end("terminated; nothing half done was left", CANCELLED, "cancelled")
        else:
            (request,) = [each for each in self._waiting if each.id == identifier]
            self._waiting.remove(request)
            self._tell(request, "cancelled before it began", CANCELLED, "cancelled")

    def _next(self) -> None:
        while self._now is None and self._waiting:
            self._now = self._waiting.popleft()
            if self._worker is None or not self._worker.alive():
                try:
                    self._worker = Worker(self.events)
                except OSError as error:
                    self._end(f"no process could be started for it: {error.strerror or error}", CRASHED, "crashed")
                    continue
            # At once: a new worker takes a moment until it can say anything.
            begins = {"type": "progress", "fraction": 0.0, "message": "starting", "elapsed": 0.0, "remaining": None}
            self._say({**begins, "id": self._now.id})
            self._worker.give(self._now.argv)

    def _relay(self, line: bytes) -> None:
        """One line of the worker; what is no JSON object, such as a command's --help, goes on as text."""
        if self._now is None:
            return
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        if not isinstance(said, dict) or "type" not in said:
            said = {"type": "text", "text": text}
        if said["type"] != "end":
            self._say({**said, "id": self._now.id})
            return
        self._say({"type": "end", "id": self._now.id, "exit_code": said["exit_code"], "how": "exited"})
        self._now = None
        self._next()

    def _gone(self) -> None:
        code, self._worker = self._worker.code(), None
        if self._now is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._end(_CRASH.format(how=how), CRASHED, "crashed")

    def _end(self, message: str, code: int, how: str) -> None:
        request, self._now = self._now, None
        self._tell(request, message, code, how)
        self._next()

    def _tell(self, request: Request, message: str, code: int, how: str) -> None:
        self._say({"type": "error", "id": request.id, "message": message, "exit_code": code})
        self._say({"type": "end", "id": request.id, "exit_code": code, "how": how})


class Worker:
    """A child process that does requests (`worker.main`); what it says and its end become events."""

    def __init__(self, events: queue.Queue):
        command = [sys.executable, "-m", f"{__package__}.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._follow, args=(events,), daemon=True).start()

    def _follow(self, events: queue.Queue) -> None:
        for line in self._process.stdout:
            events.put(("said", (self, line)))
        self._process.wait()
        events.put(("gone", self))

    def alive(self) -> bool:
        return self._process.poll() is None

    def code(self) -> int:
        return self._process.wait()

    def give(self, argv: tuple[str, ...]) -> None:
        with contextlib.suppress(OSError):  # it is gone: the event says so
            self._process.stdin.write(json.dumps(argv).encode() + b"\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Let it clean up, kill it when that takes too long, and its children in any case."""
        children = self._children()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            with contextlib.suppress(Exception):  # gone already; psutil tells it from another of its number
                child.kill()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _children(self) -> list:
        import psutil

        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []
