"""A copy of the tree, to add something to and run it there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(*words: str, folder: Path = ROOT) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def copy_tree(tree: Path) -> Path:
    """Copy what git knows or would add into the folder `tree`."""
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def add_below(file: Path, there: str, added: str) -> None:
    """Add text below lines that stand in a file exactly once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(f"{there}\n") == 1, f"{file.name} has no line {there!r} any more"
    file.write_text(text.replace(f"{there}\n", f"{there}\n{added}\n"), encoding="utf-8")


def call(tree: Path, *words, home: Path | None = None) -> str:
    """What ``python -m WORDS`` prints in the copy."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RELAPET_RESOURCES")}
    environment = {**kept, "OMP_NUM_THREADS": "1", **({"RELAPET_HOME": str(home)} if home else {})}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
