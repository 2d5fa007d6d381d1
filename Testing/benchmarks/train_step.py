"""One training step beside a plain transcription of the published implementation's, in the same run.

``python Testing/benchmarks/train_step.py [--device cuda] [--shapes 32x36x32 48x52x48] [--repeats 5]`` prints images a
second and peak memory of both, at batch 1 with the adversarial part on. The transcription draws its noise on the CPU,
makes the clean estimates image by image, and has SSIM and PSNR of every step inside the graph, as the published loop
does; networks, schedule and mathematics are the same. Each side runs in a process of its own, because the peak of a
process never falls.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SIDES = ("release", "ours")
POSITIONS = itertools.count()


def release_step(G, D, optimizers, batch, schedule, device, dtype):
    """The published loop's step, from its description in the reference: same order, same extras."""
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
    """The same step by `training.steps`, as `training.trainer` calls it."""
    import torch

    from training.steps import Objective, algorithm_1
    from training.stream import draw

    x0, mri, c = (tensor.to(device, non_blocking=True) for tensor in batch)
    t, eps = draw(0, [next(POSITIONS)], x0.shape[1:], 1000, device)
    weights = Objective(adversarial_weight=1.0, penalty_gamma=1e-3, penalty_reduction="release")

    def autocast_G(*args, **kwargs):
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            return G(*args, **kwargs).float()

    losses = algorithm_1(autocast_G, D, x0, mri, c, t, eps, schedule, weights)
    losses.generator.backward()
    losses.discriminator.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return torch.stack(list(losses.terms.values())).tolist()


def measure(side: str, shape: tuple[int, ...], repeats: int, device: str, precision: str) -> dict:
    """Images a second (median of `repeats` steps after one) and peak memory in GB of one side."""
    import torch

    from RelAPETLib.diffusion import NoiseSchedule
    from RelAPETLib.networks.discriminator import build_discriminator
    from RelAPETLib.networks.generator import build_generator

    torch.manual_seed(0)
    G, D = build_generator().to(device), build_discriminator("batch").to(device)
    optimizers = torch.optim.Adam(G.parameters(), lr=5e-5), torch.optim.Adam(D.parameters(), lr=5e-6)
    batch = torch.rand(1, 1, *shape) * 2 - 1, torch.rand(1, 2, *shape) * 2 - 1, torch.tensor([2])
    step = {"release": release_step, "ours": our_step}[side]
    dtype = torch.bfloat16 if precision == "bf16" else None
    seconds = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        step(G, D, optimizers, batch, NoiseSchedule(), device, dtype)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"images_per_second": 1 / sorted(seconds[1:])[repeats // 2], "peak_gb": peak / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["32x36x32", "48x52x48"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        shape = tuple(map(int, options.shapes[0].split("x")))
        print(json.dumps(measure(options.side, shape, options.repeats, options.device, options.precision)))
        return
    print("| shape | step | images/s | peak GB |\n|---|---|---|---|")
    for shape in options.shapes:
        for side in SIDES:
            words = [sys.executable, __file__, "--side", side, "--shapes", shape, "--repeats", str(options.repeats)]
            words += ["--device", options.device, "--precision", options.precision]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
            figures = json.loads(done.stdout.splitlines()[-1])
            print(f"| {shape} | {side} | {figures['images_per_second']:.3f} | {figures['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
