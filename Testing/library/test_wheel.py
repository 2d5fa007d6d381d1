"""The wheel, made from the source distribution, works in an empty environment far from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def _run(*command, cwd, **extra):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RELAPET_RESOURCES")}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment | extra, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """`build` makes the sdist, unpacks it elsewhere and makes the wheel of that."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert len(list(out.glob("relapet-*.tar.gz"))) == 1
    (found,) = out.glob("relapet-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder of an environment that has this wheel and sees the dependencies of the one that runs the tests.

    A path file shows it their folder; path files inside that folder (an editable install's) have no effect there.
    """
    folder = tmp_path_factory.mktemp("environment with space")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder / "venv")
    bin_folder = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = bin_folder / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    site = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    Path(site, "dependencies_of_the_tests.pth").write_text("\n".join(dependencies) + "\n", encoding="utf-8")
    return bin_folder


def test_wheel_holds_the_library_and_every_resource(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = _run("git", "ls-files", "Resources", "RelAPETLib", cwd=ROOT).splitlines()
    assert "Resources/template/t1.nii.gz" in tracked
    assert not [name for name in names if "_resources/pictures" in name], "pictures of the README are not for the wheel"
    for name in set(tracked) - {"RelAPETLib/CMakeLists.txt", "RelAPETLib/README.md"}:
        if name.startswith("Resources/pictures/"):
            continue
        expected = "RelAPETLib/_resources" + name.removeprefix("Resources") if name.startswith("Resources") else name
        assert expected in names
    assert not {"RelAPETLib/CMakeLists.txt", "RelAPETLib/README.md"} & set(names)
    tops = {name.split("/")[0] for name in names}
    assert len(tops) == 2  # nothing of training, tests or tools
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_library_and_resources_come_from_the_wheel(installed, tmp_path):
    code = (
        "import json, RelAPETLib\nfrom RelAPETLib.resources import resources_dir\n"
        "print(json.dumps([RelAPETLib.__file__, str(resources_dir()), RelAPETLib.__version__]))"
    )
    library, resources, version = json.loads(_run(installed / "python", "-c", code, cwd=tmp_path))
    assert Path(library).is_relative_to(installed.parent)
    assert Path(resources) == Path(library).parent / "_resources"
    assert _run(installed / "relapet", "--version", cwd=tmp_path).split()[-1] == version


def test_first_stage_of_the_demo(installed, tmp_path):
    """Simulating a person takes the template and the regions out of the wheel."""
    out = tmp_path / "phantoms with space"
    home = tmp_path / "home"
    _run(
        installed / "relapet",
        "phantom",
        "--subjects",
        1,
        "--seed",
        3,
        "--out",
        out,
        cwd=tmp_path,
        RELAPET_HOME=str(home),
    )
    scans = sorted(path.name for path in out.rglob("*.nii.gz"))
    assert any(name.endswith("_T1w.nii.gz") for name in scans)
    assert any(name.endswith("_FLAIR.nii.gz") for name in scans)
    code = (
        "import sys; from RelAPETLib.volumes import *; [check_volume(read_volume(path), path) for path in sys.argv[1:]]"
    )
    _run(installed / "python", "-c", code, *out.rglob("*_T1w.nii.gz"), cwd=tmp_path)
