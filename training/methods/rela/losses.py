"""The losses of RelA-Diffusion (arXiv 2602.21345), each under its equation's number.

x0 is a true PET, x0_hat its clean estimate, both [N, 1, X, Y, Z] in [-1, 1]; D maps an image to the logits of its
patches [N, 1, x, y, z]. The paper calls D(x) a scalar; like the published implementation, every loss here is taken
patch by patch and then averaged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

#: How the squared gradient of one image becomes a number, see `with_squared_gradient`.
REDUCTIONS = ("full", "release")


def noise_loss(eps: torch.Tensor, eps_hat: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """L_N of eq. 5: mean squared error of the predicted noise, or of what else is predicted, weighted by image."""
    if weight is None:
        return F.mse_loss(eps_hat, eps)
    return (weight.to(eps_hat) * (eps_hat - eps).square().flatten(1).mean(1)).mean()


def image_loss(x0: torch.Tensor, x0_hat: torch.Tensor) -> torch.Tensor:
    """L_I of eq. 8: mean absolute error of the clean estimate (of the clean latent in the latent variant)."""
    return F.l1_loss(x0_hat, x0)


def relativistic_generator_loss(d_real: torch.Tensor, d_fake: torch.Tensor) -> torch.Tensor:
    """The generator's half of L_R, eq. 9: E[-f(D(x0_hat) - D(x0))] with f(y) = -log(1 + exp(-y)).

    Eq. 9 as printed adds up two f, each unbounded below, and would have both players minimise it; the published
    implementation minimises softplus(-y) = -f(y), each player with its own sign of y. So does this.
    """
    return F.softplus(-(d_fake - d_real)).mean()


def relativistic_discriminator_loss(d_real: torch.Tensor, d_fake: torch.Tensor) -> torch.Tensor:
    """The discriminator's half of L_R, eq. 9: E[-f(D(x0) - D(x0_hat))]."""
    return F.softplus(-(d_real - d_fake)).mean()


def plain_generator_loss(d_real: torch.Tensor, d_fake: torch.Tensor) -> torch.Tensor:
    """Ablation w/oRA (section 5.3): E[-log sigmoid(D(x0_hat))], non-saturating (Goodfellow et al., arXiv 1406.2661).

    `d_real` is there to be called like `relativistic_generator_loss`.
    """
    return F.softplus(-d_fake).mean()


def plain_discriminator_loss(d_real: torch.Tensor, d_fake: torch.Tensor) -> torch.Tensor:
    """Ablation w/oRA: E[-log sigmoid(D(x0))] + E[-log(1 - sigmoid(D(x0_hat)))]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def with_squared_gradient(
    D: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, reduction: str = "full"
) -> tuple[torch.Tensor, torch.Tensor]:
    """D(x), and ||grad_x D(x)||^2 of eq. 10 for every image of x [N, 1, X, Y, Z], by one forward pass.

    An image may have other axes too, as a row of numbers [N, K].

    The gradient is that of the *sum* of an image's logits. Both are differentiable with respect to D's parameters, not
    to x.

    Args:
        reduction: ``"full"``: the sum over all voxels. ``"release"``: as the published implementation, summed over C,
            X and Y but averaged over Z, 1/160 of it on the model grid.

    Returns:
        Logits [N, 1, x, y, z] and squared norms [N].
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}")
    x = x.detach().requires_grad_(True)
    logits = D(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    squared, all_but_last = gradient.square(), tuple(range(1, x.dim() - 1))
    if all_but_last:
        squared = squared.sum(all_but_last)
    return logits, squared.sum(-1) if reduction == "full" else squared.mean(-1)


def squared_gradient_norm(
    D: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, reduction: str = "full", one_by_one: bool = False
) -> torch.Tensor:
    """The squared norms [N] of `with_squared_gradient`.

    Args:
        one_by_one: give D one image at a time, as the published implementation does. It matters to a D with batch
            norm, whose logits of an image depend on the rest of the batch.
    """
    return torch.cat([with_squared_gradient(D, part, reduction)[1] for part in (x.split(1) if one_by_one else (x,))])


def gradient_penalty(squared_real: torch.Tensor, squared_fake: torch.Tensor, gamma: float) -> torch.Tensor:
    """L_G of eq. 10 with its weight: gamma / 2 (R1 + R2), R1 on the true and R2 on the estimated images.

    Belongs to the discriminator's step alone: x0_hat is detached, for the generator it has no gradient of use.
    """
    return gamma / 2 * (squared_real.mean() + squared_fake.mean())
