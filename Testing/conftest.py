"""What all tests share."""

import gc
import os
import random
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from slicer_cases import departed, pair, put, saved, scans, tiny_metadata, widget  # noqa: F401
from slicer_drawing import chosen, meant  # noqa: F401
from slicer_harness.fixtures import harness, sample, slicer, slicer_booted  # noqa: F401

os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parents[1]

# A run of the tests draws what the last one drew: what fails, fails again, and on whatever worker it runs.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_configure():
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """What collecting made lives as long as the tests: a million objects, no longer looked through for garbage.

    Nor is the rest looked through as often as Python does by itself, which takes a twentieth of some files' time.
    """
    gc.freeze()
    gc.set_threshold(7000)
    gc.enable()


def seed_global_generators(name: str):
    """Start Python's, numpy's and torch's global generators anew, each as ``name`` says."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    seed_global_generators(f"fixture {fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    seed_global_generators(f"test {item.originalname}")


@pytest.fixture(scope="session", autouse=True)
def _own_relapet_home(tmp_path_factory):
    """Models and logs of a test go to a temporary folder, never to the home of whoever runs the tests."""
    before = os.environ.get("RELAPET_HOME")
    os.environ["RELAPET_HOME"] = str(tmp_path_factory.mktemp("relapet_home"))
    yield
    if before is None:
        del os.environ["RELAPET_HOME"]
    else:
        os.environ["RELAPET_HOME"] = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference numbers and real scans kept outside the repository; without it the test is skipped."""
    folder = Path(os.environ.get("RELAPET_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set RELAPET_SHARED to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def real_pair(shared) -> tuple[Path, Path]:
    """Raw T1w and FLAIR of one real person."""
    folder = shared / "data" / "open_ms"
    files = folder / "patient01_study1_T1W.nii.gz", folder / "patient01_study1_FLAIR.nii.gz"
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {folder}")
    return files


@pytest.fixture
def as_nobody():
    """Folder of a user whom file permissions bind, as which the test runs: they do not bind root."""
    folder = Path(tempfile.mkdtemp())
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tiny_latent(tmp_path_factory) -> Path:
    """Bundle of a small latent model with random weights (SUVR output, all tracers)."""
    from cases import write_tiny_latent

    return write_tiny_latent(tmp_path_factory.mktemp("models") / "tiny-latent")


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all processes of a run of the tests. Not to be written to."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with FileLock(root / f"{name}.lock"):
        if not (root / name).exists():
            part = root / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(root / name)
    return root / name


@pytest.fixture(scope="session")
def grid_case(tmp_path_factory) -> dict[str, Path]:
    """Files of a plain brain on the model grid: ``t1w``, ``t2f``, ``pet`` in SUVR. Not to be written to."""
    from cases import write_grid_case

    folder = made_once(tmp_path_factory, "grid_case", write_grid_case)
    return {name: folder / f"{name}.nii.gz" for name in ("t1w", "t2f", "pet")}


@pytest.fixture(scope="session")
def two_people(tmp_path_factory, grid_case) -> Path:
    """A cache of two people of `grid_case` on the whole grid, both to train on. Not to be written to."""
    from training_launch import write_cache

    return made_once(tmp_path_factory, "two_people", lambda folder: write_cache(folder, grid_case)) / "cache"


@pytest.fixture(scope="session")
def eight_people(tmp_path_factory) -> Path:
    """A cache of eight simulated people of seed 4 in blocks of 10 mm, without a split. Not to be written to."""
    from training_cases import SEED, prepare_simulated

    return made_once(tmp_path_factory, f"eight_people_{SEED}", lambda folder: prepare_simulated(folder, 8))


@pytest.fixture
def free(monkeypatch) -> dict[str, float]:
    """Bytes that are free by device, as a test sets them; a device that is not among them does not say."""
    from RelAPETLib.synthesis import memory

    known: dict[str, float] = {}
    monkeypatch.setattr(memory, "free_memory", known.get)
    monkeypatch.setattr(memory, "most_memory", lambda: known["cpu"])
    return known
