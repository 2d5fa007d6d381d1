"""Methods that draw in steps: a process asks a network over and over, on blocks of the PET beside those of the MRI."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..scaling import bounded
from .base import DrawOptions, Method, NoiseSource, Progress, integers

if TYPE_CHECKING:
    import torch


class Stepwise(Method):
    """A model whose network works on its `Blocks`, ``blocks``, and is asked by a process.

    A subclass says how both are built, the steps that a draw takes by default, and how the process is gone through:
    `draw_blocks`.

    Attributes:
        process: between the PET and what a draw starts from; a class of the method's own, or the diffusion that
            several share, `diffusion.Parametrization`.
    """

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, process: Any):
        self.settings, self.network, self.process = settings, network, process

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Any:
        """Blocks [1, 2, X, Y, Z] of the MRI; see `Method.encode`."""
        return self.network.blocks.of(mri.to(self.device))

    @abstractmethod
    def draw_blocks(
        self, encoded: Any, labels: torch.Tensor, options: DrawOptions, noise: NoiseSource, progress: Progress | None
    ) -> torch.Tensor:
        """PET [N, 1, X, Y, Z] in the network's blocks, about -1 to 1; called without gradients.

        Args:
            encoded: of one person, from `encode`.
            labels: class labels [N] on the device, one for each sample.
            options, noise, progress: as `Method.draw` gets them.
        """

    def draw(
        self,
        encoded: Any,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch

        with torch.inference_mode():
            pet = self.draw_blocks(encoded, integers(label, count, self.device), options, noise, progress)
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
