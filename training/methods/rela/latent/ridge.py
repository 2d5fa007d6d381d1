"""The regression head of the demo model: from MRI block features to the latent, in closed form.

The generator trains on leave-one-out predictions, so that the head errs on its training people as it will err on new
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from RelAPETLib.evaluation.ridge import ridge


@dataclass
class Head:
    """A fitted head.

    Attributes:
        buffers: of `LatentDiffusion`, by name.
        leave_one_out: leave-one-out latents [n, C, 10, 12, 10], scaled by `latent_sd` but not whitened.
        scores: leave-one-out scores [n, components] of each scan's tracer.
        used: [count, components], 1 for components that the head predicts, 0 for those that are left to the generator.
    """

    buffers: dict[str, torch.Tensor]
    leave_one_out: torch.Tensor
    scores: torch.Tensor
    used: torch.Tensor


def fit_head(
    features: np.ndarray,
    latents: torch.Tensor,
    labels: np.ndarray,
    count: int,
    components: int,
    say: Callable[[str], None],
    left: tuple[int, float] = (0, 0.0),
    people: Sequence[str] = (),
    uptake: np.ndarray | None = None,
) -> Head:
    """Fit the head of every tracer and the latent's scaling, after which what the head leaves has unit SD.

    Args:
        features: [n, F], of the MRI of every scan.
        latents: [n, C, 10, 12, 10].
        labels: class labels [n]; one that is there has more than `components` scans. The others get zeros.
        count: number of class labels.
        say: told how much of the latent the MRI explains.
        left: (number, share): of the first so many components, those of whose variance the MRI explains less than the
            share are not predicted.
        people: whom each scan is of [n]: all scans of a person are left out together.
        uptake: [n, R], mean PET of each scan in regions, any unit; what the head predicts first, see `targets_of`.
    """
    latent_mean = latents.mean((0, 2, 3, 4))
    centred = (latents - latent_mean[:, None, None, None]).flatten(1).double().numpy()
    feature_mean = features.mean(0, dtype=np.float64)
    means, weights = np.zeros((count, centred.shape[1])), np.zeros((count, components, features.shape[1]))
    bases = np.zeros((count, components, centred.shape[1]))
    used = np.ones((count, components))
    left_out, own_scores = np.empty_like(centred), np.empty((len(centred), components))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        z = centred[rows]
        mean = z.mean(0)
        basis, scores = targets_of(z - mean, components, None if uptake is None else uptake[rows])
        own = [people[row] for row in rows] if people else ()
        seen = features[rows].astype(np.float64)
        offset = seen.mean(0) - feature_mean  # of this tracer's people, who may be others, with other scanners
        weight, predicted, penalty = ridge(seen - feature_mean - offset, scores, own)
        explained = 1 - ((predicted - scores) ** 2).sum(0) / (scores**2).sum(0)
        say(f"head: label {label} r2 of the first components {np.round(explained[:6], 3)} penalties {penalty[:3]}")
        used[label, : left[0]] = explained[: left[0]] >= left[1]
        left_out[rows] = mean + predicted * used[label] @ basis
        # The network takes the mean of everybody's features off: its scores hold the tracer's offset, its mean not.
        shift = weight @ offset
        own_scores[rows] = predicted + shift
        means[label], bases[label], weights[label] = mean - shift * used[label] @ basis, basis, weight
    rest = centred - left_out
    latent_sd = torch.from_numpy(rest.reshape(latents.shape).std((0, 2, 3, 4)))
    scale = latent_sd.repeat_interleave(latents[0, 0].numel()).numpy()
    directions, sds = modes(rest / scale, labels, count, components)
    buffers = {
        "head_feature_mean": torch.from_numpy(feature_mean),
        "head_weight": torch.from_numpy(weights),
        "head_mean": whitened(means[:, None] / scale, directions, sds)[:, 0],
        "head_components": whitened(bases / scale, directions, sds),
        "mode_directions": torch.from_numpy(directions),
        "mode_sd": torch.from_numpy(sds),
        "latent_mean": latent_mean,
        "latent_sd": latent_sd,
    }
    leave_one_out = torch.from_numpy(left_out / scale).float().reshape(latents.shape)
    floats = {name: buffer.float() for name, buffer in buffers.items()}
    return Head(floats, leave_one_out, torch.from_numpy(own_scores).float(), torch.from_numpy(used).float())


def targets_of(rest: np.ndarray, components: int, uptake: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What of the latents the head predicts: vectors [components, L], and each scan's coordinates [n, components].

    These are the latents' principal components. With uptake [n, R] the first are the principal components of the
    uptake, each with what latents change by with it, and the others are components of what that leaves. A latent's
    first components mix what the MRI tells with noise of the PET, of which a mean over a region has little; the
    penalty that suits such a mixture is too large for the regions.

    Args:
        rest: [n, L], less their mean.
    """
    basis, scores = np.empty((0, rest.shape[1])), np.empty((len(rest), 0))
    if uptake is not None:
        left, sizes, _ = np.linalg.svd(uptake - uptake.mean(0), full_matrices=False)
        scores = (left * sizes)[:, sizes > 1e-9 * max(sizes[0], 1e-30)][:, :components]
        basis = (scores.T @ rest) / (scores**2).sum(0)[:, None]
        rest = rest - scores @ basis
    _, _, further = np.linalg.svd(rest, full_matrices=False)
    further = further[: components - len(basis)]
    return np.concatenate([basis, further]), np.concatenate([scores, rest @ further.T], 1)


def modes(rest: np.ndarray, labels: np.ndarray, count: int, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Main directions [count, components, L] of what the head leaves [n, L], and the SD along each.

    Labels [n] that nobody has get 0 and 1.
    """
    directions, sds = np.zeros((count, components, rest.shape[1])), np.ones((count, components))
    for label in np.unique(labels):
        own = rest[labels == label]
        _, singular, basis = np.linalg.svd(own - own.mean(0), full_matrices=False)
        directions[label] = basis[:components]
        sds[label] = np.maximum(singular[:components] / np.sqrt(len(own) - 1), 1.0)
    return directions, sds


def whitened(vectors: np.ndarray, directions: np.ndarray, sds: np.ndarray) -> torch.Tensor:
    """`LatentDiffusion.whiten` of vectors [labels, m, L], one set of directions a label."""
    along = np.einsum("tml,tkl->tmk", vectors, directions) * (1 / sds - 1)[:, None]
    return torch.from_numpy(vectors + np.einsum("tmk,tkl->tml", along, directions))
