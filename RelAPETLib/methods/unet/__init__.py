"""A plain U-Net: the control of every diffusion. One PET a person, its best guess, without any spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

__all__ = ["UNet"]


class UNet(Method):
    """A model of the U-Net control.

    Attributes:
        settings: ``arguments`` of `RegressionUNet`.
    """

    name = "unet"
    title = "U-Net regression"
    schema = closed({"arguments": arguments()})

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module):
        self.settings, self.network = settings, network

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> UNet:
        """See `Method.build`."""
        from .network import RegressionUNet

        return cls(settings, RegressionUNet(**settings["arguments"]))

    @property
    def defaults(self) -> Defaults:
        """It draws at once, by one pass of the network: seconds even at 1 mm, so that nobody has to be asked first."""
        return Defaults()

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """Blocks of the MRI; see `Method.encode`."""
        return self.network.blocks.of(mri.to(self.device))

    def draw(
        self,
        encoded: torch.Tensor,
        label: int,
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`: the same PET `count` times."""
        import torch

        with torch.inference_mode():
            labels = torch.full((1,), label, dtype=torch.long, device=self.device)
            pet = self.network.blocks.to_grid(self.network(encoded, labels)).clamp(-1, 1)
            return pet.float().expand(count, *pet.shape[1:])
