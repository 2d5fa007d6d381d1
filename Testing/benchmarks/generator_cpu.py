"""One call of the voxel generator on a CPU: the published implementation's, ours the plain way, ours as synthesis runs.

``python Testing/benchmarks/generator_cpu.py --release FOLDER [--shape 80x88x80] [--repeats 5] [--threads 1 2]
[--out FILE]`` prints seconds of the processor, seconds by the clock and peak memory. FOLDER is a checkout of
github.com/mxliu/Relativistic-Adversarial-Diffusion-for-Neuroimage-Synthesis; its own network is called, which needs the
packages of ours alone. All sides have the same numbers as weights and the same input; how far their outputs differ is
printed, too.

Each side lives in a process of its own, because the peak of a process never falls. The processes take turns call by
call, forth and back, so that what else the machine does meets all alike. A share is the median over the turns of a
side's processor seconds by those of the published one in the same turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from Testing.benchmarks.train_step import machine

SIDES = {
    "release": "the published implementation's",
    "plain": "ours, MONAI's own forward",
    "fast": "ours",
    "fast, kept memory": "ours as `relapet synthesize` runs it: freed memory is kept while samples are drawn",
    "slabs, kept memory": "ours slab by slab, as `relapet synthesize` runs it where memory is short",
}
ARGUMENTS = {
    "spatial_dims": 3, "in_channels": 3, "out_channels": 1, "num_res_blocks": 2, "num_head_channels": 64,
    "attention_levels": (False, False, True), "norm_num_groups": 8, "with_conditioning": True,
    "cross_attention_dim": 64, "num_class_embeds": 4,
}  # fmt: skip
WARM_UP = 1


def network_of(side: str, release: Path):
    """A side's network with weights that follow from their published names, as a function of the input."""
    import torch

    from RelAPETLib.networks.generator import build_generator, load_release_state_dict, release_name

    ours = build_generator().eval()
    torch.manual_seed(0)
    weights = {release_name(name): 0.1 * torch.randn(tensor.shape) for name, tensor in ours.state_dict().items()}
    if side == "release":
        sys.path.insert(0, str(release))
        from generative.networks.nets.diffusion_model_unet import DiffusionModelUNet

        theirs = DiffusionModelUNet(num_channels=(16, 32, 64), **ARGUMENTS).eval()
        theirs.load_state_dict(weights)
        return theirs
    load_release_state_dict(ours, weights)
    if side == "plain":
        from monai.networks.nets import DiffusionModelUNet

        return lambda *args, **labels: DiffusionModelUNet.forward(ours, *args, **labels)
    return ours


def serve(side: str, release: Path, shape: tuple[int, ...], threads: int) -> None:
    """Call the network for every line on stdin and print its seconds; at the end the peak in GB and the output."""
    import torch

    from RelAPETLib.devices import kept_memory
    from RelAPETLib.networks.execution import in_slabs

    torch.set_num_threads(threads)
    network = network_of(side, release)
    x = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    keeping = kept_memory() if side.endswith("kept memory") else nullcontext()
    with torch.inference_mode(), keeping, in_slabs(side.startswith("slabs")):
        for _ in sys.stdin:
            began, busy = time.perf_counter(), time.process_time()
            found = network(x, torch.tensor([500]), class_labels=torch.tensor([2]))
            print(json.dumps((time.process_time() - busy, time.perf_counter() - began)), flush=True)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
    print(json.dumps([peak, (found / found.std()).flatten()[::97].tolist()]))


def compare(options: argparse.Namespace, threads: int) -> dict[str, tuple[list, list]]:
    """Of every side: (processor seconds, clock seconds) of each turn, and [peak GB, part of the output]."""
    words = ["--release", str(options.release), "--shape", options.shape, "--threads", str(threads)]
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--side", side, *words],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in SIDES
    }
    turns = {side: [] for side in sides}
    for turn in range(WARM_UP + options.repeats):
        for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            process = sides[side]
            process.stdin.write("call\n")
            process.stdin.flush()
            while not (line := process.stdout.readline()).startswith("["):  # MONAI prints, too
                if not line:
                    sys.exit(f"{side} ended with {process.wait()}")
            turns[side].append(json.loads(line))
    ends = {side: json.loads(process.communicate()[0]) for side, process in sides.items()}
    return {side: (turns[side][WARM_UP:], ends[side]) for side in sides}


def rows(found: dict[str, tuple[list, list]], threads: int) -> list[str]:
    """A row of the table for every side."""
    theirs, (_, wanted) = found["release"]
    made = []
    for side, (turns, (peak, output)) in found.items():
        busy, clock = (statistics.median(column) for column in zip(*turns, strict=True))
        shares = [ours[0] / release[0] for ours, release in zip(turns, theirs, strict=True)]
        apart = max(abs(a - b) for a, b in zip(output, wanted, strict=True))
        spread = f"{statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})"
        made.append(f"| {threads} | {side} | {busy:.2f} | {spread} | {clock:.2f} | {peak:.2f} | {apart:.1e} |")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--release", type=Path, required=True, help="checkout of the published implementation")
    add("--shape", default="80x88x80")
    add("--repeats", type=int, default=5)
    add("--threads", type=int, nargs="+", default=[1, 2])
    add("--out", type=Path, help="write what is printed to this file")
    add("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        serve(options.side, options.release, tuple(map(int, options.shape.split("x"))), options.threads[0])
        return
    lines = [
        "# One call of the voxel generator on a CPU",
        "",
        f"{date.today()}, {machine('cpu')}, {options.shape} voxels, float32, batch 1, {options.repeats} turns. Made by",
        "`python Testing/benchmarks/generator_cpu.py --release FOLDER --out FILE`. Processor seconds are medians; the",
        "share is of `release` in the same turn, median (lowest to highest). The clock's seconds are a busy machine's.",
        "The last column is the largest difference from `release`, in standard deviations of the output.",
        "",
        *(f"- {side}: {words}" for side, words in SIDES.items()),
        "",
        "| threads | side | processor s | share of release | clock s | peak GB | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for threads in options.threads:
        lines += rows(compare(options, threads), threads)
        print("\n".join(lines[-len(SIDES) :]), flush=True)
        if options.out:
            options.out.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
