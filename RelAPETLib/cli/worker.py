"""The process that does the requests of ``relapet serve``: command lines in, what the commands say out.

It reads one JSON list a line on stdin, runs it as ``relapet`` would, and says ``{"type": "end", "exit_code": ...}``
after what the command itself says. It ends with the server, and after a request that was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading

from . import INTERRUPTED, TERMINATED, main
from .progress import OutputClosed, write_all
from .serve import LONGEST
from .terminal import Stream, lines_of

#: Bytes of a line of the server's, which may write a letter of a request's as six.
_LONGEST = 8 * LONGEST
#: Seconds in which an interrupted command cleans up when the server has gone.
_PATIENCE = 5.0


def run() -> int:
    """Do requests until there are no more; returns the exit code."""
    sys.stdout = out = _own_stdout()
    requests: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    kept = None
    while (argv := requests.get()) is not None:
        from ..models import KeptModels

        kept = kept or KeptModels()
        words = argv.index("--") if "--" in argv else len(argv)
        code = main([*argv[:words], "--progress", "json", *argv[words:]], kept)
        with contextlib.suppress(OutputClosed):
            write_all(out, json.dumps({"type": "end", "exit_code": code}) + "\n")
        if code in (INTERRUPTED, TERMINATED):
            return code
        _let_go()
    return 0


def _own_stdout() -> Stream:
    """A stream to the server; what libraries print by any other way goes to stderr."""
    own = os.dup(1)
    os.set_inheritable(own, False)
    os.dup2(2, 1)
    return Stream(own)


def _listen(requests: queue.Queue) -> None:
    for line in lines_of(0, _LONGEST):
        requests.put(json.loads(line))
    requests.put(None)
    # The server is gone, and with it whoever wants a result. A command that is under way cleans up as on SIGTERM.
    if os.name != "nt":
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_PATIENCE)
    os._exit(1)


def _let_go() -> None:
    """Hand back what the next request may not need: the cache of a GPU's memory, and the heap's free part."""
    from ..devices import free_host_memory

    free_host_memory()
    if "torch" in sys.modules:
        from ..devices import free_device_memory, resolve_device

        with contextlib.suppress(Exception):  # a GPU that is lost is the next request's business
            free_device_memory(resolve_device("auto"))


if __name__ == "__main__":
    sys.exit(run())
