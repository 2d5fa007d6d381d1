"""The command line, ``relapet``: files in, files out.

Exit codes: 0 done; 2 a mistake the user can mend, told in one line on stderr; 130 Ctrl-C (143 SIGTERM), nothing half
written; 1 a bug, with its traceback in the log file. Everything heavy is imported by the commands themselves, so that
``relapet --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence

from ..errors import InputError, RelAPETError
from ..notices import listening
from . import logs
from .parser import build_parser
from .progress import make_reporter

INTERRUPTED, TERMINATED, BUG = 130, 143, 1


class _Terminated(BaseException):
    """SIGTERM, raised where the program stands so that everything half done is cleaned away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as done:  # --help and --version have printed what was asked
        return int(done.code or 0)
    except InputError as error:
        mode = "json" if "--progress=json" in argv or "json" in _after(argv, "--progress") else "human"
        make_reporter(mode).error(str(error), error.exit_code)
        return error.exit_code
    reporter = make_reporter(arguments.progress)
    try:
        with _terminable(), logs.log_file(arguments.log_file, arguments.command) as log, _quiet(reporter, log):
            return _run(arguments, reporter, log)
    except RelAPETError as error:  # the log file itself
        reporter.error(str(error), error.exit_code)
        return error.exit_code
    except (KeyboardInterrupt, _Terminated):
        return INTERRUPTED


def _run(arguments, reporter, log: logs.Log) -> int:
    """One command with every way it can end turned into an exit code and one line."""
    try:
        code = arguments.run(arguments, reporter)
        reporter.close()
        return code
    except RelAPETError as error:
        log.logger.error("%s: %s", type(error).__name__, error, exc_info=error.__cause__)
        reporter.error(str(error), error.exit_code, error.accepted_by)
        return error.exit_code
    except KeyboardInterrupt:
        log.logger.info("interrupted")
        reporter.error("interrupted; nothing half done was left", INTERRUPTED)
        return INTERRUPTED
    except _Terminated:
        log.logger.info("terminated")
        reporter.error("terminated; nothing half done was left", TERMINATED)
        return TERMINATED
    except BrokenPipeError:  # e.g. `relapet models list | head`: nobody listens any more
        sys.stdout = open(os.devnull, "w")
        return BUG
    except Exception as error:  # a bug: the traceback goes to the log, one line to the user
        log.logger.exception("bug")
        where = f"; the traceback is in {log.path}" if log.path else ""
        reporter.error(f"internal error ({type(error).__name__}: {_one_line(error)}){where}", BUG)
        return BUG


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _after(argv: Sequence[str], option: str) -> Sequence[str]:
    return argv[argv.index(option) + 1 :][:1] if option in argv else ()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """While a command runs, SIGTERM unwinds it as Ctrl-C does."""

    def stop(*_):
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever called us keeps its own handling
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet(reporter, log: logs.Log) -> Iterator[None]:
    """Our warnings go to the user through the reporter; what libraries print or warn goes to the log."""

    def tell(message: str) -> None:
        log.logger.warning("%s", message)
        reporter.warning(message)

    def show(message, category, filename, lineno, file=None, line=None):
        log.logger.info("%s:%s: %s: %s", filename, lineno, category.__name__, message)

    with warnings.catch_warnings(), listening(tell):
        warnings.showwarning = show
        with contextlib.redirect_stdout(log.stream), contextlib.redirect_stderr(log.stream):
            yield
