"""`relapet bids --dask`: what is refused before anything runs, and waiting; `test_cohort_runners` has runs."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed.comm import registry

from RelAPETLib.cohort import dask_runner
from RelAPETLib.cohort.dask_runner import Workers, lifetime, run_dask
from RelAPETLib.cohort.request import Request
from RelAPETLib.cohort.visits import Visit
from RelAPETLib.errors import InputError
from RelAPETLib.synthesis import Options


@pytest.fixture
def request_of_tau(tmp_path):
    return Request(tmp_path, tmp_path, Options("TAU"))


@pytest.mark.parametrize(("walltime", "seconds"), [("04:00:00", 14400), ("00:10:00", 600), ("00:02:00", 120)])
def test_dask_workers_end_before_their_job_does(walltime, seconds):
    most, stagger = lifetime(walltime)
    assert 0 < stagger < most and seconds / 3 < most + stagger < seconds
    for wrong in ("00:01:00", "1:00", "a:b:c", ""):
        with pytest.raises(InputError, match="walltime"):
            lifetime(wrong)


@pytest.mark.parametrize("where", ["", "lokal", "node1", "tcp://node1", "tcp://node1:port", "smoke://node1:8786"])
def test_what_is_no_address_is_refused_at_once(request_of_tau, where):
    with pytest.raises(InputError, match="neither local nor slurm, nor a scheduler's address"):
        list(run_dask(request_of_tau, [Visit("sub-01")], Workers(where)))


def test_a_transport_that_tells_no_host_is_tried(request_of_tau, monkeypatch):
    """As UCX's back end, which finds no host and port in an address; here without its card."""

    def refuse():
        raise RuntimeError("no such card")

    monkeypatch.setitem(registry.backends, "fast", SimpleNamespace(get_connector=refuse))
    with pytest.raises(InputError, match=r"no Dask scheduler answers at fast://node1:8786 \(no such card\)"):
        list(run_dask(request_of_tau, [Visit("sub-01")], Workers("fast://node1:8786", patience=5)))


def test_memory_that_is_no_size_is_refused_at_once(request_of_tau):
    with pytest.raises(InputError, match="no Dask worker can be started: .*'bananas' as a byte unit"):
        list(run_dask(request_of_tau, [Visit("sub-01")], Workers("local", memory="bananas")))


@pytest.mark.skipif(os.name == "nt", reason="Slurm is for Unix")
@pytest.mark.parametrize("there", [True, False])
def test_slurm_says_itself_why_it_takes_no_job(request_of_tau, tmp_path, monkeypatch, there):
    """As at once with a partition that there is not, and on a machine without Slurm."""
    if there:
        (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: no such partition' >&2\nexit 1\n")
        (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/sbin")
    with pytest.raises(InputError) as refused:
        list(run_dask(request_of_tau, [Visit("sub-01")], Workers("slurm")))
    why = "sbatch: error: no such partition" if there else "No such file or directory: 'sbatch'"
    assert str(refused.value).endswith(why) and "\n" not in str(refused.value)


def test_a_run_without_workers_waits_for_them_quietly(request_of_tau, monkeypatch):
    """After a scheduler was started anew before its workers: no scheduler is asked over and over meanwhile."""
    asked, slept = [], []

    def sizes():
        assert len(asked) < 9, "asked again at once"
        asked.append(len(slept))
        return {"CPU": 0, "GPU": 0}

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise InterruptedError

    monkeypatch.setattr(dask_runner.time, "sleep", sleep)
    pool = SimpleNamespace(sizes=sizes, draw="CPU", keep_up=lambda: None)
    run = dask_runner._Run(request_of_tau, pool, [Visit("sub-01", t1w=Path("t1w.nii"))])
    with pytest.raises(InterruptedError):
        next(run.outcomes())
    assert asked == [0, 1, 2] and min(slept) >= 1


@pytest.mark.parametrize(("where", "advice"), [("local", "more --worker-memory"), ("tcp://a:1", "--resources CPU=1")])
def test_a_first_worker_that_does_not_answer_is_told_of_by_what_can_be_done(request_of_tau, where, advice):
    """One of ours has the resources that it is asked for, but may die again and again of too little memory."""

    def result(timeout):
        raise TimeoutError

    pool = dask_runner._Pool(request_of_tau, Workers(where), None)
    pool.cluster = object() if where == "local" else None
    pool.client = SimpleNamespace(submit=lambda *_, **__: SimpleNamespace(result=result))
    assert advice in pool._probe({"CPU": 1})
