"""ResDM (Ou et al., IJCAI 2024): a diffusion from the T1w to the PET in 15 steps, told tracer, age, sex and score."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import ANCESTRAL
from ..base import SEQUENCES, Defaults, DrawOptions, NoiseSource, Progress
from ..clinical import Person, ToldClinical
from ..schema import SAMPLES, arguments, closed

if TYPE_CHECKING:
    import torch

__all__ = ["ResDM"]

_RATE = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


class ResDM(ToldClinical):
    """A model of ResDM.

    Attributes:
        settings: ``arguments`` of `ResidualDiffusion`, ``process`` (fields of `ResidualShift`) and ``samples``.
        process: the chain.
    """

    name = "resdm"
    title = "ResDM"
    schema = closed(
        {
            "arguments": arguments(),
            "process": closed(
                {
                    "steps": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "first": _RATE,
                    "last": _RATE,
                    "kappa": {"type": "number", "minimum": 0, "maximum": 10},
                }
            ),
            "samples": SAMPLES,
        }
    )

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> ResDM:
        """See `Method.build`."""
        from .network import ResidualDiffusion
        from .process import ResidualShift

        return cls(settings, ResidualDiffusion(**settings["arguments"]), ResidualShift(**settings["process"]))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        if settings["process"]["first"] > settings["process"]["last"]:
            raise ValueError("process: first is larger than last")

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`: the whole chain."""
        return settings["process"]["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """The whole chain, by its own posterior."""
        steps = cls.default_steps(settings)
        return Defaults(
            samplers=MappingProxyType({ANCESTRAL: steps}),
            longest=steps,
            samples=settings["samples"],
            clip=(-1.0, 1.0),
            slow_on_cpu=True,
            inputs=(*SEQUENCES, "clinical"),
        )

    def draw_blocks(
        self, encoded: Person, labels: torch.Tensor, options: DrawOptions, noise: NoiseSource, progress: Progress | None
    ) -> torch.Tensor:
        """See `Stepwise.draw_blocks`."""
        mri, clinical = encoded.expand(len(labels))
        return self.process.sample(
            lambda x_t, t: self.network(x_t, mri, t, labels, clinical),
            mri[:, :1],
            noise,
            options.steps,
            options.clip,
            progress,
        )
