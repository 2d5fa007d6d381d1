"""RelA-Diffusion as an objective: generator and discriminator of Algorithm 1, in voxels or in latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from RelAPETLib.diffusion import Parametrization, sample
from RelAPETLib.methods.base import NoiseSource
from RelAPETLib.methods.rela.conditional import LOCAL_CHANNELS
from RelAPETLib.tracers import label_count

from ...expectation import strangers
from ...statistics import PetStatistics, both_sequences, kept_statistics
from ...stream import draw, jitter
from ..adversarial import penalised_player
from ..base import Bundle, Losses, Objective, Place, Player, Stage, Terms, Work
from .bundle import bundle_of
from .config import RelaConfig, judges_modes
from .networks import (
    build_networks,
    differences_are_diffused,
    generator_player,
    noise_schedule,
    seen_by_regression,
    sequences_seen,
)
from .rehearsal import rehearsal, trainings_before
from .sizes import check_shape
from .spaces import Space, VoxelSpace, needs_statistics
from .steps import algorithm_1, predict, weights_of


class RelaObjective(Objective):
    """Algorithm 1 over a batch; the methods ``rela``, ``rela_latent``, ``ficd`` and ``ddpm`` differ in its terms."""

    config: RelaConfig

    def __init__(self, config: RelaConfig):
        super().__init__(config)
        self.parametrization = Parametrization(noise_schedule(config), config.preset.prediction)
        self.space: Space = VoxelSpace(config)
        self._frozen: dict[str, Any] = {}

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        generator, discriminator = build_networks(self.config)
        self.space.prepare(generator)
        players = {"generator": generator_player(generator, self.config)}
        if discriminator is not None:
            players["discriminator"] = penalised_player(discriminator, self.config)
        return players

    def bind(self, fabric, modules) -> None:
        """See `Objective.bind`. A trained latent run without its stages codes what it is shown."""
        super().bind(fabric, modules)
        if self.config.method.latent and self._frozen and isinstance(self.space, VoxelSpace):
            from .latent.coding import CodingSpace

            self.space = CodingSpace(fabric, self.config, self._frozen)
            self.space.prepare(modules["generator"])

    def stages(self, work: Work):
        """See `Objective.stages`: in the latent forms, autoencoders and coding."""
        data = work.data
        if self.config.method.latent:
            from .latent.stages import prepare_latents

            coded = prepare_latents(work, self.config)
            if coded is None:
                return None
            self.space, data = coded
        elif needs_statistics(self.config):
            self.space = VoxelSpace(self.config, measured(work, self.config))
            self.parametrization = replace(self.parametrization, sigma_data=self.space.sigma_data)
        first = data.train[0]
        diffused = first["x0"] if "x0" in first else first["pet"]
        check_shape(self.config, tuple(diffused.shape[1:]), tuple(first.get("pet", diffused).shape[1:]))
        return data

    def trainings_before(self) -> list[Stage]:
        """See `Objective.trainings_before`."""
        return trainings_before(self.config)

    def unreached(self, epochs: float) -> list[str]:
        """See `Objective.unreached`."""
        start = self.config.preset.adversarial_start_epoch
        if not self.config.method.adversarial or judges_modes(self.config) or start < epochs:
            return []
        return [
            f"no step has the adversarial part: it begins after {start} epochs (preset.adversarial_start_epoch), and "
            f"this run has {epochs:.1f}"
        ]

    def rehearsal(self, data, steps: int, ranks: int):
        """See `Objective.rehearsal`."""
        return rehearsal(self.config, data, steps, ranks)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        device, config = self.fabric.device, self.config
        encoded = self.space.encode(batch, device)
        timesteps = self.parametrization.schedule.num_timesteps
        t, eps = draw(config.seed, place.positions, encoded.x0.shape[1:], timesteps, device)
        found = algorithm_1(
            self.modules["generator"],
            self.modules.get("discriminator"),
            encoded.x0,
            self._jittered(encoded.mri, place),
            batch["label"].to(device),
            t,
            eps,
            self.parametrization,
            weights_of(config, place.epoch),
            encoded.decode if encoded.judged else None,
            encoded.image,
        )
        losses = {"generator": found.generator}
        if found.discriminator is not None:
            losses["discriminator"] = found.discriminator
        return losses, {"L": found.generator.detach(), **found.terms}

    def _jittered(self, mri: torch.Tensor, place: Place) -> torch.Tensor:
        """The MRI's embedding with noise on it, where the form wants that: a constant a channel; the first channels."""
        config = self.config
        if not (config.method.latent and config.latent.name == "conditional" and config.latent.jitter):
            return mri
        embedding = mri.shape[1] - (LOCAL_CHANNELS if config.latent.local_mri else 0)
        noise = config.latent.jitter * jitter(config.seed, place.positions, (embedding, 1, 1, 1), mri.device)
        return torch.cat([mri[:, :embedding] + noise, mri[:, embedding:]], 1)

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: by DPM-Solver++, ancestral steps for a predicted noise, or `sampler`.

        In `run.validation_steps`. An error of the predicted noise counts fifty times in the first clean estimate; steps
        that add noise correct it, those of a solver lead it to the end.
        """
        config, device = self.config, self.fabric.device
        encoded, labels = self.space.encode(strangers(batch), device), batch["label"].to(device)
        p, weights = self.parametrization, weights_of(config, 0)

        def answer(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            seen = p.network_input(x_t, t)
            output = predict(self.modules["generator"], seen, encoded.mri, t, labels, weights.first_timestep)
            return output if p.prediction == "noise" else p.clean(x_t, output, t)

        z = sample(
            answer,
            encoded.x0.shape,
            p.schedule,
            gives="noise" if p.prediction == "noise" else "clean",
            sampler=self.sampler or ("ddpm" if p.prediction == "noise" else "dpmpp"),
            steps=config.run.validation_steps,
            noise=noise,
            clip=sampler_clip(config),
            device=device,
        )
        return z if encoded.decode is None else encoded.decode(z)

    def state(self) -> dict[str, Any]:
        """See `Objective.state`: what was frozen before, to make a bundle of it."""
        return self.space.frozen()

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`. When training goes on, the stages have put the frozen parts in place."""
        self._frozen = state
        if "statistics" in state:
            self.space = VoxelSpace(self.config, PetStatistics.of_state(state["statistics"]))
            self.parametrization = replace(self.parametrization, sigma_data=self.space.sigma_data)

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        clip = sampler_clip(self.config)
        return bundle_of(self.config, weights["generator"], self._frozen, trained_on, samples, clip)


def measured(work: Work, config: RelaConfig) -> PetStatistics:
    """Statistics of the training set as the configuration shows it."""
    network = config.network
    shown = {"intensity": config.preset.pet_intensity, "factor": network.factor, "crop": network.crop}
    if config.preset.mean_pet != "regression":
        return kept_statistics(work, Path(config.out), shown, label_count())
    shown["regression"] = sequences_seen(config)
    return kept_statistics(
        work,
        Path(config.out),
        shown,
        label_count(),
        lambda item: seen_by_regression(config, both_sequences(item)[None])[0],
    )


def sampler_clip(config: RelaConfig) -> tuple[float, float] | None:
    """Bounds of the clean estimate while sampling; latents and differences from a mean have none."""
    free = config.method.latent or differences_are_diffused(config)
    return (-1.0, 1.0) if config.preset.sampler_clip and not free else None


OBJECTIVE = RelaObjective
