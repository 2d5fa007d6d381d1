"""The training as a cluster starts it: torchrun, and the Slurm scripts with stand-ins for srun and scontrol."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from training_launch import ROOT, SCRIPTS, cached, overrides, steps, surroundings

from training import checkpoints

README_LINE = "torchrun --standalone --nproc-per-node 3 -m training train"
#: As its manual says: a process group a task; with --kill-on-bad-exit=1 one failure ends all; the highest code counts.
SRUN = """#!{python}
import os, signal, subprocess, sys, time
words = sys.argv[1:]
options = [words.pop(0) for word in list(words) if words[0].startswith("--")]
places = [{{"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)}} for n in range(int(os.environ["SLURM_NTASKS"]))]
tasks = [subprocess.Popen(words, env={{**os.environ, **place}}, start_new_session=True) for place in places]
while any(task.poll() is None for task in tasks):
    if "--kill-on-bad-exit=1" in options and any(task.poll() for task in tasks):
        for task in tasks:
            if task.poll() is None:
                os.killpg(task.pid, signal.SIGKILL)
                task.wait()
    time.sleep(0.02)
sys.exit(max(code if code >= 0 else 128 - code for code in (task.wait() for task in tasks)))
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "{told}"
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo and Slurm are for Unix")


@pytest.fixture(scope="module")
def cache(tmp_path_factory, two_people):
    return cached(tmp_path_factory.mktemp("cluster"), two_people)


@contextmanager
def started(words: list[str], env: dict[str, str], told: Path):
    """A process with its output in a file; afterwards neither it nor anything it started is left."""
    with open(told, "a") as file:
        process = psutil.Popen(words, env=env, cwd=ROOT, stdout=file, stderr=file)
    try:
        yield process
    finally:
        family = [*process.children(recursive=True), process] if process.is_running() else []
        for one in family:
            one.kill()


def ended(words: list[str], env: dict[str, str], told: Path) -> int:
    """Exit code of a process that ends by itself."""
    with started(words, env, told) as process:
        return process.wait(300)


def until_step(out: Path, step: int, process: psutil.Popen, told: Path) -> None:
    """Wait until a run has logged a step."""
    until = time.monotonic() + 240
    while not any(number >= step for number in steps(out)):
        assert process.poll() is None and time.monotonic() < until, told.read_text()[-3000:]
        time.sleep(0.05)


def ranks(process: psutil.Process) -> list[psutil.Process]:
    """The training's processes below a launcher."""
    below = process.children(recursive=True)
    return [one for one in below if "python" in one.name() and {"training", "train"} <= set(one.cmdline())]


def torchrun(*words: str) -> list[str]:
    """README's line for two processes."""
    return [*README_LINE.replace(" 3 ", " 2 ").split(), "hardware.devices=2", *words]


@pytest.mark.slow
def test_torchrun_trains_and_goes_on(cache, tmp_path):
    assert README_LINE in (ROOT / "training" / "README.md").read_text()
    out, told = tmp_path / "run", tmp_path / "told.txt"
    for last in (2, 3):
        code = ended(torchrun(*overrides(cache, out, f"run.steps={last}")), surroundings(), told)
        assert code == 0, told.read_text()[-3000:]
    assert steps(out) == [1, 2, 3]
    assert len(checkpoints.latest(out)[1]["rng"]) == 2  # one a rank


@pytest.mark.slow
def test_torchrun_saves_when_one_rank_is_told_to_stop(cache, tmp_path):
    """torchrun turns its processes' 75 into 1: that it may be started again is told by them."""
    out, told = tmp_path / "run", tmp_path / "told.txt"
    with started(torchrun(*overrides(cache, out, "run.steps=100000")), surroundings(), told) as process:
        until_step(out, 2, process, told)
        ranks(process)[1].send_signal(signal.SIGTERM)
        assert process.wait(120) == 1
    assert checkpoints.latest(out)[1]["step"] == steps(out)[-1] >= 2
    assert "asked to stop: saved" in told.read_text() and "exitcode  : 75" in told.read_text()


class Slurm:
    """Stand-ins for Slurm's programs, and what a job sees of Slurm on one node with two tasks."""

    def __init__(self, folder: Path):
        self.requeued, self.told, programs = folder / "scontrol.txt", folder / "told.txt", folder / "bin"
        programs.mkdir()
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            (programs / name).write_text(text.format(python=sys.executable, told=self.requeued))
            (programs / name).chmod(0o755)
        self.job = str(free_port(15000, 24999) - 15000)  # Fabric's port follows from the job's number
        self.env = surroundings(SLURM_JOB_ID=self.job, SLURM_JOB_NAME="relapet", SLURM_NODELIST="127.0.0.1")
        self.env |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
        self.env |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
        self.env["PATH"] = os.pathsep.join([str(programs), self.env["PATH"]])

    def asked_back(self) -> list[str]:
        """What scontrol was told."""
        return self.requeued.read_text().splitlines() if self.requeued.exists() else []


@pytest.fixture
def slurm(tmp_path):
    return Slurm(tmp_path)


def free_port(low: int, high: int) -> int:
    """A port of a range that nobody listens at."""
    for port in range(low + os.getpid() % 5000, high):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["one_node.sh", "several_nodes.sh"])
def test_slurm_job_asked_to_stop_goes_back_into_the_queue(cache, tmp_path, slurm, script):
    out = tmp_path / "run"
    words = ["bash", str(SCRIPTS / script), *overrides(cache, out)]
    with started([*words, "run.steps=100000"], slurm.env, slurm.told) as process:
        until_step(out, 2, process, slurm.told)
        (srun,) = (one for one in process.children() if "srun" in " ".join(one.cmdline()))
        for one in srun.children(recursive=True):  # as Slurm does it: every process of the step, not the job's script
            one.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, slurm.told.read_text()[-3000:]
    assert slurm.asked_back() == [f"requeue {slurm.job}"]
    state = checkpoints.latest(out)[1]
    assert state["step"] == steps(out)[-1] and len(state["rng"]) == 2  # two ranks
    assert ended([*words, f"run.steps={state['step'] + 1}"], slurm.env, slurm.told) == 0
    assert steps(out) == list(range(1, state["step"] + 2)) and len(slurm.asked_back()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "code", "message"),
    [("preset.epochs=0", 2, "preset.epochs=0 must be at least 1"), ("run.largest_loss=0.001", 3, "step 1 diverged")],
)
def test_slurm_job_that_fails_stays_out_of_the_queue(cache, tmp_path, slurm, mistake, code, message):
    words = ["bash", str(SCRIPTS / "one_node.sh"), *overrides(cache, tmp_path / "run", "run.steps=2", mistake)]
    assert ended(words, slurm.env, slurm.told) in (code, 137)  # 137: the other task was killed before its own end
    assert message in slurm.told.read_text() and not slurm.asked_back()


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_slurm_scripts_are_bash(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""


def submitted(script: str, folder: Path, *words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    """A job script with a stand-in for srun that prints what it is asked, in lines."""
    (folder / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "srun").chmod(0o755)
    env = surroundings(SLURM_NTASKS_PER_NODE="1", SLURM_JOB_NUM_NODES="1", SLURM_JOB_ID="1", **env)
    env["PATH"] = os.pathsep.join([str(folder), env["PATH"]])
    command = ["bash", str(SCRIPTS / script), *words]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("script", ["one_node.sh", "several_nodes.sh"])
def test_slurm_job_hands_its_cores_and_environment_to_its_tasks(tmp_path, script):
    told = submitted(script, tmp_path, "out=a b", SLURM_CPUS_PER_TASK="6", SLURM_EXPORT_ENV="NONE").stdout.splitlines()
    assert {"--cpus-per-task=6", "--export=ALL"} <= set(told) and told[-1] == "out=a b"


def test_slurm_array_takes_the_run_of_its_line(tmp_path):
    (tmp_path / "runs.txt").write_bytes(b"# of Windows\r\n\r\nfirst seed=0\r\nsecond  seed=1 run.steps=2")
    words = (str(tmp_path / "runs.txt"), "runs", "data.cache=cache")
    for number, own in (("1", ["seed=0", "out=runs/first"]), ("2", ["seed=1", "run.steps=2", "out=runs/second"])):
        told = submitted("array.sh", tmp_path, *words, SLURM_ARRAY_TASK_ID=number).stdout.splitlines()
        assert told[told.index("data.cache=cache") + 1 :] == own
    for number, why in (("3", "has no run number 3"), ("", "sbatch --array=1-N")):
        done = submitted("array.sh", tmp_path, *words, SLURM_ARRAY_TASK_ID=number)
        assert (done.returncode, done.stdout) == (2, "") and why in done.stderr


@pytest.mark.parametrize("script", ["one_node.sh", "several_nodes.sh", "array.sh"])
def test_slurm_script_from_another_folder_says_where_it_belongs(tmp_path, script):
    done = submitted(script, tmp_path, "runs", "out", cwd=tmp_path)
    assert done.returncode == 2 and "submit it from the repository" in done.stderr
