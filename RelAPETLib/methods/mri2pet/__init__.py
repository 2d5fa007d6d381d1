"""MRI2PET (Theodorou et al.): a Gaussian diffusion of the PET that is told the MRI by one vector, or voxel by voxel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...diffusion.names import PREDICTIONS
from ..base import Defaults, DrawOptions, NoiseSource, Progress
from ..gaussian import check_gaussian, gaussian_defaults
from ..schema import SCHEDULE, arguments, closed, sampler
from ..stepwise import Stepwise
from .names import FIRST, OWN_SAMPLERS

if TYPE_CHECKING:
    import torch

__all__ = ["Encoded", "MRI2PET"]


class Encoded(NamedTuple):
    """What a draw needs to know: the MRI's blocks [1, 2, X, Y, Z], and their vector [1, W] where there is one."""

    mri: torch.Tensor
    vector: torch.Tensor | None


class MRI2PET(Stepwise):
    """A model of MRI2PET.

    Attributes:
        settings: ``arguments`` of `ConditionedUNet`, ``schedule`` (arguments of `NoiseSchedule`), ``prediction`` and
            ``sampler``.
        process: what the network gives, on the schedule it was trained with; t = 0 was left out.
    """

    name = "mri2pet"
    title = "MRI2PET"
    schema = closed(
        {
            "arguments": arguments(),
            "schedule": SCHEDULE,
            "prediction": {"enum": list(PREDICTIONS)},
            "sampler": sampler(OWN_SAMPLERS),
        }
    )

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> MRI2PET:
        """See `Method.build`."""
        from ...diffusion import NoiseSchedule, Parametrization
        from .network import ConditionedUNet

        parametrization = Parametrization(NoiseSchedule(**settings["schedule"]), settings["prediction"])
        return cls(settings, ConditionedUNet(**settings["arguments"]), parametrization)

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        if settings["schedule"].get("zero_terminal_snr"):
            raise ValueError("schedule: zero_terminal_snr is not for this method")
        check_gaussian(settings, FIRST)

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`."""
        return settings["sampler"]["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """From the settings; t = 0 is never visited."""
        return Defaults(**gaussian_defaults(settings, OWN_SAMPLERS, FIRST), slow_on_cpu=True)

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Encoded:
        """See `Method.encode`."""
        import torch

        with torch.inference_mode():
            blocks = self.network.blocks.of(mri.to(self.device))
            return Encoded(blocks, self.network.vector_of(blocks))

    def draw_blocks(
        self,
        encoded: Encoded,
        labels: torch.Tensor,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None,
    ) -> torch.Tensor:
        """See `Stepwise.draw_blocks`."""
        from .sampling import draw

        mri = encoded.mri.expand(len(labels), *encoded.mri.shape[1:])
        vector = None if encoded.vector is None else encoded.vector.expand(len(labels), -1)
        return draw(
            lambda x_t, t: self.network(x_t, mri, t, labels, vector),
            (len(labels), 1, *mri.shape[2:]),
            self.process,
            options.sampler,
            options.steps,
            noise,
            options.clip,
            self.device,
            progress,
        )
