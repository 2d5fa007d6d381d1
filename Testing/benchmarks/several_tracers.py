"""Seconds of three tracers against one from raw scans, and from a kept case, by the command line.

``python Testing/benchmarks/several_tracers.py --t1w T1W --t2f T2F [--repeats N]`` writes
``results/several_tracers.md``. Processor seconds of the whole process, imports included, by the demo model with its
defaults, no reference; wall seconds beside, which other work on the machine makes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"


def spent(words: list[str]) -> tuple[float, float, dict]:
    """(processor seconds, wall seconds, result) of one command."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "RelAPETLib", "synthesize", *words, "--device", "cpu", "--progress", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - begin, json.loads(done.stdout.splitlines()[-1])


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two PET files are equal byte for byte."""
    name = "synthetic_pet.nii.gz"
    return (first / name).read_bytes() == (second / name).read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--t1w", required=True)
    parser.add_argument("--t2f", required=True)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = ["--t1w", options.t1w, "--t2f", options.t2f]
        for number in range(options.repeats):
            out = [folder / f"{number}-{i}" for i in range(4)]
            ways = {
                "one tracer": [*scans, "--tracer", "TAU", "--out", str(out[0])],
                "three tracers": [*scans, "--tracer", "all", "--out", str(out[1]), "--save-case", str(folder / "case")],
                "one tracer from a case": ["--case", str(folder / "case"), "--tracer", "TAU", "--out", str(out[2])],
                "three tracers from a case": ["--case", str(folder / "case"), "--tracer", "all", "--out", str(out[3])],
            }
            for way, words in ways.items():
                used, wall, _ = spent([*words, *(["--overwrite"] if number else [])])
                rows.setdefault(way, []).append((used, wall))
                print(way, round(used, 1), round(wall, 1), flush=True)
            folders = [out[0], out[1] / "TAU", out[2], out[3] / "TAU"]
            equal = all(same_bytes(folders[0], other) for other in folders[1:])
    one = np.mean([used for used, _ in rows["one tracer"]])
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    lines = [
        "# Three tracers against one",
        "",
        f"- made by `python Testing/benchmarks/several_tracers.py --repeats {options.repeats}` on {date.today()}, "
        f"{platform.system()}, OMP_NUM_THREADS={threads}; a raw pair, the demo model, no reference",
        "- the three tracers' row keeps the case too",
        f"- the PET of TAU is {'the same, byte for byte,' if equal else 'NOT THE SAME'} in all four ways",
        "",
        "| way | processor s | against one tracer | wall s |",
        "|---|---|---|---|",
    ]
    for way, values in rows.items():
        used, wall = np.mean(values, axis=0)
        lines.append(f"| {way} | {used:.1f} | {used / one:.2f} | {wall:.1f} |")
    (RESULTS / "several_tracers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
