"""RelA-Diffusion in voxel space: the generator on the whole model grid, or on coarser voxels of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...diffusion import NoiseSchedule, Parametrization
from ...networks.blocks import BACKGROUND, Blocks
from ...networks.generator import build_generator
from ..base import SEQUENCES
from ..expected_pet import coarse_shape
from ..mean_pet import MeanPetNetwork


class VoxelDiffusion(MeanPetNetwork):
    """The generator as a diffusion model whose diffusion space is the model grid, or blocks of its voxels.

    Args:
        factor: side in voxels of the blocks that are averaged into one; 1 is the model grid itself.
        crop: central part (X, Y, Z) of the blocks that the generator sees, such that its levels fit; None is all.
        sequences: which of T1w and T2F the generator sees; in ablations, the other is background to it.
        prediction: what the generator gives: ``noise``, ``v``, ``x0`` or ``edm``, see `Parametrization`.
        sigma_data: SD of what is diffused, for ``edm``.
        schedule: arguments of `NoiseSchedule`; needed unless noise is predicted.
        mean_pet, residual_scale: `use` and `residual_scale` of `MeanPetNetwork`; of ``residual`` and ``regression``,
            the differences are what is diffused.
        generator_arguments: arguments of `build_generator`; none gives the published network.

    Attributes:
        diffusion_shape: (channels, X, Y, Z) of what is diffused.

    Raises:
        ValueError: a factor that does not divide the grid, a crop larger than it, an unknown sequence or use of the
            mean PET, or a prediction without its schedule.
    """

    def __init__(
        self,
        *,
        factor: int = 1,
        crop: Sequence[int] | None = None,
        sequences: Sequence[str] = SEQUENCES,
        prediction: str = "noise",
        sigma_data: float = 1.0,
        schedule: dict | None = None,
        mean_pet: str = "none",
        residual_scale: float | Sequence[float] = 1.0,
        **generator_arguments,
    ):
        blocks = Blocks(factor, crop)
        labels, coarse = generator_arguments.get("num_class_embeds"), coarse_shape(blocks.shape, factor)
        super().__init__(mean_pet, residual_scale, (1, *blocks.shape), labels, coarse)
        self._blocks = blocks
        if not sequences or not set(sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences {list(sequences)} are not some of {SEQUENCES}")
        if prediction != "noise" and schedule is None:
            raise ValueError(f"prediction {prediction!r} needs the schedule")
        self.parametrization = None
        if schedule is not None:
            self.schedule = NoiseSchedule(**schedule)
            self.parametrization = Parametrization(self.schedule, prediction, sigma_data)
        self.gives = "noise" if prediction == "noise" else "clean"
        self._unseen = [channel for channel, name in enumerate(SEQUENCES) if name not in sequences]
        self.diffusion_shape = (1, *self._blocks.shape)
        self.generator = build_generator(**generator_arguments)

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """What the generator sees of T1w and T2F [N, 2, X, Y, Z] in [-1, 1]; at factor 1, the condition itself.

        With ``regression``, the PET that is expected of each tracer follows it, [N, 2 + labels, X, Y, Z].
        """
        if self._unseen:
            condition = condition.index_fill(1, torch.tensor(self._unseen, device=condition.device), BACKGROUND)
        mri = self._blocks.of(condition)
        expected = self.expected(mri)
        return mri if expected is None else torch.cat([mri, expected.to(mri)], 1)

    def outlier_features(self, encoded: torch.Tensor) -> torch.Tensor | None:
        """What tells an MRI from other people's, [N, D], of an encoded condition: the scores of all tracers.

        None without a regression.
        """
        if self.expectation is None:
            return None
        return self.expectation.scores(self.expectation.features(encoded[:, : len(SEQUENCES)])).flatten(1)

    def predict_noise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Noise in x_t [N, 1, X, Y, Z] given an encoded condition, timesteps [N] and tracer labels [N].

        Of a generator that predicts noise; the others `denoise`.
        """
        return self.generator(self._seen(x_t, encoded, labels), timesteps, class_labels=labels)

    def denoise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Clean estimate of what is diffused, from arguments as `predict_noise` has them."""
        scaled = self.parametrization.network_input(x_t, timesteps)
        output = self.generator(self._seen(scaled, encoded, labels), timesteps, class_labels=labels)
        return self.parametrization.clean(x_t, output, timesteps)

    def _seen(self, x_t: torch.Tensor, encoded: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The generator's channels: x_t, the MRI, and the tracer's mean PET, or the person's, where it is used."""
        mri, expected = encoded.tensor_split((len(SEQUENCES),), 1)
        return self.with_mean(torch.cat([x_t, mri], 1), labels, expected)

    def decode(
        self, x0: torch.Tensor, labels: torch.Tensor | None = None, encoded: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The clean image [N, 1, 160, 180, 160]: interpolated from blocks, background (-1) outside the crop.

        Args:
            labels: of the tracers [N]; may be None where no differences from a mean are diffused.
            encoded: condition of these people; may be None but with ``regression``.
        """
        expected = None if encoded is None else encoded[:, len(SEQUENCES) :]
        return self._blocks.to_grid(self.from_residual(x0, labels, expected))
