"""The cache on disk: every volume once, on the model grid, as a memory-mapped array, with a JSON index.

::

    CACHE/index.json                     what there is, age, sex and score of the subjects; written whole, last
    CACHE/mask.npy                       uint8 [X, Y, Z], the template's brain: blocks that are more than half of it
    CACHE/cases/CASE/{t1w,t2f}.npy       float16 or float32 [X, Y, Z] to R, A, S; [-1, 1], background -1
    CACHE/cases/CASE/pet_TRACER.npy      the same grid, SUVR, 0 outside the brain
    CACHE/cases/CASE/case.json           the case's entry of the index
    CACHE/failures.tsv                   what could not be used, and why
    CACHE/warnings.tsv                   what is used and doubted
    CACHE/split.json                     see `training.data.split`

A case is one T1w and T2F of a subject with the PET that belong to them: a subject, or one session of a subject. A
cache of ``prepare --mri-only`` has no PET and no split.
[X, Y, Z] is the model grid, [160, 180, 160], or its means over blocks of `factor` x `factor` x `factor` voxels; the
brain's rim is averaged with the background, as a bundle of RelA-Diffusion in voxels averages what it is shown.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from RelAPETLib.errors import InputError, OutputError
from RelAPETLib.grid import MNI_GRID, block_grid, block_means
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.outputs import left_lock
from RelAPETLib.tracers import TRACERS
from RelAPETLib.whole_files import write_whole

VERSION = 1
#: Bytes; a hundred thousand cases make about half of it.
LARGEST_INDEX = 512 * 1024 * 1024
INDEX, MASK, CASE = "index.json", "mask.npy", "case.json"


def canonical_json(content) -> bytes:
    """Bytes of a JSON value that do not depend on the order of keys."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def pretty_json(content) -> bytes:
    """JSON for people."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def write_case(cache: Path, record: dict, arrays: dict[str, np.ndarray]) -> None:
    """Put a case into the cache: its folder appears with everything in it or not at all.

    Args:
        cache: the cache's folder.
        record: entry of the index; ``record["case"]`` names the folder.
        arrays: by file name, [X, Y, Z].

    Raises:
        OutputError: the disk refuses.
    """
    try:
        _write_case(cache, record, arrays)
    except OSError as error:
        raise OutputError(f"cannot write the cache {cache}: {error.strerror or error}") from error


def _write_case(cache: Path, record: dict, arrays: dict[str, np.ndarray]) -> None:
    cases = cache / "cases"
    cases.mkdir(parents=True, exist_ok=True)
    target = cases / record["case"]
    scratch = Path(tempfile.mkdtemp(prefix=f".{record['case']}-", suffix=".part", dir=cases))
    try:
        built = scratch / "new"
        built.mkdir()
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            with open(built / name, "wb") as file:
                file.write(content.getbuffer())  # numpy itself does not say that a disk is full
                file.flush()
                os.fsync(file.fileno())
        write_whole(built / CASE, pretty_json(record))
        if target.exists():
            os.replace(target, scratch / "old")
        os.replace(built, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_case(cache: Path, case: str) -> dict | None:
    """Entry of a case that is in the cache, or None; damaged entries count as missing."""
    try:
        record = read_json_object(cache / "cases" / case / CASE)
    except InputError:
        return None
    kinds = {"case": str, "subject": str, "digest": str, "pets": dict, "failures": dict}
    return record if all(isinstance(record.get(key), kind) for key, kind in kinds.items()) else None


def arrays_of(record: Mapping) -> tuple[str, ...]:
    """Names of the arrays that a case has by its entry, as `Cache.array` takes them."""
    return "t1w", "t2f", *(f"pet_{tracer}" for tracer in record["pets"])


def whole_case(cache: Path, case: str, digest: str | None, dtype: str) -> dict | None:
    """Entry of a case with this digest and all of its arrays, none deleted or copied by half; or None."""
    record = read_case(cache, case)
    if record is None or record["digest"] != digest:
        return None
    try:
        for name in arrays_of(record):
            array = np.load(cache / "cases" / case / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            entry = record.get(name) or record["pets"][name.removeprefix("pet_")]
            if array.dtype != np.dtype(dtype) or list(array.shape) != entry["shape"]:
                return None
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    return record


@contextmanager
def alone_in(folder: Path, wait: float = 0) -> Iterator[None]:
    """Inside, no other process that asks the same works in the folder; the system lifts it however a process ends.

    Args:
        folder: made when missing.
        wait: seconds to wait for another process to end.

    Raises:
        InputError: another process works there.
        OutputError: no folder can be there.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as the system says in folders that are none of a disk
        raise OutputError(f"{folder}: no folder can be made there") from error
    lock, held = FileLock(folder / ".lock", timeout=wait), True
    try:
        lock.acquire()
    except Timeout:
        words = f"{folder}: another process is working there; wait for it, or choose another folder{left_lock(lock)}"
        raise InputError(words) from None
    except NotImplementedError:
        held = False  # a file system without locks: the user has to see to it
    try:
        yield
    finally:
        if held:
            lock.release()


def sweep(folder: Path, progress: Callable[[str], None], below: Iterable[str] = ()) -> None:
    """Remove the unfinished files that a killed process left in a folder and in those `below` it, and say so."""
    parts = [part for place in (".", *below) for part in (folder / place).glob(".*.part*")]
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
    if parts:
        progress(f"{folder}: {len(parts)} unfinished file(s) of an interrupted run removed")


def sweep_cache(cache: Path, progress: Callable[[str], None]) -> None:
    """The same of a cache; a case that was complete and only not yet in its place is put there."""
    for scratch in (cache / "cases").glob(".*.part"):
        name = scratch.name.removeprefix(".").rsplit("-", 1)[0]
        target = cache / "cases" / name
        for built in (scratch / "new", scratch / "old"):
            if not target.exists() and (built / CASE).is_file():
                os.replace(built, target)
                progress(f"{target}: an interrupted run had it ready; kept")
    sweep(cache, progress, ["cases"])


def check_factor(factor: int) -> None:
    """Raise `InputError` unless blocks of `factor` voxels a side fill the model grid."""
    if factor < 1 or any(n % factor for n in MNI_GRID.shape):
        raise InputError(f"grid factor {factor} does not divide {MNI_GRID.shape}; use e.g. 1, 2, 4, 5 or 10")


def block_mask(factor: int) -> np.ndarray:
    """The template's brain, bool [X, Y, Z]: the blocks that are more than half brain."""
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.registration.template import load_template

    return block_means((image_to_array(load_template().mask) > 0).astype(np.float32), factor) > 0.5


def stored(array: np.ndarray, dtype: str, name: str) -> tuple[np.ndarray, dict]:
    """An array as it is stored, with its shape, range and hash. Raises `InputError` when it is not finite there."""
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array.astype(dtype))
    if not np.isfinite(cast).all():
        raise InputError(f"{name}: values that are NaN, infinite or too large for {dtype} on the model grid")
    low, high = float(cast.min()), float(cast.max())
    if not low < high:
        raise InputError(f"{name}: constant inside the brain; there is no picture in it")
    facts = {"shape": list(cast.shape), "min": low, "max": high}
    return cast, facts | {"sha256": hashlib.sha256(cast.tobytes()).hexdigest()}


def write_index(cache: Path, facts: dict, cases: list[dict], factor: int = 1) -> dict:
    """Write ``index.json`` (whole) and the mask; returns the index.

    Args:
        facts: what holds for all cases: ``source``, ``simulated``, ``options``, ``dtype``.
        cases: entries of `write_case`.
        factor: side of the blocks that a stored voxel is the mean of.
    """
    mask = block_mask(factor).astype(np.uint8)
    stream = io.BytesIO()
    np.save(stream, mask)
    write_whole(cache / MASK, stream.getvalue())
    grid = block_grid(factor)
    index = {
        "version": VERSION,
        "grid": {"shape": grid.shape, "spacing_mm": grid.spacing, "origin_mm": grid.origin, "axes": "RAS"},
        "units": {"t1w": "scaled to [-1, 1]", "t2f": "scaled to [-1, 1]", "pet": "SUVR"},
        "windows": {name: tracer.suvr_window for name, tracer in TRACERS.items()},
        **facts,
        "cases": sorted(cases, key=lambda record: record["case"]),
    }
    index["sha256"] = hashlib.sha256(canonical_json(index)).hexdigest()
    write_whole(cache / INDEX, pretty_json(index))
    return index


@dataclass(frozen=True)
class Item:
    """One thing to learn from: a case with one tracer.

    Attributes:
        case: name of the case.
        subject: whose it is; the split goes by it.
        tracer: short name.
    """

    case: str
    subject: str
    tracer: str


@dataclass(frozen=True)
class Cache:
    """A cache that `prepare` wrote, opened for reading; holds no open file, so workers may have copies.

    Attributes:
        folder: where it is.
        index: contents of ``index.json``.
    """

    folder: Path
    index: dict = field(repr=False)

    @property
    def sha256(self) -> str:
        """Hash of the index, which holds a hash of every array."""
        return self.index["sha256"]

    def volumes_sha256(self, *subjects: Iterable[str]) -> str:
        """Hash of what the volumes of these subjects are made from, whatever else the cache holds or knows of them."""
        wanted = {name for names in subjects for name in names}
        found = [[r["case"], r["digest"], sorted(r["pets"])] for r in self.index["cases"] if r["subject"] in wanted]
        return hashlib.sha256(canonical_json(found)).hexdigest()

    def owners(self, scans: Collection[str]) -> set[str]:
        """Subjects with a T1w or T2F that is stored with one of these hashes, whatever they are called elsewhere."""
        return {r["subject"] for r in self.index["cases"] if {r["t1w"]["sha256"], r["t2f"]["sha256"]} & set(scans)}

    def scans(self, subjects: Collection[str]) -> set[str]:
        """Hashes of the stored T1w and T2F of these subjects."""
        found = [r for r in self.index["cases"] if r["subject"] in subjects]
        return {r[name]["sha256"] for r in found for name in ("t1w", "t2f")}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (X, Y, Z) of every array."""
        return tuple(self.index["grid"]["shape"])

    @property
    def factor(self) -> int:
        """Side, in voxels of the model grid, of the blocks that a voxel is the mean of."""
        return MNI_GRID.shape[0] // self.shape[0]

    def check_whole(self) -> None:
        """Raise `InputError` unless the arrays are on the model grid itself."""
        if self.factor > 1:
            raise InputError(
                f"{self.folder}: holds means of {self.factor} x {self.factor} x {self.factor} voxels; figures need the "
                "whole grid: run prepare with --factor 1 into another folder"
            )

    @property
    def cases(self) -> dict[str, dict]:
        """Entries by name of the case, in order of name."""
        return {record["case"]: record for record in self.index["cases"]}

    @property
    def subjects(self) -> list[str]:
        """Subjects with at least one PET, sorted."""
        return sorted({item.subject for item in self.items()})

    def items(self, subjects: Iterable[str] | None = None, tracers: Iterable[str] | None = None) -> list[Item]:
        """Every (case, tracer) of these subjects and tracers (None for all), in order of case, then label."""
        wanted = None if subjects is None else set(subjects)
        names = sorted(TRACERS if tracers is None else set(tracers), key=lambda name: TRACERS[name].label)
        return [
            Item(record["case"], record["subject"], tracer)
            for record in self.index["cases"]
            if wanted is None or record["subject"] in wanted
            for tracer in names
            if tracer in record["pets"]
        ]

    def array(self, case: str, name: str) -> np.ndarray:
        """Memory map [X, Y, Z] of ``t1w``, ``t2f`` or ``pet_TRACER`` of a case.

        Raises:
            InputError: the file is missing or is not what the index says.
        """
        path = self.folder / "cases" / case / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: {_why(error)}") from error
        if array.shape != self.shape or array.dtype != np.dtype(self.index["dtype"]):
            raise InputError(f"{path}: {array.dtype} {array.shape} is not what the index says; run prepare again")
        return array

    def mask(self) -> np.ndarray:
        """The brain, bool [X, Y, Z]. Raises `InputError` when the file is missing or damaged."""
        path = self.folder / MASK
        try:
            mask = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: {_why(error)}") from error
        if mask.shape != self.shape:
            raise InputError(f"{path}: of shape {mask.shape}, not {self.shape}; run prepare again")
        return mask > 0


def _why(error: Exception) -> str:
    """What is wrong with an array that could not be opened, and what to do."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        return f"{error.strerror}; it may well be whole: see that this user can read it, then run the same command"
    return "missing or damaged; run prepare again"


def open_cache(folder: Path | str, *, mri_only: bool = False) -> Cache:
    """Open a cache.

    Args:
        folder: where it is.
        mri_only: it may be one without PET.

    Raises:
        InputError: no cache there, one of another version, a changed index, a missing file, or no PET in it.
    """
    cache = Cache(Path(folder), read_index(Path(folder)))
    if not mri_only and not cache.items():
        made = cache.index.get("options", {}).get("mri_only")
        advice = "it was made by 'prepare --mri-only'" if made else f"see {cache.folder / 'failures.tsv'}"
        raise InputError(f"{folder}: no case with a PET in it; {advice}")
    missing = [
        path
        for record in cache.index["cases"]
        for name in arrays_of(record)
        if not (path := cache.folder / "cases" / record["case"] / f"{name}.npy").is_file()
    ]
    if missing:
        raise InputError(f"{missing[0]}: missing; run prepare again")
    return cache


def read_index(folder: Path) -> dict:
    """Index of a cache, known to be whole; the arrays are not looked at. Raises `InputError` as `open_cache`."""
    if not (folder / INDEX).exists():
        if (folder / "cases").is_dir():
            raise InputError(f"{folder}: prepare did not come to its end there (no {INDEX}); run it again")
        raise InputError(f"{folder}: no cache (no {INDEX}); make one with 'python -m training prepare'")
    index = read_json_object(folder / INDEX, advice="run prepare again", limit=LARGEST_INDEX)
    if index.get("version") != VERSION:
        raise InputError(f"{folder}: a cache of another version; run prepare again into another folder")
    rest = {key: value for key, value in index.items() if key != "sha256"}
    if hashlib.sha256(canonical_json(rest)).hexdigest() != index.get("sha256"):
        raise InputError(f"{folder / INDEX} was changed after prepare wrote it; run prepare again")
    return index
