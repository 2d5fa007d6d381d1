"""Writing outputs whole or not at all, by one run at a time, and mending what a killed run left.

A run reserves the folder it writes to. Its staging folder there (``.relapet``) holds a lock, the new outputs until
they are all written, and, while they change places, the old ones with a journal. A killed run leaves the staging
folder without its lock being held: the next run into the same place removes it. Where the journal says that outputs
were changing places, that run first puts the old ones back; but when all new ones had come into place, they count:
whoever saw the last of them may have gone on from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import BusyError, OutputError, RelAPETError
from .notices import warn
from .whole_files import sync, sync_tree, write_whole

STAGING = ".relapet"
_LOCK, _JOURNAL, _NEW, _OLD = "lock", "journal.json", "new", "old"
#: How often to begin anew when another run removes its folders while this one reserves them.
_ATTEMPTS = 20
#: Seconds to wait for a lock: only as long as a run needs that is just removing it.
_PATIENCE = 0.2


@dataclass(frozen=True)
class Reserved(os.PathLike):
    """A folder that nobody else writes to through this module while `reserve` lasts; a path like any other.

    Attributes:
        folder: absolute path.
        staging: folder for temporary files on the same disk; removed in the end with all that is in it.
    """

    folder: Path
    staging: Path

    def __fspath__(self) -> str:
        return str(self.folder)


def _nearest_existing(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if os.path.lexists(candidate):
            return candidate
    return Path(folder.anchor or ".")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_destination(
    folder: Path | str | os.PathLike, names: Iterable[str], overwrite: bool, *, folders: Iterable[str] = ()
) -> None:
    """Find out before the work whether outputs could be written to a folder; leaves nothing behind.

    Args:
        folder: may be missing, with missing parents.
        names: of outputs that would be written or replaced; ``folder/name`` for one in a folder below.
        overwrite: whether existing ones may be replaced.
        folders: those of the names that are folders; the others are files.

    Raises:
        OutputError: the folder is a file or cannot be written to, or one of the outputs exists and may not be replaced.
    """
    folder, folders = Path(folder).absolute(), set(folders)
    try:
        if folder.is_dir():
            for name in names:
                target = folder / name
                if target.is_dir() and name not in folders:
                    raise OutputError(f"{target} is a folder; move it away or choose another --out")
                if target.parent != folder and os.path.lexists(target.parent) and not target.parent.is_dir():
                    raise OutputError(f"{target.parent} is not a folder; move it away or choose another --out")
                if os.path.lexists(target) and not overwrite:
                    raise OutputError(f"{target} exists already; use --overwrite to replace it, or another --out")
        existing = _nearest_existing(folder)
        if not existing.is_dir():
            raise OutputError(f"cannot write to {folder}: {existing} is not a folder; choose another --out")
        with tempfile.TemporaryFile(dir=existing, prefix=f"{STAGING}-"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise OutputError(f"cannot write to {folder}: {_reason(error)}; choose another --out") from error


@contextlib.contextmanager
def reserve(
    folder: Path | str | os.PathLike,
    names: Iterable[str] = (),
    *,
    overwrite: bool = False,
    folders: Iterable[str] = (),
    entry: str | None = None,
    check: Callable[[], object] | None = None,
) -> Iterator[Reserved]:
    """Keep other runs from writing to a folder, from before the work until its outputs are in place.

    Missing folders are made, and removed again if nothing comes into them. What a killed run left is mended, with a
    warning.

    Args:
        folder: where outputs will be written.
        names, overwrite, folders: as for `check_destination`, which is asked.
        entry: reserve only this one entry of the folder; others of the same folder can be reserved beside it.
        check: called when all is mended; raises `OutputError` when what is there may not be replaced.

    Raises:
        BusyError: another run writes there.
        OutputError: as `check_destination` says.
    """
    folder = Path(folder).absolute()
    staging = folder / (STAGING if entry is None else f".{entry}{STAGING}")
    what = folder if entry is None else folder / entry
    check_destination(folder, (), overwrite)
    made = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    lock = None
    try:
        try:
            lock = _lock(staging, what)
            note = _mend(folder, staging, what)
        except (OSError, ValueError, NotImplementedError) as error:  # of an older filelock without locks of the system
            raise OutputError(f"cannot write to {folder}: {_reason(error)}; choose another --out") from error
        if note:
            warn(note)
        try:
            check_destination(folder, names, overwrite, folders=folders)
            if check is not None:
                check()
        except OutputError as error:
            raise OutputError(f"{error} ({note})" if note else str(error)) from error.__cause__
        yield Reserved(folder, staging)
    finally:
        if lock is not None:
            _release(lock, staging)
        _remove_empty(made)


def _lock(staging: Path, what: Path):
    """Make the staging folder and hold its lock; the system frees a lock whose process has ended, however it did."""
    from filelock import FileLock, Timeout

    for attempt in range(_ATTEMPTS):
        try:
            staging.mkdir(parents=True, exist_ok=True)
            if staging.is_symlink():
                raise OutputError(f"{staging} is a link; remove it, or choose another --out")
            lock = FileLock(staging / _LOCK)
            lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 4)
            return lock
        except FileNotFoundError:  # another run has just removed it
            if attempt == _ATTEMPTS - 1:
                raise
        except Timeout:
            left = left_lock(lock)
            raise BusyError(f"another run is writing to {what}; wait for it, or choose another --out{left}") from None
    raise AssertionError("unreachable")


def left_lock(lock) -> str:
    """More advice about a lock that cannot be had, of a file system without locks: there a file stands for one, which a
    run that was killed on another machine leaves behind."""
    from filelock import SoftFileLock

    return f"; if that run was killed, remove {lock.lock_file}" if isinstance(lock, SoftFileLock) else ""


def _mend(folder: Path, staging: Path, what: Path) -> str | None:
    """Undo what a killed run left half done; returns what to tell the user."""
    left = [path for path in staging.iterdir() if path.name != _LOCK]
    note = f"removed what an interrupted run left at {what}" if left else None
    written = _read_journal(staging) if (staging / _JOURNAL).exists() else None
    if written and _all_in_place(folder, staging, written):
        _settle(folder, staging, written)
        note = f"finished the outputs at {what} that an interrupted run had put into place"
    elif written is not None:
        _roll_back(folder, staging, written)
        note = f"put back the outputs at {what} that an interrupted run was replacing"
    _clear(staging)
    return note


def _read_journal(staging: Path) -> list[str]:
    """Names that the killed run was putting into place; nothing but plain names is believed."""
    try:
        names = json.loads((staging / _JOURNAL).read_text(encoding="ascii"))
        plain = isinstance(names, list) and all(isinstance(n, str) and _is_plain(n) for n in names)
    except (ValueError, TypeError, RecursionError):
        plain = False
    if not plain:
        raise OutputError(f"{staging} holds outputs of an interrupted run and a damaged journal; move it away by hand")
    return names


def _is_plain(name: str) -> bool:
    """Whether a name is that of an output: one in the folder itself, or in a folder below it."""
    parts = name.split("/")
    return len(parts) <= 2 and all(p not in ("", ".", "..") and os.path.basename(p) == p for p in parts)


def _flat(name: str) -> str:
    """A name with its folder in one word, for the old outputs; `_unflat` undoes it."""
    return name.replace("%", "%25").replace("/", "%2F")


def _unflat(word: str) -> str:
    return word.replace("%2F", "/").replace("%25", "%")


def _clear(staging: Path) -> None:
    for path in staging.iterdir():
        if path.name == _LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _release(lock, staging: Path) -> None:
    """Remove the staging folder, its lock last: whoever waits for the lock then begins with a new folder."""
    with contextlib.suppress(OSError):
        if not (staging / _JOURNAL).exists():  # else old outputs could not be put back; the next run tries again
            _clear(staging)
        if os.name == "nt":  # there an open file cannot be removed
            lock.release()
        (staging / _LOCK).unlink(missing_ok=True)
        staging.rmdir()
    lock.release()


def write_set(
    folder: Path | str | os.PathLike,
    writers: Mapping[str, Callable[[Path], None]],
    *,
    owned: Iterable[str] = (),
    overwrite: bool = False,
    folders: Iterable[str] = (),
) -> list[Path]:
    """Write a set of outputs into a folder, all of them or none.

    Everything is first written into the staging folder inside the destination (the same file system), then renamed
    into place. When anything fails, or the user interrupts, what was there before is put back, and folders made here
    are removed again; after a kill the next run does so. The outputs come into place in the order of `writers`: once
    the last is there, they stay, whatever stops the run, unless the disk fails. Other names are never touched.

    Args:
        folder: destination, made when missing; or what `reserve` gave.
        writers: by name, a function that writes the output to the path it is given. ``folder/name`` puts it into a
            folder below, made when missing.
        owned: further names that earlier runs may have written; with `overwrite` those not written now are removed,
            so that the set is never a mixture of two runs.
        overwrite: whether outputs of these names may be replaced.
        folders: those of the names that are folders; the others are files.

    Returns:
        Paths of the outputs, in the order of `writers`.

    Raises:
        OutputError: an output exists and `overwrite` is False, another run writes there, or the disk refuses.
    """
    names = list(dict.fromkeys([*writers, *owned]))
    if not isinstance(folder, Reserved):
        with reserve(folder, names, overwrite=overwrite, folders=folders) as place:
            return write_set(place, writers, owned=owned, overwrite=overwrite, folders=folders)
    place, new = folder, folder.staging / _NEW
    check_destination(place, names, overwrite, folders=folders)
    try:
        with shown_as({new: place.folder}):
            new.mkdir()
            for name, write in writers.items():
                (new / name).parent.mkdir(exist_ok=True)
                write(new / name)
            sync_tree(new)
            _into_place(place, list(writers), names, overwrite)
    except OSError as error:
        raise OutputError(f"cannot write to {place.folder}: {_reason(error)}; nothing was changed there") from error
    finally:
        if not (folder.staging / _JOURNAL).exists():  # else a roll back was stopped, and the next run needs all of it
            shutil.rmtree(new, ignore_errors=True)
    return [place.folder / name for name in writers]


@contextlib.contextmanager
def shown_as(names: Mapping[Path, object]) -> Iterator[None]:
    """Let messages of errors that pass speak of what a user knows in place of temporary paths."""
    try:
        yield
    except RelAPETError as error:
        told = [error.message, error.advice]
        for hidden, shown in names.items():
            told = [words and words.replace(str(hidden), str(shown)) for words in told]
        if told == [error.message, error.advice]:
            raise
        raise type(error)(*told) from error.__cause__


def _into_place(place: Reserved, written: list[str], names: list[str], overwrite: bool) -> None:
    """Rename the new outputs into the folder; on any failure put the old ones back."""
    folder, staging = place.folder, place.staging
    (staging / _OLD).mkdir(exist_ok=True)
    try:
        _write_journal(staging, written)
        for name in names:
            if overwrite and os.path.lexists(folder / name):
                os.replace(folder / name, staging / _OLD / _flat(name))
        for name in written:
            (folder / name).parent.mkdir(exist_ok=True)
            _rename_new(staging / _NEW / name, folder / name)
        _settle(folder, staging, written)
    except BaseException as error:
        # Where all are in place, somebody may have seen them already: a stop on request comes too late, then.
        if isinstance(error, Exception) or not _all_in_place(folder, staging, written):
            _roll_back(folder, staging, written)
        else:
            (staging / _JOURNAL).unlink(missing_ok=True)
        raise
    shutil.rmtree(staging / _OLD, ignore_errors=True)


def _settle(folder: Path, staging: Path, written: list[str]) -> None:
    """Make sure that the new outputs are on the disk under their names, and let them count."""
    for filled in {folder, *((folder / name).parent for name in written)}:
        sync(filled)
    (staging / _JOURNAL).unlink()


def _write_journal(staging: Path, written: list[str]) -> None:
    write_whole(staging / _JOURNAL, json.dumps(written).encode("ascii"))


def _rename_new(source: Path, target: Path) -> None:
    """Rename to a name that must be free; a link fails where a rename would replace."""
    try:
        if not source.is_dir():
            os.link(source, target)
            source.unlink()
            return
    except FileExistsError:
        raise OutputError(f"{target} exists already; use --overwrite to replace it, or another --out") from None
    except OSError:  # a file system without links
        if not source.exists():
            raise
    if os.path.lexists(target):
        raise OutputError(f"{target} exists already; use --overwrite to replace it, or another --out")
    os.rename(source, target)


def _all_in_place(folder: Path, staging: Path, written: list[str]) -> bool:
    """Whether every new output has its name, the last perhaps still under its temporary one, too."""
    for name in written:
        new, target = staging / _NEW / name, folder / name
        if not os.path.lexists(target) or (os.path.lexists(new) and not _are_one(new, target)):
            return False
    return True


def _are_one(new: Path, target: Path) -> bool:
    """Whether two names, which may be links to nothing, are of one file."""
    return os.path.samestat(new.lstat(), target.lstat())


def _roll_back(folder: Path, staging: Path, written: list[str]) -> None:
    """Undo `_into_place` from wherever it stopped; if this is stopped too, it can be done once more."""
    new, old = staging / _NEW, staging / _OLD
    for name in written:
        if not os.path.lexists(folder / name):
            continue
        if not os.path.lexists(new / name):
            os.replace(folder / name, new / name)
        elif _are_one(folder / name, new / name):  # linked, not yet unlinked
            (folder / name).unlink()
    for path in old.iterdir():
        target = folder / _unflat(path.name)
        if os.path.lexists(target):
            raise OutputError(
                f"{target} is in the way of the one that an interrupted run moved to {path}; move one away"
            )
        os.replace(path, target)
    for parent in {(folder / name).parent for name in written} - {folder}:
        _remove_empty([parent])
    (staging / _JOURNAL).unlink(missing_ok=True)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders made for an output that did not come, innermost first, as long as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # missing, or something has come into it
            return
