"""Where a run's weights come from: command line, versions and commit; written into ``out``, checkpoints and bundles."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from RelAPETLib.outputs import write_whole
from RelAPETLib.provenance import versions

from .data.cache import canonical_json
from .words_of_config import as_words

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = "python -m training"
COMMAND = f"{PROGRAM} train"
#: In ``out``: the configuration as words for ``@FILE``, and one JSON object a start of the run.
CONFIG, STARTS = "config.txt", "starts.jsonl"
_PACKAGES = {"lightning_fabric": "lightning-fabric", "hydra": "hydra-core"}


def origin(words: Sequence[str], command: str = "train") -> dict[str, Any]:
    """What is known of this start of a run, in JSON types.

    Args:
        words: of the command line, behind `command`.
        command: ``train`` or ``pretrain``.
    """
    from importlib import metadata

    found = versions()
    for name, package in _PACKAGES.items():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return {
        "command": [*PROGRAM.split(), command, *words],
        "versions": found,
        "git_commit": commit(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def source_sha256(source: Mapping[str, Any]) -> str:
    """Hash of a bundle's ``source``: two are the same where run, configuration and step of the checkpoint are.

    How the weights are stored (``export --half``), calibration and figures change nothing in it.
    """
    return hashlib.sha256(canonical_json(source)).hexdigest()


def commit(folder: Path = REPOSITORY) -> str | None:
    """Commit of the repository that holds this package, with ``+changes`` where files differ; None outside of one."""
    if not (folder / ".git").exists():
        return None
    found = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        found.append(done.stdout.strip())
    head, changes = found
    return head + ("+changes" if changes else "")


def write(out: Path, config, start: dict[str, Any], step: int) -> None:
    """Put the configuration and this start, which goes on from `step`, into the run's folder.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(out / CONFIG, "".join(f"{line}\n" for line in as_words(config)).encode())
    path = out / STARTS
    before = path.read_bytes() if path.exists() else b""
    write_whole(path, before + json.dumps({"from_step": step, **start}).encode() + b"\n")


def published(start: Any) -> dict[str, Any]:
    """The same for a bundle's ``source``: without folders of this machine; of an older checkpoint the command alone."""
    if not isinstance(start, dict):
        return {"command": COMMAND}
    words = [str(word) for word in start.get("command", COMMAND.split())]
    return {
        "command": shlex.join(map(_without_folders, words)),
        "versions": dict(start.get("versions", {})),
        "git_commit": start.get("git_commit"),
        "started": start.get("started"),
    }


def without_places(config: Mapping[str, Any], places: Collection[str], group: str = "") -> dict[str, Any]:
    """A nested configuration for a bundle: of keys that are files or folders, the last part of their paths."""
    found = {}
    for name, value in config.items():
        key = f"{group}{name}"
        inner = isinstance(value, Mapping)
        found[name] = without_places(value, places, f"{key}.") if inner else _last(value) if key in places else value
    return found


def changes_without_places(history: Sequence[str], places: Collection[str]) -> list[str]:
    """What a run says of its resuming (``step 3: data.cache: /a/b -> /c/d``) for a bundle, in the same way."""
    found = []
    for line in history:
        step, _, change = line.partition(": ")
        key, _, values = change.partition(": ")
        before, arrow, now = values.partition(" -> ")
        found.append(f"{step}: {key}: {_last(before)} -> {_last(now)}" if arrow and key in places else line)
    return found


def _last(path: str) -> str:
    return Path(str(path or "").replace("\\", "/")).name


def _without_folders(word: str) -> str:
    """A word of a command line whose path, if it has one, keeps its last part."""
    key, equals, value = word.partition("=")
    if not equals:
        at = "@" if word.startswith("@") else ""
        return at + Path(word[len(at) :]).name if "/" in word or "\\" in word else word
    bare = value.strip("'\"")
    return f"{key}={_last(bare)}" if "/" in bare or "\\" in bare else word
