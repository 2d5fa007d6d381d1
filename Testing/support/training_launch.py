"""What the tests that start the training as a cluster does have in common."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import training_cases as cases
from training_runs import TINY

from training.data.split import explicit_split
from training.reports import LOG

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "training" / "slurm"
LAUNCHERS = ("SLURM_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "GROUP_RANK")


def cached(folder: Path, two_people: Path) -> Path:
    """A test's own copy of the cache of two subjects to train on, in a folder."""
    return shutil.copytree(two_people, folder / "cache")


def write_cache(folder: Path, grid_case: dict[str, Path]) -> Path:
    """A cache of two subjects to train on, in a folder: what the fixture `two_people` holds."""
    cases.prepared(cases.write_table(folder, grid_case, [("a", "TAU"), ("b", "PIB")]), folder / "cache")
    explicit_split(["a", "b"], {"train": ["a", "b"], "validation": [], "test": []}).save(folder / "cache/split.json")
    return folder / "cache"


def overrides(cache: Path, out: Path | None, *more: str) -> list[str]:
    """Words of a tiny run of two ranks; without `out` where something else says it."""
    small = [word for word in TINY if not word.startswith("data.cache")]
    grid = ["network.factor=10", "network.crop=[12,16,12]", "preset.global_batch=2"]
    return [*small, *grid, f"data.cache={cache}", *([f"out={out}"] if out else []), *more]


def surroundings(**more: str) -> dict[str, str]:
    """Environment without any launcher's variables, with this Python's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def log(out: Path) -> list[dict]:
    """Training lines of a run's log, without their timings."""
    whole = (out / LOG).read_text().splitlines() if (out / LOG).exists() else []
    lines = [line for line in map(json.loads, whole) if line["group"] == "train"]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]


def steps(out: Path) -> list[int]:
    """Steps in a run's log."""
    return [line["step"] for line in log(out)]
