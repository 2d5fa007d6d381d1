"""The seam: what every synthesis method of the library answers, and nothing that only one of them knows.

A method turns the MRI of a case into PET samples. It is made from its part of a bundle's metadata (`Method.build`),
gets its weights, and is then asked twice: `encode` once a case, `draw` once a batch of samples. Where it
can, it gives `features` of a case, too, by which outliers are told. Which noise a sample gets is decided outside, by
seed and sample number, and handed in as a source: `NoiseSource`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import RelAPETError
from ..grid import MNI_GRID
from .schema import NOTHING

if TYPE_CHECKING:
    import torch

#: The channels of the MRI [N, 2, X, Y, Z], in this order.
SEQUENCES = ("t1w", "t2f")
#: Uses of the tracer's mean PET that methods share: none; a further input; that, and what residuals are taken from; a
#: regression on the person's MRI in its place (`MeanPetNetwork`).
MEAN_PET = ("none", "input", "residual", "regression")
#: ``noise(index, shape)`` gives standard normal float32 numbers of `shape` [N, ...], on the CPU or on the method's
#: device: index 0 is what a draw starts from, index i what its i-th step adds. Each of the N samples has a stream of
#: its own.
NoiseSource = Callable[[int, Sequence[int]], "torch.Tensor"]
Progress = Callable[[float, str], None]
#: What `Method.build` raises for settings that make no network.
UNBUILDABLE = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError, RelAPETError)


@dataclass(frozen=True)
class Defaults:
    """What a method does when nobody says otherwise, and what it needs.

    Attributes:
        samplers: default number of network calls by sampler name, the method's own sampler first; empty for a method
            that draws at once.
        longest: largest number of network calls of a draw.
        samples: samples that a synthesis draws.
        clip: bounds on every clean estimate, or None.
        batch: samples that are worth computing together; beyond 1, on a GPU also those of several tracers.
        slow_on_cpu: one step takes seconds on a CPU, so a long run is timed and asked about first.
        deterministic: every sample is the same PET, so that samples have no spread.
        inputs: what `encode` takes, some of ``t1w``, ``t2f``, ``clinical``; clinical values may be missing.
    """

    samplers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    longest: int = 1
    samples: int = 1
    clip: tuple[float, float] | None = None
    batch: int = 1
    slow_on_cpu: bool = False
    deterministic: bool = False
    inputs: tuple[str, ...] = SEQUENCES

    @property
    def sampler(self) -> str | None:
        """The method's own sampler; None where draws take no steps."""
        return next(iter(self.samplers), None)


@dataclass(frozen=True)
class DrawOptions:
    """How one batch is drawn, resolved: nothing is left to a default.

    Attributes:
        sampler: one of `Defaults.samplers`; None for a method that draws at once.
        steps: network calls, 1 to `Defaults.longest`.
        clip: bounds on every clean estimate, or None.
    """

    sampler: str | None = None
    steps: int = 1
    clip: tuple[float, float] | None = None


def integers(values: int | Sequence[int] | torch.Tensor, count: int, device: str | torch.device) -> torch.Tensor:
    """Integers [count], int64 on a device, such as class labels: one for all samples, or one for each."""
    import torch

    return torch.as_tensor(values, dtype=torch.long, device=device).reshape(-1).expand(count)


class Method(ABC):
    """One trained model of a method.

    Class attributes:
        name: in the registry and in bundles.
        title: for people, e.g. in the panel.
        schema: JSON Schema of `settings`, closed; `RelAPETLib.methods.schema` has parts to build it from.

    Attributes:
        settings: the method's own part of a bundle's metadata.
        network: one module with all weights; its state dict is the bundle's.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]] = NOTHING

    settings: Mapping[str, Any]
    network: torch.nn.Module

    @classmethod
    @abstractmethod
    def build(cls, settings: Mapping[str, Any]) -> Method:
        """The method with an untrained network, from settings that fit `schema`.

        Raises:
            One of `UNBUILDABLE`: settings that make no network; the loader turns it into a `ModelError` that names the
                model.
        """

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """Raise `ValueError` with one line, ``key: why``, where settings that fit the schema contradict themselves."""
        return

    @classmethod
    def default_steps(cls, settings: Mapping[str, Any]) -> int:
        """Network calls of a sample when nobody says otherwise, known without building the network."""
        return 1

    @classmethod
    @abstractmethod
    def defaults_of(cls, settings: Mapping[str, Any]) -> Defaults:
        """See `Defaults`: of a model with these settings, known without its network and without loading torch."""

    @property
    def defaults(self) -> Defaults:
        """See `Defaults`."""
        return self.defaults_of(self.settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are; asked at every step, so that no list of all of them is made."""
        return next(chain(self.network.parameters(), self.network.buffers())).device

    @abstractmethod
    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> Any:
        """What `draw` needs to know of a case, for all tracers and samples.

        Args:
            mri: [1, 2, 160, 180, 160] in [-1, 1] on the method's device: T1w, T2F on the model grid.
            clinical: [1, 3] in the order of `RelAPETLib.clinical.CLINICAL`, NaN where a value is not known; for methods
                whose `Defaults.inputs` names it. None is nothing known.
        """

    @abstractmethod
    def draw(
        self,
        encoded: Any,
        label: int | Sequence[int],
        count: int,
        options: DrawOptions,
        noise: NoiseSource,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """`count` PET samples [count, 1, 160, 180, 160] of one person, in [-1, 1] on the model grid.

        A method that clamps does so by `scaling.bounded`, so that infinite values are found and not shown.

        Args:
            encoded: from `encode`.
            label: the tracer's class label, or one for each sample.
            noise: asked for all randomness, with `count` as the first number of every shape.
            progress: called as progress(fraction, message).
        """

    def features(self, encoded: Any) -> torch.Tensor | None:
        """A few numbers [D], float32 on the CPU, by which the model's own view of an MRI tells it from other people's.

        The outlier gate (`RelAPETLib.evaluation.gate`) compares them with those of people whom the model knows. None:
        the method has none, and its inputs' features are not checked.

        Args:
            encoded: from `encode`.
        """
        return None

    def seconds_per_step(self, label: int) -> float:
        """Time of one step for one sample, measured on an empty case; here of a whole draw of one step."""
        import time

        import torch

        empty = torch.full((1, len(SEQUENCES), *MNI_GRID.shape), -1.0, device=self.device)
        with torch.inference_mode():
            encoded = self.encode(empty)
            begin = time.perf_counter()
            self.draw(encoded, label, 1, DrawOptions(self.defaults.sampler), lambda index, shape: torch.zeros(*shape))
        return time.perf_counter() - begin
