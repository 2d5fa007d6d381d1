"""What a synthesis takes by relapet serve, beside a process of its own each time.

.venv/bin/python Testing/benchmarks/desk_serve.py > Testing/benchmarks/results/desk_serve.md

A plain brain on the model grid, which need not be registered, and the demo model at few steps on the CPU: what remains
is what a kept process can spare. All results are compared by hash.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT)]

RUNS = 3


def timed(lines, begin: float) -> tuple[float, float, float]:
    """Seconds until the first line of progress, the first of work, and the result."""
    first = work = None
    for line in lines:
        said, now = json.loads(line), time.perf_counter() - begin
        if said["type"] == "progress":
            first = first or now
            work = work or (now if said["message"].startswith("reading the T2") else None)
        if said["type"] == "error":
            raise RuntimeError(said["message"])
        if said["type"] == "result":
            return first, work, now
    raise RuntimeError("no result")


def hash_of(folder: Path) -> str:
    return sha256((folder / "synthetic_pet.nii.gz").read_bytes()).hexdigest()


def main() -> None:
    from cases import write_grid_case

    program, rows, hashes = [sys.executable, "-m", "RelAPETLib"], {}, set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "case").mkdir()
        case = write_grid_case(folder / "case")
        given = ["--t1w", case["t1w"], "--t2f", case["t2f"], "--tracer", "TAU", "--preprocessed", "--steps", "5"]
        given = ["synthesize", *map(str, given), "--samples", "2", "--device", "cpu", "--no-report", "--out"]
        pipe = subprocess.PIPE
        server = subprocess.Popen([*program, "serve", "--stdio"], stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        for number in range(RUNS + 1):  # alternating, so that both see the same machine
            out = folder / f"fresh{number}"
            begin = time.perf_counter()
            command = [*program, *given, str(out), "--progress", "json"]
            with subprocess.Popen(command, stdout=pipe, text=True, cwd=ROOT) as process:
                rows.setdefault("a process of its own", []).append(timed(process.stdout, begin))
                process.stdout.read()
            hashes.add(hash_of(out))
            begin, out = time.perf_counter(), folder / f"served{number}"
            server.stdin.write(json.dumps({"id": number, "argv": [*given, str(out)]}) + "\n")
            server.stdin.flush()
            way = "relapet serve, later requests" if number else "relapet serve, first request"
            rows.setdefault(way, []).append(timed(server.stdout, begin))
            hashes.add(hash_of(out))
        server.stdin.close()
        server.wait()
    print("# A synthesis by relapet serve\n")
    print(f"Made by `python Testing/benchmarks/desk_serve.py` on {datetime.date.today()}, {os.cpu_count()} cores, the")
    print(f"load was {os.getloadavg()[1]:.1f}; a preprocessed case, demo model, 5 steps, 2 samples, CPU.")
    print(f"Different PET among the {2 * RUNS + 2} results, by hash: {len(hashes)}.\n")
    print("| way | first line (s) | T1w read (s) | result (s), median | lowest to highest |\n|---|---|---|---|---|")
    for way, times in rows.items():
        first, work, whole = zip(*times, strict=True)
        middle = " | ".join(f"{statistics.median(each):.1f}" for each in (first, work, whole))
        print(f"| {way} ({len(times)}) | {middle} | {min(whole):.1f} to {max(whole):.1f} |")


if __name__ == "__main__":
    main()
