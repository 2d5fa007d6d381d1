"""ResDM (Ou et al., IJCAI 2024): a diffusion from the T1w to the PET in 15 steps, told tracer, age, sex and score."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ...clinical import CLINICAL
from ...diffusion.names import ANCESTRAL
from ..base import SEQUENCES, Defaults, DrawOptions, Method, NoiseSource, Progress
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

    from .process import ResidualShift

__all__ = ["Encoded", "ResDM"]

_RATE = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


class Encoded(NamedTuple):
    """What a draw needs to know: the MRI's blocks [1, 2, X, Y, Z], and clinical values [1, 3], NaN where missing."""

    mri: torch.Tensor
    clinical: torch.Tensor


class ResDM(Method):
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

    @property
    def defaults(self) -> Defaults:
        """The whole chain, by its own posterior."""
        steps = self.default_steps(self.settings)
        return Defaults(
            samplers=MappingProxyType({ANCESTRAL: steps}),
            longest=steps,
            samples=self.settings["samples"],
            clip=(-1.0, 1.0),
            slow_on_cpu=True,
            inputs=(*SEQUENCES, "clinical"),
        )

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Encoded:
        """See `Method.encode`; without clinical values all are missing."""
        import torch

        if clinical is None:
            clinical = torch.full((1, len(CLINICAL)), float("nan"))
        return Encoded(self.network.blocks.of(mri.to(self.device)), clinical.float().to(self.device))

    def draw(
        self,
        encoded: Encoded,
        label: int,
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch

        labels = torch.full((count,), label, dtype=torch.long, device=self.device)
        mri = encoded.mri.expand(count, *encoded.mri.shape[1:])
        clinical = encoded.clinical.expand(count, -1)
        with torch.inference_mode():
            pet = self.process.sample(
                lambda x_t, t: self.network(x_t, mri, t, labels, clinical),
                mri[:, :1],
                noise,
                options.steps,
                options.clip,
                progress,
            )
            return self.network.blocks.to_grid(pet).float().clamp(-1, 1)
