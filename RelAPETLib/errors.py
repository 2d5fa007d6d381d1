"""Errors and warnings of the library.

Every message is one line that says what is wrong, with which file or option, and what to do. The command line prints
it and exits with the class's ``exit_code``; a traceback means a bug.
"""

from __future__ import annotations


class RelAPETError(Exception):
    """Base of all errors that a user can cause and mend.

    Args:
        message: what is wrong.
        advice: what to do about it in a shell, in words that would mean nothing to the user of a panel. The text of
            the error has both.

    Attributes:
        message, advice: as given.
        exit_code: what the command line ends with.
        accepted_by: option that accepts what was refused and lets the work go on; None where nothing does.
    """

    exit_code = 2
    accepted_by: str | None = None

    def __init__(self, message: str = "", advice: str | None = None):
        super().__init__(message, advice)
        self.message, self.advice = message, advice

    def __str__(self) -> str:
        return self.message if self.advice is None else f"{self.message}; {self.advice}"


class InputError(RelAPETError):
    """A file, volume or option that cannot be used."""


class DoubtfulInputError(InputError):
    """An input that is probably not what was asked for; ``--force`` (``force=True``) accepts it."""

    accepted_by = "--force"


class LongRunError(InputError):
    """Work that would take longer than a user expects; ``--yes`` (``yes=True``) accepts it."""

    accepted_by = "--yes"


class ModelError(RelAPETError):
    """A model bundle, catalogue entry, checkpoint or weights file that cannot be used."""


class DownloadError(ModelError):
    """A download that did not arrive whole and verified."""


class OutputError(RelAPETError):
    """An output that exists already or cannot be written."""


class BusyError(OutputError):
    """Another run is writing to the same place; it may be tried again."""


class DeviceError(RelAPETError):
    """A computing device that is unknown, absent or out of memory."""


class RelAPETWarning(UserWarning):
    """Something the user should know that does not stop the work; synthesis collects these into the provenance."""
