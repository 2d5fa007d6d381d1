"""The seam: what every method answers to the trainer, and nothing that only one of them knows.

An objective says what is trained (`Objective.build`), what comes before (`Objective.stages`), what a batch costs each
player (`Objective.losses`), how a PET is drawn in between (`Objective.draw`) and what a bundle of it holds
(`Objective.bundle`). Steps, ranks, precision, checkpoints, logs, validation and export are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from RelAPETLib.methods.base import NoiseSource

from ..errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ..config import TrainConfig
    from ..faults import StopRequest
    from ..trainer import RunData

#: A loss for each player that learns in a step, by its name.
Losses = dict[str, torch.Tensor]
#: What is logged of a batch: scalars without gradient, by their symbols.
Terms = dict[str, torch.Tensor]
#: Term of every method with a discriminator: how far that tells measured from synthetic PET (`adversarial.gap`).
GAP = "D_gap"
#: Terms that count something, which no `run.largest_loss` bounds.
COUNTS = frozenset({"T"})


@dataclass(frozen=True)
class Player:
    """A network that is trained, and how.

    Attributes:
        module: initialised from the configuration's seed.
        optimizer: called as optimizer(parameters, lr=...), e.g. ``partial(torch.optim.AdamW, fused=True)``.
        learning_rate: the largest of the run.
        scheduled: follows the run's warm-up and decay; else the learning rate is constant.
        clip: largest norm of its gradient; 0 for any.
        ema_decay: of the moving average of its weights, which then is what is validated and exported; 0 for none.
        wrapped: set up by Fabric, which sees to precision and ranks. False for a network whose loss needs a backward
            pass within the forward pass (a gradient penalty), which neither DDP nor fp16's loss scaling knows: it works
            in float32, and the trainer averages its gradients over the ranks.
    """

    module: nn.Module
    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float
    scheduled: bool = True
    clip: float = 0.0
    ema_decay: float = 0.0
    wrapped: bool = True


def adamw_player(module: nn.Module, config: TrainConfig, learning_rate: float | None = None, **adam: Any) -> Player:
    """A player by AdamW, as most have it: rate and moving average of the preset, decay and clipping of the run.

    Args:
        learning_rate: in place of the preset's, of methods that call it otherwise.
        adam: further arguments of the optimiser.
    """
    preset, run = config.preset, config.run
    return Player(
        module,
        partial(torch.optim.AdamW, weight_decay=run.weight_decay, fused=True, **adam),
        preset.learning_rate if learning_rate is None else learning_rate,
        clip=run.clip_gradients,
        ema_decay=preset.ema_decay,
    )


@dataclass(frozen=True)
class Place:
    """Where a batch stands in the run.

    Attributes:
        step: optimiser steps done.
        epoch: times that all images were used, at the beginning of the step.
        positions: of each of the batch's images in the stream of all images that all ranks together are given. All
            that is random follows from the seed and these numbers (`training.stream.draw`), so that it does not depend
            on ranks, micro-batches and interruptions.
    """

    step: int
    epoch: int
    positions: Sequence[int]


@dataclass(frozen=True)
class Work:
    """What a stage before the training works with.

    Attributes:
        fabric: launched.
        data: of `training.data.dataset.PetDataset`s.
        stop: looked at between steps.
        quiet: no console.
        origin: of `training.origins.origin`, for the stages' checkpoints; of rank 0.
    """

    fabric: Fabric
    data: RunData
    stop: StopRequest
    quiet: bool = False
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A training that comes before, as the header and the dry run tell of it.

    Attributes:
        name: e.g. ``pet autoencoder``.
        players: by name; they need not be those that are trained, only of their sizes.
        steps: optimiser steps.
    """

    name: str
    players: Mapping[str, Player]
    steps: int


@dataclass(frozen=True)
class Bundle:
    """A trained model as the library takes it.

    Attributes:
        network: the library's module, with all weights; its state dict becomes the bundle's.
        settings: the method's own part of the metadata, as `RelAPETLib.methods.base.Method.schema` has it.
        title: for people, e.g. ``"RelA-Diffusion (method rela, preset default)"``.
        description: a clause that says what it is and how it was trained.
        differences: a line for each thing that the method's paper does otherwise.
        half: beginnings of the names of tensors that bear float16; all by default.
        optional: sequences of the MRI that the model can do without, also where ``data.drop_t2f`` left out none: the
            network does not look at them, or the method hid them in training; not the T1w.
    """

    network: nn.Module
    settings: Mapping[str, Any]
    title: str
    description: str
    differences: Sequence[str] = field(default_factory=tuple)
    half: Iterable[str] = ("",)
    optional: Sequence[str] = ()


class Objective(ABC):
    """What one method learns.

    Args:
        config: checked, of the method's own class.

    Attributes:
        fabric: launched; from `bind` on.
        modules: the players' modules as Fabric set them up, by name; from `bind` on.
    """

    fabric: Fabric
    modules: Mapping[str, nn.Module]
    #: Sampler of `draw`, by a name that the method's bundles know; empty: a quick one. Of methods that have several.
    sampler: str = ""

    def __init__(self, config: TrainConfig):
        self.config = config

    def bind(self, fabric: Fabric, modules: Mapping[str, nn.Module]) -> None:
        """Take the modules that `losses` and `draw` are to call; the trainer does so before the first step."""
        self.fabric, self.modules = fabric, modules

    def mri(self, batch: dict) -> torch.Tensor:
        """T1w and T2F of a batch side by side, [N, 2, X, Y, Z], on the device."""
        return torch.cat([batch["t1w"], batch["t2f"]], 1).to(self.fabric.device)

    def inputs(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """MRI [N, 2, X, Y, Z], labels [N] and PET [N, 1, X, Y, Z] of a batch of scans, on the device."""
        device = self.fabric.device
        return self.mri(batch), torch.as_tensor(batch["label"]).to(device), batch["pet"].to(device)

    @abstractmethod
    def build(self) -> dict[str, Player]:
        """The players by name, in the order in which they take their steps; the same weights on every call."""

    def stages(self, work: Work) -> RunData | None:
        """What comes before the first step: autoencoders, coding, pre-training, fits.

        Each is resumable from the run's folder and can stop on request between steps. The first item of the data may be
        looked at here, to refuse volumes of an impossible shape.

        Returns:
            The data to train on; None when asked to stop before the end.

        Raises:
            ConfigError, ResumeError, DivergedError: as the stages do.
        """
        return work.data

    def images(self, data: RunData) -> int:
        """How many items an epoch has, of which `preset.global_batch` make a step: scans, unless `stages` makes others.

        Args:
            data: of the run, before `stages`.
        """
        return len(data.train)

    def check_pretraining(self) -> None:
        """See that ``pretrain`` has something to do; a method that pre-trains on MRI overrides this and `pretrain`.

        Raises:
            ConfigError: it has no such stage, or the configuration leaves it out.
        """
        raise ConfigError(f"method={self.config.method.name} has no pre-training on MRI alone; use train")

    def pretrain(self, work: Work) -> bool:
        """The pre-training on MRI alone and nothing else, resumable, into the run's folder; False when asked to stop.

        Raises:
            ConfigError, ResumeError, DivergedError: as `stages`.
        """
        raise NotImplementedError

    def trainings_before(self) -> list[Stage]:
        """The stages that take optimiser steps, in their order; data are not looked at."""
        return []

    def unreached(self, epochs: float) -> list[str]:
        """Lines on what the configuration says that a run of so many epochs never comes to."""
        return []

    def rehearsal(self, data: RunData, steps: int, ranks: int) -> tuple[TrainConfig, RunData]:
        """What a dry run of one rank trains instead: every term of the losses from the first step on, and short stages.

        Args:
            data: of the run.
            steps: of each of `trainings_before`.
            ranks: of the run; a batch of a stage is shared out among them.

        Returns:
            The configuration with the method's own keys changed, and as much of the data as short stages need.
        """
        return self.config, data

    @abstractmethod
    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """Loss of every player that learns in this step, and the terms that are logged.

        Every loss is taken at the same weights of all players and reaches no other player's parameters: the backward
        passes follow in the order of the losses, then all updates.

        Args:
            batch: items of the data set put together: ``subject`` and ``tracer`` as lists of words, tensors [N, ...] on
                the CPU, among them what the data set says (``t1w``, ``t2f``, ``pet``, ``label``). `stages` may
                give a data set whose items bring all tracers of a case, `training.data.case_dataset.CaseDataset`.
            place: where the batch stands in the run.
        """

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """PET [N, 1, X, Y, Z] in [-1, 1] like the batch's, with the weights that are in the modules now.

        Args:
            batch: as `losses` gets it.
            noise: asked for all that is random.

        Raises:
            ConfigError: the method draws nothing.
        """
        raise ConfigError("run.validation_volumes: this method draws nothing to validate; use 0")

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the players, the same on every rank: tensors, numbers, texts, containers."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave; without data and stages too, for `bundle`.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it is not this method's.
        """
        return

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """The trained model for the library.

        Args:
            weights: of every player, by name; the moving average where one is kept.
            trained_on: words on the training data.
            samples: how many samples a synthesis draws when nobody says.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: weights that do not fit the configuration.
            ConfigError: the method makes no bundle.
        """
        raise ConfigError("this method makes no bundle; it cannot be exported")
