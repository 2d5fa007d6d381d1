"""MTGD: a diffusion whose network attends to what two encoders, which attend to each other, see of the MRI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base import Defaults, DrawOptions, NoiseSource, Progress
from ..gaussian import check_gaussian, gaussian_defaults
from ..schema import SCHEDULE, arguments, closed, sampler
from ..stepwise import Stepwise

if TYPE_CHECKING:
    import torch

    from .network import Conditions

__all__ = ["MTGD"]

#: What the network can be trained to give.
PREDICTIONS = ("noise", "v", "x0")


class MTGD(Stepwise):
    """A model of MTGD.

    Attributes:
        settings: ``arguments`` of `MultiSequenceDiffusion`, ``schedule``, ``prediction``, ``sampler`` and ``guidance``.
        process: what the network gives, on the noise schedule that it was trained with.
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

    def draw_blocks(
        self,
        encoded: Conditions,
        labels: torch.Tensor,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None,
    ) -> torch.Tensor:
        """See `Stepwise.draw_blocks`."""
        from .process import sample_guided

        conditions = encoded.expand(len(labels))
        return sample_guided(
            lambda x_t, t, asked: self.network.denoise(x_t, conditions, t, asked),
            labels,
            self.network.null,
            (len(labels), 1, *self.network.blocks.shape),
            self.process,
            guidance=self.settings["guidance"],
            sampler=options.sampler,
            steps=options.steps,
            noise=noise,
            clip=options.clip,
            progress=progress,
        )
