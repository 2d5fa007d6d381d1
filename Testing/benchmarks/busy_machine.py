"""Drawing with two threads on an idle machine and on one where others work, by how long torch's threads wait awake.

cd Testing/benchmarks; python busy_machine.py > results/busy_machine.md

The demo model draws 8 samples of a plain brain, three times in a process of its own, with as many threads as the
machine has cores; beside it nothing, or one process a core that does nothing but count. The middle of the three is
told. "As it comes" is the control: GNU OpenMP's own waiting. `relapet` and the training set what
`devices.share_the_cores` says.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "support")]

SETTINGS = {
    "as it comes": {},
    "`GOMP_SPINCOUNT=3000`, as `relapet` sets it": {"GOMP_SPINCOUNT": "3000"},
    "`OMP_WAIT_POLICY=PASSIVE`": {"OMP_WAIT_POLICY": "PASSIVE"},
}
CHILD = """
import json, sys, time, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from RelAPETLib.models import load_model
from RelAPETLib.synthesis import Options, load_case
from RelAPETLib.synthesis.pipeline import draw
case, model, found = load_case(sys.argv[2]), load_model("demo", device="cpu"), []
for _ in range(3):
    wall, cpu = time.perf_counter(), time.process_time()
    draw(case, "TAU", Options(tracers=("TAU",), samples=8, force=True), model=model)
    found.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps(sorted(found)[1]))
"""


@contextlib.contextmanager
def counting(processes: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    made = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in made:
            process.kill()
            process.wait()


def measure(case: Path, setting: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor of one draw."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", CHILD, str(ROOT), str(case)]
    done = subprocess.run(command, env=own | setting, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    from cases import write_grid_case

    from RelAPETLib.synthesis import prepare_case, save_case

    cores = os.cpu_count()
    print("# Drawing beside other work, by how torch's threads wait\n")
    print(
        f"Made by `python busy_machine.py` on {date.today()}, {cores} cores; load before: {os.getloadavg()[0]:.1f}.\n"
    )
    print("| threads wait | idle: wall s | CPU s | busy: wall s | CPU s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = write_grid_case(Path(folder))
        case = prepare_case(files["t1w"], files["t2f"], preprocessed=True, device="cpu", force=True)
        save_case(case, Path(folder) / "case")
        for name, setting in SETTINGS.items():
            idle = measure(Path(folder) / "case", setting)
            with counting(cores):
                busy = measure(Path(folder) / "case", setting)
            print(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in (*idle, *busy))} |", flush=True)


if __name__ == "__main__":
    main()
