"""Writing a set of files whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import OutputError

_SCRATCH_PREFIX = ".relapet-"


def _nearest_existing(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if os.path.lexists(candidate):
            return candidate
    return Path(folder.anchor or ".")


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def check_destination(folder: Path | str, names: Iterable[str], overwrite: bool) -> None:
    """Find out before the work whether files could be written to a folder; leaves nothing behind.

    Args:
        folder: may be missing, with missing parents.
        names: file names that would be written or replaced.
        overwrite: whether existing ones may be replaced.

    Raises:
        OutputError: the folder is a file or cannot be written to, or one of the files exists and may not be replaced.
    """
    folder = Path(folder).absolute()
    try:
        if folder.is_dir():
            for name in names:
                target = folder / name
                if target.is_dir():
                    raise OutputError(f"{target} is a folder; move it away or choose another --out")
                if os.path.lexists(target) and not overwrite:
                    raise OutputError(f"{target} exists already; use --overwrite to replace it, or another --out")
        existing = _nearest_existing(folder)
        if not existing.is_dir():
            raise OutputError(f"cannot write to {folder}: {existing} is not a folder; choose another --out")
        with tempfile.TemporaryFile(dir=existing, prefix=_SCRATCH_PREFIX):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {_reason(error)}; choose another --out") from error


def write_set(
    folder: Path | str,
    writers: dict[str, Callable[[Path], None]],
    *,
    owned: Iterable[str] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write a set of files into a folder, all of them or none.

    Everything is first written into a temporary folder inside the destination (the same file system), then renamed
    into place. When anything fails, or the user interrupts, files already there are put back, and folders made here
    are removed again. Files of other names are never touched.

    Args:
        folder: destination, made when missing.
        writers: by file name, a function that writes the file to the path it is given.
        owned: further names that earlier runs may have written; with `overwrite` those not written now are removed,
            so that the set is never a mixture of two runs.
        overwrite: whether files of these names may be replaced.

    Returns:
        Paths of the files, in the order of `writers`.

    Raises:
        OutputError: a file exists and `overwrite` is False, or the disk refuses.
    """
    folder = Path(folder).absolute()
    names = list(dict.fromkeys([*writers, *owned]))
    check_destination(folder, names, overwrite)
    made = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    scratch, done = None, False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=folder))
        for name, write in writers.items():
            write(scratch / name)
        _into_place(scratch, folder, list(writers), names)
        done = True
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {_reason(error)}; nothing was changed there") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if not done:
            _remove_empty(made)
    return [folder / name for name in writers]


def _into_place(scratch: Path, folder: Path, written: list[str], names: list[str]) -> None:
    """Rename the written files into the folder; on any failure put the old ones back."""
    aside = scratch / "replaced"
    aside.mkdir()
    moved, placed = [], []
    try:
        for name in names:
            if os.path.lexists(folder / name):
                moved.append(name)
                os.replace(folder / name, aside / name)
        for name in written:
            placed.append(name)
            os.replace(scratch / name, folder / name)
    except BaseException:
        for name in placed:
            (folder / name).unlink(missing_ok=True)
        for name in moved:
            if os.path.lexists(aside / name):
                os.replace(aside / name, folder / name)
        raise


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders made for an output that did not come, innermost first, as long as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # missing, or another program has put something into it
            return
