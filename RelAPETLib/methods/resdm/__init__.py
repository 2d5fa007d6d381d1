"""ResDM (Ou et al., IJCAI 2024): a diffusion from the T1w to the PET in 15 steps, told tracer, age, sex and score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import ANCESTRAL
from ...scaling import bounded
from ..base import SEQUENCES, Defaults, DrawOptions, NoiseSource, Progress, integers
from ..clinical import Person, ToldClinical
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

    from .process import ResidualShift

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
            "samples": {"type": "integer", "minimum": 1, "maximum": 64},
        }
    )

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, process: ResidualShift):
        self.settings, self.network, self.process = settings, network, process

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

    def draw(
        self,
        encoded: Person,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch

        labels = integers(label, count, self.device)
        mri, clinical = encoded.expand(count)
        with torch.inference_mode():
            pet = self.process.sample(
                lambda x_t, t: self.network(x_t, mri, t, labels, clinical),
                mri[:, :1],
                noise,
                options.steps,
                options.clip,
                progress,
            )
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
