"""What can end a training run, each with the exit code that a job script acts on."""

from RelAPETLib.errors import InputError, RelAPETError

#: Exit code of a run that was asked to stop (SIGTERM), saved its state and can be started again as it is.
EXIT_REQUEUE = 75


class ConfigError(InputError):
    """A configuration that cannot be run."""


class ResumeError(InputError):
    """A checkpoint that belongs to another run than the one asked for, or none that can be read."""


class DivergedError(RelAPETError):
    """A loss or gradient that is not finite or far too large."""

    exit_code = 3


class PeerError(RelAPETError):
    """Another rank failed, so this one cannot go on."""

    exit_code = 4
