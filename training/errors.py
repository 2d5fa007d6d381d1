"""What can end a training run, each with the exit code that a job script acts on."""

import errno

from RelAPETLib.errors import DeviceError, InputError, OutputError, RelAPETError

#: Exit code of a run that was asked to stop (SIGTERM), saved its state and can be started again as it is.
EXIT_REQUEUE = 75


class ConfigError(InputError):
    """A configuration that cannot be run."""


class ResumeError(InputError):
    """A checkpoint that belongs to another run than the one asked for, or none that can be read."""


class UnreadError(ResumeError):
    """A checkpoint that may well be whole: the system, not its content, kept it from being read."""


class DivergedError(RelAPETError):
    """A loss or gradient that is not finite or far too large."""

    exit_code = 3


class PeerError(RelAPETError):
    """Another rank failed, so this one cannot go on."""

    exit_code = 4


#: What a disk or its owner refuses; other errors of the system are bugs or a failing machine and keep their traceback.
OF_THE_DISK = {
    getattr(errno, name)
    for name in "EACCES EDQUOT EEXIST EFBIG EIO EISDIR ENAMETOOLONG ENOSPC ENOTDIR EPERM EROFS ESTALE".split()
    if hasattr(errno, name)
}


def user_error(error: BaseException) -> RelAPETError | None:
    """The error in one line for the user: of our own kind, of the disk, or full memory; None for a bug."""
    from RelAPETLib.devices import is_out_of_memory
    from RelAPETLib.networks.execution import compiler_failure

    if isinstance(error, RelAPETError):
        text = str(error)
        if "in DataLoader worker process" in text:  # torch wraps a worker's whole traceback around the message
            return type(error)(text.rstrip().splitlines()[-1].partition(": ")[2] or text)
        return error
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        where = f"{error.filename}: " if error.filename else ""
        return OutputError(f"{where}{error.strerror}; free space, or see what this user may read and write there")
    if is_out_of_memory(error):
        return DeviceError(
            "out of memory: use a smaller hardware.micro_batch or network, hardware.mode=lean, or fewer workers"
        )
    if said := compiler_failure(error):
        return DeviceError(f"{said}; leave hardware.compile off")
    return None
