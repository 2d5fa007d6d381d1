"""Runs of the training loop in processes that are killed, told to stop, or work as ranks.

``python training_child.py SCENARIO OUT [CACHE | WORD ...]``; prints what happened as one JSON object. The processes are
forked after the imports, which take most of the time.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import monai.networks.nets  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
from lightning_fabric import Fabric  # noqa: F401
from training_runs import Phantoms, latent_config, plain_config, tiny_config, tiny_data

from training.loop import load_data, run
from training.reports import LOG
from training.trainer import RunData

STEPS = 14


def fork(work: Callable[[], int], errors: Path, **environment: str) -> int:
    """Process id of a child that does `work` with stderr in a file and exits with what it returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.environ.update(environment)
        with open(errors, "w") as file:
            os.dup2(file.fileno(), 2)
        code = work()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """Exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def logged(out: Path) -> int:
    """Lines in a run's log."""
    return len((out / LOG).read_text().splitlines()) if (out / LOG).exists() else 0


def train(out: Path, *overrides: str, **data) -> Callable[[], int]:
    """Work for `fork`: a tiny run."""
    return lambda: run(tiny_config(out, f"run.steps={STEPS}", *overrides), tiny_data(5, **data), quiet=True)


def interrupted(out: Path) -> dict:
    """An uninterrupted run, one killed again and again, and one told to stop."""
    rhythm = ["run.checkpoint_every=1", "run.validate_every=4"]
    codes = [wait(fork(train(out / "whole", *rhythm), out / "whole.txt"))]
    kills = 0
    for lines in (0, 2, 4, 7, 9, 11):
        pid = fork(train(out / "killed", *rhythm), out / "killed.txt")
        until = time.monotonic() + 60
        while logged(out / "killed") <= lines and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(0.013 * lines)  # somewhere in a step, a checkpoint or a validation
        os.kill(pid, signal.SIGKILL)
        kills += wait(pid) == -signal.SIGKILL
    codes.append(wait(fork(train(out / "killed", *rhythm), out / "killed.txt")))

    seldom = ["run.checkpoint_every=1000", "run.validate_every=4"]
    pid = fork(train(out / "stopped", *seldom), out / "stopped.txt")
    until = time.monotonic() + 60
    while logged(out / "stopped") < 3 and time.monotonic() < until:
        time.sleep(0.002)
    os.kill(pid, signal.SIGTERM)
    asked = wait(pid)
    saved = sorted(path.name for path in (out / "stopped" / "checkpoints").glob("step-*.pt"))
    codes.append(wait(fork(train(out / "stopped", *seldom), out / "stopped.txt")))
    return {"codes": codes, "kills": kills, "asked": asked, "saved": saved}


def ranks(out: Path, name: str, work: Callable[[], int]) -> list[int]:
    """Exit codes of two ranks that torchrun would have started."""
    return [wait(pid) for pid in begun(out, name, work)]


def begun(out: Path, name: str, work: Callable[[], int]) -> list[int]:
    """Process numbers of two ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
    return [fork(work, out / f"{name}{r}.txt", RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]


def together(out: Path) -> dict:
    """Two ranks x batch 1 beside one rank x accumulation 2, and two ranks of which one fails."""

    def two(name: str, *overrides: str, **data) -> list[int]:
        return ranks(out, name, train(out / name, "hardware.devices=2", *overrides, **data))

    rhythm = ["preset.global_batch=2", "run.checkpoint_every=7"]
    codes = [wait(fork(train(out / "one", *rhythm), out / "one.txt")), *two("two", *rhythm)]
    shared = [*rhythm, "hardware.strategy=fsdp"]
    codes += two("shared", *shared)
    half = Path("checkpoints") / "step-00000007.pt"
    for whole, others in (("one", "taken_by_shared"), ("shared", "taken_by_one")):
        (out / others / half).parent.mkdir(parents=True)
        shutil.copy(out / whole / half, out / others / half)
    codes += [
        *two("taken_by_shared", *shared),
        wait(fork(train(out / "taken_by_one", *rhythm), out / "by_one.txt")),
    ]
    started = time.monotonic()
    failed = two("broken", *rhythm, broken=3)
    seconds = time.monotonic() - started
    diverged = two("nan", *rhythm, nan=3)
    return {"codes": codes, "failed": failed, "seconds": seconds, "diverged": diverged}


def lost(out: Path) -> dict:
    """Two ranks of which one is killed in the middle: exit codes by who it was, and what is left of their board."""
    codes = {}
    for victim in range(2):
        name = f"without{victim}"
        words = ["hardware.devices=2", "preset.global_batch=2", "run.steps=100000"]
        pids = begun(out, name, train(out / name, *words))
        until = time.monotonic() + 60
        while logged(out / name) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(pids[victim], signal.SIGKILL)
        if logged(out / name) < 3:  # they never began; the exit codes will say so
            os.kill(pids[1 - victim], signal.SIGKILL)
        codes[name] = [wait(pids[victim]), wait(pids[1 - victim])]
    whole = ranks(out, "whole", train(out / "whole", "hardware.devices=2", "preset.global_batch=2"))
    return {"codes": codes, "whole": whole, "left": [path.name for path in (out / "whole").glob(".failures*")]}


class FullDisk(Phantoms):
    """Phantoms of which one rank's item leaves no room on the disk, for its log and stderr neither."""

    def __getitem__(self, index: int) -> dict:
        if index == 3 and os.environ["RANK"] == "0":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return super().__getitem__(index)


def full(out: Path) -> dict:
    """Two ranks, and a disk that gets full for the first of them: exit codes."""

    def work() -> int:
        words = ["hardware.devices=2", "preset.global_batch=2", "run.steps=100000"]
        return run(tiny_config(out / "full", *words), RunData(FullDisk(6), None, "0" * 64), quiet=True)

    return {"codes": ranks(out, "full", work)}


def latent(out: Path, cache: str, method: str = "rela_latent") -> dict:
    """All stages of a latent run by two ranks x batch 1, and by one rank x accumulation 2."""

    def work(name: str, *overrides: str) -> Callable[[], int]:
        words = ["hardware.micro_batch=1", "autoencoder.batch=2", *overrides]
        config = latent_config(cache, out / name, *words, method=method)
        return lambda: run(config, load_data(config), quiet=True)

    codes = [wait(fork(work("one"), out / "one.txt"))]
    return {"codes": codes + ranks(out, "two", work("two", "hardware.devices=2"))}


def method(out: Path, *words: str) -> dict:
    """Any method by two ranks x batch 1, and by one rank x accumulation 2."""

    def work(name: str, *more: str) -> Callable[[], int]:
        config = plain_config(out / name, *words, "preset.global_batch=2", "hardware.micro_batch=1", *more)
        return lambda: run(config, tiny_data(4), quiet=True)

    codes = [wait(fork(work("one"), out / "one.txt"))]
    return {"codes": codes + ranks(out, "two", work("two", "hardware.devices=2"))}


if __name__ == "__main__":
    scenarios = {
        "interrupted": interrupted,
        "together": together,
        "lost": lost,
        "full": full,
        "latent": latent,
        "method": method,
    }
    print(json.dumps(scenarios[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
