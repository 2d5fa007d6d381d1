"""The Slicer module's child process: every way it can end, over Qt's real QProcess and real processes."""

import json
import os
import sys
import time

import psutil
import pytest
from slicer_module import load_part

PRINT = "import json, sys, time\ndef say(**line): print(json.dumps(line), flush=True)\n"


@pytest.fixture
def process(harness):
    return load_part("process")


class Heard:
    """What one child process told, and running it to its end."""

    def __init__(self, harness, process, script=None, command=None):
        self.harness, self.endings, self.progress, self.log = harness, [], [], []
        command = command or [sys.executable, "-c", PRINT + script]
        self.child = process.ChildProcess(
            [], onEnd=self.endings.append, onProgress=lambda *p: self.progress.append(p), onLog=self.log.append,
            command=command,
        )  # fmt: skip

    def run(self, timeout=60):
        self.child.start()
        return self.wait(timeout)

    def wait(self, timeout=60):
        self.harness.process_events(lambda: self.endings, timeout)
        self.harness.process_events()
        assert len(self.endings) == 1 and not self.child.running
        return self.endings[0]


def test_lines_come_whole_out_of_pieces(process):
    text = '{"type": "progress", "fraction": 0.5}\nüber den Berg\n[1, 2]\n{"type": 3}\n{"a": 1}\n'.encode()
    for size in (1, 3, 1000):
        lines = process.JsonLines()
        found = [item for start in range(0, len(text), size) for item in lines.feed(text[start : start + size])]
        assert found == [{"type": "progress", "fraction": 0.5}, "über den Berg", "[1, 2]", '{"type": 3}', '{"a": 1}']
    assert lines.feed(b"last") == [] and lines.flush() == ["last"]
    assert lines.feed(b"\xff\xfe broken\n") == ["\ufffd\ufffd broken"]
    assert len(lines.feed(b"x" * (2 << 20))) == 1, "an endless line does not fill the memory"


def test_a_success(harness, process):
    heard = Heard(
        harness,
        process,
        "say(type='progress', fraction=0.25, message='half way', remaining=9)\n"
        "say(type='warning', message='odd')\nprint('chatter')\nprint('moan', file=sys.stderr)\n"
        "say(type='result', command='synthesize', folder='x')",
    )
    ending = heard.run()
    assert ending.ok and ending.result["folder"] == "x"
    assert heard.progress == [(0.25, "half way", 9)]
    assert {"warning: odd", "chatter", "moan"} <= set(heard.log)


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("say(type='error', message='no such file: x', exit_code=2); sys.exit(2)", "refused", "no such file: x"),
        ("say(type='error', message='internal error', exit_code=1); sys.exit(1)", "failed", "internal error"),
        ("print('strange'); sys.exit(3)", "failed", "code 3 and no result: strange"),
        ("sys.exit(0)", "failed", "code 0 and no result: it said nothing"),
        ('print(\'{"type": "result"\'); sys.exit(0)', "failed", "no result"),
        ("print('[' * 100000)\nsay(type='progress', fraction='x')\nsay(type='result', a=float('nan'))", "done", "done"),
        ("import no_such_package_at_all", "failed", "no_such_package_at_all is missing; press Install"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed", "memory runs out"),
        ("import os; os.abort()", "crashed", "ended unexpectedly"),
    ],
    ids=["refusal", "bug", "exit code", "nothing", "bad JSON", "odd lines", "no package", "killed", "crash"],
)
def test_every_end_is_one_clear_message(harness, process, script, kind, words):
    ending = Heard(harness, process, script).run()
    assert ending.kind == kind and words in ending.message and "\n" not in ending.message


def test_the_library_itself_answers(harness, process):
    heard = Heard(harness, process, command=[load_part("library").pythonExecutable(), "-m", "RelAPETLib", "--version"])
    ending = heard.run()
    assert any(line.startswith("relapet") for line in heard.log), heard.log
    assert ending.kind == "failed" and "no result" in ending.message, "--version speaks no protocol"


def test_a_refusal_carries_the_option_that_accepts_it(harness, process):
    """And what is wrong, without the advice for a shell."""
    line = "type='error', message='odd; use --force', exit_code=2, accepted_by='--force', problem='odd'"
    ending = Heard(harness, process, f"say({line}); sys.exit(2)").run()
    assert (ending.acceptedBy, ending.problem, ending.message) == ("--force", "odd", "odd; use --force")


def test_a_program_that_cannot_be_started(harness, process, tmp_path):
    ending = Heard(harness, process, command=[str(tmp_path / "no program")]).run()
    assert ending.kind == "failed" and "could not be started" in ending.message


def test_cancelling_lets_the_program_clean_up(harness, process, tmp_path):
    mark = tmp_path / "cleaned"
    heard = Heard(
        harness,
        process,
        "import signal\ndef stop(*_):\n"
        f"    open({str(mark)!r}, 'w').close(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\nsay(type='progress', fraction=0.1, message='m')\ntime.sleep(60)",
    )
    heard.child.start()
    harness.process_events(lambda: heard.progress, 60)
    heard.child.cancel()
    heard.child.cancel()  # impatient clicks change nothing
    ending = heard.wait()
    assert ending.kind == "cancelled" and mark.exists()


def test_a_stubborn_program_is_killed_with_its_children(harness, process, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "PATIENCE", 0.3)
    heard = Heard(
        harness,
        process,
        "import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])\n"
        "say(type='progress', fraction=0.1, message=str(worker.pid))\ntime.sleep(120)",
    )
    heard.child.start()
    harness.process_events(lambda: heard.progress, 60)
    worker = psutil.Process(int(heard.progress[0][1]))
    heard.child.cancel()
    assert heard.wait().kind == "cancelled"
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_result_that_comes_after_cancelling_is_not_taken(harness, process):
    heard = Heard(
        harness,
        process,
        "import signal\ndef stop(*_):\n    say(type='result', command='synthesize'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\nsay(type='progress', fraction=0.99, message='m')\ntime.sleep(60)",
    )
    heard.child.start()
    harness.process_events(lambda: heard.progress, 60)
    heard.child.cancel()
    assert heard.wait().kind == "cancelled"


def test_waiting_for_the_end_ends_it(harness, process):
    heard = Heard(harness, process, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(120)")
    heard.child.start()
    harness.process_events(lambda: heard.child._process.processId() > 0, 10)
    heard.child.cancel()
    heard.child.waitForEnd(0.3)
    assert not heard.child.running and heard.endings[0].kind == "cancelled"


def test_qt_goes_on_between_progress_messages(harness, process):
    """Two seconds without a word from the child: the panel's timer ticks all the while."""
    import qt

    heard = Heard(
        harness,
        process,
        "say(type='progress', fraction=0.1, message='a')\ntime.sleep(2)\n"
        "say(type='progress', fraction=0.9, message='b')\n"
        "say(type='result', command='synthesize')",
    )
    ticks = []
    timer = qt.QTimer()
    timer.setInterval(20)
    timer.connect("timeout()", lambda: ticks.append((len(heard.progress), time.monotonic())))
    timer.start()
    assert heard.run().ok
    timer.stop()
    between = [moment for count, moment in ticks if count == 1]
    assert len(between) > 20, "the timer stood still while the child was silent"


def test_the_environment_of_the_child(harness, process, tmp_path):
    script = "import os, RelAPETLib\nsay(type='result', library=RelAPETLib.__file__, utf8=sys.flags.utf8_mode)"
    os.environ["PYTHONPATH"], before = str(tmp_path), os.environ.get("PYTHONPATH")
    try:
        result = Heard(harness, process, script).run().result
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.__setitem__("PYTHONPATH", before)
    assert result["utf8"] == 1
    assert json.dumps(str(load_part("library").libraryParent()))[1:-1] in result["library"]
