"""What DDGAN learns: to draw each of the chain's few steps so that a discriminator takes it for the chain's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from RelAPETLib.methods.base import SEQUENCES, NoiseSource
from RelAPETLib.methods.ddgan.network import PosteriorGenerator
from RelAPETLib.methods.ddgan.process import PosteriorChain
from RelAPETLib.tracers import label_count

from ...sizes import refuse
from ...stream import draw
from ..adversarial import cross_entropy, frozen, gap, penalised_player
from ..base import GAP, Bundle, Losses, Objective, Place, Player, Terms, Work, adamw_player
from ..timed_discriminator import TimedDiscriminator
from ..translation_config import patch_problems
from .config import DdganConfig
from .losses import with_penalty

if TYPE_CHECKING:
    from ...trainer import RunData

#: Betas of Adam, for both players.
BETAS = (0.5, 0.9)


class Step(NamedTuple):
    """One step of the chain, for the images of a batch.

    Attributes:
        t: [N] from 0, the level that it leads to.
        x_t: the chain's own [N, 1, X, Y, Z].
        x_next: x_{t+1} of the same chain.
        z: latent of the generator [N, latent].
        eps: noise of the posterior, like x_t.
    """

    t: torch.Tensor
    x_t: torch.Tensor
    x_next: torch.Tensor
    z: torch.Tensor
    eps: torch.Tensor


class DdganObjective(Objective):
    """Two players; the generator is the library's network. Each has steps of the chain of its own."""

    config: DdganConfig

    @property
    def process(self) -> PosteriorChain:
        """The chain."""
        method = self.config.method
        return PosteriorChain(method.timesteps, method.beta_min, method.beta_max)

    def arguments(self, labels: int) -> dict[str, Any]:
        """Arguments of `PosteriorGenerator` with so many class labels."""
        network, preset = self.config.network, self.config.preset
        return {
            **network.arguments(),
            **preset.arguments("channels", "num_res_blocks", "norm_num_groups"),
            "num_class_embeds": labels,
            "latent": self.config.method.latent,
            **preset.arguments("latent_hidden", "latent_layers"),
        }

    def build(self) -> dict[str, Player]:
        """See `Objective.build`."""
        preset = self.config.preset
        torch.manual_seed(self.config.seed)
        generator = PosteriorGenerator(**self.arguments(label_count()))
        discriminator = TimedDiscriminator(
            2 + len(SEQUENCES), preset.discriminator_channels, preset.discriminator_layers, labels=label_count()
        )
        return {
            "generator": adamw_player(generator, self.config, preset.generator_learning_rate, betas=BETAS),
            "discriminator": penalised_player(discriminator, self.config, betas=BETAS),
        }

    def stages(self, work: Work) -> RunData:
        """See `Objective.stages`: only looks at the volumes' shape."""
        refuse(patch_problems(self.config.preset.discriminator_layers, work.data.train[0]["pet"].shape[1:]))
        return work.data

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`. The penalty comes every so many steps, unscaled."""
        method = self.config.method
        mri, labels, x0 = self.inputs(batch)
        step = self._step(x0, place, 0)
        with torch.no_grad():
            _, fake = self._drawn(step, mri, labels)
        penalised = self.config.preset.penalty_gamma > 0 and (place.step + 1) % method.penalty_every == 0
        loss_D, terms = self._judged(step, fake, mri, labels, penalised)

        step = self._step(x0, place, 1)
        x0_hat, fake = self._drawn(step, mri, labels)
        with frozen(self.modules["discriminator"]):
            L_G = cross_entropy(self._logits(step, mri, labels)(fake), True)
        L_I = functional.l1_loss(x0_hat, x0)
        loss = L_G + self.config.image_weight * L_I
        return (
            {"generator": loss, "discriminator": loss_D},
            {"L": loss.detach(), "L_G": L_G.detach(), "L_I": L_I.detach(), **terms},
        )

    def _step(self, x0: torch.Tensor, place: Place, player: int) -> Step:
        """A step of the chain for each image of x0, which follows from the seed, its position and the player."""
        seed, method, process = self.config.seed, self.config.method, self.process
        streams = [2 * position + player for position in place.positions]
        t, noise = draw(seed, streams, (3, *x0.shape[2:]), method.timesteps, x0.device)
        zs = [np.random.default_rng([seed, stream, 1]).standard_normal(method.latent, np.float32) for stream in streams]
        for_x_t, for_x_next, eps = noise.split(1, 1)
        x_t = process.noised(x0, t, for_x_t)
        x_next = process.stepped(x_t, t, for_x_next)
        return Step(t.to(x0.device), x_t, x_next, torch.from_numpy(np.stack(zs)).to(x0.device), eps)

    def _drawn(self, step: Step, mri: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The generator's clean estimate, and x_t drawn by it."""
        x0_hat = self.modules["generator"](step.x_next, mri, step.t, labels, step.z)
        return x0_hat, self.process.posterior(step.x_next, x0_hat, step.t + 1, step.t, step.eps)

    def _logits(self, step: Step, mri: torch.Tensor, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """D of an x_t, given the rest."""
        given = torch.cat([step.x_next, mri], 1)
        return lambda x_t: self.modules["discriminator"](torch.cat([x_t, given], 1), step.t, labels)

    def _judged(
        self, step: Step, fake: torch.Tensor, mri: torch.Tensor, labels: torch.Tensor, penalised: bool
    ) -> tuple[torch.Tensor, Terms]:
        """The discriminator's loss and its terms."""
        D = self._logits(step, mri, labels)
        real, penalty = with_penalty(D, step.x_t) if penalised else (D(step.x_t), None)
        judged = D(fake)
        L_D = cross_entropy(real, True) + cross_entropy(judged, False)
        terms = {"L_D": L_D.detach(), GAP: gap(real, judged)}
        if penalty is None:
            return L_D, terms
        loss = L_D + self.config.preset.penalty_gamma / 2 * penalty
        return loss, {**terms, "R1": penalty.detach()}

    def draw(self, batch: dict, noise: NoiseSource) -> torch.Tensor:
        """See `Objective.draw`."""
        mri, labels, x0 = self.inputs(batch)
        process = self.process
        return process.sample(
            lambda x, t, z: self.modules["generator"](x, mri, t, labels, z),
            x0,
            self.config.method.latent,
            noise,
            min(self.config.run.validation_steps, process.steps),
        )

    def bundle(self, weights: Mapping[str, dict[str, torch.Tensor]], trained_on: str, samples: int) -> Bundle:
        """See `Objective.bundle`."""
        config, process = self.config, self.process
        # As many labels as it was trained with, whatever tracers there are by now.
        arguments = self.arguments(len(weights["generator"]["class_embedding.weight"]))
        network = PosteriorGenerator(**arguments)
        network.load_state_dict(weights["generator"], strict=True)
        return Bundle(
            network=network,
            settings={"arguments": arguments, "process": asdict(process), "samples": samples},
            title=f"Denoising Diffusion GAN (preset {config.preset.name})",
            description=f"DDGAN (Xiao et al., ICLR 2022): a diffusion of {process.steps} steps, each drawn by the "
            "generator of a GAN that sees the MRI; trained by RelAPET's training package",
            differences=[f"trained on {trained_on} (paper: photographs)", *DIFFERENCES, *config.image_difference],
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "three-dimensional; generator and discriminator also see T1w, T2-FLAIR and tracer (paper: unconditional)",
    "the generator is MONAI's U-Net, to whose embedding of time and tracer that of z is added (paper: NCSN++, which z "
    "scales and shifts by adaptive group normalisation)",
    "the discriminator judges patches, and R1 is taken a patch (paper: one logit an image)",
)


OBJECTIVE = DdganObjective
