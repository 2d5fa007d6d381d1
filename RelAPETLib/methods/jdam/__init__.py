"""JDAM (Xie et al., Med. Phys. 2023): the score of noisy PET beside clean MRI; and SDE, the same without the MRI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...diffusion.names import PREDICTOR_CORRECTOR
from ...scaling import bounded
from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

    from .process import VarianceExploding

__all__ = ["OUTPUTS", "PREDICTORS", "JDAM"]

#: Predictors: Song et al.'s algorithm 2, and their appendix F, whose noise is that of the next level however far it is.
PREDICTORS = ("reverse", "ancestral")
#: What the U-Net gives: the score times sigma, the clean image, or what `ScoreNetwork` mixes with the noisy one.
OUTPUTS = ("score", "clean", "edm")
#: Network calls of the paper's 1000 steps, and the most that a synthesis can ask for.
LONGEST = 2000


def clip_of(predictor: str) -> tuple[float, float] | None:
    """Bounds on clean estimates where nobody says others: few steps by ancestral sampling need them."""
    return (-1.0, 1.0) if predictor == "ancestral" else None


_SIGMA = {"type": "number", "minimum": 1e-6, "maximum": 1e5}


class JDAM(Method):
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
            "samples": {"type": "integer", "minimum": 1, "maximum": 64},
        }
    )

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, process: VarianceExploding):
        self.settings, self.network, self.process = settings, network, process

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

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """Blocks of the MRI [1, 2, X, Y, Z]; see `Method.encode`."""
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
                lambda x_t, sigma: self.network(x_t, mri, sigma, labels),
                (count, 1, *encoded.shape[2:]),
                noise,
                options.steps,
                self.device,
                options.clip,
                progress,
            )
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
