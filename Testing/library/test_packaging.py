"""The Slicer extension as CMake packs it: nothing forgotten, works where installed, fit for the Extensions Index."""

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path("lib", "Slicer-0.0", "qt-scripted-modules")  # as Testing/cmake/UseSlicer.cmake has it
MEGABYTE = 2**20

#: CMake file, its list, the folder listed, and what of that folder the list should hold.
LISTS = {
    "module's scripts": ("RelAPET", "MODULE_PYTHON_SCRIPTS", "RelAPET", r".*\.py"),
    "module's resources": ("RelAPET", "MODULE_PYTHON_RESOURCES", "RelAPET", r"Resources/.*"),
    "library": ("RelAPETLib", "MODULE_PYTHON_SCRIPTS", "RelAPETLib", r"(?!CMakeLists\.txt$|README\.md$).*"),
    "shipped data": ("RelAPETLib", "RelAPET_SHIPPED_RESOURCES", "Resources", r"(?!pictures/).*"),
}


def files_of(folder: str = ".") -> list[str]:
    """Tracked and new files, as paths relative to the folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True, check=True).stdout
    return sorted({name for name in found.split("\0") if name and (ROOT / folder / name).is_file()})


def cmake_text(folder: str = ".") -> str:
    return (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")


def cmake_value(text: str, name: str) -> str:
    """What ``set(name ...)`` sets, quotes taken off, ``${MODULE_NAME}`` put in."""
    (value,) = re.findall(rf"^set\(\s*{name}\s+(.*?)\s*\)$", text, re.MULTILINE | re.DOTALL)
    if "${MODULE_NAME}" in value:
        value = value.replace("${MODULE_NAME}", cmake_value(text, "MODULE_NAME"))
    return value.strip('"')


def compare(listed: list[str], there: list[str]) -> list[str]:
    """What is wrong with a list, one sentence each."""
    return (
        [f"listed twice: {name}" for name in sorted({n for n in listed if listed.count(n) > 1})]
        + [f"not listed: {name}" for name in sorted(set(there) - set(listed))]
        + [f"listed but not there: {name}" for name in sorted(set(listed) - set(there))]
    )


@pytest.mark.parametrize("what", LISTS)
def test_every_file_is_listed(what):
    cmake, variable, folder, wanted = LISTS[what]
    listed = cmake_value(cmake_text(cmake), variable).split()
    there = [name for name in files_of(folder) if re.fullmatch(wanted, name)]
    assert compare(listed, there) == []
    assert compare(listed[:-1], there) == [f"not listed: {listed[-1]}"]
    assert compare(listed, there[1:]) == [f"listed but not there: {there[0]}"]
    assert compare([*listed, listed[0]], there) == [f"listed twice: {listed[0]}"]


def test_nothing_else_lies_in_the_modules_folder():
    rest = [name for name in files_of("RelAPET") if not re.fullmatch(r".*\.py|Resources/.*", name)]
    assert rest == ["CMakeLists.txt", "README.md", "RelAPET.json"]


def _cmake(*arguments) -> str:
    program = shutil.which("cmake")
    if program is None:
        pytest.skip("cmake is not installed: the extension's layout is not checked")
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def install(source: Path, folder: Path) -> Path:
    """Configures a checkout over the stand-in for Slicer and installs it; the folder of scripted modules.

    ``project()`` asks for compilers, as Slicer's own use file needs them. Nothing is compiled here, so none is wanted.
    """
    compilers = [
        f"-DCMAKE_{language}_COMPILER{key}"
        for language in ("C", "CXX")
        for key in (f"={sys.executable}", "_FORCED=1", "_ID_RUN=1", "_WORKS=1")
    ]
    slicer = Path(__file__).parents[1] / "cmake"
    _cmake("-S", source, "-B", folder / "build", f"-DSlicer_DIR={slicer}", *compilers)
    _cmake("--install", folder / "build", "--prefix", folder / "Slicer")
    return folder / "Slicer" / MODULES


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(ROOT, tmp_path_factory.mktemp("extension with space"))


def _python(installed, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RELAPET_RESOURCES")}
    environment |= {"PYTHONPATH": str(installed), "RELAPET_HOME": str(cwd / "home")}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=550)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_installed_tree_is_exactly_what_is_listed(installed):
    expected = set()
    for cmake, variable, _, _ in LISTS.values():
        prefix = {"RelAPET": "", "RelAPETLib": "RelAPETLib/"}[cmake]
        prefix += "_resources/" if variable == "RelAPET_SHIPPED_RESOURCES" else ""
        expected |= {prefix + name for name in cmake_value(cmake_text(cmake), variable).split()}
    there = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {name for name in there if "__pycache__" not in name} == expected
    for name in files_of("Resources"):
        if name.startswith("pictures/"):  # of the README
            continue
        assert (installed / "RelAPETLib" / "_resources" / name).read_bytes() == (ROOT / "Resources" / name).read_bytes()


def test_file_that_is_missing_stops_cmake(tmp_path):
    for name in files_of():
        if name.startswith(("RelAPET/", "RelAPETLib/")) or name == "CMakeLists.txt":
            (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    (tmp_path / "checkout" / "RelAPETLib" / "grid.py").unlink()
    with pytest.raises(AssertionError, match=r"module RelAPETLib: no file 'grid\.py'"):
        install(tmp_path / "checkout", tmp_path)


def test_library_works_where_it_is_installed(installed, tmp_path):
    code = (
        "import json, RelAPETLib\nfrom RelAPETLib.resources import resource\n"
        "demo = resource('models', 'demo', 'model.safetensors')\n"
        "print(json.dumps([RelAPETLib.__file__, str(demo), RelAPETLib.__version__]))"
    )
    library, demo, version = json.loads(_python(installed, "-c", code, cwd=tmp_path))
    assert Path(library) == installed / "RelAPETLib" / "__init__.py"
    assert Path(demo).is_relative_to(installed / "RelAPETLib" / "_resources")
    assert _python(installed, "-m", "RelAPETLib", "--version", cwd=tmp_path).split()[-1] == version
    assert "demo" in _python(installed, "-m", "RelAPETLib", "models", "list", cwd=tmp_path)
    assert str(installed) in _python(installed, "-m", "RelAPETLib", "doctor", cwd=tmp_path)


@pytest.mark.slow
def test_demo_runs_where_it_is_installed(installed, tmp_path):
    out = tmp_path / "aus gabe ü"
    _python(installed, "-m", "RelAPETLib", "demo", "--tracer", "TAU", "--out", out, "--device", "cpu", cwd=tmp_path)
    assert list(out.rglob("synthetic_pet.nii.gz"))
    (told,) = out.rglob("synthetic_pet.json")
    assert json.loads(told.read_text(encoding="utf-8"))["model"]["name"] == "demo"


def test_icon():
    header = (ROOT / "RelAPET" / "Resources" / "Icons" / "RelAPET.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_line_ends_and_sizes():
    contents = {name: (ROOT / name).read_bytes() for name in files_of()}
    assert [name for name, data in contents.items() if b"\0" not in data[:8192] and b"\r" in data] == []
    assert [name for name, data in contents.items() if len(data) > 20 * MEGABYTE] == []
    assert sum(map(len, contents.values())) < 100 * MEGABYTE


def test_module_parses_in_old_slicers():
    """Slicer 5.8 and older have Python 3.9: the module must load there, if only to say what it wants."""
    names = [name for name in files_of("RelAPET") if name.endswith(".py")]
    assert "RelAPET.py" in names
    for name in names:
        ast.parse((ROOT / "RelAPET" / name).read_text(encoding="utf-8"), name, feature_version=(3, 9))
