"""Benchmarks are not run by the tests, but what they take from the program must be there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "Testing" / "benchmarks"
#: Imports every benchmark and looks up each name that it takes from a module, at its head or within a function.
_LOOK = """
import ast, importlib, sys, types
from pathlib import Path

folder = Path(sys.argv[1])
sys.path[:0] = [str(folder), str(folder.parent / "support"), str(folder.parents[1])]
names = sys.argv[2:] or sorted(path.stem for path in folder.glob("*.py"))
sys.argv[1:] = []
for name in names:
    module = importlib.import_module(name)
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        ours = isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ("RelAPETLib", "training")
        if ours:
            source = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(source, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = getattr(module, node.value.id, None)
            if isinstance(owner, types.ModuleType) and not hasattr(owner, node.attr):
                raise AttributeError(f"{name}.py, line {node.lineno}: {node.value.id}.{node.attr}")
print(len(names))
"""


def look(folder: Path, *names: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", _LOOK, str(folder), *names], capture_output=True, text=True, cwd=ROOT)


def test_benchmarks_find_what_they_use():
    result = look(BENCHMARKS)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout.split()[-1]) > 20


@pytest.mark.parametrize(
    "line", ["from RelAPETLib.preprocessing import moved", "def f():\n    from RelAPETLib.grid import moved",
             "from RelAPETLib import grid\n\n\ndef f():\n    grid.moved()"]
)  # fmt: skip
def test_what_has_moved_is_noticed(tmp_path, line):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "old.py").write_text(line + "\n")
    result = look(tmp_path / "a" / "b", "old")
    assert result.returncode == 1 and "moved" in result.stderr
