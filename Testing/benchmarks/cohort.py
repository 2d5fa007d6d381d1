"""A cohort by every runner, with people who cannot be done and with processes that are killed.

OMP_NUM_THREADS=1 .venv/bin/python Testing/benchmarks/cohort.py WORK --people 200 --raw 12 > cohort.md

People are saved cases (or, for --raw, simulated raw scans); every tenth is damaged in one of five ways. A serial run is
what the others are held against: each runner must give every good person's PET with the same hash and list every bad
one. Faults: a worker killed, the client killed and started again, a file size limit as a full disk, a job of the array
killed and submitted again, the scheduler killed and started again. Seconds are printed beside the serial run's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT)]

from cohorts import results, rows  # noqa: E402

RELAPET = [sys.executable, "-m", "RelAPETLib"]
RUNNERS = ("jobs", "array", "dask-local", "dask-scheduler", "dask-slurm")
#: One of so many people is damaged.
BAD_EVERY = 10
#: Seconds between two looks, and that a run may take.
LOOK, LIMIT = 0.2, 7200


@dataclass
class Cohort:
    """What is run.

    Attributes:
        folder: where everything lies; `cases` in it, or `raw`.
        options: of `relapet bids` after the two folders.
        bad: people who cannot be done.
        expected: hash by name of each good person's PET, of the serial run.
        seconds: of the serial run.
        memory: GiB of the serial run's processes at each tenth of it.
    """

    folder: Path
    source: Path
    options: list[str]
    bad: set[str]
    expected: dict[str, str]
    seconds: float = 0.0
    memory: list[float] = field(default_factory=list)

    def command(self, out: Path, *more: str) -> list[str]:
        return [*RELAPET, "bids", str(self.source), str(out), "participant", *self.options, "--progress", "none", *more]


def truncate(case: Path) -> None:
    _alone(case / "t1w.nii.gz", lambda whole: whole[:-1000])


def empty(case: Path) -> None:
    _alone(case / "t2f.nii.gz", lambda whole: b"")


def alter(case: Path) -> None:
    _alone(case / "grid_to_t1w.h5", lambda whole: whole[:500] + b"x" + whole[501:])


def lose(case: Path) -> None:
    (case / "mask.nii.gz").unlink()


def forge(case: Path) -> None:
    _alone(case / "case.json", lambda whole: whole.replace(b'"preprocessed": true', b'"preprocessed": false'))


DAMAGE = (truncate, empty, alter, lose, forge)


def _alone(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file that is a link which others share."""
    content = change(path.read_bytes())
    path.unlink()
    path.write_bytes(content)


def make_cases(folder: Path, people: int, different: int = 5) -> tuple[Path, set[str]]:
    """Saved cases of people, so many of them different, and the names of the damaged ones."""
    import SimpleITK as sitk
    from cases import write_grid_case
    from cohorts import many_cases

    from RelAPETLib.synthesis import prepare_case, save_case

    folder.mkdir(parents=True)
    files = write_grid_case(folder)
    t1w, t2f = (sitk.ReadImage(str(files[role])) for role in ("t1w", "t2f"))
    for number in range(different):
        noisy = [image + sitk.AdditiveGaussianNoise(image * 0, 3.0 + number, 0, number + 1) for image in (t1w, t2f)]
        inside = [sitk.Mask(image, t1w > 0) for image in noisy]
        save_case(prepare_case(*inside, preprocessed=True, device="cpu", force=True), folder / f"one{number}")
    names = [f"sub-{number:04d}" for number in range(people)]
    for number, name in enumerate(names):
        many_cases(folder / "cases", folder / f"one{number % different}", [name])
    bad = names[1::BAD_EVERY]
    for number, name in enumerate(bad):
        DAMAGE[number % len(DAMAGE)](folder / "cases" / name)
    return folder / "cases", set(bad)


def make_raw(folder: Path, people: int) -> tuple[Path, set[str]]:
    """Simulated people's raw scans, a third of them damaged, and the names of those."""
    from RelAPETLib.phantom.bids import write_cohort

    write_cohort(folder, people, 11)
    bad = [f"sub-{number:04d}" for number in range(1, people, 3)]
    for number, name in enumerate(bad):
        t1w = folder / name / "anat" / f"{name}_T1w.nii.gz"
        if number % 3 == 0:
            t1w.write_bytes(t1w.read_bytes()[:5000])
        elif number % 3 == 1:
            t1w.unlink()
        else:
            shutil.copyfile(next((folder / name / "pet").glob("*.nii.gz")), t1w)
    return folder, set(bad)


def finished(out: Path) -> int:
    """Number of results so far."""
    return len(list(out.rglob("*_desc-synthetic_pet.nii.gz")))


def wait_for(process: subprocess.Popen, reached: Callable[[], bool], seconds: float = 1800) -> None:
    """Wait until something is so, or the process has ended."""
    limit = time.monotonic() + seconds
    while process.poll() is None and not reached():
        assert time.monotonic() < limit, "nothing happens"
        time.sleep(LOOK)


def start(command: list[str], log: Path, env: dict[str, str] | None = None) -> subprocess.Popen:
    """A command whose words go to a file, with one thread."""
    words = open(log, "ab")  # the process keeps it
    env = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    try:
        return subprocess.Popen(command, stdout=words, stderr=words, env=env, cwd=ROOT)
    finally:
        words.close()


@contextlib.contextmanager
def doomed(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A command that is killed in the end, and its children waited for."""
    process = start(command, log)
    children: list[psutil.Process] = []
    try:
        yield process
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    finally:
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=60)


def kill_a_worker(process: subprocess.Popen, marks: tuple[str, ...] = ("spawn_main",)) -> None:
    """SIGKILL to a descendant that works: the one that has used the most CPU."""

    def works(child: psutil.Process) -> bool:
        try:
            return any(mark in " ".join(child.cmdline()) for mark in marks)
        except psutil.Error:
            return False

    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if works(child)]
    assert workers, "no worker to kill"
    max(workers, key=lambda child: sum(child.cpu_times()[:2])).kill()


def by_jobs(cohort: Cohort, out: Path, log: Path, jobs: int, faults: bool) -> int:
    """Processes; a full disk, a worker killed, the client killed, then asked to end; started again after each."""
    command = cohort.command(out, "--jobs", str(jobs))
    if faults:
        limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "limited", *cohort.command(out, "--share", "1/4")]
        assert start(limited, log).wait(LIMIT) == 3, "a full disk goes unnoticed"
        assert not results(out), "a full disk left a result"
        kill_both(command, out, log)
        with doomed(command, log) as run:
            before = finished(out)
            wait_for(run, lambda: finished(out) > before)
            run.terminate()
            assert run.wait(300) == 143, "SIGTERM is no clean end"
    return start(command, log).wait(LIMIT)


def kill_both(command: list[str], out: Path, log: Path) -> None:
    """A run of which a worker is killed, and, when more is done, the client."""
    with doomed(command, log) as run:
        wait_for(run, lambda: finished(out) >= 1)
        assert run.poll() is None, "it ended before anything was killed"
        kill_a_worker(run)
        before = finished(out)
        wait_for(run, lambda: finished(out) >= before + 1)
        assert run.poll() is None, "it ended before the client was killed"


def by_array(cohort: Cohort, out: Path, log: Path, jobs: int, faults: bool) -> int:
    """A Slurm array on this machine; a task killed, and the array submitted again."""
    from real_slurm import Cluster

    with Cluster() as slurm:
        code = _array(slurm, cohort, out, log, jobs, kill=faults)
        return _array(slurm, cohort, out, log, jobs, kill=False) if faults else code


def _array(slurm, cohort: Cohort, out: Path, log: Path, jobs: int, kill: bool) -> int:
    script = str(ROOT / "cluster" / "slurm_array.sh")
    options = ["--parsable", "--mem-per-cpu=100M", f"--array=1-{jobs}", f"--output={log.with_suffix('')}-%a.txt"]
    env = {"RELAPET_COMMAND": " ".join([*RELAPET, "bids"])}
    job = slurm.call("sbatch", *options, script, str(cohort.source), str(out), *cohort.options, env=env, cwd=ROOT)
    limit = time.monotonic() + LIMIT
    while slurm.queue():
        assert time.monotonic() < limit
        if kill and finished(out):
            victims = [one for one in slurm.family() if "--share" in one.cmdline() and "RelAPETLib" in one.cmdline()]
            if victims:
                victims[0].kill()
                kill = False
        time.sleep(LOOK)
    codes = [slurm.facts(f"{job}_{number}")["ExitCode"].split(":")[0] for number in range(1, jobs + 1)]
    return max(map(int, codes))


def by_dask_local(cohort: Cohort, out: Path, log: Path, jobs: int, faults: bool) -> int:
    """Dask's processes; a worker killed, then the client killed and started again."""
    command = cohort.command(out, "--dask", "local", "--jobs", str(jobs))
    if faults:
        kill_both(command, out, log)
    return start(command, log).wait(LIMIT)


def by_dask_scheduler(cohort: Cohort, out: Path, log: Path, jobs: int, faults: bool) -> int:
    """A scheduler and workers that run already; the scheduler killed and started again, its workers with it."""
    from real_slurm import free_ports

    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    services: list[subprocess.Popen] = []

    def serve() -> None:
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
        services.append(start([*dask, "--port", address.rsplit(":", 1)[1]], log))
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        services.extend(start([*worker, "--resources", "CPU=1", "--no-nanny"], log) for _ in range(jobs))

    def stop() -> None:
        for service in services:
            service.kill()
            service.wait()
        services.clear()

    try:
        serve()
        first = start(cohort.command(out, "--dask", address, "--patience", "120"), log)
        if faults:
            wait_for(first, lambda: finished(out) >= 1)
            stop()
            serve()
        return first.wait(LIMIT)
    finally:
        stop()


def by_dask_slurm(cohort: Cohort, out: Path, log: Path, jobs: int, faults: bool) -> int:
    """Dask's workers as jobs of a Slurm on this machine; one killed."""
    from real_slurm import Cluster

    with Cluster() as slurm:
        env = {
            **slurm.env,
            "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
            "DASK_JOBQUEUE__SLURM__LOG_DIRECTORY": str(log.parent),
        }
        more = ["--worker-memory", "3GB", "--walltime", "01:00:00", "--slurm-directive=--partition=high"]
        first = start(cohort.command(out, "--dask", "slurm", "--jobs", str(jobs), *more), log, env)
        if faults:
            wait_for(first, lambda: finished(out) >= 1)
            victims = [one for one in slurm.family() if "spawn_main" in " ".join(one.cmdline())]
            if victims and first.poll() is None:
                victims[0].kill()
        return first.wait(LIMIT)


RUN = {"jobs": by_jobs, "array": by_array, "dask-local": by_dask_local, "dask-scheduler": by_dask_scheduler,
       "dask-slurm": by_dask_slurm}  # fmt: skip


def serial(cohort: Cohort) -> None:
    """The run that the others are held against, in one process; its seconds and memory are kept in its folder."""
    out, kept = cohort.folder / "serial", cohort.folder / "serial.json"
    if not kept.exists():
        shutil.rmtree(out, ignore_errors=True)
        begin, seen = time.monotonic(), []
        process = start(cohort.command(out), cohort.folder / "serial.log")
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                own = psutil.Process(process.pid)
                seen.append(sum(one.memory_info().rss for one in (own, *own.children(recursive=True))) / 2**30)
            time.sleep(LOOK)
        seconds = time.monotonic() - begin
        assert process.returncode == (3 if cohort.bad else 0), (cohort.folder / "serial.log").read_text()[-2000:]
        memory = [round(seen[len(seen) * tenth // 10], 2) for tenth in range(1, 10)]
        kept.write_text(json.dumps({"seconds": seconds, "memory": memory}))
    found = json.loads(kept.read_text())
    cohort.seconds, cohort.memory, cohort.expected = found["seconds"], found["memory"], results(out)


def compare(cohort: Cohort, runner: str, jobs: int, faults: bool) -> dict:
    """One runner's results beside the serial run's: a row of the table."""
    out, log = cohort.folder / f"{runner}{'-faults' * faults}", cohort.folder / f"{runner}{'-faults' * faults}.log"
    begin = time.monotonic()
    code = RUN[runner](cohort, out, log, jobs, faults)
    seconds = time.monotonic() - begin
    found = results(out)
    subprocess.run([*RELAPET, "bids", str(cohort.source), str(out), "group", *cohort.options], cwd=ROOT, check=False,
                   capture_output=True)  # fmt: skip
    listed = {row["participant_id"] for row in rows(out / "failures.tsv") if not row["reason"].startswith("done, but")}
    return {
        "runner": runner, "faults": faults, "exit": code, "good": len(cohort.expected),
        "equal": sum(found.get(name) == digest for name, digest in cohort.expected.items()),
        "more": len(found.keys() - cohort.expected.keys()),
        "bad": len(cohort.bad), "listed": len(listed & cohort.bad), "wrongly listed": len(listed - cohort.bad),
        "left": len(list(out.rglob(".relapet"))), "seconds": round(seconds, 1),
        "against serial": round(cohort.seconds / seconds, 2),
    }  # fmt: skip


def row_of(cohort: Cohort, runner: str, jobs: int, faults: bool) -> dict:
    """What `compare` finds, kept in a file."""
    kept = cohort.folder / f"{runner}{'-faults' * faults}.json"
    if not kept.exists():
        shutil.rmtree(cohort.folder / f"{runner}{'-faults' * faults}", ignore_errors=True)
        kept.write_text(json.dumps(compare(cohort, runner, jobs, faults)))
    return json.loads(kept.read_text())


def cohorts_of(work: Path, people: int, raw: int, options: list[str]) -> list[Cohort]:
    """The saved cases and, where they are asked for, the raw scans; made, unless an earlier call has."""
    made = {"saved": (people, make_cases)} | ({"raw": (raw, make_raw)} if raw else {})
    found = []
    for name, (number, make) in made.items():
        kept, folder = work / f"{name}.json", work / name
        if not kept.exists():
            shutil.rmtree(work / f"{name}_data", ignore_errors=True)
            source, bad = make(work / f"{name}_data", number)
            folder.mkdir(exist_ok=True)
            kept.write_text(json.dumps({"people": number, "source": str(source), "bad": sorted(bad)}))
        facts = json.loads(kept.read_text())
        if facts["people"] != number:
            raise SystemExit(f"{work}: of {facts['people']} people ({name}), not {number}; give another folder")
        more = ["--cases", facts["source"]] if name == "saved" else ["--skip-bids-validation"]
        found.append(Cohort(folder, Path(facts["source"]), [*more, *options], set(facts["bad"]), {}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder, empty or of an earlier call")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--raw", type=int, default=0, help="simulated raw people besides")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=RUNNERS)
    parser.add_argument("--faults", choices=("with", "without", "both"), default="both", help="default: both")
    parser.add_argument("--model", default="demo")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    arguments.work.mkdir(parents=True, exist_ok=True)
    options = ["--model", arguments.model, "--tracer", "TAU", "--no-report"]
    wanted = {"with": (True,), "without": (False,), "both": (False, True)}[arguments.faults]
    for cohort in cohorts_of(arguments.work, arguments.people, arguments.raw, options):
        serial(cohort)
        good, bad = len(cohort.expected), len(cohort.bad)
        print(f"\n{cohort.folder.name}: {good} good people, {bad} bad; serial {cohort.seconds:.0f} s")
        print("Memory of the serial run at each tenth, GiB:", *cohort.memory, "\n")
        for number, (runner, faults) in enumerate((name, faults) for name in arguments.runners for faults in wanted):
            row = row_of(cohort, runner, arguments.jobs, faults)
            if not number:
                print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
            print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
