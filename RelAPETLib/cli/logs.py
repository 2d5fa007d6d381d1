"""The log file: what a run did, what libraries said, tracebacks of bugs. Nothing of it leaves the machine.

``logs/relapet.log`` in the RelAPET folder (``RELAPET_HOME``), kept to three files of 1 MB, or ``--log-file``. Error
messages name files, so a log can hold patient names that stand in paths: it is readable by its owner alone; look
before sending one to somebody. Logging never changes how a run ends: what cannot be logged is lost.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..errors import OutputError
from ..notices import printable
from ..resources import user_folder

_MAX_BYTES, _BACKUPS = 1_000_000, 2


class _LogStream(io.TextIOBase):
    """A text stream that turns every line into a log record."""

    def __init__(self, logger: logging.Logger):
        self._logger, self._unfinished = logger, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.info("printed: %s", line.rstrip())
        return len(text)


@dataclass(frozen=True)
class Log:
    """A running log.

    Attributes:
        logger: where records go.
        stream: a stream whose lines become records.
        path: the file, or None where none can be written.
    """

    logger: logging.Logger
    stream: io.TextIOBase
    path: Path | None


def default_log_file() -> Path:
    """Where the log is without ``--log-file``.

    Raises:
        OutputError: the system knows no home of this user.
        InputError: ``$RELAPET_HOME`` names the home of a user who is not known, and nothing of theirs can be read.
    """
    try:
        return user_folder() / "logs" / "relapet.log"  # `models.home` is the same, and imports numpy
    except RuntimeError as error:
        words = "no home folder is known for this user; set RELAPET_HOME to a folder of yours"
        raise OutputError(words) from error


@contextlib.contextmanager
def log_file(path: str | None, command: str) -> Iterator[Log]:
    """Log to a file while the body runs; library loggers too.

    Without a path a log folder that cannot be written is passed over: a read-only home must not stop a synthesis.

    Raises:
        OutputError: `path` was given and cannot be written.
        InputError: as `default_log_file`.
    """
    target, handler = _choose(path)
    root, logger = logging.getLogger(), logging.getLogger("relapet")
    before = logger.level
    logger.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        logger.info(
            "relapet %s %s, Python %s, %s", __version__, command, platform.python_version(), platform.platform()
        )
        yield Log(logger, _LogStream(logger), target)
    finally:
        root.removeHandler(handler)
        logger.setLevel(before)
        with contextlib.suppress(OSError):  # a full disk, told of only now
            handler.close()


def _choose(path: str | None) -> tuple[Path | None, logging.Handler]:
    """The log file and what writes it; without a file nothing does."""
    if path is not None:
        return Path(path), _open(Path(path))
    try:
        target = default_log_file()
        return target, _open(target)
    except OutputError:  # no home, or one that cannot be written
        return None, logging.NullHandler()


def _open(path: Path) -> logging.Handler:
    default = _default()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path == default:
            path.parent.chmod(0o700)  # one made by an earlier version
        handler = _make_handler(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write the log file {path}: {reason}; choose another --log-file") from error
    handler.setFormatter(_Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler


def _default() -> Path | None:
    try:
        return default_log_file()
    except OutputError:
        return None


class _Formatter(logging.Formatter):
    """Nothing in a log changes the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line, None) for line in super().format(record).split("\n"))


def _make_handler(path: Path) -> logging.Handler:
    from logging.handlers import RotatingFileHandler

    def open_private(name: str, flags: int) -> int:
        # A pipe that nobody reads would block for ever without O_NONBLOCK.
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
        with contextlib.suppress(OSError, AttributeError):
            os.fchmod(descriptor, 0o600)  # one made by an earlier version
        return descriptor

    class Handler(RotatingFileHandler):
        """A rotating file that says nothing of its own failures: to log them would fail again, without end."""

        def _open(self):
            return open(self.baseFilename, self.mode, encoding="utf-8", errors="backslashreplace", opener=open_private)

        def handleError(self, record: logging.LogRecord) -> None:
            """Let the record go."""

    return Handler(path, maxBytes=_MAX_BYTES, backupCount=_BACKUPS)
