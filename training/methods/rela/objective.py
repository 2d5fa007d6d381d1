"""RelA-Diffusion as an objective: generator and discriminator of Algorithm 1, in voxels or in latents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from RelAPETLib.diffusion import NoiseSchedule, sample
from RelAPETLib.methods.base import NoiseSource

from ...stream import draw
from ..base import Bundle, Losses, Objective, Place, Player, Stage, Terms, Work
from .bundle import bundle_of
from .config import RelaConfig
from .networks import build_networks
from .rehearsal import rehearsal, trainings_before
from .sizes import check_shape
from .spaces import Space, VoxelSpace
from .steps import algorithm_1, predict_noise, weights_of


class RelaObjective(Objective):
    """Algorithm 1 over a batch; the methods ``rela``, ``rela_latent``, ``ficd`` and ``ddpm`` differ in its terms."""

    config: RelaConfig

    def __init__(self, config: RelaConfig):
        super().__init__(config)
        self.schedule = NoiseSchedule(kind=config.preset.beta_schedule)
        self.space: Space = VoxelSpace(config)
        self._frozen: dict[str, Any] = {}

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        preset, run = self.config.preset, self.config.run
        generator, discriminator = build_networks(self.config)
        players = {
            "generator": Player(
                generator,
                partial(torch.optim.AdamW, weight_decay=run.weight_decay, fused=True),
                preset.generator_learning_rate,
                clip=run.clip_gradients,
                ema_decay=preset.ema_decay,
            )
        }
        if discriminator is not None:
            players["discriminator"] = Player(
                discriminator,
                partial(torch.optim.Adam, fused=True),
                preset.discriminator_learning_rate,
                clip=run.clip_gradients,
                wrapped=False,  # its penalty needs a backward pass within the forward pass
            )
        return players

    def stages(self, work: Work):
        """See `Objective.stages`: in the latent forms, autoencoders and coding."""
        data = work.data
        if self.config.method.latent:
            from .latent.stages import prepare_latents

            coded = prepare_latents(work, self.config)
            if coded is None:
                return None
            self.space, data = coded
        first = data.train[0]
        diffused = first["x0"] if "x0" in first else first["pet"]
        check_shape(self.config, tuple(diffused.shape[1:]), tuple(first.get("pet", diffused).shape[1:]))
        return data

    def trainings_before(self) -> list[Stage]:
        """See `Objective.trainings_before`."""
        return trainings_before(self.config)

    def rehearsal(self, data, steps: int, ranks: int):
        """See `Objective.rehearsal`."""
        return rehearsal(self.config, data, steps, ranks)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`."""
        device, config = self.fabric.device, self.config
        encoded = self.space.encode(batch, device)
        t, eps = draw(config.seed, place.positions, encoded.x0.shape[1:], self.schedule.num_timesteps, device)
        found = algorithm_1(
            self.modules["generator"],
            self.modules.get("discriminator"),
            encoded.x0,
            encoded.mri,
            batch["label"].to(device),
            t,
            eps,
            self.schedule,
            weights_of(config, place.epoch),
            encoded.decode,
            encoded.image,
        )
        losses = {"generator": found.generator}
        if found.discriminator is not None:
            losses["discriminator"] = found.discriminator
        return losses, {"L": found.generator.detach(), **found.terms}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`: by DPM-Solver++ in `run.validation_steps`."""
        config, device = self.config, self.fabric.device
        encoded, labels = self.space.encode(batch, device), batch["label"].to(device)
        clip = (-1.0, 1.0) if config.preset.sampler_clip and not config.method.latent else None
        weights = weights_of(config, 0)

        def noise_in(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            output = predict_noise(self.modules["generator"], x_t, encoded.mri, t, labels, weights.first_timestep)
            return self.schedule.noise_of_velocity(x_t, output, t) if weights.prediction == "v" else output

        z = sample(
            noise_in,
            encoded.x0.shape,
            self.schedule,
            sampler="dpmpp",
            steps=config.run.validation_steps,
            noise=noise,
            clip=clip,
            device=device,
        )
        return z if encoded.decode is None else encoded.decode(z)

    def state(self) -> dict[str, Any]:
        """See `Objective.state`: what was frozen before, to make a bundle of it."""
        return self.space.frozen()

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`. When training goes on, the stages have put the frozen parts in place."""
        self._frozen = state

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        return bundle_of(self.config, weights["generator"], self._frozen, trained_on, samples)


OBJECTIVE = RelaObjective
