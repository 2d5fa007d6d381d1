"""The log file: what a run did, what libraries said, tracebacks of bugs. Nothing of it leaves the machine.

``logs/relapet.log`` in the RelAPET folder (``RELAPET_HOME``), kept to three files of 1 MB, or ``--log-file``. Error
messages name files, so a log can hold patient names that stand in paths: look before sending one to somebody.
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..errors import OutputError

_MAX_BYTES, _BACKUPS = 1_000_000, 2


class _LogStream(io.TextIOBase):
    """A text stream that turns every line into a log record."""

    def __init__(self, logger: logging.Logger):
        self._logger, self._rest = logger, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
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
    """Where the log is without ``--log-file``."""
    from ..models import home

    return home() / "logs" / "relapet.log"


@contextlib.contextmanager
def log_file(path: str | None, command: str) -> Iterator[Log]:
    """Log to a file while the body runs; library loggers too.

    Without a path a log folder that cannot be written is passed over: a read-only home must not stop a synthesis.

    Raises:
        OutputError: `path` was given and cannot be written.
    """
    target = Path(path) if path else default_log_file()
    handler = _open(target, required=path is not None)
    root, logger = logging.getLogger(), logging.getLogger("relapet")
    before = logger.level
    logger.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        logger.info(
            "relapet %s %s, Python %s, %s", __version__, command, platform.python_version(), platform.platform()
        )
        yield Log(logger, _LogStream(logger), None if isinstance(handler, logging.NullHandler) else target)
    finally:
        root.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def _open(path: Path, required: bool) -> logging.Handler:
    from logging.handlers import RotatingFileHandler

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8")
    except OSError as error:
        if required:
            raise OutputError(
                f"cannot write the log file {path}: {error.strerror}; choose another --log-file"
            ) from error
        return logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler
