"""Second stage of the demo model: a ridge regression from MRI block features to the latent, in closed form.

The diffusion stage trains on leave-one-out predictions, so that the head errs on its training people as it will err on
new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from RelAPETLib.networks.autoencoder import space_to_depth
from RelAPETLib.networks.latent import LatentDiffusion, pad, robust_scale

from . import checkpoint
from .autoencoder import scans
from .cohort import Cohort

RIDGE_PENALTIES = np.geomspace(1e-3, 1e3, 13)


def mri_volume(cohort: Cohort, person: int) -> torch.Tensor:
    """MRI [1, 2, 80, 90, 80] of one person in [-1, 1]."""
    return torch.from_numpy(cohort.volume(cohort.mri[person].astype(np.float32), outside=-1.0))[None]


def mri_statistics(cohort: Cohort) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxelwise mean and SD [2, voxels] of the robustly scaled MRI over the cohort."""
    mask = torch.from_numpy(cohort.mask)
    total, squares = 0.0, 0.0
    for person in range(len(cohort.mri)):
        mri = robust_scale(mri_volume(cohort, person), mask)[0][:, mask].double()
        total, squares = total + mri, squares + mri**2
    mean = total / len(cohort.mri)
    variance = (squares / len(cohort.mri) - mean**2).clamp(min=0)
    return mean.float(), variance.sqrt().float()


@torch.no_grad()
def all_features(model: LatentDiffusion, cohort: Cohort, path: Path) -> torch.Tensor:
    """Block features [people, 24, 10, 12, 10] of the cohort, kept in `path`."""
    kept = checkpoint.load(path)
    if kept is not None and len(kept["features"]) == len(cohort.mri):
        return kept["features"]
    features = torch.cat([model.inner_features(mri_volume(cohort, i)) for i in range(len(cohort.mri))])
    checkpoint.save(path, features=features)
    return features


@dataclass
class Head:
    """A fitted head: buffers of `LatentDiffusion` by name, and the leave-one-out latents [scans, C, 10, 12, 10].

    The latter are scaled by `latent_sd` but not whitened.
    """

    buffers: dict[str, torch.Tensor]
    leave_one_out: torch.Tensor


def brain_features(mask: np.ndarray) -> torch.Tensor:
    """Indices of the flattened block features that lie at least half inside the brain."""
    share = torch.nn.functional.avg_pool3d(pad(torch.from_numpy(mask)[None, None].float()), 4)
    blocks = space_to_depth(share.expand(-1, 3, -1, -1, -1).contiguous(), 2).flatten()
    return torch.nonzero(blocks > 0.5).flatten().to(torch.int32)


def ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ridge regression with one penalty a target, chosen by leave-one-out error.

    Args:
        features: [n, F], centred. targets: [n, k], centred.

    Returns:
        Weights [k, F], leave-one-out predictions [n, k], chosen penalties [k] (shares of the mean eigenvalue).
    """
    gram = features @ features.T
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ targets
    best = np.full(targets.shape[1], np.inf)
    weights = np.empty((targets.shape[1], features.shape[1]))
    predicted, chosen = np.empty_like(targets), np.empty(targets.shape[1])
    for penalty in RIDGE_PENALTIES:
        ratio = 1 / (values + penalty * values.mean())
        fitted = vectors @ ((values * ratio)[:, None] * rotated)
        leverage = (vectors**2) @ (values * ratio)
        left_out = targets - (targets - fitted) / (1 - leverage)[:, None]
        errors = ((left_out - targets) ** 2).mean(0)
        better = errors < best
        best[better], chosen[better] = errors[better], penalty
        predicted[:, better] = left_out[:, better]
        weights[better] = (features.T @ (vectors @ (ratio[:, None] * rotated[:, better]))).T
    return weights, predicted, chosen


def fit(cohort: Cohort, features: torch.Tensor, latents: torch.Tensor, index: torch.Tensor, components: int) -> Head:
    """Fit the head of every tracer and the latent's scaling, after which what the head leaves has unit SD."""
    pairs = scans(cohort)
    latent_mean = latents.mean((0, 2, 3, 4))
    centred = (latents - latent_mean[:, None, None, None]).flatten(1).double().numpy()
    chosen = features.flatten(1)[:, index.long()].double().numpy()
    feature_mean = chosen.mean(0)
    means, bases, weights = [], [], []
    left_out = np.empty_like(centred)
    for label in range(cohort.scanned.shape[1]):
        rows = np.flatnonzero(pairs[:, 1] == label)
        z = centred[rows]
        mean = z.mean(0)
        _, _, basis = np.linalg.svd(z - mean, full_matrices=False)
        basis = basis[:components]
        x = chosen[pairs[rows, 0]] - feature_mean
        weight, predicted, penalty = ridge(x, (z - mean) @ basis.T)
        left_out[rows] = mean + predicted @ basis
        explained = 1 - ((predicted - (z - mean) @ basis.T) ** 2).sum(0) / (((z - mean) @ basis.T) ** 2).sum(0)
        print(
            f"head: label {label} first components' r2 {np.round(explained[:6], 3)} penalties {penalty[:3]}", flush=True
        )
        means.append(mean), bases.append(basis), weights.append(weight)
    rest = centred - left_out
    latent_sd = torch.from_numpy(rest.reshape(latents.shape).std((0, 2, 3, 4)))
    scale = latent_sd.repeat_interleave(latents[0, 0].numel()).numpy()
    directions, sds = modes(rest / scale, pairs[:, 1], components)
    buffers = {
        "head_index": index,
        "head_feature_mean": torch.from_numpy(feature_mean),
        "head_weight": torch.from_numpy(np.stack(weights)),
        "head_mean": whitened(np.stack(means)[:, None] / scale, directions, sds)[:, 0],
        "head_components": whitened(np.stack(bases) / scale, directions, sds),
        "mode_directions": torch.from_numpy(directions),
        "mode_sd": torch.from_numpy(sds),
        "latent_mean": latent_mean,
        "latent_sd": latent_sd,
    }
    floats = {k: v if v.dtype == torch.int32 else v.float() for k, v in buffers.items()}
    return Head(floats, torch.from_numpy(left_out / scale).float().reshape(latents.shape))


def modes(rest: np.ndarray, labels: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Main directions [tracers, components, L] of what the head leaves [n, L], and the SD along each."""
    directions, sds = [], []
    for label in np.unique(labels):
        own = rest[labels == label]
        _, singular, basis = np.linalg.svd(own - own.mean(0), full_matrices=False)
        directions.append(basis[:components])
        sds.append(np.maximum(singular[:components] / np.sqrt(len(own) - 1), 1.0))
        print(f"head: label {label} SD along the main directions of the rest {np.round(sds[-1][:8], 1)}", flush=True)
    return np.stack(directions), np.stack(sds)


def whitened(vectors: np.ndarray, directions: np.ndarray, sds: np.ndarray) -> torch.Tensor:
    """`LatentDiffusion.whiten` of vectors [tracers, m, L], one set of directions a tracer."""
    along = np.einsum("tml,tkl->tmk", vectors, directions) * (1 / sds - 1)[:, None]
    return torch.from_numpy(vectors + np.einsum("tmk,tkl->tml", along, directions))
