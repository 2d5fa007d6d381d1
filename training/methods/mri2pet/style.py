"""MRI in the style of a PET, for pre-training without pairs (Theodorou et al., section 3.2).

The paper takes style from the features of VGG19, whose weights no package ships, slice by slice. Here the feature
network is one fixed convolution: the three-dimensional discrete cosine transform of every neighbourhood of 3 x 3 x 3
voxels. Each of its 27 channels gets the mean and the standard deviation that the PET's channel has within the brain
(adaptive instance normalisation, Huang and Belongie, arXiv 1703.06868), and the transform, which is orthonormal, is
undone. That gives the MRI the PET's brightness, contrast, sharpness and noise, and leaves its anatomy where it was.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch.nn import functional

from RelAPETLib.networks.blocks import BACKGROUND

#: Voxels a side of a neighbourhood.
SIDE = 3
#: What is brighter than the background by so much is brain.
MARGIN = 1e-3


@lru_cache
def filters(side: int = SIDE) -> torch.Tensor:
    """Kernels [side^3, 1, side, side, side] of the transform: orthonormal, the mean first."""
    places = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (places + 0.5) * places[:, None]) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    kernels = torch.einsum("ax,by,cz->abcxyz", waves, waves, waves)
    return kernels.reshape(side**3, 1, side, side, side).float()


def features(volume: torch.Tensor) -> torch.Tensor:
    """Channels [N, 27, X + 2, Y + 2, Z + 2] of volumes [N, 1, X, Y, Z]: of all neighbourhoods with a voxel in them."""
    padding = (SIDE - 1,) * 6
    return functional.conv3d(functional.pad(volume, padding, mode="replicate"), filters().to(volume))


def volume_of(channels: torch.Tensor) -> torch.Tensor:
    """The volumes [N, 1, X, Y, Z] of `features`: each voxel the mean of what its 27 neighbourhoods say of it."""
    whole = functional.conv_transpose3d(channels, filters().to(channels)) / SIDE**3
    edge = SIDE - 1
    return whole[:, :, edge:-edge, edge:-edge, edge:-edge]


def styled(mri: torch.Tensor, brain: torch.Tensor, pet: torch.Tensor, pet_brain: torch.Tensor) -> torch.Tensor:
    """MRI [N, 1, X, Y, Z] in the style of the PET [N, 1, X, Y, Z], in [-1, 1]; background outside the brain.

    Args:
        brain, pet_brain: bool like them; the PET may be of other people.
    """
    content, style = features(filled(mri, brain)), features(filled(pet, pet_brain))
    mean, sd = moments(content, brain)
    wanted_mean, wanted_sd = moments(style, pet_brain)
    matched = (content - mean) / sd.clamp(min=1e-6) * wanted_sd + wanted_mean
    return torch.where(brain, volume_of(matched).clamp(-1, 1), BACKGROUND)


def filled(volume: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """The volume with its brain's mean outside the brain, so that the brain's edge is no feature."""
    inside = brain.to(volume)
    mean = (volume * inside).sum((2, 3, 4), keepdim=True) / inside.sum((2, 3, 4), keepdim=True).clamp(min=1)
    return torch.where(brain, volume, mean)


def moments(channels: torch.Tensor, brain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and SD [N, 27, 1, 1, 1] of channels over the neighbourhoods whose middle is in the brain."""
    edge = SIDE // 2
    inside = functional.pad(brain.to(channels), (edge,) * 6)
    count = inside.sum((2, 3, 4), keepdim=True).clamp(min=1)
    mean = (channels * inside).sum((2, 3, 4), keepdim=True) / count
    variance = ((channels - mean).square() * inside).sum((2, 3, 4), keepdim=True) / count
    return mean, variance.sqrt()


def brain_of(t1w: torch.Tensor) -> torch.Tensor:
    """Where a T1w [N, 1, X, Y, Z] in [-1, 1] shows something, bool."""
    return t1w > BACKGROUND + MARGIN
