"""Does clamping the clean estimate in the loss help or harm? ``preset.clamp_clean_estimate`` true and false, two seeds.

``python Testing/benchmarks/clean_estimate.py --cache CACHE --test CACHE2 --out DIR`` trains the small network of
``ablations.py`` by ``method=ficd``, samples and measures it the same way, and writes ``results/clean_estimate.md``. The
same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ablations import (
    FACTOR,
    METRICS,
    RESULTS,
    SAMPLER_STEPS,
    Figure,
    export_and_sample,
    items_of,
    measure,
    overrides,
    paired,
    train,
)

from training.data.cache import open_cache, write_whole
from training.data.split import FILE, load_split

CHOICES = {"clamped": "true", "unclamped": "false"}


def name_of(choice: str, seed: int) -> str:
    """``clamped-0``: folder and method of a run."""
    return f"{choice}-{seed}"


def validation_curve(folder: Path) -> dict[int, float]:
    """Whole-grid PSNR of the validation volumes at 5 mm by step, from a run's log."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["psnr"] for line in lines if line["group"] == "validation"}


def report(rows: list[Figure], curves: dict[str, dict[int, float]], settings: list[str], seeds: list[int]) -> str:
    """The results file without what a person says about it."""
    steps = sorted({step for curve in curves.values() for step in curve})
    lines = ["# Clean estimate in the loss: clamped or not", "", *(f"- {line}" for line in settings)]
    lines += ["", "## PSNR of validation volumes while training, dB, 5 mm grid", ""]
    lines += [f"| run | {' | '.join(f'step {step}' for step in steps)} |", f"|---|{'---|' * len(steps)}"]
    for name, curve in curves.items():
        lines.append(f"| {name} | {' | '.join(f'{curve[s]:.2f}' if s in curve else '' for s in steps)} |")
    lines += ["", "## Held-out volumes inside the brain, one sample, mean ± SD", ""]
    lines += [f"| run | {' | '.join(METRICS.values())} |", "|---|---|---|---|"]
    for name in curves:
        own = [row for row in rows if row.method == name and row.region == "brain"]
        cells = []
        for metric in METRICS:
            values, digits = np.array([getattr(row, metric) for row in own]), 2 if metric == "psnr" else 4
            cells.append(f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Unclamped minus clamped, paired by volume, mean ± standard error:", ""]
    for seed in seeds:
        told = []
        for metric, title in METRICS.items():
            pair = name_of("unclamped", seed), name_of("clamped", seed)
            mean, error, count = paired(rows, pair[0], "one", "brain", metric, ours=pair[1])
            digits = 2 if metric == "psnr" else 4
            told.append(f"{title} {mean:+.{digits}f} ± {error:.{digits}f}")
        lines.append(f"- seed {seed}: {', '.join(told)} ({count} volumes)")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--volumes", type=int, default=24, help="test volumes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", choices=CHOICES, help="no results")
    options = parser.parse_args()
    cache_folder, test_folder, out = options.cache.resolve(), options.test.resolve(), options.out.resolve()
    cache = open_cache(cache_folder)
    items = items_of(cache, load_split(cache_folder / FILE, cache))
    rows, curves = [], {}
    for seed in options.seeds:
        for choice, value in CHOICES.items():
            if options.only not in (None, choice):
                continue
            name = name_of(choice, seed)
            folder = out / name
            words = ["method=ficd", f"preset.clamp_clean_estimate={value}"]
            checkpoint = train(
                overrides(words, cache_folder, folder, options.steps, items, seed), folder, options.steps
            )
            export_and_sample(name, checkpoint, folder, test_folder, options.volumes, {"one": 1})
            rows += measure(name, "one", folder / "one", open_cache(test_folder))
            curves[name] = validation_curve(folder)
    if options.only:
        return
    settings = [
        f"made by `python Testing/benchmarks/clean_estimate.py --steps {options.steps} --volumes {options.volumes}` on "
        f"{date.today()}, one CPU thread, bf16",
        f"method ficd, {options.steps} steps of batch 3, blocks of {FACTOR} mm, the small network of `ablations.md`; "
        f"sampled by dpmpp in {SAMPLER_STEPS} steps, the clean estimate clipped there",
    ]
    write_whole(RESULTS / "clean_estimate.md", report(rows, curves, settings, options.seeds).encode())


if __name__ == "__main__":
    main()
