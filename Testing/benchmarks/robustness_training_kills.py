"""SIGKILL at random moments in ``prepare`` and ``train``, then the same call again: is everything there, nothing else?

``python Testing/benchmarks/robustness_training_kills.py [--count N] [--seed S] [--results FILE]``

The processes are forked after the imports, so that kills fall into the work. ``prepare`` brings five simulated people,
rendered once, into a cache that already holds them as another type, so that every case is replaced; ``train`` makes
four steps with a checkpoint each. A moment is drawn uniformly over the time of a whole run. After the second call the
cache and the checkpoint must equal those of a run that nobody killed, and no unfinished file may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import monai.networks.nets  # noqa: F401
import torch
import torch.utils.tensorboard
from lightning_fabric import Fabric  # noqa: F401
from training_runs import tiny_config, tiny_data

from training import checkpoints
from training.data import prepare as preparing
from training.data.cache import open_cache
from training.data.rendered import rendered_people, rendered_volumes
from training.loop import run

STEPS, PEOPLE, FACTOR = 4, 5, 4


def forked(work: Callable[[Callable[[str], None]], object], told: Path, kill_after: float | None = None) -> int:
    """Exit code of a child that does `work(say)`, killed after some seconds; what it says goes to a file."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            with open(told, "w") as file:
                os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
                code = work(lambda message: print(message, file=file, flush=True)) or 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def leftovers(folder: Path) -> list[str]:
    """Unfinished files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if ".part" in path.name)


class Prepare:
    """A cache whose cases are all replaced."""

    def __init__(self, folder: Path):
        self.folder, self.people = folder, rendered_people(PEOPLE, 0)
        self.old, self.new = preparing.Options(factor=FACTOR), preparing.Options(factor=FACTOR, dtype="float32")
        drawn = {
            (case.name, dtype): rendered_volumes(case, FACTOR, dtype)
            for case in self.people.cases
            for dtype in (self.old.dtype, self.new.dtype)
        }
        preparing.rendered_volumes = lambda case, factor, dtype, mri_only: drawn[case.name, dtype]
        self.call(self.old, folder / "before")(lambda message: None)

    def call(self, options, out: Path):
        def work(say):
            preparing.prepare(self.people, out, options, progress=say)

        return work

    def begin(self, out: Path) -> Callable:
        """Put the beginning in place; the work to be killed."""
        shutil.copytree(self.folder / "before", out)
        return self.call(self.new, out)

    def found(self, out: Path):
        """What must be the same as without a kill."""
        cache = open_cache(out)
        kept = {path.name for path in (out / "cases").iterdir()}
        for record in cache.cases.values():
            for name in ("t1w", "t2f", *(f"pet_{tracer}" for tracer in record["pets"])):
                cache.array(record["case"], name)
        return cache.sha256, sorted(kept)


class Train:
    """A run of a few steps."""

    def __init__(self, folder: Path):
        self.folder = folder

    def begin(self, out: Path) -> Callable:
        """The work to be killed."""
        config = tiny_config(out, f"run.steps={STEPS}", "run.checkpoint_every=1", "run.validate_every=2")
        return lambda say: run(config, tiny_data(5))

    def found(self, out: Path):
        """What must be the same as without a kill: every tensor of the last checkpoint, and the log's steps."""
        path, state = checkpoints.latest(out, checkpoints.RUN)
        players = state["players"].values()
        tensors = [t.flatten() for player in players for part in ("weights", "average") for t in player[part].values()]
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        steps = [(line["group"], line["step"]) for line in log]
        return path.name, torch.cat(tensors).double().sum().item(), steps


def kills(kind: type, count: int, folder: Path, seed: int = 0) -> dict:
    """Kill and call again `count` times; counts of what was seen."""
    task, rng = kind(folder), random.Random(seed)
    for whole in (folder / "warm", folder / "whole"):
        begin = time.monotonic()
        assert forked(task.begin(whole), folder / "whole.txt") == 0, (folder / "whole.txt").read_text()
    seconds, wanted = time.monotonic() - begin, task.found(whole)
    seen: Counter = Counter()
    wrong = []
    while seen["killed"] < count:
        out, told = folder / "killed", folder / "killed.txt"
        work = task.begin(out)
        if forked(work, told, rng.uniform(0, seconds)) != -signal.SIGKILL:
            seen["finished before, not counted"] += 1
            shutil.rmtree(out)
            continue
        seen["killed"] += 1
        seen["left unfinished files"] += bool(out.exists() and leftovers(out))
        code = forked(work, told)
        said = told.read_text()
        seen["the next call said so"] += "interrupted run" in said
        seen["of these, a case was kept that was not in its place yet"] += "had it ready" in said
        right = not code and not leftovers(out) and task.found(out) == wanted
        seen["the next call ended with 0, all there, nothing left"] += right
        if not right:
            wrong.append({"number": seen["killed"], "code": code, "left": leftovers(out), "said": said[-500:]})
        shutil.rmtree(out)
    return {"kind": kind.__name__.lower(), "count": count, "seconds": seconds, "seen": dict(seen), "wrong": wrong}


def table(results: list[dict]) -> str:
    """Markdown of what was seen."""
    rows = list(dict.fromkeys(name for result in results for name in result["seen"]))
    lines = ["| | " + " | ".join(result["kind"] for result in results) + " |", "|---" * (len(results) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(r["seen"].get(name, 0)) for r in results) + " |" for name in rows]
    lines += ["| seconds of a whole run | " + " | ".join(f"{r['seconds']:.2f}" for r in results) + " |"]
    return "\n".join(lines)


def main() -> int:
    """Both commands; 1 when something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    results = []
    for kind in (Prepare, Train):
        with tempfile.TemporaryDirectory() as folder:
            results.append(kills(kind, options.count, Path(folder), options.seed))
        print(json.dumps(results[-1]), flush=True)
    if options.results:
        call = f"`Testing/benchmarks/robustness_training_kills.py --count {options.count}`"
        head = (
            f"By {call}, whose head says what must be the same.\nSIGKILL at a random moment, then the same call again."
        )
        options.results.write_text(f"# Kills of prepare and train\n\n{head}\n\n{table(results)}\n", encoding="utf-8")
    return int(any(result["wrong"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
