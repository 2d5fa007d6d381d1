"""A step, a volume, memory and a training step on a GPU, each beside the plain way in the same run.

``python Testing/benchmarks/gpu_steps.py [--device cuda] [--shapes 80x88x80 160x180x160] [--size 16] [--repeats 10]
[--minutes 8] [--out FILE]`` prints tables with date, device and torch's version. ``--size N`` takes one small shape in
place of the two, so that the script itself can be tried on a CPU: ``--size 16 --device cpu``. Weights are random where
no trained model is needed; that changes no seconds.

- Steps: one call of the voxel generator without gradients. `MONAI` is its class's own forward as torch runs it by
  default, the baseline; ways take turns, forth and back, and a speed-up is the median over the turns of the baseline's
  seconds by theirs. The difference is the largest from the baseline, in standard deviations of its output; the
  baseline itself rounds to TF32 in convolutions.
- Volumes: 20 steps of a voxel model and the demo model's own draw, from an encoded MRI to a PET, with the peak of
  memory beside what `RelAPETLib.synthesis.memory` expected, and the largest difference from the CPU's PET, of a range
  of 2 (2 steps of the voxel model, whose steps are slow there).
- Tracers: the demo model's four samples of each, one tracer after the other and all in one batch, as a synthesis does
  on a GPU (`RelAPETLib.synthesis.sampling.pays_together`).
- Training: `Testing/benchmarks/train_step.py`'s two steps, ours and a transcription of the published one's, here in one
  process.

What would begin after ``--minutes`` is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from RelAPETLib.devices import attention_backend, computing, is_out_of_memory, resolve_device
from RelAPETLib.diffusion import NoiseSchedule, noise_for, seeded_noise
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.methods.rela import RelaDiffusion
from RelAPETLib.methods.rela.method import DEFAULT_SCHEDULE
from RelAPETLib.models import load_model
from RelAPETLib.networks.discriminator import build_discriminator
from RelAPETLib.networks.execution import in_slabs, take_ways
from RelAPETLib.networks.generator import build_generator
from RelAPETLib.synthesis.memory import counted_bytes, find_room
from RelAPETLib.tracers import TRACERS
from Testing.benchmarks.train_step import machine, our_step, release_step

BASE, SLABS = "MONAI", ("slabs",)
#: Precision, TF32 in convolutions, and ways of `networks.execution`, by name; slabs are for where memory is short.
SIDES = {
    BASE: ("fp32", True, ()),
    "ours, fp32": ("fp32", False, ()),
    "ours, TF32": ("fp32", True, ()),
    "ours, bf16": ("bf16", True, ()),
    "ours, bf16, channels last": ("bf16", True, ("channels_last",)),
    "ours, bf16, compiled": ("bf16", True, ("compile",)),
    "ours, bf16, graphs": ("bf16", True, ("graphs",)),
    "ours, TF32, in slabs": ("fp32", True, SLABS),
}
WARM_UP, STEPS, CPU_STEPS = 3, 20, 2


class Clock:
    """Seconds of work on a device, and whether there is time for more."""

    def __init__(self, device: str, minutes: float):
        self.device, self.end = device, time.monotonic() + 60 * minutes

    @property
    def late(self) -> bool:
        return time.monotonic() > self.end

    def seconds(self, work: Callable[[], object]) -> float:
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def peak_gb(self, work: Callable[[], object]) -> float | None:
        """GB of tensors beyond those that are there before; None but on CUDA devices."""
        if not self.device.startswith("cuda"):
            work()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        self._wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e9

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def rounding(tf32: bool):
    """Convolutions in TF32 or not, while it lasts."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32)


def side_of(name: str, generator: torch.nn.Module, device: str) -> Callable[..., torch.Tensor]:
    """A function that calls a copy of the generator in the way of a side."""
    from monai.networks.nets import DiffusionModelUNet

    precision, tf32, ways = SIDES[name]
    own = copy.deepcopy(generator).to(device)
    take_ways(own, () if ways == SLABS else ways)

    def call(*given, **labels):
        with torch.inference_mode(), rounding(tf32), computing(precision, device), in_slabs(ways == SLABS):
            made = DiffusionModelUNet.forward(own, *given, **labels) if name == BASE else own(*given, **labels)
            return made.float()

    return call


def fill(generator: torch.nn.Module) -> None:
    """Random weights in the last convolution, too, which are zero when untrained."""
    torch.manual_seed(0)
    for part in generator.out.parameters():
        torch.nn.init.normal_(part, std=0.1)


def steps(shape: tuple[int, ...], clock: Clock, repeats: int, names: list[str]) -> list[list[str]]:
    """Rows of one shape."""
    generator = build_generator().eval().requires_grad_(False)
    fill(generator)
    x = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(1)).to(clock.device)
    t, label = (torch.tensor([value], device=clock.device) for value in (500, 2))
    calls, peaks, made = {}, {}, {}
    for name in names:
        if clock.late:
            continue
        call = side_of(name, generator, clock.device)
        calls[name] = lambda call=call: call(x, t, class_labels=label)
        for _ in range(min(WARM_UP, repeats)):
            made[name] = calls[name]().cpu()
        peaks[name] = clock.peak_gb(calls[name])
    turns = {name: [] for name in calls}
    for turn in range(repeats):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            turns[name].append(clock.seconds(calls[name]))
    rows = []
    for name in names:
        if name not in calls:
            rows.append([size(shape), name, "left out for time", "", "", ""])
            continue
        gains = [base / own for base, own in zip(turns[BASE], turns[name], strict=True)]
        apart = float((made[name] - made[BASE]).abs().max() / made[BASE].std())
        milliseconds = [f"{1000 * value:.1f}" for value in spread(turns[name])]
        rows.append([size(shape), name, "{} ({} to {})".format(*milliseconds), f"{statistics.median(gains):.2f}",
                     shown(peaks[name]), f"{apart:.1e}"])  # fmt: skip
    return rows


def voxel_model(shape: tuple[int, ...]) -> RelaDiffusion:
    """A voxel model of random weights whose generator sees blocks of this shape."""
    torch.manual_seed(0)
    method = RelaDiffusion.build(
        {
            "network": {"class": "VoxelDiffusion", "arguments": {"factor": MNI_GRID.shape[0] // shape[0],
                                                                 "crop": list(shape)}},
            "diffusion_space": {"channels": 1, "shape": shape},
            "schedule": DEFAULT_SCHEDULE,
            "prediction": "noise",
            "sampler": {"name": "dpmpp", "steps": STEPS, "clip": [-1, 1], "samples": 1},
        }
    )  # fmt: skip
    method.network.eval().requires_grad_(False)
    fill(method.network.generator)
    return method


def volumes(
    name: str, method, count: int, own: int, seen: int, clock: Clock, precision: str, repeats: int
) -> list[str]:
    """A row: `count` samples by `own` steps; `seen` steps are held against the CPU's."""
    label, defaults = 2, method.defaults
    mri = torch.rand(1, 2, *MNI_GRID.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1

    def drawn(number: int, device: str, how: str = precision) -> torch.Tensor:
        method.network.to(device)
        options = DrawOptions(defaults.sampler, number, defaults.clip)
        with torch.inference_mode():
            encoded = method.encode(mri.to(device))
            with computing(how, device):
                return method.draw(encoded, label, count, options, noise_for(device, seeded_noise(0))).cpu()

    ours = drawn(seen, clock.device)
    peak = clock.peak_gb(lambda: drawn(seen, clock.device))
    seconds = [clock.seconds(lambda: drawn(own, clock.device)) for _ in range(min(3, repeats))]
    options = DrawOptions(defaults.sampler, own, defaults.clip)
    counted = counted_bytes(method, label, count, options)
    room = find_room(method, label, count, options, clock.device)
    there = "left out for time" if clock.late else f"{float((ours - drawn(seen, 'cpu', 'fp32')).abs().max()):.1e}"
    row = [name, precision, str(count), str(own), f"{statistics.median(seconds) / count:.3f}", shown(peak)]
    return [*row, shown(counted and counted / 1e9), shown(room and room.needed / 1e9), there]


def tracers(method, clock: Clock, repeats: int) -> list[list[str]]:
    """Rows: four samples of every tracer, one tracer after the other (the baseline) and all of them in one batch."""
    method.network.to(clock.device)
    names, defaults, count = list(TRACERS), method.defaults, 4
    options = DrawOptions(defaults.sampler, defaults.samplers[defaults.sampler], defaults.clip)
    mri = torch.rand(1, 2, *MNI_GRID.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1
    labels = [TRACERS[name].label for name in names]

    def drawn(groups: list[list[int]]) -> torch.Tensor:
        with torch.inference_mode():
            encoded, made = method.encode(mri.to(clock.device)), []
            for group in groups:
                numbers = list(range(count)) * len(group)
                noise = noise_for(clock.device, seeded_noise(0, mirrored=True, numbers=numbers))
                each = [label for label in group for _ in range(count)]
                made.append(method.draw(encoded, each, len(each), options, noise).cpu())
            return torch.cat(made)

    ways = {"one after the other": [[label] for label in labels], "in one batch": [labels]}
    made = {way: drawn(groups) for way, groups in ways.items()}
    peaks = {way: clock.peak_gb(lambda groups=groups: drawn(groups)) for way, groups in ways.items()}
    turns = {way: [] for way in ways}
    for turn in range(min(5, repeats)):
        for way in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            turns[way].append(clock.seconds(lambda way=way: drawn(ways[way])))
    rows, (first, *_) = [], ways
    for way in ways:
        gain = statistics.median(base / own for base, own in zip(turns[first], turns[way], strict=True))
        apart = float((made[way] - made[first]).abs().max())
        rows.append([way, f"{statistics.median(turns[way]):.3f}", f"{gain:.2f}", shown(peaks[way]), f"{apart:.1e}"])
    return rows


def training(shape: tuple[int, ...], clock: Clock, repeats: int) -> list[list[str]]:
    """Rows of one shape: the published step, transcribed, and ours, in float32 and bfloat16."""
    kind = clock.device.partition(":")[0]
    batch = torch.rand(1, 1, *shape) * 2 - 1, torch.rand(1, 2, *shape) * 2 - 1, torch.tensor([2])
    works, rows, turns = {}, [], {}
    for precision in ("fp32", "bf16"):
        for name, step in (("transcription", release_step), ("ours", our_step)):
            torch.manual_seed(0)
            G, D = build_generator().to(clock.device), build_discriminator("batch").to(clock.device)
            rates = ((G, 5e-5), (D, 5e-6))
            adam = [torch.optim.Adam(n.parameters(), lr=rate, fused=name == "ours" or None) for n, rate in rates]
            dtype = torch.bfloat16 if precision == "bf16" else None
            given = (G, D, adam, batch, NoiseSchedule(), kind, dtype)
            works[name, precision] = lambda step=step, given=given: step(*given)
    try:
        peaks = {side: clock.peak_gb(work) for side, work in works.items()}
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return [[size(shape), "the device's memory is too small", "", "", ""]]
    for turn in range(repeats):
        for side in list(works)[:: 1 if turn % 2 == 0 else -1]:
            turns.setdefault(side, []).append(clock.seconds(works[side]))
    for (name, precision), own in turns.items():
        gains = [base / each for base, each in zip(turns["transcription", "fp32"], own, strict=True)]
        milliseconds = [f"{1000 * value:.0f}" for value in spread(own)]
        rows.append([size(shape), f"{name}, {precision}", "{} ({} to {})".format(*milliseconds),
                     f"{statistics.median(gains):.2f}", shown(peaks[name, precision])])  # fmt: skip
    return rows


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median and quartiles; of one value, that value."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return middle, low, high


def size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def shown(gb: float | None) -> str:
    return "not known" if gb is None else f"{gb:.2f}"


def table(columns: str, rows: list[list[str]]) -> str:
    names = columns.split(", ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(options: argparse.Namespace) -> str:
    """All tables."""
    device = resolve_device(options.device)
    clock, on_gpu = Clock(device, options.minutes), device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else machine(device)
    shapes = [(options.size,) * 3] if options.size else [tuple(map(int, text.split("x"))) for text in options.shapes]
    names = [each for each in SIDES if on_gpu or SIDES[each][2] in ((), SLABS)]  # others are for GPUs
    header = f"{date.today()}, {name}, torch {torch.__version__}, attention by {attention_backend(device)}"
    found = [row for shape in shapes for row in steps(shape, clock, options.repeats, names)]
    parts = [header, "## A step", table("shape, way, ms (quartiles), speed-up, peak GB, difference", found)]
    drawn, precisions = [], ("fp32", "bf16")
    demo = load_model("demo", device="cpu").method
    for precision in precisions:
        own = demo.defaults.samplers[demo.defaults.sampler]
        for count in (1, 4):
            if clock.late:
                drawn.append(["demo (latents)", precision, "left out for time", *[""] * 6])
                continue
            drawn.append(volumes("demo (latents)", demo, count, own, own, clock, precision, options.repeats))
        for shape in shapes:
            if clock.late:
                drawn.append([f"voxels {size(shape)}", precision, "left out for time", *[""] * 6])
                continue
            many = STEPS if on_gpu else CPU_STEPS
            made = volumes(
                f"voxels {size(shape)}", voxel_model(shape), 1, many, CPU_STEPS, clock, precision, options.repeats
            )
            drawn.append(made)
    columns = "model, precision, samples, steps, s a volume, peak GB, counted GB, expected GB, difference from the CPU"
    parts += ["## A volume", table(columns, drawn)]
    together = [["left out for time", *[""] * 4]] if clock.late else tracers(demo, clock, options.repeats)
    parts += ["## The demo model's tracers", table("four samples of each, s, speed-up, peak GB, difference", together)]
    learned = [row for shape in shapes if not clock.late for row in training(shape, clock, min(5, options.repeats))]
    learned += [[size(shape), "left out for time", "", "", ""] for shape in shapes if not learned]
    parts += ["## A training step", table("shape, step, ms (quartiles), speed-up, peak GB", learned)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", default=["80x88x80", "160x180x160"], metavar="XxYxZ")
    parser.add_argument("--size", type=int, help="one cube of this side in place of the shapes; it divides 160")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, help="append the tables to this file")
    options = parser.parse_args()
    text = report(options)
    print(text)
    if options.out:
        with open(options.out, "a", encoding="utf-8") as stream:
            stream.write(f"\n{text}\n")


if __name__ == "__main__":
    main()
