"""No circles: a module is below another or above it, and never both."""

import ast
import graphlib
from pathlib import Path

import pytest

import RelAPETLib

ROOT = Path(RelAPETLib.__file__).parents[1]
PACKAGES = ("RelAPETLib", "training", "RelAPET", "Testing/benchmarks")


def modules(root: Path) -> dict[str, Path]:
    """Files by dotted name, of all packages."""
    found = (file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in found}


def imports(tree: ast.AST):
    """Import statements of a file, in functions too; those that only type checkers read are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(node)


def imported(name: str, files: dict[str, Path]) -> set[str]:
    """Modules of ours that one of ours imports; a package counts where something that it defines is taken."""
    file, found = files[name], set()
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in imports(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = [*package[: len(package) - node.level + 1]] if node.level else []
        base = ".".join([*base, *(node.module.split(".") if node.module else [])])
        found |= {whole if (whole := f"{base}.{alias.name}") in files else base for alias in node.names}
    return found & files.keys() - {name}


def circle(root: Path) -> list[str]:
    """Modules that import each other, the first again at the end; empty where none do."""
    files = modules(root)
    try:
        graphlib.TopologicalSorter({name: imported(name, files) for name in files}).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_module_imports_one_that_imports_it():
    assert len(modules(ROOT)) > 500
    found = circle(ROOT)
    assert not found, " -> ".join(found)


@pytest.mark.parametrize("how", ["from .b import f", "def g():\n    from . import b", "import training.b"])
def test_a_circle_is_seen(tmp_path, how):
    folder = tmp_path / "training"
    folder.mkdir()
    for name, text in (("__init__", ""), ("a", how), ("b", "from .c import h"), ("c", "from .a import g")):
        (folder / f"{name}.py").write_text(text)
    assert set(circle(tmp_path)) == {"training.a", "training.b", "training.c"}
    (folder / "c.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import g\n")
    assert circle(tmp_path) == []
