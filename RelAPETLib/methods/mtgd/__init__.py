"""MTGD: a diffusion whose network attends to what two encoders, which attend to each other, see of the MRI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...scaling import bounded
from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..gaussian import check_gaussian, gaussian_defaults
from ..schema import SCHEDULE, arguments, closed, sampler

if TYPE_CHECKING:
    import torch

    from ...diffusion import Parametrization
    from .network import Conditions

__all__ = ["MTGD"]

#: What the network can be trained to give.
PREDICTIONS = ("noise", "v", "x0")


class MTGD(Method):
    """A model of MTGD.

    Attributes:
        settings: ``arguments`` of `MultiSequenceDiffusion`, ``schedule``, ``prediction``, ``sampler`` and ``guidance``.
        parametrization: what the network gives, on the noise schedule that it was trained with.
    """

    name = "mtgd"
    title = "MTGD"
    schema = closed(
        {
            "arguments": arguments(),
            "schedule": SCHEDULE,
            "prediction": {"enum": list(PREDICTIONS)},
            "sampler": sampler(),
            "guidance": {"type": "number", "minimum": 0, "maximum": 100},
        }
    )

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, parametrization: Parametrization):
        self.settings, self.network, self.parametrization = settings, network, parametrization

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> MTGD:
        """See `Method.build`."""
        from ...diffusion import NoiseSchedule, Parametrization
        from .network import MultiSequenceDiffusion

        parametrization = Parametrization(NoiseSchedule(**settings["schedule"]), settings["prediction"])
        return cls(settings, MultiSequenceDiffusion(**settings["arguments"]), parametrization)

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        check_gaussian(settings)

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`; with guidance, a step calls the network twice."""
        return settings["sampler"]["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """From the settings."""
        return Defaults(**gaussian_defaults(settings), slow_on_cpu=True)

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Conditions:
        """See `Method.encode`: what the encoders see, once for all steps."""
        import torch

        with torch.inference_mode():
            return self.network.encode(self.network.blocks.of(mri.to(self.device)))

    def draw(
        self,
        encoded: Conditions,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch

        from .process import sample_guided

        labels = integers(label, count, self.device)
        conditions = encoded.expand(count)
        with torch.inference_mode():
            pet = sample_guided(
                lambda x_t, t, asked: self.network.denoise(x_t, conditions, t, asked),
                labels,
                self.network.null,
                (count, 1, *self.network.blocks.shape),
                self.parametrization,
                guidance=self.settings["guidance"],
                sampler=options.sampler,
                steps=options.steps,
                noise=noise,
                clip=options.clip,
                progress=progress,
            )
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
