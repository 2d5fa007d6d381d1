"""Should the sampler clip its clean estimate to [-1, 1]? ``preset.sampler_clip`` true and false, small networks.

``python Testing/benchmarks/sampler_clip.py --runs DIR --test CACHE2``, with the DIR and CACHE2 of ``ablations.py``,
draws the same volumes from the same noise with and without and writes ``results/sampler_clip.md``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ablations import METRICS, RESULTS, figures

from RelAPETLib.models import load_model
from training.data.cache import open_cache, write_whole
from training.data.split import FILE, load_split
from training.sample import Drawing, draw_volume

CLIPS = {"clipped": [-1, 1], "not clipped": None}


def measure(bundle: Path, test, items, steps: int) -> dict[str, list[dict[str, float]]]:
    """Figures inside the brain of every item, by whether the sampler clips."""
    model, inside, found = load_model(bundle), test.mask(), {}
    for name, clip in CLIPS.items():
        own = model.method
        settings = {**own.settings, "sampler": {**own.settings["sampler"], "clip": clip}}
        choice = replace(model, method=type(own)(settings, own.network, own.schedule))
        found[name] = []
        for item in items:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                made, _ = draw_volume(choice, test, item, Drawing(device="cpu", steps=steps), inside)
            measured = test.array(item.case, f"pet_{item.tracer}").astype(np.float32)
            found[name].append(figures(made, measured, inside, item.tracer)["brain"])
    return found


def row(run: str, steps: int, name: str, values: list[dict[str, float]]) -> str:
    """A line of the table: mean ± SD over volumes."""
    cells = []
    for metric in METRICS:
        own, digits = np.array([value[metric] for value in values]), 2 if metric == "psnr" else 4
        cells.append(f"{own.mean():.{digits}f} ± {own.std(ddof=1):.{digits}f}")
    return f"| {run} | {steps} | {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs of ablations.py")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=["ddpm", "ficd", "rela"])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--volumes", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    test = open_cache(options.test.resolve())
    items = test.items(load_split(options.test.resolve() / FILE, test).test)[: options.volumes]
    lines = [
        "# Clean estimate in the sampler: clipped or not",
        "",
        f"- made by `python Testing/benchmarks/sampler_clip.py --volumes {options.volumes}` on {date.today()}, one CPU "
        "thread, bf16",
        f"- the networks of `ablations.md`; dpmpp; {len(items)} held-out volumes, one sample each, from the same noise",
        "- PSNR in dB; PSNR, SSIM and MAE inside the brain, data range 1 = the SUVR window; mean ± SD",
        "",
        f"| run | steps | clean estimate | {' | '.join(METRICS.values())} |",
        "|---|---|---|---|---|---|",
    ]
    for run in options.names:
        for steps in options.steps:
            for name, values in measure(options.runs / run / "bundle", test, items, steps).items():
                lines.append(row(run, steps, name, values))
                print(lines[-1], flush=True)
    write_whole(RESULTS / "sampler_clip.md", ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
