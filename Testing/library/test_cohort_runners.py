"""A small cohort by every runner, each with a process killed: the benchmark of cohorts with eight people.

Every good person's PET is the serial run's by its hash, and every bad one is listed: `Testing/benchmarks/cohort.py`.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cases import write_tiny_latent
from cohorts import bids_data

from RelAPETLib.cli import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="kills, limits and Slurm are Linux's"),
]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("cohort_benchmark", ROOT / "Testing" / "benchmarks" / "cohort.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cohort(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runners")
    model = write_tiny_latent(folder / "model", tracers=("TAU",))
    cases, bad = bench.make_cases(folder / "saved", 8, different=2)
    options = ["--cases", str(cases), "--model", str(model), "--steps", "1", "--samples", "1", "--no-report"]
    made = bench.Cohort(folder, cases, options, bad, {})
    bench.serial(made)
    assert len(made.expected) == 7 and made.bad == {"sub-0001"}
    return made


@pytest.mark.parametrize("runner", ["jobs", "array", "dask-local", "dask-scheduler", "dask-slurm"])
def test_runner_gives_the_serial_results_whatever_dies(bench, cohort, runner):
    if runner in ("array", "dask-slurm"):
        from real_slurm import Cluster, Unavailable

        try:
            with Cluster():
                pass
        except Unavailable as why:
            pytest.skip(f"no Slurm to test with: {why}")
    row = bench.compare(cohort, runner, 2, True)
    told = "\n".join(log.read_text(errors="replace")[-2000:] for log in cohort.folder.glob(f"{runner}-faults*.*"))
    assert (row["equal"], row["more"], row["listed"], row["wrongly listed"], row["left"]) == (7, 0, 1, 0, 0), told
    assert row["exit"] == 3, told


def test_cpu_workers_register_what_gpu_workers_draw(cohort, grid_case, tmp_path):
    """The workers' resources are labels: the one that has GPU=1 computes on the CPU here."""
    from distributed import Client, Nanny, Scheduler, SpecCluster

    from RelAPETLib.cohort.dask_runner import Workers, run_dask
    from RelAPETLib.cohort.derivatives import write_description
    from RelAPETLib.cohort.request import make_request
    from RelAPETLib.cohort.visits import find_visits
    from RelAPETLib.synthesis import Options

    raw = bids_data(tmp_path / "raw", grid_case, {f"sub-{number}": ["T1w", "FLAIR"] for number in (1, 2)})
    options = Options("TAU", cohort.folder / "model", steps=1, samples=1, preprocessed=True)
    request = make_request(raw, tmp_path / "out", options, work=tmp_path / "work", report=False)
    write_description(request)
    kinds = ({"CPU": 1}, {"GPU": 1})
    workers = {n: {"cls": Nanny, "options": {"nthreads": 1, "resources": kind}} for n, kind in enumerate(kinds)}
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "host": "127.0.0.1"}}
    with SpecCluster(workers=workers, scheduler=scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        ours = Workers(cluster.scheduler_address, draw="GPU")
        outcomes = [outcome for ended in run_dask(request, find_visits(raw), ours) for outcome in ended]
        done = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.task_prefixes))
    assert [outcome.status for outcome in outcomes] == ["done", "done"], outcomes
    assert {"relapet_register-sub", "relapet_draw-sub"} <= set(done)  # as Dask shortens a task's key
    assert sorted(path.parent.name for path in (tmp_path / "work").rglob("case.json")) == ["sub-1", "sub-2"]


def test_bids_validator_accepts_the_derivatives(bench, cohort):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    out = cohort.folder / "serial"
    assert main(["bids", str(cohort.source), str(out), "group", *cohort.options]) == 3
    command = [str(validator), str(out), "--format", "json", "--ignoreWarnings"]
    errors = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["issues"]["issues"]
    assert [issue for issue in errors if issue["severity"] == "error"] == []
    sidecar = next(out.rglob("*desc-synthetic_pet.json"))
    whole = sidecar.read_text()
    sidecar.write_text("{}")  # the validator does find fault when there is one
    try:
        assert subprocess.run(command, capture_output=True).returncode != 0
    finally:
        sidecar.write_text(whole)
