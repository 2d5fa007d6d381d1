"""Real T1w and FLAIR pairs, as they are and degraded, through `relapet synthesize` from file to report.

cd Testing/benchmarks; python real_pairs.py --real DIR --out DIR > results/real_pairs.md

DIR of the real scans as in quality_thresholds.py. Every run writes its files to OUT/NAME, so that the reports can be
looked at; a finished one is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from quality_thresholds import DEGRADE

from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import read_volume, write_volume


def cases(real: Path) -> list[tuple[str, str]]:
    """(pair, degradation or ""): every pair as it is, then one or two degradations of each in turn, 20 at least."""
    pairs = sorted(path.name.removesuffix("_T1W.nii.gz") for path in real.glob("*_T1W.nii.gz"))
    plain = [(pair, "") for pair in pairs]
    kinds = list(DEGRADE)
    worse = [(pair, kinds[(n + step) % len(kinds)]) for step in (0, 2) for n, pair in enumerate(pairs)]
    return plain + worse[: max(0, 20 - len(plain))]


def scans(pair: str, kind: str, real: Path, folder: Path) -> list[Path]:
    """Files of the T1w and the FLAIR; degraded ones are made in the folder."""
    found = []
    for number, (role, name) in enumerate((("T1w", "T1W"), ("T2F", "FLAIR"))):
        path = real / f"{pair}_{name}.nii.gz"
        if kind:
            worse = folder / f"{name}.nii.gz"
            rng = np.random.default_rng([number, *kind.encode(), *pair.encode()])
            write_volume(DEGRADE[kind](read_volume(path), rng, role), worse, overwrite=True)
            path = worse
        found.append(path)
    return found


def run(pair: str, kind: str, tracer: str, real: Path, out: Path) -> dict:
    """Outcome of one synthesis, kept beside its files."""
    folder = out / f"{pair}{kind and '+'}{kind}"
    kept = folder / "outcome.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        t1w, t2f = scans(pair, kind, real, folder)
        command = [sys.executable, "-m", "RelAPETLib", "synthesize", "--t1w", t1w, "--t2f", t2f, "--tracer", tracer]
        begin = time.perf_counter()
        done = subprocess.run([*command, "--out", folder, "--overwrite"], capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        kept.write_text(json.dumps({"code": done.returncode, "error": done.stderr[-400:], "seconds": seconds}))
    outcome = json.loads(kept.read_text()) | {"tracer": tracer}
    if outcome["code"] == 0:
        record = json.loads((folder / "synthetic_pet.json").read_text())
        outcome |= {"warnings": record["warnings"], "quality": record["preprocessing"]["quality"]}
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = {}
    for number, (pair, kind) in enumerate(cases(options.real)):
        rows[pair, kind] = run(pair, kind, list(TRACERS)[number % len(TRACERS)], options.real, options.out)
        print(pair, kind, rows[pair, kind]["code"], file=sys.stderr, flush=True)
    good = sum(row["code"] == 0 for row in rows.values())
    print("# Real pairs through `relapet synthesize`\n")
    print(f"Made by `python real_pairs.py` on {date.today()}. {good} of {len(rows)} pairs gave a PET and a report.\n")
    print("| pair | degraded | tracer | exit code | NCC to the template | brain missing, T1w / FLAIR (%) | warnings |")
    print("|---|---|---|---|---|---|---|")
    for (pair, kind), row in rows.items():
        if row["code"]:
            print(f"| {pair} | {kind or '-'} | {row['tracer']} | {row['code']} | | | {row['error'].strip()} |")
            continue
        figures = row["quality"]
        missing = " / ".join(f"{100 * figures[f'brain_missing_{name}']:.1f}" for name in ("t1w", "t2f"))
        told = "; ".join(row["warnings"]) or "-"
        shown = f"{figures['template_ncc']:.2f} | {missing} | {told}"
        print(f"| {pair} | {kind or '-'} | {row['tracer']} | 0 | {shown} |")


if __name__ == "__main__":
    main()
