"""RelA-Diffusion as a method: what a bundle says of it, and how its samples are drawn."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...diffusion.names import PREDICTIONS
from ..base import SEQUENCES, Defaults, DrawOptions, Method, NoiseSource, Progress, integers
from ..gaussian import check_gaussian, gaussian_defaults
from ..schema import SCHEDULE, SHAPE, arguments, closed, sampler

if TYPE_CHECKING:
    import torch

    from ...diffusion import NoiseSchedule

#: Latents worth drawing together. A single voxel sample fills a machine already.
LATENT_BATCH = 4
VOXEL = "VoxelDiffusion"
#: Classes that the settings can name, and the modules they are in.
NETWORKS = {
    VOXEL: "voxel",
    "LatentDiffusion": "regression",
    "ConditionalLatentDiffusion": "conditional",
    "AutoencodedDiffusion": "autoencoded",
}
#: What a schedule is that does not say all.
DEFAULT_SCHEDULE = {
    "kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000, "zero_terminal_snr": False
}  # fmt: skip


def network_class(name: str) -> type[torch.nn.Module]:
    """The class of `NETWORKS` with this name. Raises `KeyError` for any other."""
    return getattr(importlib.import_module(f".{NETWORKS[name]}", __package__), name)


class RelaDiffusion(Method):
    """A model of RelA-Diffusion, in voxels or in latents.

    Attributes:
        settings: ``network`` (class and arguments), ``diffusion_space``, ``schedule``, ``prediction``, ``sampler``.
        network: `VoxelDiffusion`, `LatentDiffusion` or `AutoencodedDiffusion`.
        schedule: noise schedule it was trained with.
    """

    name = "rela"
    title = "RelA-Diffusion"
    schema = closed(
        {
            "network": closed(
                {
                    "class": {"enum": list(NETWORKS)},
                    "arguments": arguments(),
                }
            ),
            "diffusion_space": closed({"channels": {"type": "integer", "minimum": 1, "maximum": 1024}, "shape": SHAPE}),
            "schedule": SCHEDULE,
            "prediction": {"enum": list(PREDICTIONS)},
            "sampler": sampler(),
        }
    )

    def __init__(self, settings: Mapping[str, Any], network: torch.nn.Module, schedule: NoiseSchedule):
        self.settings, self.network, self.schedule = settings, network, schedule

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> RelaDiffusion:
        """See `Method.build`."""
        from ...diffusion import NoiseSchedule

        network = network_class(settings["network"]["class"])(**settings["network"]["arguments"])
        space = settings["diffusion_space"]
        if tuple(network.diffusion_shape) != (space["channels"], *space["shape"]):
            raise ValueError(
                f"diffusion_space is {(space['channels'], *space['shape'])}, the network's is "
                f"{tuple(network.diffusion_shape)}"
            )
        parametrization = getattr(network, "parametrization", None)
        gives = getattr(network, "gives", "noise")
        made = parametrization.prediction if parametrization is not None and gives == "clean" else "noise"
        if settings["prediction"] != made:
            raise ValueError(f"prediction is {settings['prediction']}, the network's is {made}")
        return cls(settings, network, NoiseSchedule(**settings["schedule"]))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Method.check`."""
        check_gaussian(settings)
        schedule, own = settings["schedule"], settings["network"]["arguments"].get("schedule")
        if own is not None and {**DEFAULT_SCHEDULE, **own} != {**DEFAULT_SCHEDULE, **schedule}:
            raise ValueError("schedule: it is not the one in network.arguments.schedule")

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """See `Method.default_steps`."""
        return settings["sampler"]["steps"]

    @classmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """From the settings."""
        voxel = settings["network"]["class"] == VOXEL
        shared = gaussian_defaults(settings)
        return Defaults(**shared, batch=1 if voxel else LATENT_BATCH, slow_on_cpu=voxel)

    @property
    def diffusion_shape(self) -> tuple[int, int, int, int]:
        """(channels, X, Y, Z) of what is diffused."""
        return tuple(self.network.diffusion_shape)

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """What `predict_noise` wants to know of the MRI; see `Method.encode`. Most voxel models give the MRI back."""
        import torch

        with torch.no_grad():
            return self.network.encode_condition(mri.to(self.device))

    def features(self, encoded: torch.Tensor) -> torch.Tensor | None:
        """See `Method.features`: of networks that have some."""
        import torch

        of = getattr(self.network, "outlier_features", None)
        if of is None:
            return None
        with torch.no_grad():
            found = of(encoded)
        return None if found is None else found[0].float().cpu()

    def predict_noise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor | int, labels: torch.Tensor | int
    ) -> torch.Tensor:
        """Noise in x_t, of a network that predicts noise or turns what it predicts into noise.

        Args:
            x_t: [N, *diffusion_shape].
            encoded: from `encode`, for N subjects or for one.
            timesteps: integers [N] from 0 to T - 1, or one for all.
            labels: tracers' class labels [N], or one for all.
        """
        return self._asked(self.network.predict_noise, x_t, encoded, timesteps, labels)

    def denoise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor | int, labels: torch.Tensor | int
    ) -> torch.Tensor:
        """Clean estimate of what is diffused; arguments as of `predict_noise`. Of networks with other predictions."""
        return self._asked(self.network.denoise, x_t, encoded, timesteps, labels)

    def _asked(self, answer, x_t, encoded, timesteps, labels) -> torch.Tensor:
        import torch

        x_t, count = x_t.to(self.device), len(x_t)
        encoded = encoded.to(self.device).expand(count, *encoded.shape[1:])
        with torch.no_grad():
            return answer(x_t, encoded, integers(timesteps, count, self.device), integers(labels, count, self.device))

    def decode(
        self,
        x0: torch.Tensor,
        labels: torch.Tensor | int | None = None,
        encoded: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """PET [N, 1, 160, 180, 160] in [-1, 1] of clean x0 [N, *diffusion_shape]; a voxel model gives x0 back.

        A latent model needs the tracers' `labels`, as `predict_noise` does, and one of differences from what a
        regression expects the condition too, `encoded`.
        """
        import torch

        from ...devices import full_precision

        x0 = x0.to(self.device)
        known = (None if labels is None else integers(labels, len(x0), self.device),)
        if getattr(self.network, "expectation", None) is not None:
            known += (encoded.to(self.device).expand(len(x0), *encoded.shape[1:]),)
        with torch.no_grad(), full_precision(self.device):
            return self.network.decode(x0, *known)

    def draw(
        self,
        encoded: torch.Tensor,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """See `Method.draw`. Decodes one sample at a time, to save memory."""
        import torch

        from ...diffusion import sample

        gives = getattr(self.network, "gives", "noise")
        predict = self.predict_noise if gives == "noise" else self.denoise
        with torch.inference_mode():
            labels = integers(label, count, self.device)  # brought to the device once
            x0 = sample(
                lambda x_t, timesteps: predict(x_t, encoded, timesteps, labels),
                (count, *self.diffusion_shape),
                self.schedule,
                gives=gives,
                sampler=options.sampler,
                steps=options.steps,
                noise=noise,
                clip=options.clip,
                device=self.device,
                progress=progress,
            )
            each = zip(x0.split(1), labels.split(1), strict=True)
            return torch.cat([self.decode(one, of, encoded).float().cpu() for one, of in each])

    def seconds_per_step(self, label: int) -> float:
        """Time of one call of the network for one sample, on an empty case after no warming up."""
        import torch

        from ...grid import MNI_GRID

        with torch.inference_mode():
            encoded = self.encode(torch.full((1, len(SEQUENCES), *MNI_GRID.shape), -1.0))
            x_t = torch.zeros((1, *self.diffusion_shape), device=self.device)
            begin = time.perf_counter()
            predict = self.predict_noise if getattr(self.network, "gives", "noise") == "noise" else self.denoise
            predict(x_t, encoded, 0, label)
            return time.perf_counter() - begin
