"""One training step beside the published implementation's own, and beside a transcription of it, in the same run.

``python Testing/benchmarks/train_step.py [--release FOLDER] [--device cuda] [--shapes 32x36x32 48x52x48]
[--repeats 15] [--threads 1] [--huge-pages] [--out FILE]`` prints images a second and peak memory of all, at batch 1
with the adversarial part on. FOLDER is a checkout of
github.com/mxliu/Relativistic-Adversarial-Diffusion-for-Neuroimage-Synthesis, whose own loop and networks then are what
ours is held against (`release_training`); else that is a plain transcription of it. The transcription draws its noise
on the CPU, makes the clean estimates image by image, and has a two-dimensional SSIM and PSNR of every step inside the
graph, on our networks; schedule and mathematics are the same; ours has Adam in its fused form, as `training.trainer`
does. (The published loop has SSIM in three dimensions.)

Ours is taken in each `hardware.mode`, and held against a floor: the floating-point operations of a plain step (those of
convolutions, matrix products and attention that torch counts) by the highest rate at which this device has done a large
convolution or matrix product. ``--modes plain`` leaves the others out.

Each side lives in a process of its own, because the peak of a process never falls. The processes take turns step by
step, forth and back, so that what else the machine does meets all alike; a side's speed-up is the median over the turns
of the published step's seconds by its own in the same turn. Seconds of the processor tell more than the clock's on a
busy machine, but only with one thread: idle threads spin.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from Testing.benchmarks.release_training import folder_of, take_steps

#: Ours, by `hardware.mode`, and the other's.
MODES = {"ours": "plain", "ours fast": "fast", "ours lean": "lean"}
RELEASE, TRANSCRIPTION = "release", "transcription"
SIDES = (RELEASE, TRANSCRIPTION, *MODES)
#: What --huge-pages adds: torch asks Linux for 2 MB pages for its large tensors, which are mapped anew in every step.
HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
WARM_UP = 2
POSITIONS = itertools.count()
TITLE = """# One training step beside the published one's

Batch 1, adversarial part on. Made by `python Testing/benchmarks/train_step.py --out FILE`, a call a section; what is
compared and how stands at its head.

"""


def release_step(G, D, optimizers, batch, schedule, device, dtype):
    """The transcription: the published loop's step, from its description in the reference, in the same order."""
    import torch
    from monai.metrics.regression import compute_ssim_and_cs
    from torch.nn import functional as F

    x0, mri, c = (tensor.to(device) for tensor in batch)
    with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        eps = torch.randn(x0.shape).to(device)
        x0_hat = torch.randn(x0.shape).to(device)
        t = torch.randint(0, 1000, (len(x0),))
        x_t = schedule.add_noise(x0, eps, t)
        eps_hat = G(torch.cat([x_t, mri], 1), t.to(device), class_labels=c)
        for n in range(len(x0)):
            x0_hat[n] = schedule.clean_estimate(x_t[n : n + 1], eps_hat[n : n + 1].float(), t[n : n + 1], (-1, 1))[0]
        loss = F.mse_loss(eps_hat.float(), eps) + F.l1_loss(x0_hat, x0)
        real, fake = D(x0)[-1], D(x0_hat)[-1]
        loss = loss + F.softplus(-(fake - real)).mean()
        size = [min(11, n) for n in x0.shape[-2:]]
        ssim, _ = compute_ssim_and_cs(x0_hat[:, 0], x0[:, 0], spatial_dims=2, kernel_size=size, kernel_sigma=[1.5] * 2)
        psnr = -10 * F.mse_loss(x0_hat, x0).log10()
    optimizers[0].zero_grad()
    loss.backward()
    optimizers[0].step()

    optimizers[1].zero_grad()
    fake, real = D(x0_hat.detach())[-1], D(x0)[-1]
    penalties = []
    for image in (x0, x0_hat):
        image = image.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(D(image)[-1].sum(), image, create_graph=True)
        penalties.append(gradient.square().sum((1, 2, 3)))
    (F.softplus(-(real - fake)).mean() + 0.5e-3 * sum(penalties).mean()).backward()
    optimizers[1].step()
    return [float(value.detach().mean()) for value in (loss, ssim, psnr)]


def our_step(G, D, optimizers, batch, schedule, device, dtype):
    """The same step by `training.methods.rela.steps`, as `training.trainer` calls it."""
    import torch

    from RelAPETLib.diffusion import Parametrization
    from training.methods.rela.steps import Weights, algorithm_1
    from training.stream import draw

    x0, mri, c = (tensor.to(device, non_blocking=True) for tensor in batch)
    t, eps = draw(0, [next(POSITIONS)], x0.shape[1:], 1000, device)
    weights = Weights(adversarial_weight=1.0, penalty_gamma=1e-3, penalty_reduction="release")

    def autocast_G(*args, **kwargs):
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            return G(*args, **kwargs).float()

    for optimizer in optimizers:
        optimizer.zero_grad()
    losses = algorithm_1(autocast_G, D, x0, mri, c, t, eps, Parametrization(schedule), weights)
    losses.generator.backward()
    losses.discriminator.backward()
    for optimizer in optimizers:
        optimizer.step()
    return torch.stack(list(losses.terms.values())).tolist()


def serve(side: str, shape: tuple[int, ...], device: str, precision: str, release: Path | None) -> None:
    """Take one step for every line on stdin and print its seconds; at the end the peak memory in GB."""
    if side == RELEASE:
        take_steps(release, shape, device, sys.stdin, lambda *seconds: print(json.dumps(seconds), flush=True))
        print(json.dumps([peak_gb(device)]))
        return

    import torch

    from RelAPETLib.diffusion import NoiseSchedule
    from RelAPETLib.networks.discriminator import build_discriminator
    from RelAPETLib.networks.generator import build_generator

    torch.manual_seed(0)
    G, D = build_generator().to(device), build_discriminator("batch").to(device)
    rates = ((G, 5e-5), (D, 5e-6))
    optimizers = [torch.optim.Adam(n.parameters(), lr=rate, fused=side in MODES or None) for n, rate in rates]
    if side in MODES:
        from training.modes import prepare

        prepare(G, MODES[side], device)
    batch = torch.rand(1, 1, *shape) * 2 - 1, torch.rand(1, 2, *shape) * 2 - 1, torch.tensor([2])
    step, schedule = our_step if side in MODES else release_step, NoiseSchedule()
    dtype = torch.bfloat16 if precision == "bf16" else None
    for line in sys.stdin:
        if line.strip() == "count":
            print(json.dumps(operations(lambda: step(G, D, optimizers, batch, schedule, device, dtype))), flush=True)
            continue
        wait_for(device)
        began, busy = time.perf_counter(), time.process_time()
        step(G, D, optimizers, batch, schedule, device, dtype)
        wait_for(device)
        seconds = time.perf_counter() - began, time.process_time() - busy
        print(json.dumps(seconds), flush=True)
    print(json.dumps([peak_gb(device)]))


def peak_gb(device: str) -> float:
    """Most memory of this process; on a GPU, of its tensors."""
    import torch

    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (torch.cuda.max_memory_allocated() if device == "cuda" else resident) / 1e9


def operations(step) -> int:
    """Floating-point operations of a step; torch's own counter does not go with gradients of gradients."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, called, types, args=(), kwargs=None):
            made = called(*args, **(kwargs or {}))
            if count := flop_registry.get(called._overloadpacket):
                self.total += count(*args, **(kwargs or {}), out_val=made)
            return made

    with Counter() as counter:
        step()
    return counter.total


def highest_rate(device: str, precision: str) -> float:
    """Floating-point operations a second (of the processor, on a CPU), the best of a few large ones."""
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    square = torch.randn(2048, 2048, dtype=kind, device=device)
    image = torch.randn(2, 64, 32, 32, 32, dtype=kind, device=device)
    weights = torch.randn(64, 64, 3, 3, 3, dtype=kind, device=device)
    clock, best = time.process_time if device == "cpu" else time.perf_counter, 0.0
    for work in (lambda: square @ square, lambda: torch.nn.functional.conv3d(image, weights, padding=1)):
        for _ in range(5):
            wait_for(device)
            began = clock()
            count = operations(work)
            wait_for(device)
            best = max(best, count / (clock() - began))
    return best


def peak_of(options: argparse.Namespace) -> float:
    """`highest_rate` with the threads of a side."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    return highest_rate(options.device, options.precision)


def wait_for(device: str) -> None:
    """Until the device has done what it was told."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def start(side: str, shape: str, options: argparse.Namespace, extra: dict[str, str]) -> subprocess.Popen:
    """A process that takes steps when told to."""
    more = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    words = ["--shapes", shape, "--device", options.device, "--precision", options.precision]
    words += ["--release", str(options.release)] if options.release else []
    more["TQDM_DISABLE"] = "1"  # the published loop's bar
    return subprocess.Popen(
        [sys.executable, __file__, "--side", side, *words],
        env={**os.environ, **more, **extra},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def floor(shape: str, options: argparse.Namespace, rate: float) -> tuple[int, float]:
    """Operations of a plain step, and the seconds that they would take at a rate."""
    told = start("ours", shape, options, {}).communicate("count\n")[0]
    count = int(told.splitlines()[0])
    return count, count / rate


def won(found: dict[str, tuple[list[list[float]], float]], seconds: float, cpu: bool) -> str:
    """How far each side is from the floor, and which share of the way from plain, and from the release, it went."""
    middle = {name: statistics.median(turn[int(cpu)] for turn in turns) for name, (turns, _) in found.items()}
    parts = []
    for name, own in middle.items():
        pages = name.partition(",")[1] + name.partition(",")[2]
        plain, theirs = (middle[side + pages] for side in ("ours", base_of(found)))
        shares = [f"{(other - own) / (other - seconds):.0%} of the gap from {of}"
                  for of, other in (("plain", plain), (f"the {base_of(found)}", theirs)) if own != other]  # fmt: skip
        parts.append(f"{name} {own / seconds:.2f} times the floor" + (f" ({', '.join(shares)})" if shares else ""))
    return "; ".join(parts)


def base_of(found: Iterable[str]) -> str:
    """What ours is held against, of the sides that there are."""
    return RELEASE if RELEASE in found else TRANSCRIPTION


def compare(shape: str, options: argparse.Namespace) -> dict[str, tuple[list[list[float]], float]]:
    """Of every side at a shape: (seconds by the clock, of the processor) of each turn, and its peak memory in GB."""
    environments = {"": {}} | ({", huge pages": HUGE_PAGES} if options.huge_pages else {})
    sides = {
        side + name: start(side, shape, options, extra)
        for name, extra in environments.items()
        for side in (
            *([RELEASE] if options.release else []),
            TRANSCRIPTION,
            *(name for name, mode in MODES.items() if mode in options.modes),
        )
    }
    turns = {name: [] for name in sides}
    for turn in range(WARM_UP + options.repeats):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            process = sides[name]
            process.stdin.write("step\n")
            process.stdin.flush()
            while not (line := process.stdout.readline()).startswith("["):  # MONAI prints, too
                if not line:
                    sys.exit(f"{name} at {shape} ended with {process.wait()}")
            turns[name].append(json.loads(line))
    peaks = {name: json.loads(process.communicate()[0].splitlines()[-1])[0] for name, process in sides.items()}
    return {name: (turns[name][WARM_UP:], peaks[name]) for name in sides}


def table(shape: str, found: dict[str, tuple[list[list[float]], float]]) -> list[str]:
    """A row for every side at a shape."""
    theirs, rows = found[base_of(found)][0], []
    for name, (turns, peak) in found.items():
        clock, busy = zip(*turns, strict=True)
        ratios = [[there / here for there, here in zip(*pair, strict=True)] for pair in zip(theirs, turns, strict=True)]
        cells = [spread([1 / seconds for seconds in clock]), spread(busy)]
        cells += [spread(ratio) for ratio in zip(*ratios, strict=True)]
        rows.append(f"| {shape} | {name} | {' | '.join(cells)} | {peak:.2f} |")
    return rows


def spread(values) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def machine(device: str) -> str:
    """What the device is called."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    told = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def verdict(found: dict[str, tuple[list[list[float]], float]]) -> str:
    """Whether ours is ahead at a shape; with huge pages, as `training train` asks for them, against both of theirs."""
    ours, our_peak = found.get("ours, huge pages", found["ours"])
    parts = []
    for name, (theirs, their_peak) in found.items():
        if not name.startswith((RELEASE, TRANSCRIPTION)):
            continue
        clock, busy = (
            statistics.median(there[k] / here[k] for there, here in zip(theirs, ours, strict=True)) for k in (0, 1)
        )
        parts.append(
            f"against {name}: {'ahead' if clock > 1 else 'NOT ahead'} by the clock ({clock:.3f}), "
            f"{'ahead' if busy > 1 else 'NOT ahead'} in processor seconds ({busy:.3f}), "
            f"{'not behind' if our_peak <= their_peak else 'BEHIND'} in peak memory ({our_peak / their_peak:.2f} of it)"
        )
    return f"ours{', huge pages' * ('ours, huge pages' in found)} {'; '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--shapes", nargs="+", default=["32x36x32", "48x52x48"])
    add("--repeats", type=int, default=15)
    add("--device", default="cpu")
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--threads", type=int, default=0, help="of each side; 0: torch's default")
    add("--huge-pages", action="store_true", help="both sides again with 2 MB pages (Linux)")
    add("--out", type=Path, help="add what is printed to this file")
    add("--release", type=Path, help="checkout of the published implementation, to run its own loop beside")
    add("--modes", nargs="+", choices=[*MODES.values()], default=[*MODES.values()], help="of ours; plain is one")
    add("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        shape = tuple(map(int, options.shapes[0].split("x")))
        serve(options.side, shape, options.device, options.precision, options.release)
        return
    if options.release:
        folder_of(options.release)
    if options.release and options.precision != "fp32":
        parser.error("the published loop has its own precision: fp32 on a CPU, fp16 on a GPU; leave --precision out")
    threads = f"{options.threads or 'default'} thread{'s' * (options.threads != 1)}"
    lines = [
        f"## {options.precision}, {threads}, {options.repeats} turns",
        "",
        f"{date.today()}, {machine(options.device)}. Median (quartiles); speed-up against "
        f"`{RELEASE if options.release else TRANSCRIPTION}` in the same turn.",
        "",
        "| shape | step | images/s | processor s a step | speed-up by the clock | in processor seconds | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    verdicts, rate = [], peak_of(options)
    for shape in options.shapes:
        count, seconds = floor(shape, options, rate)
        found = compare(shape, options)
        lines += table(shape, found)
        verdicts.append(f"- {shape}: {verdict(found)}")
        verdicts.append(
            f"- {shape}: {count / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s make a floor of {seconds:.3f} s; "
            f"{won(found, seconds, options.device == 'cpu')}"
        )
    text = "\n".join([*lines, "", *verdicts, ""])
    print(text)
    if options.out:
        begun = options.out.read_text() + "\n" if options.out.exists() else TITLE
        options.out.write_text(begun + text)


if __name__ == "__main__":
    main()
