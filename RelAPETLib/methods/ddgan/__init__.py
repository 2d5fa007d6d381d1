"""DDGAN (Xiao et al., ICLR 2022): a diffusion of four large steps, each drawn by a generator of a GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import ANCESTRAL
from ...scaling import bounded
from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

    from .process import PosteriorChain

__all__ = ["DDGAN"]

#: Far beyond any chain of the field; past these bounds a level would be all noise, or none, but for rounding.
_RATE = {"type": "number", "minimum": 1e-4, "maximum": 1000}


class DDGAN(Method):
    """A model of DDGAN.

    Attributes:
        settings: ``arguments`` of `PosteriorGenerator`, ``process`` (fields of `PosteriorChain`) and ``samples``.
        process: the chain.
    """

    name = "ddgan"
    title = "Denoising Diffusion GAN"
    schema = closed(
        {
            "arguments": arguments(),
            "process": closed(
                {
                    "steps": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "beta_min": _RATE,
                    "beta_max": _RATE,
                }
            ),
            "samples": {"type": "integer", "minimum": 1, "maximum": 64},
        }
    )

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, process: PosteriorChain):
        self.settings, self.network, self.process = settings, network, process

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> DDGAN:
        """See `Method.build`."""
        from .network import PosteriorGenerator
        from .process import PosteriorChain

        return cls(settings, PosteriorGenerator(**settings["arguments"]), PosteriorChain(**settings["process"]))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        if settings["process"]["beta_min"] > settings["process"]["beta_max"]:
            raise ValueError("process: beta_min is larger than beta_max")

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`: the whole chain."""
        return settings["process"]["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """The whole chain, by its own posterior. The generator ends in tanh, so that its estimates need no bounds."""
        steps = cls.default_steps(settings)
        return Defaults(
            samplers=MappingProxyType({ANCESTRAL: steps}),
            longest=steps,
            samples=settings["samples"],
            slow_on_cpu=True,
        )

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
        """See `Method.draw`."""
        import torch

        labels = integers(label, count, self.device)
        mri = encoded.expand(count, *encoded.shape[1:])
        with torch.inference_mode():
            pet = self.process.sample(
                lambda x, t, z: self.network(x, mri, t, labels, z),
                mri[:, :1],
                self.network.latent,
                noise,
                options.steps,
                options.clip,
                progress,
            )
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
