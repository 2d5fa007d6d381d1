"""What the commands share that draw people for a bundle: whom a model was trained on, and the files of draws."""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.whole_files import write_whole

from .data.cache import Cache
from .data.split import FILE, load_split

if TYPE_CHECKING:
    from RelAPETLib.models import Model

#: What numpy and zipfile raise over a damaged byte, wherever it stands.
_DAMAGED = (
    AttributeError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError, TypeError, ValueError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def trained_cases(model: Model, cache: Cache, split_file: Path | None = None) -> list[str]:
    """One case of everybody in the training part of the split, in order of case.

    Of a bundle that knows no split, and where none is there, everybody in the cache.

    Args:
        split_file: None is the one beside the cache.

    Raises:
        InputError: not the split that the bundle knows, or none where it knows one.
    """
    path, known = split_file or cache.folder / FILE, model.metadata["training_data"].get("split_sha256")
    trained = set(cache.subjects)
    if path.exists():
        split = load_split(path, cache)
        if known not in (None, split.sha256):
            raise InputError(
                f"{path}: not the split that model {model.name} was trained with; name that one (--split-file)"
            )
        trained = set(split.train)
    elif known is not None:
        raise InputError(f"{path}: missing; name the split that model {model.name} was trained with (--split-file)")
    found: dict[str, str] = {}
    for case, record in cache.cases.items():
        if record["subject"] in trained:
            found.setdefault(record["subject"], case)
    return list(found.values())


def kept_arrays(path: Path, progress: Callable[[str], None] = lambda message: None) -> dict[str, np.ndarray] | None:
    """What `keep_arrays` wrote, or None where nothing is; a damaged file counts as missing, and is told of."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a wrong place in the file gives
            raise
        progress(f"{path}: damaged ({' '.join(str(error).split())[:80]}); made anew")
        return None


def keep_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, whole."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, stream.getvalue())
