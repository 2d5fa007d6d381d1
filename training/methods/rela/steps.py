"""Algorithm 1 of RelA-Diffusion (arXiv 2602.21345), line by line and with its symbols.

=============  ======================================================================================
x0             true PET [N, 1, X, Y, Z] in [-1, 1]
x_T1, x_T2     the MRI, here one tensor `mri` [N, 1 or 2, X, Y, Z], see `training.methods.rela.networks.condition`
c              tracer label [N]
t, eps         timestep [N], counted from 0 (the paper's t is ours plus one), and noise like x0
x_t            noisy PET, eq. 4
eps_hat        noise that the generator G predicts, or v, x0 or EDM's output (`Parametrization`)
x0_hat         clean estimate, eq. 6
L_N, L_I       noise loss, eq. 5; image loss, eq. 8
L_R, L_G       relativistic adversarial loss, eq. 9; gradient penalty, eq. 10
=============  ======================================================================================

In the latent variant z, the coded PET, is diffused, and `decode` turns a clean latent into the image that D sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from RelAPETLib.diffusion import Parametrization

from ..adversarial import frozen, gap
from ..base import GAP
from . import losses
from .config import RelaConfig
from .networks import differences_are_diffused


@dataclass(frozen=True)
class Weights:
    """Weights and choices of eq. 11; what the configuration says about them at one point of the run."""

    noise_weight: float = 1.0
    image_weight: float = 1.0
    #: Weight of L_R + L_G; 0 before the adversarial part begins, and in ficd and ddpm.
    adversarial_weight: float = 0.1
    relativistic: bool = True
    penalty_gamma: float = 6.25e-6
    penalty_reduction: str = "full"
    penalty_one_by_one: bool = False
    clamp_clean_estimate: bool = True
    first_timestep: int = 0
    #: Of L_N, by timestep.
    loss_weighting: str = "none"


@dataclass(frozen=True)
class StepLosses:
    """What one batch gives: a loss for each player, and every term by its symbol (detached, unweighted)."""

    generator: torch.Tensor
    discriminator: torch.Tensor | None
    terms: dict[str, torch.Tensor]


def weights_of(config: RelaConfig, epoch: int) -> Weights:
    """Weights and choices of an epoch (counted from 0)."""
    method, preset, ablation = config.method, config.preset, config.ablation
    adversarial = method.adversarial and epoch >= preset.adversarial_start_epoch
    return Weights(
        noise_weight=method.noise_weight,
        image_weight=method.image_weight,
        adversarial_weight=preset.adversarial_weight if adversarial else 0.0,
        relativistic=ablation.relativistic,
        penalty_gamma=preset.penalty_gamma if ablation.penalty else 0.0,
        penalty_reduction=preset.penalty_reduction,
        penalty_one_by_one=preset.penalty_one_by_one,
        clamp_clean_estimate=preset.clamp_clean_estimate and not (method.latent or differences_are_diffused(config)),
        first_timestep=preset.first_timestep,
        loss_weighting=preset.loss_weighting,
    )


def predict(
    G: Callable, x_t: torch.Tensor, mri: torch.Tensor, t: torch.Tensor, c: torch.Tensor, first_timestep: int = 0
) -> torch.Tensor:
    """Lines 7 to 9: eps_hat = G(x_t, x_T1, x_T2, t, c), or what else G predicts.

    The first timestep is embedded as `first_timestep`; x_t is as `Parametrization.network_input` has it.
    """
    x = torch.cat([x_t, mri], 1)
    return G(x, t.to(x.device) + first_timestep, class_labels=c)


def algorithm_1(
    G: Callable,
    D: nn.Module | None,
    x0: torch.Tensor,
    mri: torch.Tensor,
    c: torch.Tensor,
    t: torch.Tensor,
    eps: torch.Tensor,
    parametrization: Parametrization,
    weights: Weights,
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
    image: torch.Tensor | None = None,
) -> StepLosses:
    """Lines 6 to 15 of Algorithm 1 on one batch; lines 4 and 5 drew t and eps, lines 16 and 17 are the caller's.

    Both players' losses are taken at the same weights of both: G's does not reach D's parameters (D is frozen in it),
    D's does not reach G's (x0_hat is detached). So backward passes and updates may follow in any order.

    Args:
        x0: what is diffused: the PET, or its latent.
        parametrization: what G predicts, on which schedule.
        decode: what is diffused to an image; `image` is then the PET that D compares with.
    """
    p = parametrization
    x_t = p.schedule.add_noise(x0, eps, t)  # line 6, eq. 4
    eps_hat = predict(G, p.network_input(x_t, t), mri, t, c, weights.first_timestep)  # lines 7 to 9
    clip = (-1.0, 1.0) if weights.clamp_clean_estimate and p.prediction == "noise" else None
    x0_hat = p.clean(x_t, eps_hat, t, clip)  # line 10, eq. 6
    weight = None if weights.loss_weighting == "none" else p.weight(t, weights.loss_weighting)
    L_N = losses.noise_loss(p.target(x0, eps, t), eps_hat, weight)  # line 11, eq. 5
    L_I = losses.image_loss(x0, x0_hat)  # line 12, eq. 8
    terms = {"L_N": L_N, "L_I": L_I}
    L = weights.noise_weight * L_N + weights.image_weight * L_I
    L_D = None
    if D is not None and weights.adversarial_weight:
        real, fake = (x0, x0_hat) if decode is None else (image, decode(x0_hat))
        with frozen(D):
            L_R = generator_adversarial(D, real, fake, weights)  # line 13, eq. 9, the generator's half
        L = L + weights.adversarial_weight * L_R  # line 15, eq. 11; L_G has no gradient of use to G
        L_D, terms_D = discriminator_loss(D, real, fake.detach(), weights)
        terms |= {"L_R": L_R, **terms_D}
    return StepLosses(L, L_D, {name: term.detach() for name, term in terms.items()})


def logits(D: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """D(image): logits of its patches [N, 1, x, y, z]."""
    return D(image)[-1]


def generator_adversarial(D: nn.Module, real: torch.Tensor, fake: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Line 13 for G: relativistic, or a standard GAN's loss in the ablations w/oRA and w/oRAGP."""
    loss = losses.relativistic_generator_loss if weights.relativistic else losses.plain_generator_loss
    with torch.no_grad():  # D(x0) has no gradient to G
        d_real = logits(D, real)
    return loss(d_real, logits(D, fake))


def discriminator_loss(
    D: nn.Module, real: torch.Tensor, fake: torch.Tensor, weights: Weights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Lines 13 to 15 for D: weight (L_R + L_G), and its terms. `fake` is detached."""
    loss = losses.relativistic_discriminator_loss if weights.relativistic else losses.plain_discriminator_loss
    (d_real, squared_real), (d_fake, squared_fake) = (judge(D, image, weights) for image in (real, fake))
    L = L_R = loss(d_real, d_fake)  # line 13, eq. 9, the discriminator's half
    terms = {"L_R_D": L_R, GAP: gap(d_real, d_fake)}
    if weights.penalty_gamma:
        terms["L_G"] = L_G = losses.gradient_penalty(squared_real, squared_fake, weights.penalty_gamma)  # line 14
        L = L_R + L_G
    return weights.adversarial_weight * L, terms


def judge(D: nn.Module, image: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, torch.Tensor | None]:
    """D's logits and, where there is a penalty, their squared gradient norm of eq. 10, by one forward pass.

    True and estimated images never share a pass: batch norm would mix them.
    """

    def call(x: torch.Tensor) -> torch.Tensor:
        return logits(D, x)

    if not weights.penalty_gamma:
        return call(image), None
    if weights.penalty_one_by_one and len(image) > 1:
        return call(image), losses.squared_gradient_norm(call, image, weights.penalty_reduction, one_by_one=True)
    return losses.with_squared_gradient(call, image, weights.penalty_reduction)
