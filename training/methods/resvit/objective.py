"""What ResViT learns: the PET, by 100 times its mean absolute error and a discriminator of patches; in two stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from RelAPETLib.methods.resvit import ZEROS
from RelAPETLib.methods.resvit.network import ResViTNetwork, available

from ... import checkpoints
from ...groups import flatten
from ...plans import stage_plan
from ...stream import PRESENT, random_of
from ...trainer import RunData, Trainer
from ..base import Bundle, Losses, Place, Player, Stage, Terms, Work
from ..transformer_config import TRANSFORMER
from ..translation import TranslationObjective
from .config import ResViTConfig

if TYPE_CHECKING:
    from ...config import TrainConfig

#: The first stage's folder in the run's, and its name.
FOLDER, NAME = "convolutions", "training without transformer"


class ResViTObjective(TranslationObjective):
    """The library's network and a discriminator of patches; a first stage may have trained the convolutions."""

    config: ResViTConfig
    network_class = ResViTNetwork
    #: Weights of both players after the first stage.
    convolutions: Mapping[str, dict[str, torch.Tensor]] | None = None

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments(
                "channels", "art_blocks", "transformer_blocks", "token_halvings", *TRANSFORMER, "norm_num_groups"
            ),
            "num_class_embeds": labels,
            "tracer_shift": preset.tracer_shift,
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`: both begin with what the first stage learned."""
        players = super().build()
        for name, weights in (self.convolutions or {}).items():
            # What the first stage has no weights for is the transformer and the way to it and back.
            players[name].module.load_state_dict(weights, strict=name != "network")
        return players

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: as of every translator, with one sequence hidden now and then."""
        there = present(self.config.seed, place.positions, self.config.preset.missing_share)
        mri = available(torch.cat([batch["t1w"], batch["t2f"]], 1), there)
        return super().losses({**batch, "t1w": mri[:, :1], "t2f": mri[:, 1:]}, place)

    # -- the stage before --------------------------------------------------------------------------------------------

    def trainings_before(self) -> list[Stage]:
        """See `Objective.trainings_before`."""
        steps = self.config.preset.convolution_steps
        return [Stage(NAME, self._first().build(), steps)] if steps else []

    def rehearsal(self, data: RunData, steps: int, ranks: int) -> tuple[TrainConfig, RunData]:
        """See `Objective.rehearsal`."""
        preset = self.config.preset
        if not preset.convolution_steps:
            return self.config, data
        return replace(self.config, preset=replace(preset, convolution_steps=steps)), data

    def stages(self, work: Work) -> RunData | None:
        """See `Objective.stages`: the network without its transformer."""
        config = self.config
        if not config.preset.convolution_steps:
            return work.data
        plan = stage_plan(
            config,
            work.fabric.world_size,
            out=Path(config.out) / FOLDER,
            steps=config.preset.convolution_steps,
            batch=("preset.global_batch", config.preset.global_batch),
            identity=flatten(config),
            free=config.rules.free,
            name=NAME,
            learning_rate=config.run.learning_rate,
            warmup_steps=config.run.warmup_steps,
            workers=config.data.workers,
        )
        plan = replace(plan, micro_batch=config.hardware.micro_batch)
        work.fabric.print(f"{plan.name}: {plan.steps} steps in {plan.out}")
        data = replace(work.data, validation=None)
        if Trainer(work.fabric, self._first(), data, plan, work.quiet, work.origin).train(work.stop):
            return None
        path, saved = checkpoints.latest(plan.out)
        with checkpoints.restoring(path):
            self.convolutions = {name: player["weights"] for name, player in saved["players"].items()}
        return work.data

    def _first(self) -> ResViTObjective:
        return ResViTObjective(self.config.of_convolutions)

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`. What hid sequences in training can do without the T2F."""
        bundle = super().bundle(weights, trained_on, samples)
        if not self.config.preset.missing_share:
            return bundle
        return replace(bundle, settings={**bundle.settings, "missing": ZEROS}, optional=("t2f",))

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        preset = self.config.preset
        one_go = [] if preset.convolution_steps else ["trained in one go (paper: first without its transformer)"]
        return (
            f"ResViT (preset {preset.name})",
            "ResViT (Dalmaz et al., IEEE TMI 2022): residual convolutions and a vision transformer, trained against a "
            "discriminator of patches; one PET and no spread; trained by RelAPET's training package",
            [*DIFFERENCES, *one_go],
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "in three dimensions (paper: slices)",
    "no weights pre-trained on ImageNet (paper: the transformer's)",
    "the tracer shifts the first layer's channels or, where those are not normalised one by one, is a few constant "
    "channels beside the MRI (paper: no classes)",
    "blocks begin without what the transformer says, and learn to listen to it",
    "a constant learning rate unless run.learning_rate says another (paper: falling to 0 in each stage's second half)",
)


def present(seed: int, positions: list[int], share: float) -> torch.Tensor:
    """Which sequences are shown (bool [N, 2]); by chance that follows from seed and positions, one is not."""
    chances = np.stack([random_of(seed, position, PRESENT).random(2) for position in positions])
    hidden, first = torch.from_numpy(chances[:, 0] < share), torch.from_numpy(chances[:, 1] < 0.5)
    return torch.stack([~(hidden & first), ~(hidden & ~first)], 1)


OBJECTIVE = ResViTObjective
