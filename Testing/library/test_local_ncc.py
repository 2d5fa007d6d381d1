"""The derivative of the local correlation that the torch registration climbs."""

from __future__ import annotations

import pytest
import torch

from RelAPETLib.registration import local_ncc


def plain(fixed: torch.Tensor, mask: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
    """Mean squared local correlation by convolutions, float64, for autograd."""
    window = torch.ones((1, 1, *[2 * local_ncc.RADIUS + 1] * 3), dtype=torch.float64)

    def mean(volume: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(volume * mask, [local_ncc.RADIUS] * 6, mode="replicate")
        return torch.nn.functional.conv3d(padded, window) / count

    count = 1.0
    count = mean(torch.ones_like(mask)).clamp_min(1)
    covariance = mean(fixed * moving) - mean(fixed) * mean(moving)
    variances = [(mean(v * v) - mean(v) ** 2).clamp_min(0) for v in (fixed, moving)]
    return (covariance**2 / (variances[0] * variances[1] + 1e-4) * mask).sum() / mask.sum()


def test_the_figure_and_its_derivative_are_autograds():
    generator = torch.Generator().manual_seed(0)
    fixed, moving = torch.randn((2, 1, 1, 12, 14, 13), generator=generator, dtype=torch.float64)
    mask = torch.zeros_like(fixed)
    mask[..., 3:-3, 3:-3, 3:-3] = 1
    moving = (moving + fixed).requires_grad_()
    expected = plain(fixed, mask, moving)
    (slope,) = torch.autograd.grad(expected, moving)
    found, derivative = local_ncc._LocalCorrelation(fixed.float(), mask.float())(moving.detach().float())
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert (derivative - slope).abs().max() < 1e-3 * slope.abs().max()


def test_slopes_are_half_the_difference_of_the_neighbours():
    volume = torch.randn((1, 1, 4, 5, 6), generator=torch.Generator().manual_seed(1))
    slopes = local_ncc._slopes(volume)
    assert slopes[0, 0, 2, 3, 1] == pytest.approx(0.5 * float(volume[0, 0, 2, 3, 2] - volume[0, 0, 2, 3, 0]), abs=1e-6)
    assert slopes[0, 2, 1, 3, 1] == pytest.approx(0.5 * float(volume[0, 0, 2, 3, 1] - volume[0, 0, 0, 3, 1]), abs=1e-6)
    assert (slopes[0, 1, :, 0] == 0).all() and (slopes[0, 1, :, -1] == 0).all()


def test_a_level_finds_a_known_deformation_whatever_the_contrast():
    """Linear contrast, inverted and scaled: three quarters of the way back, mean over the inner voxels."""
    generator = torch.Generator().manual_seed(2)
    shape = (1, 1, 28, 30, 32)
    moving = local_ncc._Filter(local_ncc._gaussian(1.5), torch.empty(shape))(torch.randn(shape, generator=generator))
    identity = local_ncc._identity(moving)
    truth = torch.stack([1.5 * torch.sin(identity[0, axis] / 5 + axis) for axis in (1, 2, 0)])[None]
    fixed = 3 - 2 * local_ncc._sample(moving, identity + truth)
    fixed, moving = ((v - v.mean()) / v.std() for v in (fixed, moving))
    field = local_ncc._fit_level(fixed, moving, torch.ones(shape), torch.zeros_like(truth), 30)
    inner = (..., *[slice(5, -5)] * 3)
    left = (field - truth).square().sum(1).sqrt()[inner].mean()
    assert left < 0.25 * truth.square().sum(1).sqrt()[inner].mean()
