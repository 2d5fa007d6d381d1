"""A set of files is there whole or not at all, and nobody else's files are touched."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from RelAPETLib import outputs
from RelAPETLib.errors import OutputError, RelAPETError
from RelAPETLib.outputs import STAGING, check_destination, reserve, write_set

ROOT = Path(__file__).resolve().parents[2]


def _text(words):
    return lambda path: path.write_text(words)


def _tree(folder):
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_writes_into_a_new_folder(tmp_path):
    out = tmp_path / "new ü folder" / "deeper"
    paths = write_set(out, {"a.txt": _text("A"), "b.txt": _text("B")})
    assert [p.name for p in paths] == ["a.txt", "b.txt"] and _tree(out) == {"a.txt": "A", "b.txt": "B"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failing_writer_leaves_nothing(tmp_path, error):
    def fail(path):
        path.write_text("half")
        raise error("stopped")

    with pytest.raises(error):
        write_set(tmp_path / "x" / "y", {"a.txt": _text("A"), "b.txt": fail})
    assert _tree(tmp_path) == {}


def test_an_existing_file_is_kept_without_overwrite_and_replaced_with_it(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.txt exists already; use --overwrite"):
        write_set(tmp_path, {"a.txt": _text("new")})
    assert _tree(tmp_path) == {"a.txt": "old", "mine.txt": "mine"}
    write_set(tmp_path, {"a.txt": _text("new")}, overwrite=True)
    assert _tree(tmp_path) == {"a.txt": "new", "mine.txt": "mine"}


def test_overwrite_removes_what_an_earlier_run_wrote_and_nothing_else(tmp_path):
    for name in ("pet", "uncertainty", "mine"):
        (tmp_path / name).write_text("old")
    write_set(tmp_path, {"pet": _text("new")}, owned=("pet", "uncertainty", "difference"), overwrite=True)
    assert _tree(tmp_path) == {"pet": "new", "mine": "old"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["a", "b"])
def test_a_failure_between_two_renames_puts_the_old_files_back(tmp_path, monkeypatch, failing, error):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(f"old {name}")

    def fail(source, target):
        if target == tmp_path / failing and "/new/" in str(source):
            raise error
        real[0](source, target)

    real = [os.link]
    monkeypatch.setattr("RelAPETLib.outputs.os.link", fail)
    monkeypatch.setattr("RelAPETLib.outputs.os.rename", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)) as raised:
        write_set(tmp_path, {"a": _text("new"), "b": _text("new")}, owned=("a", "b", "c"), overwrite=True)
    if isinstance(error, OSError):
        assert str(raised.value).endswith("No space left on device; nothing was changed there")
    assert _tree(tmp_path) == {"a": "old a", "b": "old b", "c": "old c"}


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("RelAPETLib.outputs.os.link", refuse)
    write_set(tmp_path, {"a": _text("A")})
    assert _tree(tmp_path) == {"a": "A"}

    def meanwhile(path):
        path.write_text("ours")
        (tmp_path / "b").write_text("theirs")

    with pytest.raises(OutputError, match="b exists already"):
        write_set(tmp_path, {"b": meanwhile})
    assert _tree(tmp_path) == {"a": "A", "b": "theirs"}


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    """Another program, which knows nothing of our lock, writes one of the files during the work."""

    def meanwhile(path):
        path.write_text("ours")
        (tmp_path / "b").write_text("theirs")

    with pytest.raises(OutputError, match="b exists already"):
        write_set(tmp_path, {"a": meanwhile, "b": _text("ours")})
    assert _tree(tmp_path) == {"b": "theirs"}


def test_folders_are_outputs_too(tmp_path):
    def build(path):
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "file").write_text("new")

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(OutputError, match="model exists already"):
        write_set(tmp_path, {"model": build}, folders=["model"])
    with pytest.raises(OutputError, match="model is a folder"):
        write_set(tmp_path, {"model": build}, overwrite=True)
    write_set(tmp_path, {"model": build}, overwrite=True, folders=["model"])
    assert _tree(tmp_path / "model") == {"inner": None, "inner/file": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_messages_do_not_name_temporary_files(tmp_path):
    def refuse(path):
        raise OutputError(f"cannot write {path}: it is Tuesday")

    with pytest.raises(OutputError) as raised:
        write_set(tmp_path, {"a": refuse})
    assert str(raised.value) == f"cannot write {tmp_path / 'a'}: it is Tuesday"


# Two runs


def test_a_second_run_into_the_same_folder_is_refused_at_once(tmp_path):
    out = tmp_path / "new" / "out"
    with reserve(out, ["a"]) as place:
        for overwrite in (False, True):
            with (
                pytest.raises(OutputError, match=f"another run is writing to {out}; wait"),
                reserve(out, ["a"], overwrite=overwrite),
            ):
                pass
        write_set(place, {"a": _text("first")})
        with reserve(tmp_path / "new" / "other"):
            pass
    assert _tree(out) == {"a": "first"} and [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    with pytest.raises(OutputError, match="a exists already"), reserve(out, ["a"]):
        pass


def test_entries_of_one_folder_are_reserved_apart(tmp_path):
    with reserve(tmp_path, entry="one"), reserve(tmp_path, entry="two"):
        with pytest.raises(OutputError, match="another run is writing to .*one"), reserve(tmp_path, entry="one"):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_many_runs_at_once_one_wins_whole(tmp_path, overwrite):
    """Processes begin together and again and again; the folder holds the files of one of those that ended 0."""
    script = """
import os, sys, time
from pathlib import Path
from RelAPETLib.errors import OutputError, RelAPETError
from RelAPETLib.outputs import write_set
out, me, overwrite, start = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True", float(sys.argv[4])
os.fsync = lambda descriptor: None
time.sleep(max(0, start - time.time()))
done = 0
for turn in range(30):
    try:
        write_set(out, {n: lambda p: p.write_text(f"{me} {turn}") for n in "abc"}, owned="abcd", overwrite=overwrite)
        done += 1
    except OutputError as error:
        assert "another run is writing" in str(error) or "exists already" in str(error), error
print(done)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    start = str(time.time() + 0.5)
    runs = [
        subprocess.Popen(
            [*command, str(i), str(overwrite), start], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        for i in range(3)
    ]
    told = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    done = sum(int(out) for out, _ in told)
    assert done >= 1 if overwrite else done == 1
    tree = _tree(tmp_path / "out")
    assert set(tree) == {"a", "b", "c"} and len(set(tree.values())) == 1


# Killed runs

_KILLED = """
import json, os, signal, sys
from pathlib import Path
from RelAPETLib.errors import OutputError, RelAPETError
from RelAPETLib.notices import listening
from RelAPETLib.outputs import write_set

root, overwrite = Path(sys.argv[1]), sys.argv[2] == "True"
os.fsync = lambda descriptor: None  # a killed process loses nothing that it has written; power cuts are not tested
EVENTS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "open"}

def text(words):
    return lambda path: path.write_text(words)

def build(words):
    def fill(path):
        path.mkdir()
        (path / "inner").write_text(words)
    return fill

def write(out, words, overwrite):
    writers = {"a": text(words), "b": build(words), "c": text(words)}
    write_set(out, writers, owned=["old only"], overwrite=overwrite, folders=["b"])

def tree(out):
    files = sorted(out.rglob("*")) if out.exists() else []
    return {str(p.relative_to(out)): p.read_text() for p in files if p.is_file()}

def child(out, stop_at):
    left = [stop_at]
    def hook(event, _):
        if event in EVENTS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    write(root / "warm up", "x", True)  # what is imported late is imported now
    sys.addaudithook(hook)
    write(out, "new", overwrite)
    os._exit(0)

for stop_at in range(1, 500):
    out = root / str(stop_at)
    if overwrite:
        write(out, "old", False)
        (out / "old only").write_text("old")
    pid = os.fork()
    if not pid:
        child(out, stop_at)
    status = os.waitpid(pid, 0)[1]
    notes, refused, seen = [], None, tree(out)
    with listening(notes.append):
        try:
            write(out, "next", False)
        except OutputError as error:
            refused = str(error)
    print(json.dumps({"tree": tree(out), "refused": refused, "notes": notes, "last seen": seen.get("c")}))
    with listening(notes.append):
        write(out, "last", True)
    assert tree(out) == {"a": "last", "b/inner": "last", "c": "last"}, (stop_at, tree(out))
    if os.WIFEXITED(status):
        break
"""


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lock_that_was_left_where_the_system_has_none_is_named(tmp_path, monkeypatch):
    """There filelock lets a file stand for a lock, which a run that another machine killed leaves for ever."""
    fcntl = pytest.importorskip("fcntl")
    from training.data.cache import alone_in

    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", without)
    for hold, lock in ((reserve, tmp_path / STAGING / "lock"), (alone_in, tmp_path / ".lock")):
        with hold(tmp_path):
            pass
        lock.parent.mkdir(exist_ok=True)
        lock.write_text("4194303\nanother machine\n")
        with pytest.raises(RelAPETError, match=re.escape(f"if that run was killed, remove {lock}")), hold(tmp_path):
            pass
        lock.unlink()
        with hold(tmp_path):
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_killed_at_any_step_loses_and_blocks_nothing(tmp_path, overwrite):
    """SIGKILL at every file operation of a write in turn; then a plain run, and one that overwrites."""
    result = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), str(overwrite)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) > 20
    old = {"a": "old", "b/inner": "old", "c": "old", "old only": "old"}
    new, following = ({"a": words, "b/inner": words, "c": words} for words in ("new", "next"))
    assert lines[-1]["tree"] == new, "the last child was not killed"
    states = [line["tree"] for line in lines]
    assert all(tree in ((old, new) if overwrite else (new, following)) for tree in states)
    assert states.index(new) > 15 and states[states.index(new) :] == [new] * (len(states) - states.index(new))
    for line in lines:
        assert (line["refused"] is None) == (line["tree"] == following)
    if overwrite:
        put_back = [line for line in lines if any("put back" in note for note in line["notes"])]
        assert len(put_back) >= 8 and all(line["tree"] == old for line in put_back)
        assert all("put back the outputs" in line["refused"] for line in put_back), "said where a warning is not shown"
    complete = [line for line in lines if line["last seen"] == "new"]  # whoever saw the last output may have gone on
    assert len(complete) > 3 and all(line["tree"] == new for line in complete)
    assert any("removed what an interrupted run left" in note for line in lines for note in line["notes"])


def test_a_stop_on_request_after_the_last_output_takes_nothing_back(tmp_path, monkeypatch):
    """Another run may have seen the last of them and counted on all."""

    def stopped(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "sync", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path / "out", {"a": _text("A"), "b": _text("B")})
    assert _tree(tmp_path / "out") == {"a": "A", "b": "B"}
    monkeypatch.undo()
    write_set(tmp_path / "out", {"a": _text("new"), "b": _text("new")}, overwrite=True)
    assert _tree(tmp_path / "out") == {"a": "new", "b": "new"}


def test_a_forged_journal_moves_nothing(tmp_path):
    """Whoever can write into a shared folder could leave one for us."""
    (tmp_path / "precious").write_text("x")
    staging = tmp_path / "out" / ".relapet"
    for names in (["../precious"], ["/etc/passwd"], [".."], {"a": 1}, "x/y", [1], "["):
        (staging / "new").mkdir(parents=True, exist_ok=True)
        (staging / "old").mkdir(exist_ok=True)
        (staging / "journal.json").write_text(names if names == "[" else json.dumps(names))
        with pytest.raises(OutputError, match="damaged journal"):
            write_set(tmp_path / "out", {"a": _text("A")})
    assert (tmp_path / "precious").read_text() == "x"
    shutil.rmtree(staging)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    staging.symlink_to(elsewhere)
    with pytest.raises(OutputError, match="is a link"):
        write_set(tmp_path / "out", {"a": _text("A")})
    assert not list(elsewhere.iterdir())


def test_destinations_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken" / "a.txt").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="is not a folder"):
            check_destination(folder, ["a.txt"], overwrite=True)
    with pytest.raises(OutputError, match="is a folder; move it"):
        check_destination(tmp_path / "taken", ["a.txt"], overwrite=True)
    check_destination(tmp_path / "not" / "yet", ["a.txt"], overwrite=False)
    assert not (tmp_path / "not").exists()


def test_an_unwritable_folder(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # root may write anywhere, except where the system has no files to make
        locked = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else None
    if locked is None:
        pytest.skip("this user can write everywhere")
    with pytest.raises(OutputError, match="cannot write to"):
        check_destination(locked, ["a.txt"], overwrite=False)
