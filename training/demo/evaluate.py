"""What the demo model reaches on held-out people, beside its baselines and the autoencoder's ceiling."""

from __future__ import annotations

import numpy as np
import torch

from RelAPETLib.diffusion import sample, seeded_noise
from RelAPETLib.networks.latent import LatentDiffusion

from .autoencoder import mean_pet, residual_batch, scans
from .cohort import TRACER_ORDER, Cohort


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over the given voxels, data range 1."""
    return float(-10 * np.log10(np.mean((estimate - truth) ** 2)))


def spread_of(samples: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Root mean square of the error of the mean of an even number of mirrored samples, and of their SD."""
    error = np.sqrt(np.mean((samples.mean(0) - truth) ** 2))
    return float(error), float(np.sqrt(np.mean(samples.var(0))))


@torch.no_grad()
def evaluate(
    model: LatentDiffusion, cohort: Cohort, features: torch.Tensor, train: Cohort, samples: int = 4, steps: int = 20
) -> dict:
    """PSNR in dB inside the brain by tracer: population mean, head, diffusion (one sample, mean), autoencoder.

    Args:
        features: block features [people, 24, 10, 12, 10] of the cohort.
        train: the cohort whose mean PET is the baseline.
    """
    mean = mean_pet(train)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in TRACER_ORDER}
    model.eval()
    for person in range(len(cohort.mri)):
        encoded = model.head(features[person : person + 1]).flatten(1, 2)
        for _, label in scans(cohort)[scans(cohort)[:, 0] == person]:
            truth = cohort.pet[person, label].astype(np.float32)
            labels = torch.full((samples,), int(label))
            repeated = encoded.expand(samples, *encoded.shape[1:])

            def decode(latent, labels=labels):
                return model.decode_inner(latent, labels[: len(latent)])[:, 0][:, torch.from_numpy(cohort.mask)].numpy()

            drawn = sample(
                lambda x, t, e=repeated, c=labels: model.predict_noise(x, e, t, c),
                (samples, *model.diffusion_shape),
                model.schedule,
                steps=steps,
                noise=seeded_noise(person, mirrored=True),
            )
            drawn = decode(drawn)
            coded = model.autoencoder.encode(residual_batch(cohort, mean, np.array([[person, label]])))[0]
            coded = (coded - model.latent_mean[:, None, None, None]) / model.latent_sd[:, None, None, None]
            coded = model.whiten(coded, labels[:1])
            error, predicted = spread_of(drawn, truth)
            rows[TRACER_ORDER[label]].append(
                {
                    "population_mean": psnr(mean[label], truth),
                    "head": psnr(decode(model.head_latent(encoded, labels[:1]))[0], truth),
                    "one_sample": psnr(drawn[0], truth),
                    f"mean_of_{samples}": psnr(drawn.mean(0), truth),
                    "autoencoder": psnr(decode(coded)[0], truth),
                    "error_rms": error,
                    "spread_rms": predicted,
                }
            )
    return {
        tracer: {key: round(float(np.mean([row[key] for row in kept])), 4) for key in kept[0]}
        for tracer, kept in rows.items()
    }
