"""Mutated volume files of every format through `read_volume`: what is read, what is refused, what breaks.

``python Testing/benchmarks/robustness_volumes.py`` makes 10,000 files from whole ones of 9 x 8 x 7 voxels, reads each
in a worker process with 5 s of CPU and 3 GB, prints a table and writes ``results/robustness_volumes.md``. Every file
follows from the seed and its number: ``--only 123 --keep folder`` writes that one to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from robustness_cases import BASES, KINDS, Base, mutated

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.volumes import read_volume

#: Of CPU; of waiting, which other processes' load makes longer, ten times as many.
SECONDS, MEMORY = 5, 3 * 2**30
GOOD = ("equal", "equal, warned", "other", "refused")
BAD = ("damage accepted", "unexpected", "crash", "hang", "talked")
NOTE = """
- *equal*: read with the voxels and the geometry of the whole file; *warned*: with a warning that says what is odd
- *other*: read with other voxels or another place, and rightly so: in a file without check sum, or in a header that was
  changed before it was compressed, what stands there is what is read
- *refused*: one line, `InputError`
- *damage accepted*: other voxels out of a compressed stream that was changed; *unexpected*: another exception, or a
  message of several lines; *talked*: a library's own line on the terminal"""


@dataclass(frozen=True)
class Outcome:
    """How a file was taken: `what` is one of GOOD and BAD."""

    number: int
    format: str
    kind: str
    what: str
    message: str = ""


def outcome(number: int, seed: int, bases: dict[str, Base], folder: Path) -> Outcome:
    """Make a file and read it."""
    base, kind, case = mutated(number, seed, bases)
    path = case.write(folder)
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = read_volume(path)
        except InputError as error:
            message = str(error)
            return Outcome(number, base.name, kind, "refused" if message.isprintable() else "unexpected", message)
        except Exception as error:
            return Outcome(number, base.name, kind, "unexpected", f"{type(error).__name__}: {error}")
    told = [str(one.message) for one in caught if issubclass(one.category, RelAPETWarning)]
    others = [str(one.message) for one in caught if not issubclass(one.category, RelAPETWarning)]
    if others:
        return Outcome(number, base.name, kind, "talked", others[0])
    if base.same(image):
        return Outcome(number, base.name, kind, "equal, warned" if told else "equal", "; ".join(told))
    return Outcome(number, base.name, kind, "damage accepted" if case.checked else "other", "; ".join(told))


def work(first: int, last: int, seed: int, into: Path) -> None:
    """What a worker process does: read files, a line about each as it is done."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder, into.open("a") as log:
        bases = {name: make(Path(folder) / "whole") for name, make in BASES.items()}
        for number in range(first, last):
            before = os.fstat(1).st_size + os.fstat(2).st_size
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its default ends the process, whatever C code it is in
            signal.alarm(10 * SECONDS)
            result = outcome(number, seed, bases, Path(folder) / f"case{number}")
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            sys.stdout.flush()
            sys.stderr.flush()
            if os.fstat(1).st_size + os.fstat(2).st_size > before:
                result = Outcome(result.number, result.format, result.kind, "talked", result.message)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            log.write(json.dumps({**vars(result), "peak": peak}) + "\n")
            log.flush()


def run(count: int, seed: int, first: int = 0) -> tuple[list[Outcome], float]:
    """Read `count` files in worker processes, a new one after each that ends early; and a worker's largest MB."""
    results: list[Outcome] = []
    peak, last = 0, first + count
    with tempfile.TemporaryDirectory() as folder:
        log, said = Path(folder) / "log", Path(folder) / "said"
        while first < last:
            log.write_text("")
            with said.open("w") as stream:
                command = [sys.executable, __file__, "--worker", str(first), str(last), str(seed), str(log)]
                ended = subprocess.run(
                    command, stdout=stream, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"}
                ).returncode
            for line in log.read_text().splitlines():
                one = json.loads(line)
                peak = max(peak, one.pop("peak"))
                results.append(Outcome(**one))
                first = results[-1].number + 1
            if ended > 0:
                raise SystemExit(f"a worker failed:\n{said.read_text()[-2000:]}")
            if ended < 0:
                what = "hang" if -ended in (signal.SIGALRM, signal.SIGPROF) else "crash"
                results.append(Outcome(first, *_which(first, seed), what, signal.Signals(-ended).name))
                first += 1
    return results, peak / 1024


def _which(number: int, seed: int) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        bases = {name: make(Path(folder)) for name, make in BASES.items()}
        base, kind, _ = mutated(number, seed, bases)
    return base.name, kind


def table(results: list[Outcome], by: str) -> list[str]:
    """Markdown table of counts, a row for each format or kind and one for all."""
    names = [name for name in (BASES if by == "format" else KINDS) if any(getattr(r, by) == name for r in results)]
    rows = [f"| {by} | files | {' | '.join((*GOOD, *BAD))} |", "| --- " * (2 + len(GOOD) + len(BAD)) + "|"]
    for name in (*names, "all"):
        chosen = [result for result in results if name in ("all", getattr(result, by))]
        counts = Counter(result.what for result in chosen)
        rows.append(f"| {name} | {len(chosen)} | {' | '.join(str(counts[what]) for what in (*GOOD, *BAD))} |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="make this file alone")
    parser.add_argument("--keep", type=Path, default=Path("robustness_case"), help="where --only puts it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "robustness_volumes.md")
    parser.add_argument("--worker", nargs=4, metavar=("FIRST", "LAST", "SEED", "LOG"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        first, last, seed, log = options.worker
        work(int(first), int(last), int(seed), Path(log))
        return 0
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            bases = {name: make(Path(folder)) for name, make in BASES.items()}
            print(outcome(options.only, options.seed, bases, options.keep))
        return 0
    begun = time.monotonic()
    results, peak = run(options.count, options.seed)
    bad = [result for result in results if result.what in BAD]
    for result in bad[:50]:
        print(result, file=sys.stderr)
    lines = [
        "# Mutated volume files",
        "",
        f"- made by `python Testing/benchmarks/robustness_volumes.py --count {options.count} --seed {options.seed}` on "
        f"{date.today()}, one CPU thread, {time.monotonic() - begun:.0f} s",
        f"- each read in a worker with {SECONDS} s of CPU and {MEMORY / 2**30:.0f} GB of address space; a worker's "
        f"largest memory was {peak:.0f} MB, all libraries included{NOTE}",
        "",
        *table(results, "format"),
        "",
        *table(results, "kind"),
    ]
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
