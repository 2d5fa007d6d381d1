"""First stage of the demo model: the autoencoder of residual PET (L1 + L2 + 1e-4 KL, AdamW, cosine)."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch

from RelAPETLib.networks.autoencoder import VolumeAutoencoder as PetAutoencoder
from RelAPETLib.networks.latent import RESIDUAL_SCALE, pad

from . import checkpoint
from .cohort import Cohort

KL_WEIGHT, LEARNING_RATE, BATCH = 1e-4, 1e-3, 2


def bfloat16() -> torch.autocast:
    """Mixed precision: four times faster on processors with bfloat16 instructions, the same result to 3 digits."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def mean_pet(cohort: Cohort) -> np.ndarray:
    """Mean PET [3, voxels] of every tracer over the people scanned with it."""
    sums = np.zeros(cohort.pet.shape[1:], np.float64)
    for person, scanned in zip(cohort.pet, cohort.scanned, strict=True):
        sums[scanned] += person[scanned]
    return (sums / cohort.scanned.sum(0)[:, None]).astype(np.float32)


def residual_batch(cohort: Cohort, mean: np.ndarray, pairs: np.ndarray) -> torch.Tensor:
    """Scaled residual PET [N, 1, 80, 96, 80] of (person, label) pairs [N, 2]."""
    voxels = np.stack([cohort.pet[i, label].astype(np.float32) - mean[label] for i, label in pairs])
    return pad(torch.from_numpy(cohort.volume(voxels * RESIDUAL_SCALE))[:, None])


def scans(cohort: Cohort) -> np.ndarray:
    """All (person, label) pairs [N, 2] that were scanned."""
    return np.argwhere(cohort.scanned)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine to zero."""
    return peak * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(cohort: Cohort, folder: Path, steps: int, seed: int, arguments: dict) -> PetAutoencoder:
    """Train for `steps` steps, resuming from `folder`; every batch follows from (seed, step)."""
    torch.manual_seed(seed)
    model = PetAutoencoder(**arguments)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    path, first = folder / "autoencoder.pt", 0
    if kept := checkpoint.load(path):
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        first = kept["step"]
    mean, pairs = mean_pet(cohort), scans(cohort)
    mask = pad(torch.from_numpy(cohort.mask)[None, None].float()).bool()
    started = time.time()
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        residual = residual_batch(cohort, mean, pairs[rng.integers(len(pairs), size=BATCH)])
        if rng.random() < 0.5:
            residual = residual.flip(2)
        with bfloat16():
            latent_mean, latent_sd = (statistic.float() for statistic in model.encode(residual))
            noise = torch.randn(latent_mean.shape, generator=torch.Generator().manual_seed(step))
            output = model.decode(latent_mean + latent_sd * noise).float()
        error = (output - residual)[mask.expand_as(residual)]
        kl = 0.5 * (latent_mean**2 + latent_sd**2 - 2 * latent_sd.log() - 1).mean()
        loss = error.abs().mean() + error.square().mean() + KL_WEIGHT * kl
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, LEARNING_RATE)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if not torch.isfinite(loss):
            raise SystemExit(f"autoencoder: the loss is {loss.item()} at step {step}")
        if (step + 1) % 50 == 0 or step + 1 == steps:
            psnr = -10 * math.log10(error.square().mean().item() / RESIDUAL_SCALE**2)
            rate = (time.time() - started) / (step + 1 - first)
            print(
                f"autoencoder: step {step + 1}/{steps} loss {loss.item():.4f} psnr {psnr:.2f} dB {rate:.2f} s a step",
                flush=True,
            )
            checkpoint.save(path, model=model.state_dict(), optimiser=optimiser.state_dict(), step=step + 1)
    return model.eval()


@torch.no_grad()
def encode_all(model: PetAutoencoder, cohort: Cohort, mean: np.ndarray, path: Path) -> torch.Tensor:
    """Latents [scans, C, 10, 12, 10] of every scan of the cohort, kept in `path`."""
    pairs = scans(cohort)
    kept = checkpoint.load(path)
    if kept is not None and len(kept["latents"]) == len(pairs):
        return kept["latents"]
    batches = (residual_batch(cohort, mean, pairs[i : i + 8]) for i in range(0, len(pairs), 8))
    with bfloat16():
        latents = torch.cat([model.encode(batch)[0].float() for batch in batches])
    checkpoint.save(path, latents=latents)
    return latents
