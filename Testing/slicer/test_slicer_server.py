"""The process that the panel keeps between syntheses: over Qt's real QProcess and real processes.

Most servers here are small scripts that speak the protocol of ``relapet serve``, so that each way to end is quick; one
test asks the library's own.
"""

import inspect
import sys

import psutil
import pytest
from slicer_cases import write_results
from slicer_module import FakeProcess, load_part

SERVER = """
import json, os, shutil, subprocess, sys, threading, time
def say(**line): print(json.dumps(line), flush=True)
say(type="ready", version="0")
print("chatter")
for line in sys.stdin:
    asked = json.loads(line)
    number, kind, words = asked["id"], asked["type"], asked.get("argv", ["none"])
    say(type="progress", id=number, fraction=0.5, message=str(os.getpid()), remaining=None)
    if kind == "cancel":
        say(type="error", id=number, message="terminated", exit_code=143)
        say(type="end", id=number, exit_code=143, how="cancelled")
    elif words[0] == "synthesize":
        out = words[words.index("--out") + 1]
        shutil.copytree(sys.argv[1], out)
        files = {name: name for name in os.listdir(out)}
        say(type="result", id=number, command="synthesize", folder=out, files=files)
        say(type="end", id=number, exit_code=0, how="exited")
    elif words[0] == "refuse":
        say(type="error", id=number, message="odd; use --force", exit_code=2, accepted_by="--force", problem="odd")
        say(type="end", id=number, exit_code=2, how="exited")
    elif words[0] == "crash":
        say(type="error", id=number, message="it died", exit_code=1)
        say(type="end", id=number, exit_code=1, how="crashed")
    elif words[0] == "die":
        os.abort()
    elif words[0] == "stubborn":
        worker = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"])
        say(type="progress", id=number, fraction=0.6, message=str(worker.pid), remaining=None)
        time.sleep(120)
    elif words[0] == "result":
        say(type="result", id=number - 1, command="stale")
        say(type="text", id=number, text="a line")
        say(type="result", id=number, command="new")
        say(type="end", id=number, exit_code=0, how="exited")
"""


@pytest.fixture
def part(harness):
    return load_part("server")


@pytest.fixture
def server(part, harness, tmp_path):
    results = write_results(tmp_path / "results")
    server = part.Server([sys.executable, "-S", "-c", SERVER, str(results)])
    yield server
    server.stop()
    harness.process_events()


class Heard:
    """What one request told, and running it to its end."""

    def __init__(self, harness, server, *arguments):
        self.harness, self.endings, self.progress, self.log = harness, [], [], []
        self.child = server.process(
            list(arguments), onEnd=self.endings.append, onProgress=lambda *p: self.progress.append(p),
            onLog=self.log.append,
        )  # fmt: skip
        self.child.start()

    def ended(self):
        self.harness.process_events(lambda: self.endings, 60)
        self.harness.process_events()
        assert len(self.endings) == 1 and not self.child.running
        return self.endings[0]


def gone(pid):
    try:
        process = psutil.Process(pid)
        psutil.wait_procs([process], timeout=10)
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_one_process_for_several_requests(harness, server):
    first, second = Heard(harness, server, "result"), None
    ending = first.ended()
    assert ending.ok and ending.result["command"] == "new" and "a line" in first.log
    pid = server.processId()
    second = Heard(harness, server, "result")
    assert second.ended().ok and server.processId() == pid and second.progress[0][1] == first.progress[0][1]


def test_a_refusal_carries_the_option_that_accepts_it(harness, server):
    ending = Heard(harness, server, "refuse").ended()
    assert (ending.kind, ending.acceptedBy, ending.problem) == ("refused", "--force", "odd")


@pytest.mark.parametrize("how", ["crash", "die", "killed"])
def test_a_crash_loses_one_request(harness, server, how):
    heard = Heard(harness, server, "wait" if how == "killed" else how)
    if how == "killed":
        harness.process_events(lambda: heard.progress, 60)
        psutil.Process(server.processId()).kill()
    ending = heard.ended()
    assert ending.kind == "crashed" and "memory runs out" in ending.message
    assert server.running == (how == "crash")
    assert Heard(harness, server, "result").ended().ok, "the next one has a process"


def test_cancelling_asks_the_server_which_stays(harness, server):
    heard = Heard(harness, server, "wait")
    harness.process_events(lambda: heard.progress, 60)
    pid = server.processId()
    heard.child.cancel()
    heard.child.cancel()
    assert heard.ended().kind == "cancelled" and server.processId() == pid
    assert Heard(harness, server, "result").ended().ok


def test_a_stubborn_server_is_killed_with_its_children(harness, server, part, monkeypatch):
    monkeypatch.setattr(part, "PATIENCE", 0.2)
    heard = Heard(harness, server, "stubborn")
    harness.process_events(lambda: len(heard.progress) == 2, 60)
    heard.child.cancel()
    assert heard.ended().kind == "cancelled" and gone(int(heard.progress[1][1])) and not server.running


def test_waiting_for_the_end(harness, server):
    heard = Heard(harness, server, "wait")
    heard.child.cancel()
    heard.child.waitForEnd(10)
    assert heard.endings[0].kind == "cancelled"
    heard = Heard(harness, server, "stubborn")
    harness.process_events(lambda: len(heard.progress) == 2, 60)
    heard.child.cancel()
    heard.child.waitForEnd(0.2)
    assert heard.endings[0].kind == "cancelled" and gone(int(heard.progress[1][1]))


def test_stopping_ends_what_is_under_way(harness, server):
    heard = Heard(harness, server, "wait")
    harness.process_events(lambda: heard.progress, 60)
    pid = server.processId()
    server.stop()
    assert heard.endings[0].kind == "cancelled" and gone(pid) and not server.running


def test_it_ends_when_nobody_has_asked_for_a_while(harness, server, part, monkeypatch):
    monkeypatch.setattr(part, "IDLE", 0.1)
    assert Heard(harness, server, "result").ended().ok
    harness.process_events(lambda: not server.running, 30)


def test_another_environment_wants_another_process(harness, server, monkeypatch):
    assert Heard(harness, server, "result").ended().ok
    pid = server.processId()
    monkeypatch.setenv("RELAPET_HOME", "elsewhere")
    assert Heard(harness, server, "result").ended().ok and server.processId() != pid and gone(pid)


def test_a_server_that_cannot_be_started(harness, part, tmp_path):
    server = part.Server([str(tmp_path / "no program")])
    ending = Heard(harness, server, "result").ended()
    assert ending.kind == "failed" and "no program could not be started" in ending.message and not server.running


def test_without_a_server_in_the_library_each_has_its_process(harness, part, monkeypatch):
    process = load_part("process")
    assert isinstance(part.Server().process([], onEnd=print), part.Served)
    monkeypatch.setattr(part, "hasServer", lambda: False)
    assert isinstance(part.Server().process(["doctor"], onEnd=print), process.ChildProcess)


def test_the_librarys_own_server_answers(harness, part, tmp_path, monkeypatch):
    """Two requests of the real one: the log names no folder, a refusal is one, and the worker is the same."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    server = part.Server()
    try:
        heard = Heard(harness, server, "models", "path", "demo")
        assert heard.ended().ok and heard.endings[0].result["action"] == "path", heard.log
        workers = psutil.Process(server.processId()).children()
        refused = Heard(harness, server, "synthesize", "--t1w", str(tmp_path / "a" / "none.nii"), "--age", "71")
        assert refused.ended().kind == "refused" and "relapet synthesize --t1w none.nii --age ..." in refused.log
        assert psutil.Process(server.processId()).children() == workers and len(workers) == 1
    finally:
        server.stop()
    assert gone(workers[0].pid)


# The panel


@pytest.fixture
def kept(widget, server, scans):
    """The panel over a server of this file."""
    widget.logic.server, widget.logic.makeProcess = server, server.process
    return widget


def synthesize(harness, widget):
    widget.ui.synthesizeButton.click()
    harness.process_events(lambda: not widget.logic.running, 60)
    return widget.ui.statusLabel.text


def test_two_syntheses_of_the_panel_and_its_end(kept, harness, server):
    assert "Done" in synthesize(harness, kept)
    pid = server.processId()
    assert "Done" in synthesize(harness, kept) and server.processId() == pid
    harness.unload_module(kept)
    assert not server.running and gone(pid)


def test_closing_the_scene_ends_it(kept, harness, server):
    assert "Done" in synthesize(harness, kept)
    harness.clear_scene()
    assert not server.running


def test_installing_packages_ends_it(kept, harness, server, monkeypatch):
    install = load_part("install")
    monkeypatch.setattr(install, "installForExport", lambda wheels, onLine, onEnd: onEnd(None))
    monkeypatch.setattr(install, "pipInstall", lambda names, wheels, onLine, onEnd: onEnd(None))
    assert "Done" in synthesize(harness, kept)
    kept.install._export = ["pydicom"]
    kept.install.installForExport()
    assert server.running, "the export's packages lie apart from those that it has loaded"
    kept.install._missing = ["psutil"]
    kept.install.install()
    assert not server.running


def test_ten_requests_leave_nothing_behind(harness, slicer, server):
    from slicer_harness import pythonqt

    counts = []
    for _ in range(4):
        assert Heard(harness, server, "result").ended().ok
        server.stop()
        harness.process_events()
        counts.append(pythonqt.connections())
    assert counts[1:] == counts[1:2] * 3


def test_the_stand_in_has_what_the_real_ones_have(part):
    """`FakeProcess` would hide a call that they do not know, and they one that it does not."""
    real = (load_part("process").ChildProcess, part.Served)
    for name in ("start", "cancel", "waitForEnd"):
        wanted = list(inspect.signature(getattr(FakeProcess, name)).parameters)
        assert all(list(inspect.signature(getattr(each, name)).parameters) == wanted for each in real), name
    parameters = ["arguments", "onEnd", "onProgress", "onLog", "names"]
    for each in (*real, FakeProcess):
        assert set(parameters) <= set(inspect.signature(each).parameters)
