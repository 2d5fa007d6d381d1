"""Checkpoints of a run: whole or not there, everything in them, loaded without executing code.

``OUT/checkpoints/step-00001000.pt`` are the last ones, ``best.pt`` is the one that did best on the validation subjects.
"""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from RelAPETLib.errors import OutputError
from RelAPETLib.whole_files import write_whole

from .errors import OF_THE_DISK, ResumeError, UnreadError

FORMAT = 2
FOLDER, BEST = "checkpoints", "best.pt"
_NAME = re.compile(r"step-(\d{8,})\.pt")

#: What the files of a run hold, with types; a stage that trains something in a folder of its own writes the same.
RUN = {
    "step": int,
    "history": list,
    "config": dict,
    "split_sha256": str,
    "sampler": dict,
    "players": dict,
    "objective": dict,
    "scaler": dict,
    "rng": list,
}
#: What `training.export` takes of it.
EXPORTED = {key: RUN[key] for key in ("step", "history", "config", "split_sha256", "players", "objective")}
#: Of each player: whole weights, their moving average (empty where none is kept), and the optimiser's state.
PLAYER = ("weights", "average", "optimizer")

#: Format 1: the players' names, and the keys under which it kept what `PLAYER` has.
_OF_FORMAT_1 = {
    "generator": ("generator", "average", "optimizer_G"),
    "autoencoder": ("autoencoder", "", "optimizer"),
    "discriminator": ("discriminator", "", "optimizer_D"),
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, texts and containers of them; after a crash the file is whole or not there.

    Raises:
        OutputError: it cannot be written; what was there before is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, lambda part: _write(part, {"format": FORMAT, **state}))
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError about places in its archive, raised while it met the true one.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        words = getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]
        raise OutputError(f"cannot write checkpoint {path}: {words}") from error


def _write(path: Path, state: dict[str, Any]) -> None:
    with open(path, "wb") as file:  # of a file of Python, torch passes on what the disk says
        torch.save(state, file)


def load(
    path: Path, wanted: Mapping[str, type | tuple[type, ...]] | None = None, mapped: bool = False
) -> dict[str, Any]:
    """What `save` wrote, on the CPU. Nothing in the file is executed.

    Args:
        wanted: keys that must be there, with their types, e.g. `RUN`; None for any file of ours.
        mapped: tensors stay in the file, for a look at the rest.

    A run's file of format 1 is given in the present one.

    Raises:
        ResumeError: missing, damaged, not such a file, a key missing, or a tensor that claims more than the file holds;
            `UnreadError` where its content is not to blame.
    """
    try:
        if not Path(path).is_file():
            raise ResumeError(f"cannot read checkpoint {path}: no such file")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except ResumeError:
        raise
    except Exception as error:  # torch raises whatever the damaged byte leads to
        if why := _not_of_the_file(error, path):
            raise UnreadError(f"cannot read checkpoint {path}: {why}; the same command goes on once it can") from error
        raise ResumeError(f"cannot read checkpoint {path}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(state, dict) or state.get("format") not in (1, FORMAT):
        raise ResumeError(f"{path} is no checkpoint of this training package (format {FORMAT})")
    if state["format"] == 1:
        state = _renewed(state)
    for key, kind in (wanted or {}).items():
        if not isinstance(state.get(key), kind):
            there = "no" if key not in state else "an unusable"
            raise ResumeError(f"{path}: {there} '{key}' in it; the file is damaged or of another kind, take another")
    _check_tensors(path, state)
    return state


#: Beside `OF_THE_DISK`: what the system refuses whatever a file holds.
_OF_THE_SYSTEM = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR}


def _not_of_the_file(error: Exception, path: Path) -> str:
    """What kept a file from being read, where that is not its content; empty where it is damaged."""
    if isinstance(error, OSError) and error.errno in OF_THE_DISK | _OF_THE_SYSTEM:
        return str(error.strerror).lower()
    # A damaged byte can ask for any amount of memory, a whole file for no more than it is large.
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    short = isinstance(error, MemoryError) or "Cannot allocate memory" in str(error)
    if short or (asked and path.exists() and int(asked[1]) <= path.stat().st_size):
        return "there is too little memory for it (if there is enough, it is damaged: remove it)"
    return ""


def _renewed(state: dict[str, Any]) -> dict[str, Any]:
    """What format 1 kept under other names, under the present ones; a key that is not there stays away."""
    players = {
        name: {key: state.get(old, {}) for key, old in zip(PLAYER, keys, strict=True)}
        for name, keys in _OF_FORMAT_1.items()
        if isinstance(state.get(keys[0]), dict) and state[keys[0]]
    }
    renewed = {key: value for key, value in state.items() if not any(key in keys for keys in _OF_FORMAT_1.values())}
    if "shaping" in state:  # of an autoencoder, which drew nothing at random that does not follow from the position
        renewed |= {"config": renewed.pop("shaping"), "history": [], "objective": {}, "rng": []}
    if "frozen" in state and players:
        renewed["objective"] = renewed.pop("frozen")
    return {**renewed, "players": players} if players else renewed


def _check_tensors(path: Path, state: dict[str, Any]) -> None:
    """Raise `ResumeError` for tensors that are views of fewer values than they show: a few bytes can claim 4 TB."""
    waiting, seen = [state], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            if item.layout != torch.strided or item.nbytes > item.untyped_storage().nbytes():
                raise ResumeError(f"{path}: a tensor of {tuple(item.shape)} that the file does not hold; refused")
        elif isinstance(item, (dict, list, tuple, set)) and id(item) not in seen:
            seen.add(id(item))  # a file can hold a list that holds itself
            waiting += [*item.keys(), *item.values()] if isinstance(item, dict) else item


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Inside, parts of a checkpoint are put to use; one that does not fit is a `ResumeError` that names the file."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise ResumeError(
            f"{path}: does not fit the run's configuration, or is damaged ({type(error).__name__}: {words})"
        ) from error


def saved(out: Path) -> list[Path]:
    """Checkpoints of a run by step, the newest last; not the best one."""
    found = {int(match[1]): path for path in (out / FOLDER).glob("step-*.pt") if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def path_of(out: Path, step: int) -> Path:
    """File of the checkpoint after `step` optimiser steps."""
    return out / FOLDER / f"step-{step:08d}.pt"


def latest(
    out: Path, wanted: Mapping[str, type | tuple[type, ...]] = RUN, mapped: bool = False
) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, with its contents as of `load`; None when the run has none.

    Raises:
        ResumeError: there are some and none can be read, or the newest one is not to blame that it cannot
            (`UnreadError`): an older one in its place would lose what was learned since.
    """
    problem = None
    for path in reversed(saved(out)):
        try:
            return path, load(path, wanted, mapped)
        except UnreadError:
            raise
        except ResumeError as error:
            problem = problem or error
    if problem:
        raise problem
    return None


def progress(out: Path) -> tuple[int, int]:
    """Optimiser steps that a run has done and images that it has used; 0 of one without a checkpoint to read."""
    try:
        found = latest(out, mapped=True)
    except ResumeError:  # said when it is gone on from
        found = None
    if found is None:
        return 0, 0
    stream = found[1]["sampler"]
    with restoring(found[0]):
        return found[1]["step"], stream["epoch"] * stream["size"] + stream["position"]


def check_cache(path: Path, saved: Mapping[str, Any], volumes_sha256: str) -> list[str]:
    """See that what `load` gave of a file was trained on a cache; people of the same names make the same split.

    Args:
        volumes_sha256: of that cache's training and validation people; empty where there is none.

    Returns:
        A line that it could not be checked, where the file is from before checkpoints knew their cache.

    Raises:
        ResumeError: it was trained on another.
    """
    known = saved.get("volumes_sha256")
    if known and volumes_sha256 and known != volumes_sha256:
        raise ResumeError(
            f"{path}: trained on another cache: {str(known)[:12]} -> {volumes_sha256[:12]}, of other people with the "
            "same names, or prepared again from other scans; give the cache it was trained on, or train anew into "
            "another out"
        )
    unknown = known is None and volumes_sha256
    return [f"{path.name} does not know its cache, which could not be checked"] if unknown else []


def prune(out: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints and what an interrupted writing left."""
    for path in [*saved(out)[:-keep], *(out / FOLDER).glob(".*.part")]:
        path.unlink(missing_ok=True)


def exported_weights(state: dict[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """Every player's weights that are validated and exported: the moving average, where the run keeps one.

    Raises:
        KeyError, TypeError, ValueError: there are no players in it, or such as are none.
    """
    if not state["players"]:
        raise ValueError("no players in it")
    return {name: {**player["weights"], **player["average"]} for name, player in state["players"].items()}


def rng_state() -> dict[str, Any]:
    """State of every random number generator of this process, in types that load without executing code."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the state of old calls
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `rng_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
