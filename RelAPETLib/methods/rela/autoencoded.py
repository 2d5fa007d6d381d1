"""RelA-Diffusion-Latent (section 5.2 of arXiv 2602.21345): MRI and PET coded by frozen autoencoders, diffused there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...diffusion import NoiseSchedule, Parametrization
from ...networks.autoencoder import VolumeAutoencoder, reduction_of
from ...networks.blocks import BACKGROUND, Blocks
from ...networks.generator import build_generator
from ...networks.shapes import central, padded_shape, padded_to
from ...scaling import bounded
from ..base import SEQUENCES
from ..mean_pet import MeanPetNetwork
from .control import ControlledUNet


class AutoencodedDiffusion(MeanPetNetwork):
    """Two autoencoders (PET; T1w and T2F) and a generator of latents, as one module with one state dict.

    With the published grid, four halvings and a two-level generator the latent is 10x12x10: the 180 voxels of y are
    padded to 192. Latents are scaled to SD 1 a channel over the training set, their differences from the tracer's mean
    latent where these are what is diffused.

    Args:
        latent_channels: C, channels of a latent.
        autoencoder: arguments of both `VolumeAutoencoder` beside `latent_channels`.
        generator: arguments of `build_generator` beside the numbers of input and output channels.
        schedule: arguments of `NoiseSchedule`.
        prediction: what the generator gives, see `Parametrization`; latents have SD 1.
        factor: side in voxels of the blocks of the model grid that are averaged into one.
        sequences: which of T1w and T2F the generator sees; in ablations, the other is background to it.
        mean_pet: `use` of `MeanPetNetwork`, of the tracers' mean latents; ``residual``'s scale is the latents' own.
        control: the generator is a U-Net without MRI that a ControlNet steers (`ControlledUNet`).

    Attributes:
        diffusion_shape: (C, X, Y, Z) of the latent.

    Raises:
        ValueError: a factor that does not divide the grid, an unknown sequence or use of the mean.
        InputError: an unknown prediction, or one that the schedule does not allow.
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        autoencoder: dict,
        generator: dict,
        schedule: dict,
        prediction: str = "noise",
        factor: int = 1,
        sequences: Sequence[str] = SEQUENCES,
        mean_pet: str = "none",
        control: bool = False,
    ):
        blocks = Blocks(factor)
        reduction = reduction_of(**autoencoder)
        padded = padded_shape(blocks.shape, reduction * 2 ** (len(generator["channels"]) - 1))
        diffused = (latent_channels, *(n // reduction for n in padded))
        super().__init__(mean_pet, 1.0, diffused, generator.get("num_class_embeds"))
        if not sequences or not set(sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences {list(sequences)} are not some of {SEQUENCES}")
        self.prediction = prediction
        self.schedule = NoiseSchedule(**schedule)
        self.parametrization = Parametrization(self.schedule, prediction)
        #: v is turned into noise, as bundles of version 1 have it.
        self.gives = "noise" if prediction in ("noise", "v") and not self.schedule.zero_terminal_snr else "clean"
        self.blocks, self.padded, self.diffusion_shape = blocks, padded, diffused
        self._unseen = [channel for channel, name in enumerate(SEQUENCES) if name not in sequences]
        self.pet_autoencoder = VolumeAutoencoder(latent_channels, **autoencoder)
        self.mri_autoencoder = VolumeAutoencoder(latent_channels, **autoencoder)
        seen = latent_channels * (len(SEQUENCES) + (mean_pet != "none"))
        if control:
            self.generator = ControlledUNet(latent_channels=latent_channels, condition_channels=seen, **generator)
        else:
            channels = latent_channels + seen
            self.generator = build_generator(in_channels=channels, out_channels=latent_channels, **generator)
        for name in ("pet", "mri"):
            self.register_buffer(f"{name}_mean", torch.zeros(latent_channels))
            self.register_buffer(f"{name}_sd", torch.ones(latent_channels))

    def padded_volume(self, volume: torch.Tensor) -> torch.Tensor:
        """Blocks [N, C, X, Y, Z] with background around them, to the shape that the autoencoders take."""
        return padded_to(volume, self.padded, BACKGROUND)

    def code_pet(self, pet: torch.Tensor) -> torch.Tensor:
        """Scaled latent [N, C, x, y, z] of PET blocks [N, 1, X, Y, Z] in [-1, 1]."""
        mean, _ = self.pet_autoencoder.encode(self.padded_volume(pet))
        return (mean - _column(self.pet_mean)) / _column(self.pet_sd)

    def code_mri(self, mri: torch.Tensor) -> torch.Tensor:
        """Scaled latents [N, 2 C, x, y, z] of T1w and T2F blocks [N, 2, X, Y, Z] in [-1, 1]."""
        both = self.padded_volume(mri).flatten(0, 1)[:, None]
        mean, _ = self.mri_autoencoder.encode(both)
        scaled = (mean - _column(self.mri_mean)) / _column(self.mri_sd)
        return scaled.unflatten(0, (len(mri), -1)).flatten(1, 2)

    def decode_blocks(self, x0: torch.Tensor) -> torch.Tensor:
        """PET blocks [N, 1, X, Y, Z] of scaled latents (whole ones, no differences), not clamped."""
        volume = self.pet_autoencoder.decode(x0 * _column(self.pet_sd) + _column(self.pet_mean))
        return central(volume, self.blocks.shape)

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """Scaled latents [N, 2 C, x, y, z] of T1w and T2F [N, 2, 160, 180, 160] in [-1, 1]."""
        if self._unseen:
            condition = condition.index_fill(1, torch.tensor(self._unseen, device=condition.device), BACKGROUND)
        return self.code_mri(self.blocks.of(condition.float()))

    def predict_noise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Noise in x_t [N, C, x, y, z] given an encoded condition, timesteps [N] and tracer labels [N].

        Of a generator that predicts noise or v; the others `denoise`.
        """
        output = self.generator(self._seen(x_t, encoded, labels), timesteps, class_labels=labels)
        return output if self.prediction == "noise" else self.schedule.noise_of_velocity(x_t, output, timesteps)

    def denoise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Clean estimate of the latent, from arguments as `predict_noise` has them."""
        scaled = self.parametrization.network_input(x_t, timesteps)
        output = self.generator(self._seen(scaled, encoded, labels), timesteps, class_labels=labels)
        return self.parametrization.clean(x_t, output, timesteps)

    def _seen(self, x_t: torch.Tensor, encoded: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The generator's channels: x_t, the MRI's latents, and the tracer's mean latent where it is used."""
        return self.with_mean(torch.cat([x_t, encoded], 1), labels)

    def decode(self, x0: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """PET [N, 1, 160, 180, 160] in [-1, 1] of latents; interpolated from blocks where `factor` is not 1.

        Args:
            labels: of the tracers [N]; may be None where no differences from the mean are diffused.
        """
        return self.blocks.to_grid(bounded(self.decode_blocks(self.from_residual(x0, labels)), -1, 1))


def _column(values: torch.Tensor) -> torch.Tensor:
    """[C] -> [C, 1, 1, 1]."""
    return values[:, None, None, None]
