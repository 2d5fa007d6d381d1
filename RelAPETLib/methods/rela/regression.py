"""A latent model in the shape of RelA-Diffusion-Latent: autoencoder, 10x12x10 latent, conditional diffusion.

It works on 2 mm voxels inside (80x90x80, padded to 80x96x80) and takes and gives volumes on the 1 mm model grid. Other
voxels and latents are possible (`Cells`), for comparisons; the shapes that are written here are those of 2 mm.
Where it departs from the paper (section 5.2 of arXiv 2602.21345):

- the autoencoder codes the PET's *difference from the tracer's mean PET*, behind a space-to-depth of 4;
- the MRI is not autoencoded: voxelwise z-scores are averaged over 4 mm blocks (`block_features`), and a ridge
  regression on those blocks (`head`) predicts the latent;
- the latent z is whitened: along the main directions of what the head leaves (whole-brain changes of uptake), it is
  divided by their SD. Without that they are so strong that even alpha_bar_T = 0.0004 of them shows through the noise,
  and samples that start from pure noise have too little of them;
- the U-Net diffuses r = z - head(MRI) of a tracer and predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) r
  (Salimans & Ho 2022). Adding sqrt(alpha_bar) head(MRI) to a noisy r gives the noisy z with the same eps, so the model
  is an ordinary noise predictor of z from outside. The U-Net sees neither MRI nor head: given them, it memorised the
  training people and its mean on new ones was 0.5 to 1 dB worse than the head's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ...grid import MNI_GRID
from ...networks.autoencoder import VolumeAutoencoder, space_to_depth
from ...networks.generator import build_generator
from ...networks.shapes import central, padded, padded_shape
from ...scaling import bounded

#: Side of the voxels inside the model where nothing else is said, in voxels of the model grid.
FACTOR = 2
#: Halvings of the U-Net's two levels.
MULTIPLE = 2
RESIDUAL_SCALE = 8.0
#: Class labels where nothing else is said: those of TAU, PIB and PBR.
LABELS = 3


@dataclass(frozen=True)
class Cells:
    """The voxels inside a model, and the cells of its latent.

    Attributes:
        factor: side of such a voxel in voxels of the model grid.
        reduction: voxels a side of a latent's cell; even.
    """

    factor: int = FACTOR
    reduction: int = 8

    @property
    def inner(self) -> tuple[int, ...]:
        """Shape of a volume inside the model."""
        return tuple(n // self.factor for n in MNI_GRID.shape)

    @property
    def padded(self) -> tuple[int, ...]:
        """Its shape as the autoencoder takes it."""
        return padded_shape(self.inner, MULTIPLE * self.reduction)

    @property
    def latent(self) -> tuple[int, ...]:
        """Shape of a latent."""
        return tuple(n // self.reduction for n in self.padded)

    def pad(self, volume: torch.Tensor) -> torch.Tensor:
        """Volumes [N, C, *inner] with zeros around them, [N, C, *padded]."""
        return padded(volume, MULTIPLE * self.reduction, 0.0)

    def block_features(self, z_scores: torch.Tensor) -> torch.Tensor:
        """Z-scored T1w and T2F [N, 2, 80, 90, 80] -> [N, 24, 10, 12, 10].

        Means over blocks of half a cell a side (4 mm) of the T1w, the T2F, and the T2F's excess over 2 SD (lesions);
        the eight blocks of a latent cell become channels.
        """
        lesions = (z_scores[:, 1:] - 2).clamp(min=0)
        seen = self.pad(torch.cat([z_scores, lesions], 1))
        return space_to_depth(F.avg_pool3d(seen, self.reduction // 2), 2)


#: The latent grid of the demo model.
LATENT_GRID = Cells().latent


def robust_scale(mri: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Each channel of [N, C, X, Y, Z] minus its median, over its 10th-to-90th-percentile range, inside the mask."""
    quantiles = mri[:, :, mask].quantile(mri.new_tensor([0.1, 0.5, 0.9]), dim=-1)
    low, middle, high = quantiles[..., None, None, None]
    return (mri - middle) / (high - low).clamp(min=1e-6) * mask


def build_denoiser(
    latent_channels: int,
    channels: Sequence[int],
    *,
    num_res_blocks: int = 1,
    attention_levels: Sequence[bool] = (False, True),
    num_head_channels: int | None = None,
    norm_num_groups: int = 16,
    num_class_embeds: int = LABELS,
    seen: int = 0,
) -> nn.Module:
    """The U-Net of `LatentDiffusion`: `build_generator`'s, of latents and without a second attention.

    Heads have half the last level's channels by default. It sees `seen` further channels.
    """
    return build_generator(
        in_channels=latent_channels + seen,
        out_channels=latent_channels,
        channels=channels,
        num_res_blocks=num_res_blocks,
        attention_levels=attention_levels,
        num_head_channels=num_head_channels or channels[-1] // 2,
        norm_num_groups=norm_num_groups,
        cross_attention_dim=None,
        num_class_embeds=num_class_embeds,
    )


class LatentDiffusion(nn.Module):
    """Autoencoder, ridge head and U-Net as one module with one state dict.

    Args:
        latent_channels: channels of the latent.
        autoencoder_channels: widths of the autoencoder's two levels.
        unet_channels: widths of the U-Net's two levels.
        components: principal components of the latent that the head predicts, and directions that are whitened.
        head_features: number of block features the head reads (those inside the brain).
        brain_voxels: number of 2 mm voxels inside the brain mask.
        schedule: arguments of `RelAPETLib.diffusion.NoiseSchedule`.
        labels: number of class labels; buffers "of every label" are zero for a label that is no tracer's.
        autoencoder: further arguments of `VolumeAutoencoder`; its reduction must be even.
        unet: further arguments of `build_denoiser`.
        factor: side in voxels of the model grid of the blocks that are averaged into one voxel inside.

    Raises:
        ValueError: the autoencoder's reduction is odd, or the factor does not divide the grid.
    """

    def __init__(
        self,
        latent_channels: int,
        autoencoder_channels: tuple[int, int],
        unet_channels: tuple[int, int],
        components: int,
        head_features: int,
        brain_voxels: int,
        schedule: dict,
        labels: int = LABELS,
        autoencoder: dict | None = None,
        unet: dict | None = None,
        factor: int = FACTOR,
    ):
        from ...diffusion import NoiseSchedule

        super().__init__()
        if factor < 1 or any(n % factor for n in MNI_GRID.shape):
            raise ValueError(f"factor {factor} does not divide the grid {MNI_GRID.shape}")
        self.schedule = NoiseSchedule(**schedule)
        self.autoencoder = VolumeAutoencoder(latent_channels, autoencoder_channels, **(autoencoder or {}))
        if self.autoencoder.reduction % 2:
            raise ValueError(f"the autoencoder reduces {self.autoencoder.reduction} voxels to one; an even number fits")
        self.cells = Cells(factor, self.autoencoder.reduction)
        self.diffusion_shape = (latent_channels, *self.cells.latent)
        self.labels = labels
        self.unet = build_denoiser(latent_channels, unet_channels, num_class_embeds=labels, **(unet or {}))
        size = math.prod(self.diffusion_shape)
        shapes = {
            "mask": self.cells.inner,
            "mri_mean": (2, brain_voxels),
            "mri_sd": (2, brain_voxels),
            "pet_mean": (labels, brain_voxels),
            "head_index": (head_features,),
            "head_feature_mean": (head_features,),
            "head_weight": (labels, components, head_features),
            "head_mean": (labels, size),
            "head_components": (labels, components, size),
            "mode_directions": (labels, components, size),
            "mode_sd": (labels, components),
            "latent_mean": (latent_channels,),
            "latent_sd": (latent_channels,),
        }
        for name, shape in shapes.items():
            dtype = {"mask": torch.uint8, "head_index": torch.int32}.get(name, torch.float32)
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def volume(self, voxels: torch.Tensor) -> torch.Tensor:
        """Brain voxels [..., brain_voxels] as volumes [..., 80, 90, 80], zero outside."""
        out = voxels.new_zeros(*voxels.shape[:-1], *self.cells.inner)
        out[..., self.mask.bool()] = voxels
        return out

    def features(self, condition: torch.Tensor) -> torch.Tensor:
        """Block features [N, 24, 10, 12, 10] of a condition [N, 2, 160, 180, 160] in [-1, 1]."""
        return self.inner_features(F.avg_pool3d(condition.float(), self.cells.factor))

    def inner_features(self, mri: torch.Tensor) -> torch.Tensor:
        """The same of a condition at 2 mm, [N, 2, 80, 90, 80]."""
        mask = self.mask.bool()
        z_scores = (robust_scale(mri, mask)[:, :, mask] - self.mri_mean) / self.mri_sd.clamp(min=0.02)
        return self.cells.block_features(self.volume(z_scores.clamp(-6, 6)))

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """The ridge regression's latent of every label, [N, labels, C, 10, 12, 10]."""
        return self.latent_of_scores(self.scores(features))

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """The ridge regression's scores of every label, [N, labels, components]."""
        centred = features.flatten(1)[:, self.head_index.long()] - self.head_feature_mean
        return torch.einsum("nf,tkf->ntk", centred, self.head_weight)

    def latent_of_scores(self, scores: torch.Tensor) -> torch.Tensor:
        """Latents [N, labels, C, 10, 12, 10] of scores [N, labels, components]."""
        latent = self.head_mean + torch.einsum("ntk,tkl->ntl", scores, self.head_components)
        return latent.reshape(len(scores), self.labels, *self.diffusion_shape)

    def scale_of_residual(self, labels: torch.Tensor) -> torch.Tensor | float:
        """What differences from the mean PET are multiplied with before they are coded; for [N, 1, X, Y, Z]."""
        return RESIDUAL_SCALE

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """[N, 2, 160, 180, 160] in [-1, 1] -> the head's latents of every label, [N, labels C, 10, 12, 10]."""
        return self.head(self.features(condition)).flatten(1, 2)

    def head_latent(self, encoded: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The head's latent [N, C, 10, 12, 10] for the tracers of `labels`, from an encoded condition."""
        heads = encoded.unflatten(1, (self.labels, -1))
        return heads[torch.arange(len(encoded), device=encoded.device), labels]

    def predict_noise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Noise in x_t [N, C, 10, 12, 10] given an encoded condition, timesteps [N] and tracer labels [N]."""
        alpha_bar = self.schedule.alphas_cumprod.to(x_t)[timesteps][:, None, None, None, None]
        r_t = x_t - alpha_bar.sqrt() * self.head_latent(encoded, labels)
        return self.schedule.noise_of_velocity(r_t, self.unet(r_t, timesteps, class_labels=labels), timesteps)

    def whiten(self, latent: torch.Tensor, labels: torch.Tensor, inverse: bool = False) -> torch.Tensor:
        """Divide latents [N, C, 10, 12, 10] by `mode_sd` along the tracer's `mode_directions`, or multiply."""
        directions, sd = self.mode_directions[labels], self.mode_sd[labels]
        along = torch.einsum("nkl,nl->nk", directions, latent.flatten(1))
        change = along * ((sd - 1) if inverse else (1 / sd - 1))
        return latent + torch.einsum("nk,nkl->nl", change, directions).reshape(latent.shape)

    def decode(self, x0: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Latents [N, C, 10, 12, 10] of tracers `labels` [N] -> PET [N, 1, 160, 180, 160] in [-1, 1]."""
        inner = self.filled(self.decode_inner(x0, labels))
        pet = F.interpolate(inner, scale_factor=self.cells.factor, mode="trilinear")
        return bounded(pet, 0, 1) * 2 - 1

    def filled(self, inner: torch.Tensor) -> torch.Tensor:
        """A volume at 2 mm [N, 1, 80, 90, 80] continued by one voxel beyond the brain mask.

        Zeros there would otherwise be interpolated into the brain's outermost millimetre, where PSNR loses 1 dB by it.
        """
        mask = self.mask.to(inner)[None, None]
        share = F.avg_pool3d(mask, 3, stride=1, padding=1)
        around = F.avg_pool3d(inner * mask, 3, stride=1, padding=1) / share.clamp(min=1e-6)
        return torch.where(mask > 0, inner, torch.where(share > 0, around, 0))

    def decode_inner(self, x0: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The same at 2 mm, [N, 1, 80, 90, 80], as a fraction of the tracer's SUVR window, not clipped."""
        latent = self.whiten(x0, labels, inverse=True)
        latent = latent * self.latent_sd[:, None, None, None] + self.latent_mean[:, None, None, None]
        residual = central(self.autoencoder.decode(latent), self.cells.inner) / self.scale_of_residual(labels)
        return self.volume(self.pet_mean)[labels][:, None] + residual * self.mask
