"""DDGAN (Xiao et al., ICLR 2022): a diffusion of four large steps, each drawn by a generator of a GAN."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import ANCESTRAL
from ..base import Defaults, DrawOptions, NoiseSource, Progress
from ..schema import SAMPLES, arguments, closed
from ..stepwise import Stepwise

if TYPE_CHECKING:
    import torch

__all__ = ["DDGAN"]

#: Far beyond any chain of the field; past these bounds a level would be all noise, or none, but for rounding.
_RATE = {"type": "number", "minimum": 1e-4, "maximum": 1000}


class DDGAN(Stepwise):
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
            "samples": SAMPLES,
        }
    )

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

    def draw_blocks(
        self,
        encoded: torch.Tensor,
        labels: torch.Tensor,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None,
    ) -> torch.Tensor:
        """See `Stepwise.draw_blocks`."""
        mri = encoded.expand(len(labels), *encoded.shape[1:])
        return self.process.sample(
            lambda x, t, z: self.network(x, mri, t, labels, z),
            mri[:, :1],
            self.network.latent,
            noise,
            options.steps,
            options.clip,
            progress,
        )
