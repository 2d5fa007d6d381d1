"""What SIGKILL at a random moment leaves, and whether the next run mends it.

OMP_NUM_THREADS=1 .venv/bin/python Testing/benchmarks/robustness_kills.py --raw 4 > robustness_kills.md

Each command runs as a process of its own over simulated inputs and is killed, half of the times at a moment drawn over
its whole duration, half of the times while it writes its outputs and puts them into place. In every second of the runs
the place holds an older result, which the command was told to overwrite. A plain run of the same command follows. The
processes are forked from one that has imported the libraries, so that the kills fall into the work.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT / "Testing"), str(ROOT)]

OLD, NEW, NOTHING, MIXTURE = "old", "new", "nothing", "mixture"
STAGING = ".relapet"


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        name: how the table calls it.
        argv: arguments of `relapet` for version 1 (old) or 2 (new) and an output folder.
        state: what a folder holds: OLD, NEW, NOTHING or MIXTURE.
    """

    name: str
    argv: Callable[[int, Path], list[str]]
    state: Callable[[Path], str]


def start(argv: list[str], log: Path) -> int:
    """Fork a process that runs one command; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        from RelAPETLib.cli import main

        os._exit(main(argv))
    finally:
        os._exit(99)


def run(argv: list[str], log: Path) -> int:
    """One command to its end; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(start(argv, log), 0)[1])


def files_of(out: Path) -> dict[str, str]:
    """SHA-256 by path, staging folders left out."""
    if not out.is_dir():
        return {}
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(out).as_posix() for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if not name.startswith(f"{STAGING}/")
    }


def known_tree(trees: dict[str, dict]) -> Callable[[Path], str]:
    """State of a folder whose right contents are known in advance."""

    def state(out: Path) -> str:
        files = files_of(out)
        if not files:
            return NOTHING
        return next((name for name, tree in trees.items() if tree == files), MIXTURE)

    return state


def synthesis_state(out: Path) -> str:
    """State of a synthesis' folder by its own record, which has every file's SHA-256 and the seed."""
    files = files_of(out)
    if not files:
        return NOTHING
    try:
        record = json.loads((out / "synthetic_pet.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return MIXTURE
    listed = {name: output["sha256"] for name, output in record["outputs"].items()}
    whole = listed == {name: digest for name, digest in files.items() if name != "synthetic_pet.json"}
    return (OLD, NEW)[record["sampling"]["seed"] - 1] if whole else MIXTURE


def commands(folder: Path, names: list[str]) -> list[Command]:
    """The commands asked for, with their inputs and right answers."""
    from cases import write_grid_case, write_tiny_latent

    log = folder / "log.txt"
    model = write_tiny_latent(folder / "bundle2")
    found = []
    if "synthesize" in names:
        (folder / "grid").mkdir()
        case = write_grid_case(folder / "grid")
        given = ["--preprocessed", "--t1w", str(case["t1w"]), "--t2f", str(case["t2f"]), "--tracer", "TAU"]
        given += ["--model", str(model), "--device", "cpu", "--steps", "1", "--samples", "1", "--no-report"]
        found.append(
            Command(
                "synthesize",
                lambda version, out: ["synthesize", *given, "--seed", str(version), "--out", str(out)],
                synthesis_state,
            )
        )
    if "synthesize raw" in names:
        from RelAPETLib.phantom.bids import write_case

        scans = write_case(folder / "raw", 20_000)
        raw = ["--t1w", str(scans["t1w"]), "--t2f", str(scans["t2f"]), "--tracer", "TAU", "--model", str(model)]
        raw += ["--device", "cpu", "--steps", "1", "--samples", "1"]
        found.append(
            Command(
                "synthesize raw",
                lambda version, out: ["synthesize", *raw, "--seed", str(version), "--out", str(out)],
                synthesis_state,
            )
        )
    if "import" in names:
        shutil.copytree(model, folder / "bundle1")
        (folder / "bundle1" / "LICENSE").write_text("the old one's")
        trees = {OLD: files_of(folder / "bundle1"), NEW: files_of(model)}
        found.append(
            Command(
                "models import",
                lambda version, out: ["models", "import", str(folder / f"bundle{version}"), "--out", str(out)],
                known_tree(trees),
            )
        )
    if "phantom" in names:
        trees = {}
        for version, name in ((1, OLD), (2, NEW)):
            out = folder / f"cohort{version}"
            code = run(["phantom", "--subjects", "1", "--seed", str(version), "--out", str(out)], log)
            assert code == 0, log.read_text()
            trees[name] = files_of(out)
        found.append(
            Command(
                "phantom",
                lambda version, out: ["phantom", "--subjects", "1", "--seed", str(version), "--out", str(out)],
                known_tree(trees),
            )
        )
    return found


def staging_of(out: Path) -> list[Path]:
    """Staging folders in and beside an output folder."""
    beside = out.parent / f".{out.name}{STAGING}"
    return [path for path in (out / STAGING, beside) if path.exists()]


def has_begun_to_write(out: Path) -> bool:
    return any((path / "new").exists() for path in staging_of(out))


def measure(command: Command, out: Path, log: Path) -> tuple[float, float]:
    """Seconds of a whole run, and of its last part, in which it writes."""
    began = time.monotonic()
    pid, writing = start(command.argv(2, out), log), None
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if writing is None and has_begun_to_write(out):
            writing = time.monotonic()
        time.sleep(0.001)
    assert done[1] == 0, log.read_text()
    ended = time.monotonic()
    return ended - began, ended - (writing or ended)


def kill_once(command: Command, out: Path, old: bool, aimed: bool, delay: float, log: Path) -> tuple[str, int]:
    """Kill one run `delay` seconds after its begin (aimed: after it has begun to write); its state and exit status."""
    pid = start([*command.argv(2, out), *(["--overwrite"] if old else [])], log)
    while aimed and not has_begun_to_write(out) and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.0005)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return command.state(out), status


def campaign(command: Command, kills: int, minutes: float, folder: Path, seed: int) -> dict[str, Counter]:
    """Kill a command many times, or until the time is over; counts by what was found."""
    end = time.monotonic() + 60 * minutes
    log, draw = folder / "log.txt", random.Random(seed)
    kept = folder / f"old of {command.name}"
    assert run(command.argv(1, kept), log) == 0, log.read_text()
    assert command.state(kept) == OLD
    whole, writing = measure(command, folder / f"measure {command.name}", log)
    found = {key: Counter() for key in ("killed", "after the kill", "after the next run", "next run", "wrong")}
    for number in itertools.count():
        if found["killed"]["killed"] >= kills or time.monotonic() > end:
            break
        out = folder / f"{command.name} {number}"
        old, aimed = number % 2 == 1, number % 4 >= 2
        if old:
            shutil.copytree(kept, out)
        delay = draw.uniform(0, writing if aimed else whole)
        after, status = kill_once(command, out, old, aimed, delay, log)
        if status != -signal.SIGKILL:
            assert status in (0, 2), log.read_text()
            found["killed"]["ended before it was killed, not counted"] += 1
            shutil.rmtree(out, ignore_errors=True)
            continue
        found["killed"]["killed"] += 1
        left = bool(staging_of(out))
        found["after the kill"][after + (", staging left" if left else "")] += 1
        code = run(command.argv(2, out), log)
        words, final = log.read_text(), command.state(out)
        found["after the next run"][final] += 1
        how = "done" if code == 0 else "refused: a whole result is there" if code == 2 else f"exit {code}"
        if "interrupted run" in words:
            how += ", told what it mended"
        found["next run"][how] += 1
        wrong = []
        if final not in (OLD, NEW):
            wrong.append(f"{final} after the next run")
        if old and code == 0:
            wrong.append("old result lost")
        if code not in (0, 2) or (code == 2 and "another --out" not in words and "exists already" not in words):
            wrong.append(f"next run blocked: {words.strip()[-200:]}")
        if staging_of(out) or list(out.rglob("*.part*")):
            wrong.append("leftovers")
        found["wrong"].update(wrong)
        shutil.rmtree(out, ignore_errors=True)
    found["seconds"] = Counter({f"whole {whole:.1f}, writing {writing:.1f}": 1})
    return found


def table(results: dict[str, dict[str, Counter]], arguments) -> str:
    lines = ["# Kills", "", (__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " "), ""]
    lines += [f"Seed {arguments.seed}. Counts:", ""]
    lines += ["| command | " + " | ".join(next(iter(results.values()))) + " |"]
    lines += ["|" + "---|" * (1 + len(next(iter(results.values()))))]
    for name, found in results.items():
        cells = ["; ".join(f"{count} {key}" for key, count in counts.items()) or "none" for counts in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "`old`, `new`: every file of the older or the newer result and no other. `nothing`: no file. `mixture`: "
        "anything else, which only a kill between two renames can leave, and only until the next run. `wrong`: a "
        "mixture or nothing after the next run, an old result lost, a next run blocked, or files left over.",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kill commands at random moments and see what the next run finds.")
    parser.add_argument("--commands", default="synthesize,import,phantom")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--raw", type=int, default=0, help="kills of a synthesis of raw scans")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop a command's kills after this time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    import torch

    import RelAPETLib.models
    import RelAPETLib.phantom.bids
    import RelAPETLib.report
    import RelAPETLib.synthesis  # noqa: F401 - before the forks

    torch.set_num_threads(1)
    names = arguments.commands.split(",") + (["synthesize raw"] if arguments.raw else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RELAPET_HOME"] = str(folder / "home")
        results = {}
        for command in commands(folder, names):
            kills = arguments.raw if command.name == "synthesize raw" else arguments.kills
            results[command.name] = campaign(command, kills, arguments.minutes, folder, arguments.seed)
            print(command.name, {key: dict(value) for key, value in results[command.name].items()}, file=sys.stderr)
        print(table(results, arguments))
    return 1 if any(found["wrong"] for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
