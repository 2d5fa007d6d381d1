"""Signals that ask a run to stop, and failures that one rank must tell the others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil

from RelAPETLib.whole_files import write_whole

from .errors import PeerError
from .words import complain

#: Signals after which a run saves and ends with `training.errors.EXIT_REQUEUE`: of Slurm, of a shell, of a person.
STOPPING = (signal.SIGTERM, signal.SIGUSR1)


#: Seconds between two signs of life, and without any after which a rank on another machine is lost. A network's file
#: system may show a file as it was up to a minute ago.
BEAT_SECONDS, SILENCE_SECONDS = 10.0, 150.0
#: By so much a process seems to have begun at another time when the machine's clock was set right.
CLOCK_SECONDS = 10.0


class StopRequest:
    """Notices SIGTERM and SIGUSR1; the loop looks at `asked` between steps. A context manager.

    One inside another takes over what that one noticed, so that a signal counts from before there is a run.
    """

    def __init__(self):
        self.asked = False
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
            outer = [getattr(handler, "__self__", None) for handler in self._before.values()]
            if any(isinstance(one, StopRequest) and one.asked for one in outer):
                self.asked = True
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_) -> None:
        self.asked = True


class FailureBoard:
    """Where ranks leave word of their failure, in a folder that all of them see.

    A rank that fails is missed by the others in their next collective operation, where they would wait for it until a
    timeout of minutes. Each therefore watches the board and ends with the message of the one that failed. A rank that
    was killed leaves no word, so each also shows that it lives: to ranks of its own machine by its process, to others
    by a file that it touches.

    Args:
        folder: the run's.
        token: the same for all ranks of one start and different for every start.
        silence: seconds without a sign of life after which a rank on another machine counts as lost.
    """

    def __init__(self, folder: Path, token: str, rank: int, silence: float = SILENCE_SECONDS):
        self.folder, self.rank, self.silence = folder / f".failures-{token}", rank, silence
        self._done = threading.Event()
        self._last_word, self._own_file = threading.Lock(), threading.Lock()
        self._seen: dict[str, tuple[str, float]] = {}
        self._beats = 0

    def watch(self, every: float = 0.5) -> None:
        """Watch from a thread of its own until `close`."""
        self.heartbeat()
        threading.Thread(target=self._watch_others, args=(every,), daemon=True).start()

    def report(self, message: str) -> None:
        """Tell the others why this rank ends."""
        self._write(f"{self.rank}.txt", message)

    def heartbeat(self) -> None:
        """Show that this rank lives, until `close`."""
        with self._own_file:
            if not self._done.is_set():
                self._beats += 1
                self._write(f"{self.rank}.alive", json.dumps({**this_process(), "beats": self._beats}))

    def first_failure(self) -> str | None:
        """What another rank reported, with its number; None while none did."""
        for path in sorted(self.folder.glob("*.txt")):
            if path.stem != str(self.rank):
                return f"rank {path.stem} failed: {path.read_text(encoding='utf-8')}"
        return None

    def dead_rank(self) -> str | None:
        """Which other rank is no more without having said why; None while all live or have ended as they should."""
        for path in sorted(self.folder.glob("*.alive")):
            if path.stem == str(self.rank):
                continue
            try:
                text = path.read_text(encoding="utf-8")
                sign = json.loads(text)
                here, running = sign["machine"] == this_process()["machine"], is_running(sign)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it has just ended, or its file is on its way to this machine
            before, since = self._seen.get(path.stem, ("", 0.0))
            now = time.monotonic()
            if text != before:
                self._seen[path.stem] = (text, now)
            if (not running) if here else (text == before and now - since > self.silence):
                if path.exists():
                    why = "it was killed (by hand, by the scheduler, or for want of memory)"
                    return f"rank {path.stem} is gone without a word: {why if here else 'it or its machine is lost'}"
        return None

    def close(self) -> None:
        """Stop watching; this rank ends as it should."""
        with self._own_file, contextlib.suppress(OSError):
            self._done.set()
            (self.folder / f"{self.rank}.alive").unlink(missing_ok=True)
            self.folder.rmdir()  # by the last; while there is something in it, it stays

    def end(self, message: str) -> None:
        """End this process because another rank failed; the message is said once, whoever notices first."""
        self._last_word.acquire()
        complain(f"rank {self.rank} stops: {message}")
        os._exit(PeerError.exit_code)

    def explain(self, wait: float = 3.0) -> str | None:
        """What became of another rank, waiting a little for its word: its end may be noticed before that."""
        until = time.monotonic() + wait
        while (message := self.first_failure() or self.dead_rank()) is None and time.monotonic() < until:
            time.sleep(0.1)
        return self.first_failure() or message

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, text.encode("utf-8"))

    def _watch_others(self, every: float) -> None:
        beaten = time.monotonic()
        while not self._done.wait(every):
            with contextlib.suppress(OSError):  # a network's file system has its moments
                if message := self.first_failure() or self.dead_rank():
                    self.end(self.first_failure() or message)
            if time.monotonic() - beaten > BEAT_SECONDS:
                beaten = time.monotonic()
                with contextlib.suppress(OSError):  # a full disk is no reason to fail here
                    self.heartbeat()


def this_process() -> dict[str, str | int | float]:
    """This process, so that ranks of the same machine can see whether it runs.

    The machine's name alone would mistake containers, which have process numbers of their own, for one another.
    """
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return {"machine": f"{socket.gethostname()} {space}", "pid": os.getpid(), "started": _started(os.getpid())}


def is_running(sign: dict) -> bool:
    """Whether the process of this machine that `this_process` described is there and not only waiting to be buried."""
    try:
        process = psutil.Process(sign["pid"])
        same = abs(process.create_time() - sign["started"]) < CLOCK_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _started(pid: int) -> float:
    return psutil.Process(pid).create_time()
