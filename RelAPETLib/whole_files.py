"""Writing one file whole or not at all, and having the disk keep it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path | str | os.PathLike, content: bytes | Callable[[Path], None], *, suffix: str = "") -> None:
    """Write one file: whoever looks finds all of it, or what was there before, also after an error or a crash.

    It is written beside its place under a hidden temporary name, synced to the disk, then renamed.

    Args:
        path: the file; its folder exists. What is there is replaced.
        content: its bytes, or a function that writes them to the path it is given.
        suffix: end of the temporary name, for writers that take the format from it.

    Raises:
        OSError: the disk refuses. What `content` raises passes.
    """
    path = Path(path)
    # Not tempfile: its files are readable by their owner alone, and the result should follow the umask.
    part = path.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    part.touch(exist_ok=False)
    try:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content)
        sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """`sync` of a folder and everything in it."""
    for parent, _, files in os.walk(folder):
        for name in files:
            sync(Path(parent) / name)
        sync(Path(parent))


def sync(path: Path) -> None:
    """Have the system put a file, or a folder's entries, on the disk."""
    if path.is_dir():
        with contextlib.suppress(OSError):  # some file systems sync no folders, and Windows opens none
            _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
