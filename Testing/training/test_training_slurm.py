"""The job scripts under a real Slurm of two nodes on this machine: layouts, preemption, arrays.

The scripts are those that are shipped; tests change them by options of sbatch alone, as a user does.
"""

import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from real_slurm import Cluster, Unavailable
from training_launch import ROOT, SCRIPTS, cached, log, overrides, steps

from training import checkpoints
from training.__main__ import main

#: Long enough that a job is still at work when Slurm has noticed that another wants its nodes.
STEPS = 40
WAIT_SECONDS = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Debian's Slurm is for Linux"),
]


@pytest.fixture(scope="module")
def cluster():
    try:
        running = Cluster().__enter__()
    except Unavailable as why:
        pytest.skip(f"no Slurm to test with: {why}")
    yield running
    running.close()
    assert not running.family()


@pytest.fixture(scope="module")
def work(tmp_path_factory, two_people):
    """Folder of the runs, with a cache, an environment file, and the same run by one process."""
    folder = tmp_path_factory.mktemp("slurm")
    cached(folder, two_people)
    # The nodes' names mean nothing outside Slurm, so the file says where rank 0 is found.
    (folder / "environment.sh").write_text(
        f'export PATH="{Path(sys.executable).parent}:$PATH" OMP_NUM_THREADS=1\n'
        "export GLOO_SOCKET_IFNAME=lo MASTER_ADDR=127.0.0.1\n"
    )
    assert main(["train", *words(folder, "alone")]) == 0
    return folder


def words(work: Path, name: str | None) -> list[str]:
    """Words of a run; without its folder where the script says it."""
    return overrides(work / "cache", work / name if name else None, f"run.steps={STEPS}", "run.checkpoint_every=1000")


def submit(cluster, work: Path, *command: str) -> str:
    """Number of a job of these options, script and words; of this environment it gets one variable alone."""
    options = ["--parsable", "--mem-per-cpu=100M", f"--output={work}/%x-%j.txt"]
    options += [f"--export=RELAPET_ENVIRONMENT={work}/environment.sh"]
    return cluster.call("sbatch", *options, *command, cwd=ROOT)


def until(reached, what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait for something."""
    limit = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < limit, what
        time.sleep(0.2)


def told(work: Path) -> str:
    """The last words of all jobs."""
    return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in sorted(work.glob("*.txt")))


def ended(cluster, work: Path, job: str) -> dict[str, str]:
    """What Slurm says of a job after its end."""
    over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
    until(lambda: cluster.facts(job)["JobState"] in over, told(work))
    return cluster.facts(job)


def assert_same_losses(mine: list[dict], theirs: list[dict]) -> None:
    """Two logs tell the same; sums in another order grow apart, so later steps may differ more."""
    assert [line["step"] for line in mine] == [line["step"] for line in theirs] == list(range(1, STEPS + 1))
    for a, b in list(zip(mine, theirs, strict=True))[:20]:
        assert a.pop("group") == b.pop("group") and a == pytest.approx(b, rel=1e-3), a["step"]


@pytest.mark.parametrize(
    ("name", "script"),
    [("one_node", ["--ntasks-per-node=2", "one_node.sh"]), ("two_nodes", ["several_nodes.sh"])],
)
def test_a_job_of_two_tasks_learns_what_one_process_does(cluster, work, name, script):
    *options, script = script
    facts = ended(cluster, work, submit(cluster, work, *options, str(SCRIPTS / script), *words(work, name)))
    assert facts["JobState"] == "COMPLETED", told(work)
    assert facts["NumNodes"] == ("2" if name == "two_nodes" else "1")
    assert_same_losses(log(work / name), log(work / "alone"))
    assert len(checkpoints.latest(work / name)[1]["rng"]) == 2  # one a rank


def test_a_preempted_job_goes_on_to_the_same_weights(cluster, work):
    """A job of a better partition wants both nodes; ours is warned, saves, goes back into the queue and on."""
    whole, out = work / "two_nodes", work / "preempted"
    if not whole.exists():
        pytest.skip("the uninterrupted run did not end")
    job = submit(cluster, work, str(SCRIPTS / "several_nodes.sh"), *words(work, out.name))
    until(lambda: max(steps(out), default=0) >= 2, told(work))
    other = submit(cluster, work, "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 1")
    assert ended(cluster, work, other)["JobState"] == "COMPLETED"
    saved = checkpoints.saved(out)
    assert len(saved) == 1 and checkpoints.load(saved[0])["step"] < STEPS, told(work)
    facts = ended(cluster, work, job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), told(work)
    assert "asked to stop: back into the queue" in (work / f"relapet-{job}.txt").read_text()
    assert log(out) == log(whole)
    mine, theirs = (checkpoints.latest(folder)[1]["players"]["generator"]["weights"] for folder in (out, whole))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_array_makes_a_run_of_every_line(cluster, work):
    runs = SCRIPTS / "seeds_and_ablations.txt"
    command = ["--array=2,4%1", str(SCRIPTS / "array.sh"), str(runs), str(work / "array"), *words(work, None)]
    job = submit(cluster, work, *command, "run.steps=2", "hardware.devices=1")
    for number in (2, 4):
        assert ended(cluster, work, f"{job}_{number}")["JobState"] == "COMPLETED", told(work)
    found = {path.name: checkpoints.latest(path)[1]["config"] for path in (work / "array").iterdir()}
    assert {name: (config["seed"], config["ablation.name"]) for name, config in found.items()} == {
        "full_1": (1, "none"),
        "wo_ra_0": (0, "wo_ra"),
    }


def test_a_job_with_a_mistake_fails_once(cluster, work):
    command = ["--ntasks-per-node=2", str(SCRIPTS / "one_node.sh"), *words(work, "mistake"), "preset.epochs=0"]
    facts = ended(cluster, work, submit(cluster, work, *command))
    assert facts["JobState"] == "FAILED" and facts["Restarts"] == "0"
    assert "preset.epochs=0 must be at least 1" in told(work)


def test_a_killed_task_ends_the_job(cluster, work):
    """By srun, or by the other rank's own notice: the nodes are not held until a timeout."""
    out = work / "killed"
    command = ["--ntasks-per-node=2", str(SCRIPTS / "one_node.sh"), *words(work, out.name), "run.steps=100000"]
    job = submit(cluster, work, *command)
    until(lambda: max(steps(out), default=0) >= 2, told(work))
    tasks = [one for one in cluster.family() if f"out={out}" in one.cmdline() and "python" in one.name()]
    victim = next(one for one in tasks if one.environ().get("SLURM_PROCID") == "1")
    victim.kill()
    facts = ended(cluster, work, job)
    assert facts["JobState"] == "FAILED" and facts["Restarts"] == "0", told(work)
    until(lambda: not [one for one in tasks if one.is_running() and one.status() != psutil.STATUS_ZOMBIE], "left")
