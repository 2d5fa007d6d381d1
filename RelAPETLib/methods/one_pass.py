"""Methods that give one PET a person by one pass of a network: no noise, no samples, no spread."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..scaling import bounded
from .base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from .schema import arguments, closed

if TYPE_CHECKING:
    import torch


class OnePass(Method):
    """A model whose network maps blocks of the MRI and a class label to blocks of the PET.

    A subclass says its name, its title and its network.

    Class attributes:
        network_name: of the network's class, in ``network.py`` of the method's folder; imported when a model is built,
            so that a method costs no torch.

    Attributes:
        settings: ``arguments`` of the network.
        network: called with MRI blocks [N, 2, X, Y, Z] and labels [N]; has its `Blocks` as ``blocks``.
    """

    schema = closed({"arguments": arguments()})
    network_name: ClassVar[str]

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module):
        self.settings, self.network = settings, network

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> OnePass:
        """See `Method.build`."""
        network = getattr(importlib.import_module(f"{cls.__module__}.network"), cls.network_name)
        return cls(settings, network(**settings["arguments"]))

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """It draws at once, by one pass of the network, so that nobody has to be asked first."""
        return Defaults(deterministic=True)

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """Blocks of the MRI; see `Method.encode`."""
        return self.network.blocks.of(mri.to(self.device))

    def draw(
        self,
        encoded: torch.Tensor,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`: the same PET `count` times, of one tracer."""
        import torch

        with torch.inference_mode():
            labels = integers(label, 1 if isinstance(label, int) else count, self.device)
            seen = encoded.expand(len(labels), *encoded.shape[1:])
            pet = bounded(self.network.blocks.to_grid(self.network(seen, labels)), -1, 1)
            return pet.float().expand(count, *pet.shape[1:])
