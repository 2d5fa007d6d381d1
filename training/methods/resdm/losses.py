"""The losses of ResDM (Ou et al., IJCAI 2024, eq. 4, 6 and 7), each a number a person."""

from __future__ import annotations

from itertools import combinations

import torch


def per_scan(error: torch.Tensor) -> torch.Tensor:
    """Means [N, K] over the voxels of errors [N, K, X, Y, Z]."""
    return error.flatten(2).mean(2)


def reconstruction(estimate: torch.Tensor, pet: torch.Tensor, scanned: torch.Tensor) -> torch.Tensor:
    """L_rec [N] of clean estimates and PET [N, K, X, Y, Z]: mean squared errors, summed over the tracers there are.

    Args:
        scanned: bool [N, K].
    """
    return (per_scan((estimate - pet).square()) * scanned).sum(1)


def image(estimate: torch.Tensor, pet: torch.Tensor, scanned: torch.Tensor) -> torch.Tensor:
    """L_I [N], which RelA-Diffusion's paper gives all methods that it compares: mean absolute errors, summed alike."""
    return (per_scan((estimate - pet).abs()) * scanned).sum(1)


def intra_domain(estimate: torch.Tensor, pet: torch.Tensor, scanned: torch.Tensor) -> torch.Tensor:
    """L_high [N] (eq. 6): mean squared error of | x^i - x^j |, mean over the pairs of tracers that a person has.

    0 for a person with one tracer. The paper has two tracers and so one pair.
    """
    total, pairs = estimate.new_zeros(len(estimate)), estimate.new_zeros(len(estimate))
    for i, j in combinations(range(estimate.shape[1]), 2):
        both = (scanned[:, i] & scanned[:, j]).to(estimate)
        made, measured = (estimate[:, i] - estimate[:, j]).abs(), (pet[:, i] - pet[:, j]).abs()
        total = total + both * (made - measured).square().flatten(1).mean(1)
        pairs = pairs + both
    return total / pairs.clamp(min=1)
