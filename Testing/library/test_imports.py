"""What importing costs, which room may import which, and who may print."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import RelAPETLib

PACKAGE = Path(RelAPETLib.__file__).parent

#: A room imports from the rows above its own, never from its own row or below.
LAYERS = [
    {"errors"},
    {"homes"},
    {"absent", "resources", "tracers", "grid", "notices", "scaling", "whole_files", "clinical", "host_memory"},
    {"jsonfiles", "outputs", "unnamed"},
    {"volumes", "diffusion", "devices", "counted_memory"},
    {"networks", "regions", "comparison", "registration", "suvr"},
    {"methods"},
    {"phantom", "preprocessing", "models", "evaluation"},
    {"provenance"},
    {"saved_pet"},
    {"report"},
    {"synthesis", "dicom_export"},
    {"cohort"},
    {"cli"},
    {"__main__"},
]
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {
    "torch",
    "monai",
    "SimpleITK",
    "nibabel",
    "matplotlib",
    "scipy",
    "sklearn",
    "statsmodels",
    "jsonschema",
    "pydicom",
    "highdicom",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def _room(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imported(file):
    """Dotted names that a file imports, relative ones made absolute, at file scope or in a function."""
    package = ("RelAPETLib", *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ([*base, alias.name] for alias in node.names)


def _modules_after(code):
    """Top-level names of the modules that a fresh interpreter loads for `code`."""
    report = (
        "import sys, json\nbefore = set(sys.modules)\n"
        f"try:\n    exec({code!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "names = sorted({name.split('.')[0] for name in set(sys.modules) - before})\n"
        "print('\\n' + json.dumps(names))"
    )
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_importing_the_package_needs_the_standard_library_alone():
    loaded = _modules_after("import RelAPETLib; assert RelAPETLib.__version__")
    assert "RelAPETLib" in loaded
    assert loaded - sys.stdlib_module_names <= {"RelAPETLib"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["synthesize", "--help"],
        ["models", "--help"],
        ["bids", "--help"],
        ["demo", "--help"],
        ["dicom", "--help"],
        ["evaluate", "--help"],
        ["regions", "--help"],
        ["report", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    loaded = _modules_after(f"from RelAPETLib.cli import main; raise SystemExit(main({arguments!r}))")
    assert "RelAPETLib" in loaded
    assert not loaded & HEAVY


def test_the_first_progress_line_waits_for_nothing_heavy(tmp_path):
    """Whatever is wrong with the options then: the panel has heard of its start before torch and SimpleITK come."""
    code = (
        "import json, os, sys\nfrom RelAPETLib.cli import main, progress\nloaded = []\n"
        "seen = progress.JsonReporter.progress\n"
        "def told(self, *line):\n    loaded.append(set(sys.modules))\n    seen(self, *line)\n"
        "progress.JsonReporter.progress = told\n"
        f"main(['synthesize', '--tracer', 'TAU', '--t1w', 'none', '--out', {str(tmp_path)!r}, '--progress', 'json'])\n"
        "print('\\n' + json.dumps(sorted(name.split('.')[0] for name in loaded[0])))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    first, last = result.stdout.splitlines()[0], result.stdout.splitlines()[-1]
    assert json.loads(first)["message"] == "starting", result.stderr
    assert not set(json.loads(last)) & (HEAVY | {"numpy"})


def test_a_heavy_command_would_be_seen():
    """The measure of the test above is not blind."""
    code = "from RelAPETLib.grid import MNI_GRID; MNI_GRID.reference_image()"
    assert _modules_after(code) & HEAVY == {"SimpleITK"}


def test_every_public_name_is_there():
    for name in RelAPETLib.__all__:
        assert getattr(RelAPETLib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        RelAPETLib.nonsense  # noqa: B018


def test_every_room_has_its_place():
    rooms = {_room(file) for file in FILES} - {"__init__"}
    assert rooms == set(LAYER), f"name the new room in LAYERS, or take the lost one out: {rooms ^ set(LAYER)}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    room = _room(file)
    for name in _imported(file):
        assert name[0] not in ("slicer", "qt", "vtk", "training", "Testing"), f"{file} imports {'.'.join(name)}"
        if name[0] != "RelAPETLib" or len(name) < 2 or name[1] in (room, "__version__") or room == "__init__":
            continue
        assert name[1] in LAYER, f"{file} imports {'.'.join(name)}, a room without a place in LAYERS"
        assert LAYER[name[1]] < LAYER[room], f"{file}: {room} imports upward from {name[1]}"


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if _room(file) not in ("cli", "__main__")],
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_only_the_command_line_prints(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{file}:{node.lineno} prints"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("stdout", "stderr"), f"{file}:{node.lineno} uses sys.{node.attr}"


def test_files_and_functions_stay_small():
    """At most 400 lines a file and 60 a function, its docstring left out: past that it wants to be taken apart."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{file} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0].lineno
                length = node.end_lineno - first + 1
                assert length <= 60, f"{file}:{node.lineno} {node.name} has {length} lines"
