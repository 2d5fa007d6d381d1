"""What ranks notice of one another: reports, deaths without a word, and ends as they should be."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from training_runs import TINY, scenario, tiny_data

from training import checkpoints, loop
from training.__main__ import main
from training.config import load_config
from training.faults import FailureBoard, is_running, this_process
from training.loop import clean


@pytest.mark.slow
def test_a_killed_rank_ends_the_other_with_one_line_and_code_4(tmp_path):
    report = scenario("lost", tmp_path)
    for victim in range(2):
        assert report["codes"][f"without{victim}"] == [-9, 4], report["told"]
        told = (tmp_path / f"without{victim}{1 - victim}.txt").read_text()
        lines = [line for line in told.splitlines() if "rank" in line]
        assert lines == [
            f"rank {1 - victim} stops: rank {victim} is gone without a word: it was killed (by hand, by the scheduler, "
            "or for want of memory)"
        ]
        assert "Traceback" not in told
    assert report["whole"] == [0, 0] and report["left"] == [], report["told"]


@pytest.mark.slow
def test_a_rank_that_cannot_say_why_it_ends_is_missed_by_the_other(tmp_path):
    """On a full disk its word finds no room, neither on the board nor on stderr."""
    report = scenario("full", tmp_path)
    assert report["codes"] == [2, 4], report["told"]
    assert "rank 1 stops: rank 0 is gone without a word" in (tmp_path / "full1.txt").read_text()


def test_a_folder_that_cannot_be_read_for_a_moment_ends_no_watch(tmp_path):
    mine = board(tmp_path, 0)
    mine.heartbeat()
    (mine.folder / "1.txt").mkdir()  # what cannot be read as a file
    before = set(threading.enumerate())
    mine.watch(every=0.01)
    (watcher,) = set(threading.enumerate()) - before
    watcher.join(0.2)
    assert watcher.is_alive()
    (mine.folder / "1.txt").rmdir()
    mine.close()


def board(folder, rank, token="token", **how):
    return FailureBoard(folder, token, rank, **how)


def test_ranks_that_live_and_that_end_are_not_missed(tmp_path):
    mine, other = board(tmp_path, 0), board(tmp_path, 1)
    mine.heartbeat()
    other.heartbeat()
    assert mine.dead_rank() is None and mine.first_failure() is None
    other.close()
    assert mine.dead_rank() is None
    other.heartbeat()  # of its watching thread, too late
    assert not list(mine.folder.glob("1.*"))
    mine.close()
    assert not mine.folder.exists()


def test_cleaning_leaves_what_another_rank_is_about_to_put_on_the_board(tmp_path):
    mine = board(tmp_path, 0)
    mine.heartbeat()
    (mine.folder / ".0123456789abcdef.part").write_text("of rank 1, not renamed yet")
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage/.0123456789abcdef.part").write_text("of a killed run")
    board(tmp_path, 0, token="older").report("of an earlier start")
    clean(tmp_path, mine, quiet=True)
    assert {path.name for path in mine.folder.iterdir()} == {"0.alive", ".0123456789abcdef.part"}
    assert not list((tmp_path / "stage").iterdir()) and list(tmp_path.glob(".failures-*")) == [mine.folder]


def test_a_report_counts_before_the_silence_after_it(tmp_path):
    mine, other = board(tmp_path, 0), board(tmp_path, 1)
    other.heartbeat()
    other.report("step 3 diverged")
    assert mine.explain(0) == "rank 1 failed: step 3 diverged"


@pytest.mark.parametrize("beating", [True, False])
def test_a_rank_of_another_machine_is_lost_when_it_is_silent(tmp_path, beating):
    mine = board(tmp_path, 0, silence=0.5)
    mine.heartbeat()
    sign = {**this_process(), "machine": "elsewhere", "pid": 1}
    for beat in range(20):
        sign["beats"] = beat if beating else 0
        (mine.folder / "1.alive").write_text(json.dumps(sign))
        if mine.dead_rank():
            break
        time.sleep(0.05)
    assert (mine.dead_rank() is None) == beating
    if not beating:
        assert mine.dead_rank() == "rank 1 is gone without a word: it or its machine is lost"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"machine": 3}'])
def test_half_a_sign_of_life_is_waited_for(tmp_path, text):
    mine = board(tmp_path, 0)
    mine.heartbeat()
    (mine.folder / "1.alive").write_text(text)
    assert mine.dead_rank() is None


def test_another_process_with_the_number_of_a_dead_one_is_another():
    assert is_running(this_process())
    assert not is_running({**this_process(), "started": 0.0})
    child = subprocess.Popen([sys.executable, "-c", ""])
    sign = {**this_process(), "pid": child.pid, "started": time.time()}
    while is_running(sign):  # it becomes a zombie: over, and not yet waited for
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{child.pid}") or sys.platform != "linux"
    child.wait()
    assert not is_running(sign)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_a_run_begins_stops_it_after_a_step(tmp_path, monkeypatch, number):
    """A job may be preempted as soon as it has started; it is no failure then, and never without any progress."""

    def asked_meanwhile(config):
        os.kill(os.getpid(), number)
        return tiny_data()

    before = signal.signal(number, signal.SIG_IGN)  # else the signal would end this process where nobody notices it
    try:
        for where in ("training.__main__", "training.loop"):
            monkeypatch.setattr(f"{where}.asked_config", load_config)  # there is no cache to look at
        monkeypatch.setattr(loop, "load_data", asked_meanwhile)
        assert main(["train", *TINY, "run.steps=3", f"out={tmp_path}"]) == 75
        assert checkpoints.latest(tmp_path)[1]["step"] == 1
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
