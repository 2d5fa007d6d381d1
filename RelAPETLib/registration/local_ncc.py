"""Deformable registration with torch: local correlation inside the brain, for GPUs and contrasts demons cannot match.

The squared local correlation coefficient of Avants et al., Med Image Anal 2008;12:26-41, over windows of 5 voxels, cut
to the brain mask. It does not ask that the two volumes have the same intensities, or even the same sign of contrast.
Every step's gradient is smoothed (a fluid), and composed with the field, which is smoothed in turn (elastic).
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from .copies import FINE_MM, working_copy
from .mutual_information import on_grid
from .template import Template

#: (voxel size in mm, iterations) of each level. 60 and 30 took twice as long for .001 of tissue overlap, on one pair.
LEVELS = ((4.0, 30), (2.0, 12))
#: A further level, on request: 24 CPU seconds more for .02 of tissue overlap (results/registration_fine.md).
FINE_LEVEL = (1.0, 10)
RADIUS = 2
#: Length in voxels of a step's longest displacement. Adam, which makes every voxel's step as long, folded 0.1 % of the
#: brain for the same tissue overlap: where the correlation says little, it amplifies noise.
STEP = 1.0
MOMENTUM = 0.9
#: Gaussian widths in voxels. With little smoothing the correlation rises to 0.86, and one voxel in twenty folds. 0.8
#: for the field fits real scans better still and lays phantoms farther from the truth (results/preprocessing_speed.md).
UPDATE_SIGMA = 1.5
FIELD_SIGMA = 0.9


def _banded(kernel: np.ndarray, size: int) -> torch.Tensor:
    """Matrix [size, size] that convolves a line with a symmetric kernel, the edge continued."""
    radius = len(kernel) // 2
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in zip(range(-radius, radius + 1), kernel, strict=True):
        np.add.at(matrix, (rows, np.clip(rows + offset, 0, size - 1)), weight)
    return torch.from_numpy(matrix.astype(np.float32))


class _Filter:
    """A separable filter of [1, C, Z, Y, X] as three matrix products, on a CPU ten times faster than convolutions."""

    def __init__(self, kernel: np.ndarray, like: torch.Tensor):
        self.z, self.y, self.x = (_banded(kernel, n).to(like.device) for n in like.shape[2:])

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        volume = torch.matmul(self.y, torch.matmul(volume, self.x.T))
        return torch.matmul(self.z, volume.flatten(3)).view(volume.shape)


def _gaussian(sigma: float) -> np.ndarray:
    x = np.arange(-int(np.ceil(3 * sigma)), int(np.ceil(3 * sigma)) + 1)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def _identity(like: torch.Tensor) -> torch.Tensor:
    """Voxel coordinates [1, 3, Z, Y, X] of a volume [1, C, Z, Y, X], channels in the order x, y, z."""
    axes = [torch.arange(n, dtype=torch.float32, device=like.device) for n in like.shape[2:]]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x, y, z))[None]


def _sample(volume: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of [1, C, Z, Y, X] at voxel coordinates [1, 3, Z, Y, X] (x, y, z), the edge continued."""
    last = torch.tensor(volume.shape[:1:-1], dtype=torch.float32, device=volume.device).view(1, 3, 1, 1, 1) - 1
    grid = (2 * points / last - 1).permute(0, 2, 3, 4, 1)
    return F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)


class _LocalCorrelation:
    """Mean squared local correlation with a fixed volume inside a mask; its own window sums are made once."""

    def __init__(self, fixed: torch.Tensor, mask: torch.Tensor):
        self._window = _Filter(np.ones(2 * RADIUS + 1), mask)
        self._mask, self._masked = mask, fixed * mask
        self._share = 1 / self._window(mask).clamp_min(1)
        self._mean = self._window(self._masked) * self._share
        self._variance = (self._window(fixed * self._masked) * self._share - self._mean**2).clamp_min(0)
        self._voxels = mask.sum()

    def __call__(self, moving: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The figure, and its derivative by each voxel of the moving volume."""
        weighted = moving * self._mask
        sums = torch.cat((weighted, weighted * moving, moving * self._masked), dim=1)
        mean, square, product = (self._window(sums) * self._share).split(1, dim=1)
        variance = (square - mean**2).clamp_min(0)
        covariance = product - mean * self._mean
        # Volumes have SD 1: the floor lets windows without structure count for nothing instead of amplifying noise.
        floored = self._variance * variance + 1e-4
        ratio = covariance / floored * self._mask
        by_covariance = 2 * ratio * self._share
        by_variance = -ratio * covariance / floored * self._variance * self._share
        parts = torch.cat((by_covariance, by_variance, by_covariance * self._mean + 2 * by_variance * mean), dim=1)
        first, second, third = self._window(parts).split(1, dim=1)
        derivative = self._masked * first + 2 * weighted * second - self._mask * third
        return (ratio * covariance).sum() / self._voxels, derivative / self._voxels


def _slopes(volume: torch.Tensor) -> torch.Tensor:
    """Central differences [1, 3, Z, Y, X] of a volume [1, 1, Z, Y, X] along x, y, z; 0 on its faces."""
    slopes = volume.new_zeros((1, 3, *volume.shape[2:]))
    for channel, axis in enumerate((4, 3, 2)):
        inner = slopes[:, channel : channel + 1].narrow(axis, 1, volume.shape[axis] - 2)
        torch.sub(volume.narrow(axis, 2, inner.shape[axis]), volume.narrow(axis, 0, inner.shape[axis]), out=inner)
    return slopes.mul_(0.5)


def _fit_level(fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, field: torch.Tensor, iterations: int):
    """Improve a field [1, 3, Z, Y, X] in voxels of this level.

    A step follows the slopes of the moving volume where the field samples it. The warped volume's own slopes, which a
    composed step changes strictly, are a little cheaper and lay phantoms farther from the truth.
    """
    identity = _identity(fixed)
    similarity = _LocalCorrelation(fixed, mask)
    smooth_update, smooth_field = (_Filter(_gaussian(sigma), field) for sigma in (UPDATE_SIGMA, FIELD_SIGMA))
    direction = torch.zeros_like(field)
    with_slopes = torch.cat((moving, _slopes(moving)), dim=1)
    for _ in range(iterations):
        warped, slopes = _sample(with_slopes, identity + field).split((1, 3), dim=1)
        _, derivative = similarity(warped)
        direction = MOMENTUM * direction + (1 - MOMENTUM) * derivative * slopes
        del warped, slopes  # at 1 mm they take 115 MB
        update = smooth_update(direction)
        update = update * (STEP / update.square().sum(1).sqrt().max().clamp_min(1e-12))
        field = smooth_field(update + _sample(field, identity + update))
    return field


def _tensor(image: sitk.Image, device: str) -> torch.Tensor:
    return torch.from_numpy(sitk.GetArrayFromImage(image).astype(np.float32)).to(device)[None, None]


def _normalised(volume: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    inside = volume[mask > 0]
    return (volume - inside.mean()) / inside.std().clamp_min(1e-6)


@torch.inference_mode()
def register_local_ncc(
    warped: sitk.Image, template: Template, device: str = "cpu", *, fine: bool = False
) -> sitk.Image:
    """Displacement field (vector float64, 2 mm voxels, LPS mm) from template points to points of `warped`.

    Args:
        warped: bias-corrected T1w on the model grid after the affine.
        template: from `load_template`.
        device: where torch computes.
        fine: go on at `FINE_LEVEL`; the field has voxels of 1 mm then.

    Raises:
        RuntimeError: torch's own, when the device has no memory or lacks an operation.
    """
    field = coarser = None
    halved = working_copy(warped, FINE_MM)
    for spacing, iterations in (*LEVELS, *([FINE_LEVEL] if fine else ())):
        whole = spacing < FINE_MM
        reference = working_copy(template.t1 if whole else template.fine, spacing)
        mask = _tensor(on_grid(template.mask, reference), device)
        fixed = _normalised(_tensor(reference, device), mask)
        moving = _normalised(_tensor(working_copy(warped if whole else halved, spacing), device), mask)
        if field is None:
            field = torch.zeros((1, 3, *fixed.shape[2:]), device=device)
        else:
            ratio = np.divide(coarser.GetSpacing(), reference.GetSpacing()).astype(np.float32)
            field = F.interpolate(field, size=fixed.shape[2:], mode="trilinear", align_corners=False)
            field = field * torch.from_numpy(ratio).view(1, 3, 1, 1, 1).to(device)
        coarser = reference
        field = _fit_level(fixed, moving, mask, field, iterations)
    voxels = field[0].permute(1, 2, 3, 0).double().cpu().numpy()
    matrix = np.reshape(reference.GetDirection(), (3, 3)) * reference.GetSpacing()
    image = sitk.GetImageFromArray(voxels @ matrix.T, isVector=True)
    image.CopyInformation(reference)
    return image
