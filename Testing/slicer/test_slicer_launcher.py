"""The Slicer module's child process below Slicer's launcher, over a stand-in of that with real processes."""

import os
import sys

import psutil
import pytest
from slicer_harness.launcher import install_launcher
from slicer_module import load_part

SAY = "import json, sys, time\ndef say(**line): print(json.dumps(line), flush=True)\n"


@pytest.fixture
def site(monkeypatch, tmp_path):
    """The folder of Slicer's own packages, below a launcher on PATH."""
    return install_launcher(monkeypatch, tmp_path)


@pytest.fixture
def run(harness, site):
    """Starts a command below the launcher: a script, or a command of the library; ``wait()`` gives its ending."""
    process, endings, log, progress = load_part("process"), [], [], []

    def start(script=None, arguments=()):
        command = [load_part("library").pythonExecutable(), "-S", "-c", SAY + script] if script else None
        child = process.ChildProcess(
            list(arguments), onEnd=endings.append, onProgress=lambda *p: progress.append(p), onLog=log.append,
            command=command,
        )  # fmt: skip
        child.log, child.progress = log, progress
        child.begun = lambda: harness.process_events(lambda: progress, 60)
        child.wait = lambda: harness.process_events(lambda: endings, 60) or endings[0]
        child.start()
        return child

    return start


def test_the_exports_packages_come_before_slicers_own(run, site, monkeypatch, tmp_path):
    """Slicer 5.10 has a pydicom that highdicom cannot use; other commands have Slicer's all the same."""
    folder = tmp_path / "own"
    for place in (site, folder):
        place.mkdir(exist_ok=True)
        (place / "whose_package.py").touch()
    (folder / "RelAPETLib").mkdir()
    for name in ("__init__", "__main__"):
        (folder / "RelAPETLib" / f"{name}.py").touch()
    (folder / "RelAPETLib" / "__main__.py").write_text(
        "import json, sys, whose_package\n"
        "print(json.dumps({'type': 'result', 'where': whose_package.__file__, 'argv': sys.argv[1:]}))\n"
    )
    monkeypatch.setattr(load_part("process"), "exportFolder", lambda: folder)
    child = run(arguments=["dicom", "--pet", "x"])
    ending = child.wait()
    assert ending.ok, (ending, child.log)
    assert ending.result["where"] == str(folder / "whose_package.py")
    assert ending.result["argv"] == ["dicom", "--pet", "x", "--progress", "json"]
    assert "runpy" not in child.log[0] and str(tmp_path) not in child.log[0]
    assert load_part("process").libraryCommand(["synthesize"])[1:] == ["-m", "RelAPETLib", "synthesize"]


def test_the_librarys_own_commands_run_so(run, site, monkeypatch, tmp_path):
    """Whatever lies in the folder that Slicer was started in: Python 3.11 and later can be told to leave it alone."""
    here = tmp_path / "here"
    here.mkdir()
    if sys.version_info >= (3, 11):
        (here / "argparse.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(here)
    ending = run(arguments=["report", "no such folder"]).wait()
    assert ending.kind == "refused" and "no such folder" in ending.message, ending


def test_cancelling_lets_what_the_launcher_runs_clean_up(run, tmp_path):
    mark = tmp_path / "cleaned"
    child = run(
        "import signal\ndef stop(*_):\n"
        f"    time.sleep(0.2); open({str(mark)!r}, 'w').close(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\nsay(type='progress', fraction=0.1, message='m')\ntime.sleep(60)"
    )
    child.begun()
    child.cancel()
    assert child.wait().kind == "cancelled" and mark.exists()


def test_what_does_not_end_is_killed_below_the_launcher_too(run, monkeypatch):
    monkeypatch.setattr(load_part("process"), "PATIENCE", 0.3)
    child = run(
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "say(type='progress', fraction=0.1, message=str(os.getpid()))\ntime.sleep(120)"
    )
    child.begun()
    python = psutil.Process(int(child.progress[0][1]))
    child.cancel()
    assert child.wait().kind == "cancelled"
    psutil.wait_procs([python], timeout=10)
    assert not python.is_running() or python.status() == psutil.STATUS_ZOMBIE


def test_a_crash_below_the_launcher_is_told_as_one(run):
    ending = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").wait()
    assert ending.kind == "crashed" and "memory runs out" in ending.message


def test_an_error_below_the_launcher_keeps_its_words(run):
    ending = run("say(type='error', message='no such file: x', exit_code=2); sys.exit(2)").wait()
    assert (ending.kind, ending.message) == ("refused", "no such file: x")


def test_nobody_elses_processes_are_looked_at_once_it_is_gone(harness, monkeypatch):
    """Qt's number of a process that is gone is 0, which on macOS and Windows is the system's own, above all others."""
    process = load_part("process")
    monkeypatch.setattr(psutil, "Process", lambda pid: pytest.fail(f"looked at {pid}"))
    assert process.descendants(0) == [] and process.memory(0) == 0
    assert not process.terminateBelow(os.path.join("bin", "PythonSlicer"), 0)
    assert not process.terminateBelow(sys.executable, os.getpid()), "only what a launcher runs is asked in its place"
