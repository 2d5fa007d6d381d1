"""MRI2PET (Theodorou et al.): a Gaussian diffusion of the PET that is told the MRI by one vector, or voxel by voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...diffusion.names import ANCESTRAL, PREDICTIONS, SAMPLERS
from ...scaling import bounded
from ..base import Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..gaussian import check_gaussian, gaussian_defaults
from ..schema import SCHEDULE, arguments, closed, sampler

if TYPE_CHECKING:
    import torch

    from ...diffusion import Parametrization

__all__ = ["Encoded", "MRI2PET"]

#: Samplers that a model can be asked for.
OWN_SAMPLERS = (ANCESTRAL, *SAMPLERS)
#: The first timestep that is trained, and the last that is visited: t = 0 never is.
FIRST = 1


class Encoded(NamedTuple):
    """What a draw needs to know: the MRI's blocks [1, 2, X, Y, Z], and their vector [1, W] where there is one."""

    mri: torch.Tensor
    vector: torch.Tensor | None


class MRI2PET(Method):
    """A model of MRI2PET.

    Attributes:
        settings: ``arguments`` of `ConditionedUNet`, ``schedule`` (arguments of `NoiseSchedule`), ``prediction`` and
            ``sampler``.
        parametrization: what the network gives, on the schedule it was trained with; t = 0 was left out.
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

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, parametrization: Parametrization):
        self.settings, self.network, self.parametrization = settings, network, parametrization

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

    def draw(
        self,
        encoded: Encoded,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`."""
        import torch

        from .sampling import draw

        labels = integers(label, count, self.device)
        mri = encoded.mri.expand(count, *encoded.mri.shape[1:])
        vector = None if encoded.vector is None else encoded.vector.expand(count, -1)
        with torch.inference_mode():
            pet = draw(
                lambda x_t, t: self.network(x_t, mri, t, labels, vector),
                (count, 1, *mri.shape[2:]),
                self.parametrization,
                options.sampler,
                options.steps,
                noise,
                options.clip,
                self.device,
                progress,
            )
            return bounded(self.network.blocks.to_grid(pet).float(), -1, 1)
