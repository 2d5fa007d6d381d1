"""What Diffusion-GAN learns: the PET, by its absolute error and by a discriminator that sees it noisy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.methods.diffusion_gan.network import TranslatingUNet

from ...precision import exact
from ...schedules import total_steps
from ...stream import draw
from ..adversarial import cross_entropy, frozen, gap
from ..base import GAP, Losses, Place, Terms, Work
from ..timed_discriminator import TimedDiscriminator
from ..translation import TranslationObjective
from .config import ADAPTATION_SHARE, DiffusionGanConfig
from .noising import AdaptiveNoise, drawn_timesteps, noised

if TYPE_CHECKING:
    from ...trainer import RunData

#: Images that the discriminator is shown in a step, each with noise of its own: real, synthetic, the generator's.
SHOWN = 3


class DiffusionGanObjective(TranslationObjective):
    """A U-Net, and a discriminator that is told how noisy its image is.

    Attributes:
        adaptive: how noisy images can be; the same on every rank.
    """

    config: DiffusionGanConfig
    network_class = TranslatingUNet

    def __init__(self, config: DiffusionGanConfig):
        super().__init__(config)
        self.adaptive = AdaptiveNoise(images=config.preset.adaptation_images or 0)

    def arguments(self, labels: int) -> dict[str, Any]:
        """See `TranslationObjective.arguments`."""
        preset = self.config.preset
        return {
            **self.config.network.arguments(),
            **preset.arguments("channels", "num_res_blocks", "norm_num_groups"),
            "num_class_embeds": labels,
        }

    def discriminator(self, labels: int) -> nn.Module:
        """See `TranslationObjective.discriminator`."""
        preset = self.config.preset
        channels = 1 + len(SEQUENCES)
        return TimedDiscriminator(channels, preset.discriminator_channels, preset.discriminator_layers, labels=labels)

    def stages(self, work: Work) -> RunData:
        """See `Objective.stages`: says over how many images T can grow, which may follow from the run's length."""
        run, preset = self.config.run, self.config.preset
        if preset.adaptation_images is None:
            steps = total_steps(run.steps, preset.epochs, len(work.data.train), preset.global_batch)
            self.adaptive.images = max(1, round(ADAPTATION_SHARE * steps * preset.global_batch))
        if preset.adversarial_weight:
            words = f"T can grow to {self.config.method.most_timesteps} in {self.adaptive.images} images"
            work.fabric.print(f"{words} (a resumed run keeps its number)")
        return work.data

    @property
    def timesteps(self) -> int:
        """T at present."""
        return self.adaptive.timesteps(self.config.method.least_timesteps, self.config.method.most_timesteps)

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`: L1 and the non-saturating loss for the generator, cross-entropy for D."""
        mri, labels, pet = self.inputs(batch)
        made = self.modules["network"](mri, labels).float()
        method, preset = self.config.method, self.config.preset
        terms = {"L_I": functional.l1_loss(made, pet)}
        losses = {"network": self.config.image_weight * terms["L_I"]}
        if not preset.adversarial_weight:
            return losses, {name: term.detach() for name, term in terms.items()}

        self.adaptive.adjust(place.step, method.adjust_every, method.target, preset.global_batch)
        with frozen(self.modules["discriminator"]):
            terms["L_A"] = cross_entropy(self._logits(made, mri, labels, place, 2), True)
        losses["network"] = losses["network"] + preset.adversarial_weight * terms["L_A"]
        real = self._logits(pet, mri, labels, place, 0)
        fake = self._logits(made.detach(), mri, labels, place, 1)
        terms["L_D"] = losses["discriminator"] = cross_entropy(real, True) + cross_entropy(fake, False)
        terms |= {GAP: gap(real, fake), "T": real.new_tensor(self.timesteps), "sign": real.detach().sign().mean()}
        self._saw(real.detach())
        return losses, {name: term.detach() for name, term in terms.items()}

    def _logits(
        self, pet: torch.Tensor, mri: torch.Tensor, labels: torch.Tensor, place: Place, which: int
    ) -> torch.Tensor:
        """D of PET [N, 1, X, Y, Z] with noise that follows from seed, positions and which of the `SHOWN` it is."""
        config, method = self.config, self.config.method
        streams = [SHOWN * position + which for position in place.positions]
        t = drawn_timesteps(config.seed, streams, self.timesteps, method.timestep_draw)
        _, eps = draw(config.seed, streams, pet.shape[1:], 1, pet.device)
        y = noised(pet, t, eps, self.timesteps, method.noise_sd)
        return self.modules["discriminator"](torch.cat([y, mri], 1), t.to(pet.device), labels)

    def _saw(self, logits: torch.Tensor) -> None:
        """Note the signs of the logits of real images, of all ranks; they are whole numbers, so no order matters."""
        signs = torch.stack([exact(logits.sign().sum()), exact(logits.new_tensor(logits.numel()))])
        self.adaptive.saw(*self.fabric.all_reduce(signs, reduce_op="sum").tolist())

    def state(self) -> dict[str, Any]:
        """See `Objective.state`: T, and what it is to be adjusted by."""
        return {"adaptive": self.adaptive.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Objective.load_state`; a run goes on with the images that it began with, however long it is made."""
        self.adaptive = AdaptiveNoise(**{"images": self.config.preset.adaptation_images or 0, **state["adaptive"]})

    def described(self) -> tuple[str, str, list[str]]:
        """See `TranslationObjective.described`."""
        return (
            f"Diffusion-GAN (preset {self.config.preset.name})",
            "Diffusion-GAN (Wang et al., ICLR 2023): a U-Net from MRI to PET trained against a discriminator of noisy "
            "images; one PET and no spread; trained by RelAPET's training package",
            list(DIFFERENCES),
        )


#: What the paper does otherwise.
DIFFERENCES = (
    "a translation: a U-Net gives one PET from T1w, T2-FLAIR and tracer, in three dimensions, and learns by the mean "
    "absolute error too (paper: a generator of images from a latent)",
    "the discriminator is MONAI's, of patches, sees the MRI without noise, and has no penalty (paper: StyleGAN2's and "
    "others)",
    "the generator sees the MRI alone (RelA-Diffusion's comparison: the noisy PET, too, and does not say how it draws)",
    "a noise level is drawn for each image (authors' code: from a list of 64 that is drawn when T changes)",
)

OBJECTIVE = DiffusionGanObjective
