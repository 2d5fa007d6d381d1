"""Signals that ask a run to stop, and failures that one rank must tell the others."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from RelAPETLib.whole_files import write_whole

from .errors import PeerError

#: Signals after which a run saves and ends with `training.errors.EXIT_REQUEUE`: of Slurm, of a shell, of a person.
STOPPING = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Notices SIGTERM and SIGUSR1; the loop looks at `asked` between steps. A context manager."""

    def __init__(self):
        self.asked = False
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_) -> None:
        self.asked = True


class FailureBoard:
    """Where ranks leave word of their failure, in a folder that all of them see.

    A rank that fails is missed by the others in their next collective operation, where they would wait for it until a
    timeout of minutes. Each therefore watches the board and ends with the message of the one that failed.

    Args:
        folder: the run's.
        token: the same for all ranks of one start and different for every start.
    """

    def __init__(self, folder: Path, token: str, rank: int):
        self.folder, self.rank = folder / f".failures-{token}", rank
        self._done = threading.Event()

    def watch(self, every: float = 0.5) -> None:
        """Watch from a thread of its own until `close`."""
        threading.Thread(target=self._look, args=(every,), daemon=True).start()

    def report(self, message: str) -> None:
        """Tell the others why this rank ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"{self.rank}.txt", message.encode("utf-8"))

    def first(self) -> str | None:
        """What another rank reported, with its number; None while none did."""
        for path in sorted(self.folder.glob("*.txt")):
            if path.stem != str(self.rank):
                return f"rank {path.stem} failed: {path.read_text(encoding='utf-8')}"
        return None

    def close(self) -> None:
        """Stop watching."""
        self._done.set()

    def _look(self, every: float) -> None:
        while not self._done.wait(every):
            if message := self.first():
                sys.stderr.write(f"rank {self.rank} stops: {message}\n")
                sys.stderr.flush()
                os._exit(PeerError.exit_code)

    def explain(self, wait: float = 3.0) -> str | None:
        """What another rank reported, waiting a little for it to do so: its end may be noticed before its word."""
        until = time.monotonic() + wait
        while (message := self.first()) is None and time.monotonic() < until:
            time.sleep(0.1)
        return message
