"""The command line, ``relapet``: files in, files out.

Exit codes: 0 done; 2 a mistake the user can mend, told in one line on stderr; 3 some people of ``relapet bids`` or
pairs of ``relapet evaluate`` have no result, the others do; 130 Ctrl-C (143 SIGTERM), nothing half written; 1 a bug,
with its traceback in the log file. Everything heavy is imported by the commands themselves, so that ``relapet --help``
answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import getpass
import io
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..devices import share_the_cores
from ..errors import InputError, OutputError, RelAPETError
from ..notices import listening, printable
from . import logs
from .inputs import keep_inputs
from .parser import build_parser
from .progress import OutputClosed, make_reporter, write_all
from .terminal import own_streams, quiet_descriptors

if TYPE_CHECKING:
    from ..models import KeptModels

INTERRUPTED, TERMINATED, BUG = 130, 143, 1
_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS")} - {None}


class _Terminated(BaseException):
    """SIGTERM, raised where the program stands so that everything half done is cleaned away."""


def program() -> int:
    """`main` as a process of its own, which ends with it: nothing in memory is looked through for garbage again.

    That took Python a second where torch, SimpleITK and matplotlib had been imported.
    """
    code = main()
    gc.freeze()
    return code


def main(argv: Sequence[str] | None = None, kept: KeptModels | None = None) -> int:
    """Run one command and return its exit code; never raises. `kept`: models of a process that runs many."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with own_streams() as (stdout, stderr):
        try:
            _name_the_user()
            share_the_cores()
            return _main(argv, stdout, stderr, kept)
        except (KeyboardInterrupt, _Terminated):
            return INTERRUPTED


def _main(argv: list[str], stdout, stderr, kept) -> int:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            arguments = build_parser().parse_args(argv)
        _refuse_no_text(arguments)
        arguments.kept = kept
    except SystemExit as done:  # --help and --version have printed what was asked
        return _show(shown.getvalue(), stdout, stderr) or int(done.code or 0)
    except InputError as error:
        mode = "json" if "--progress=json" in argv or ("--progress", "json") in itertools.pairwise(argv) else "human"
        make_reporter(mode, stdout, stderr).error(str(error), error.exit_code)
        return error.exit_code
    reporter = make_reporter(getattr(arguments, "speaks", arguments.progress), stdout, stderr)
    try:
        if arguments.log_file:
            keep_inputs(arguments, [Path(arguments.log_file)], "--log-file")
        with _terminable(), logs.log_file(arguments.log_file, arguments.command) as log, _quiet(reporter, log):
            return _run(arguments, reporter, log)
    except RelAPETError as error:  # of the log file itself
        reporter.error(str(error), error.exit_code)
        return error.exit_code


def _show(text: str, stdout, stderr) -> int:
    try:
        write_all(stdout, text)
        return 0
    except OutputClosed:
        return BUG
    except OutputError as error:
        make_reporter("human", stdout, stderr).error(str(error), error.exit_code)
        return error.exit_code


def _name_the_user() -> None:
    """Give a user whom the system does not know, as in many containers, the name that torch's import asks for."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"


def _refuse_no_text(arguments) -> None:
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if "\0" in text:
                raise InputError(f"the value of {name.replace('_', '-')} holds a NUL character, which no name can")
            try:
                text.encode(errors="surrogateescape")  # bytes that are no UTF-8 can be in a name
            except UnicodeEncodeError:
                raise InputError(f"the value of {name.replace('_', '-')} holds half a surrogate pair") from None


def _run(arguments, reporter, log: logs.Log) -> int:
    """One command with every way it can end turned into an exit code and one line."""
    try:
        code = arguments.run(arguments, reporter)
        reporter.close()
        return code
    except RelAPETError as error:
        log.logger.error("%s: %s", type(error).__name__, error, exc_info=error.__cause__)
        reporter.error(str(error), error.exit_code, error.accepted_by, error.message if error.advice else None)
        return error.exit_code
    except (KeyboardInterrupt, _Terminated) as stop:
        word, code = ("interrupted", INTERRUPTED) if isinstance(stop, KeyboardInterrupt) else ("terminated", TERMINATED)
        log.logger.info("%s", word)
        reporter.error(f"{word}; {str(stop) or 'nothing half done was left'}", code)
        return code
    except OutputClosed:
        return BUG
    except Exception as error:
        if refusal := _refusal_of_the_system(error):
            log.logger.exception("refused by the system")
            reporter.error(refusal, InputError.exit_code)
            return InputError.exit_code
        # A bug: the traceback goes to the log, one line to the user.
        log.logger.exception("bug")
        where = f"; the traceback is in {log.path}" if log.path else ""
        reporter.error(f"internal error ({type(error).__name__}: {_one_line(error)}){where}", BUG)
        return BUG


def _refusal_of_the_system(error: Exception) -> str | None:
    """What to tell the user when a library met a full disk or memory, no place for temporary files, or a name that is
    no text; else None."""
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return f"{printable(error.object)} holds bytes that are not UTF-8 and cannot be written down; rename it"
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or use a machine with more"
    if not isinstance(error, OSError):
        return None
    if error.errno in _FULL:
        return f"the disk or folder for {error.filename or 'temporary files'} refuses more: {error.strerror}; make room"
    if "temporary directory" in str(error):
        return "there is no folder for temporary files that can be written; set TMPDIR to one"
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


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

    with warnings.catch_warnings(), listening(tell), quiet_descriptors(log.path):
        warnings.showwarning = show
        with contextlib.redirect_stdout(log.stream), contextlib.redirect_stderr(log.stream):
            yield
