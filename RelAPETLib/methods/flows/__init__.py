"""Flows: a straight path from PET to noise (rectified flow), or a diffusion bridge from the PET to the T1w."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..base import SEQUENCES, Defaults, DrawOptions, NoiseSource, Progress
from ..clinical import Person, ToldClinical
from ..schema import SAMPLES, arguments, closed
from .names import LONGEST, SAMPLERS

if TYPE_CHECKING:
    import torch

    from .process import Path

__all__ = ["Flow", "path_class"]

_RATE = {"type": "number", "minimum": 1e-6, "exclusiveMaximum": 1}
_PATHS = (
    closed({"kind": {"enum": ["rectified_flow"]}, "shift": {"type": "number", "minimum": 1e-3, "maximum": 1000}}),
    closed(
        {
            "kind": {"enum": ["bridge"]},
            "beta_d": {"type": "number", "minimum": 0, "maximum": 100},
            "beta_min": {"type": "number", "minimum": 1e-6, "maximum": 100},
            "first": _RATE,
            "churn": {"type": "number", "minimum": 1e-3, "exclusiveMaximum": 1},
            "sigma_data": {"type": "number", "minimum": 1e-6, "maximum": 100},
        }
    ),
)


def path_class(kind: str) -> type[Path]:
    """The path of a name. Raises `KeyError` for another one."""
    from .bridge import Bridge
    from .straight import RectifiedFlow

    return {path.kind: path for path in (RectifiedFlow, Bridge)}[kind]


class Flow(ToldClinical):
    """A model of a flow.

    Attributes:
        settings: ``arguments`` of `FlowNetwork`, ``path`` (its kind and its fields), ``steps`` (network calls) and
            ``samples``.
        process: the path from the PET to what a draw starts from.
    """

    name = "flows"
    title = "Rectified flow or bridge"
    schema = closed(
        {
            "arguments": arguments(),
            "path": {"oneOf": list(_PATHS)},
            "steps": {"type": "integer", "minimum": 1, "maximum": 1000},
            "samples": SAMPLES,
        }
    )

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Flow:
        """See `Method.build`."""
        from .network import FlowNetwork

        fields = {key: value for key, value in settings["path"].items() if key != "kind"}
        path = path_class(settings["path"]["kind"])(**fields)
        return cls(settings, FlowNetwork(**settings["arguments"]), path)

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`."""
        return settings["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """Both samplers of the path take the same number of network calls."""
        told = ("clinical",) if settings["arguments"].get("clinical") else ()
        return Defaults(
            samplers=MappingProxyType(dict.fromkeys(SAMPLERS[settings["path"]["kind"]], settings["steps"])),
            longest=LONGEST,
            samples=settings["samples"],
            clip=(-1.0, 1.0),
            slow_on_cpu=True,
            inputs=(*SEQUENCES, *told),
        )

    def draw_blocks(
        self, encoded: Person, labels: torch.Tensor, options: DrawOptions, noise: NoiseSource, progress: Progress | None
    ) -> torch.Tensor:
        """See `Stepwise.draw_blocks`."""
        mri, clinical = encoded.expand(len(labels))
        return self.process.sample(
            lambda x_t, told: self.network(x_t, mri, told, labels, clinical),
            mri[:, :1],
            noise,
            options.sampler or self.process.samplers[0],
            options.steps,
            options.clip,
            progress,
        )
