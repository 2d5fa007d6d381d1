"""Third stage of the demo model: the U-Net that diffuses what the head leaves of the latent.

Objective: mean squared error of v plus 0.2 L1 on the clean latent (the paper's image constraint, eq. 8); the
relativistic adversarial part belongs to the full training package.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch

from RelAPETLib.networks.latent import LatentDiffusion

from . import checkpoint
from .autoencoder import bfloat16, learning_rate

LEARNING_RATE, BATCH, IMAGE_WEIGHT = 6e-4, 16, 0.2


def loss_of(model: LatentDiffusion, rest: torch.Tensor, labels: torch.Tensor, rng) -> torch.Tensor:
    """Loss of one batch: `rest` [N, C, 10, 12, 10] is the latent minus the head's."""
    timesteps = torch.from_numpy(rng.integers(model.schedule.num_timesteps, size=len(rest)))
    noise = torch.from_numpy(rng.standard_normal(rest.shape, np.float32))
    alpha_bar = model.schedule.alphas_cumprod[timesteps].to(rest)[:, None, None, None, None]
    r_t = alpha_bar.sqrt() * rest + (1 - alpha_bar).sqrt() * noise
    v = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * rest
    with bfloat16():
        predicted = model.unet(r_t, timesteps, class_labels=labels).float()
    clean = alpha_bar.sqrt() * r_t - (1 - alpha_bar).sqrt() * predicted
    return (predicted - v).square().mean() + IMAGE_WEIGHT * (clean - rest).abs().mean()


def train(
    model: LatentDiffusion,
    data: tuple[torch.Tensor, torch.Tensor],
    held_out: tuple[torch.Tensor, torch.Tensor],
    folder: Path,
    steps: int,
    seed: int,
) -> None:
    """Train `model.unet` in place; it ends with the moving average of the weights.

    Args:
        data, held_out: (rest [n, C, 10, 12, 10], labels [n]).
    """
    optimiser = torch.optim.AdamW(model.unet.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    average = {k: v.clone() for k, v in model.unet.state_dict().items()}
    path, first = folder / "denoiser.pt", 0
    if kept := checkpoint.load(path):
        model.unet.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        average, first = kept["average"], kept["step"]
    started, losses = time.time(), []
    for step in range(first, steps):
        model.unet.train()
        rng = np.random.default_rng([seed, 7, step])
        chosen = torch.from_numpy(rng.integers(len(data[0]), size=BATCH))
        loss = loss_of(model, *(tensor[chosen] for tensor in data), rng)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, LEARNING_RATE)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.unet.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"denoiser: the loss is {losses[-1]} at step {step}")
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in model.unet.state_dict().items():
                average[name].lerp_(value, 1 - decay) if value.is_floating_point() else average[name].copy_(value)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            rate = (time.time() - started) / (step + 1 - first)
            kept_loss = validate(model, average, held_out, seed)
            print(
                f"denoiser: step {step + 1}/{steps} loss {np.mean(losses[-250:]):.4f} held out {kept_loss:.4f} "
                f"{rate:.3f} s a step",
                flush=True,
            )
            state = {"model": model.unet.state_dict(), "average": average, "optimiser": optimiser.state_dict()}
            checkpoint.save(path, **state, step=step + 1)
    model.unet.load_state_dict(average)
    model.eval()


@torch.no_grad()
def validate(model: LatentDiffusion, average: dict, held_out, seed: int) -> float:
    """Loss of the averaged weights on held-out people, the same noise each time."""
    trained = {k: v.clone() for k, v in model.unet.state_dict().items()}
    model.unet.load_state_dict(average)
    model.unet.eval()
    rng = np.random.default_rng([seed, 8])
    loss = loss_of(model, *held_out, rng).item()
    model.unet.load_state_dict(trained)
    return loss
