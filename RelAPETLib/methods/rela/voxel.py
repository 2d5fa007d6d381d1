"""RelA-Diffusion in voxel space: the generator on the whole model grid, or on coarser voxels of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...diffusion import NoiseSchedule, Parametrization
from ...networks.blocks import BACKGROUND, Blocks
from ...networks.generator import build_generator
from ...tracers import PUBLISHED_LABELS
from ..base import MEAN_PET, SEQUENCES


class VoxelDiffusion(nn.Module):
    """The generator as a diffusion model whose diffusion space is the model grid, or blocks of its voxels.

    Args:
        factor: side in voxels of the blocks that are averaged into one; 1 is the model grid itself.
        crop: central part (X, Y, Z) of the blocks that the generator sees, such that its levels fit; None is all.
        sequences: which of T1w and T2F the generator sees; in ablations, the other is background to it.
        prediction: what the generator gives: ``noise``, ``v``, ``x0`` or ``edm``, see `Parametrization`.
        sigma_data: SD of what is diffused, for ``edm``.
        schedule: arguments of `NoiseSchedule`; needed unless noise is predicted.
        mean_pet: ``none``; ``input``: the generator also sees the tracer's mean PET (buffer `mean_pet`); ``residual``:
            it sees that, and what is diffused is the PET minus it, divided by `residual_scale`.
        residual_scale: SD of those differences in training.
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
        residual_scale: float = 1.0,
        **generator_arguments,
    ):
        super().__init__()
        self._blocks = Blocks(factor, crop)
        if not sequences or not set(sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences {list(sequences)} are not some of {SEQUENCES}")
        if mean_pet not in MEAN_PET:
            raise ValueError(f"mean_pet {mean_pet!r} is not one of {MEAN_PET}")
        if prediction != "noise" and schedule is None:
            raise ValueError(f"prediction {prediction!r} needs the schedule")
        self.parametrization = None
        if schedule is not None:
            self.schedule = NoiseSchedule(**schedule)
            self.parametrization = Parametrization(self.schedule, prediction, sigma_data)
        self.gives = "noise" if prediction == "noise" else "clean"
        self._residual_scale = residual_scale if mean_pet == "residual" else None
        self._unseen = [channel for channel, name in enumerate(SEQUENCES) if name not in sequences]
        self.diffusion_shape = (1, *self._blocks.shape)
        self.generator = build_generator(**generator_arguments)
        if mean_pet != "none":
            labels = generator_arguments.get("num_class_embeds", PUBLISHED_LABELS)
            self.register_buffer("mean_pet", torch.zeros(labels, *self.diffusion_shape))

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """What the generator sees of T1w and T2F [N, 2, X, Y, Z] in [-1, 1]; at factor 1, the condition itself."""
        if self._unseen:
            condition = condition.index_fill(1, torch.tensor(self._unseen, device=condition.device), BACKGROUND)
        return self._blocks.of(condition)

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
        """The generator's channels: x_t, the MRI, and the tracer's mean PET where it is used."""
        mean = [self.mean_pet[labels]] if hasattr(self, "mean_pet") else []
        return torch.cat([x_t, encoded, *mean], 1)

    def decode(self, x0: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The clean image [N, 1, 160, 180, 160]: interpolated from blocks, background (-1) outside the crop."""
        if self._residual_scale is not None:
            x0 = self._residual_scale * x0 + self.mean_pet[labels]
        return self._blocks.to_grid(x0)
