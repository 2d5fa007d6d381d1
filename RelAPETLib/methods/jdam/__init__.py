"""JDAM (Xie et al., Med. Phys. 2023): the score of noisy PET beside clean MRI; and SDE, the same without the MRI."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import PREDICTOR_CORRECTOR
from ..base import Defaults, DrawOptions, NoiseSource, Progress
from ..schema import SAMPLES, arguments, closed
from ..stepwise import Stepwise
from .names import LONGEST, OUTPUTS, PREDICTORS, clip_of

if TYPE_CHECKING:
    import torch

__all__ = ["OUTPUTS", "PREDICTORS", "JDAM"]

_SIGMA = {"type": "number", "minimum": 1e-6, "maximum": 1e5}


class JDAM(Stepwise):
    """A model of JDAM or of its ablation SDE.

    Attributes:
        settings: ``arguments`` of `ScoreNetwork`, ``process`` (fields of `VarianceExploding`) and ``samples``.
        process: the noise.
    """

    name = "jdam"
    title = "JDAM"
    schema = closed(
        {
            "arguments": arguments(),
            "process": closed(
                {
                    "sigma_min": _SIGMA,
                    "sigma_max": _SIGMA,
                    "calls": {"type": "integer", "minimum": 1, "maximum": 2000},
                    "snr": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                    "predictor": {"enum": list(PREDICTORS)},
                }
            ),
            "samples": SAMPLES,
        }
    )

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> JDAM:
        """See `Method.build`."""
        from .network import ScoreNetwork
        from .process import VarianceExploding

        return cls(settings, ScoreNetwork(**settings["arguments"]), VarianceExploding(**settings["process"]))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        if settings["process"]["sigma_min"] >= settings["process"]["sigma_max"]:
            raise ValueError("process: sigma_min is not below sigma_max")

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`: two calls a step, of corrector and predictor."""
        return settings["process"]["calls"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """The predictor-corrector sampler; for few steps (ancestral) clean estimates are bounded on the way."""
        return Defaults(
            samplers=MappingProxyType({PREDICTOR_CORRECTOR: cls.default_steps(settings)}),
            longest=LONGEST,
            samples=settings["samples"],
            clip=clip_of(settings["process"]["predictor"]),
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
            lambda x_t, sigma: self.network(x_t, mri, sigma, labels),
            (len(labels), 1, *encoded.shape[2:]),
            noise,
            options.steps,
            self.device,
            options.clip,
            progress,
        )
