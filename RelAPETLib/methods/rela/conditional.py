"""The demo model's latent diffusion that sees the MRI: its whole-brain modes are denoised with the MRI in view.

`LatentDiffusion` predicts a latent by ridge regression and adds a spread that is the same for everybody. Here the
generator sees what the regression says of every tracer (the `embedding`: a few scores a tracer), and can give each
person a spread, and humps, of its own:

- what is diffused is r = z - head(MRI), whitened along the main directions of what the head leaves. Of the components
  that the generator sees, those that the MRI says little of are left to it whole (`head_used`): where people fall into
  two groups, taking a weak guess away only smears the groups;
- along these directions (the *modes*: whole-brain changes of uptake) a small perceptron denoises, given the embedding.
  A U-Net that was given the head's latent memorised the training people; a dozen numbers with some noise on them in
  training cannot tell people apart;
- what the modes leave is denoised by a U-Net that sees the tracer and, with `local_mri`, the MRI's block features
  around each place: what this brain's grey and white matter do to the PET there. Its weights are the same at every
  place, so it cannot know people by heart; a few learned channels tell it where it is;
- the generator predicts by any of `Parametrization`'s ways; its clean estimate of r plus the head's latent is z's;
- a tracer's differences from its mean PET are coded in units of their own SD, so that no tracer is lost beside another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...devices import full_precision
from ...diffusion import Parametrization
from .regression import LABELS, LATENT_GRID, LatentDiffusion, build_denoiser

#: Waves of the timestep, over the whole schedule, that the perceptron is shown.
WAVES = 8
#: Channels of `block_features`, and of the learned ones that tell the U-Net where it is.
LOCAL_CHANNELS, PLACE_CHANNELS = 24, 8
#: Parts of the grid over which the features of the outlier gate are taken.
OUTLIER_CELLS = (3, 3, 3)


class ModeNetwork(nn.Module):
    """Perceptron with residual blocks: what the modes' coordinates say at a timestep, given the MRI's embedding.

    Args:
        components: K, number of modes.
        embedding: E, numbers that tell of the MRI.
        labels: number of class labels.
        num_timesteps: of the schedule.
        width: of the hidden layers.
        dropout: share of the hidden units that is dropped in training.
        depth: residual blocks.
    """

    def __init__(
        self,
        components: int,
        embedding: int,
        labels: int,
        num_timesteps: int,
        width: int = 128,
        dropout: float = 0.0,
        depth: int = 2,
    ):
        super().__init__()
        self.components, self.num_timesteps = components, num_timesteps
        self.modes = nn.Linear(components, width)
        self.mri = nn.Linear(embedding, width)
        self.label = nn.Embedding(labels, width)
        self.time = nn.Sequential(nn.Linear(2 * WAVES + 1, width), nn.SiLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )
        self.out = nn.Linear(width, components)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, modes: torch.Tensor, embedding: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Answer [N, K] to coordinates [N, K], embedding [N, E], timesteps [N] and labels [N]."""
        share = (timesteps.to(modes) / self.num_timesteps)[:, None]
        angles = share * (math.pi * torch.arange(1, WAVES + 1, device=modes.device, dtype=modes.dtype))
        time = self.time(torch.cat([share, angles.sin(), angles.cos()], 1))
        hidden = self.modes(modes) + self.mri(embedding) + self.label(labels) + time
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.out(hidden)


class ModeDenoiser(nn.Module):
    """The generator: `ModeNetwork` along each tracer's modes, the demo's U-Net for the rest.

    Called like a `DiffusionModelUNet` as ``generator(x, timesteps, class_labels=labels)``. x is
    [N, C + E (+ 24), 10, 12, 10]: the noisy latent, the embedding as E constant channels, and with `local_mri` the
    MRI's block features. Answers [N, C, 10, 12, 10].

    Args:
        latent_channels: C.
        unet_channels: widths of the U-Net's two levels.
        components: number of modes.
        embedding: E.
        num_timesteps: of the schedule.
        labels: number of class labels.
        width, dropout: of `ModeNetwork`.
        unet: further arguments of `build_denoiser`.
        local_mri: the U-Net sees the MRI's block features.
        grid: shape of a latent.

    Attributes:
        directions: [labels, components, C * 1200], orthonormal modes by label; no part of the state dict.
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        unet_channels: Sequence[int],
        components: int,
        embedding: int,
        num_timesteps: int,
        labels: int = LABELS,
        width: int = 128,
        dropout: float = 0.0,
        unet: dict | None = None,
        local_mri: bool = False,
        grid: Sequence[int] = LATENT_GRID,
    ):
        super().__init__()
        self.latent_channels, self.embedding = latent_channels, embedding
        seen = LOCAL_CHANNELS + PLACE_CHANNELS if local_mri else 0
        self.unet = build_denoiser(latent_channels, unet_channels, seen=seen, num_class_embeds=labels, **(unet or {}))
        self.place = nn.Parameter(nn.init.normal_(torch.empty(PLACE_CHANNELS, *grid), std=0.1)) if local_mri else None
        self.mode_network = ModeNetwork(components, embedding, labels, num_timesteps, width, dropout)
        size = latent_channels * math.prod(grid)
        self.register_buffer("directions", torch.zeros(labels, components, size), persistent=False)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        noisy, embedding, local = x.tensor_split((self.latent_channels, self.latent_channels + self.embedding), 1)
        embedding = embedding[:, :, 0, 0, 0]
        with full_precision(x.device):
            noisy, directions = noisy.float(), self.directions[class_labels]
            modes = torch.einsum("nkl,nl->nk", directions, noisy.flatten(1))
            rest = noisy - torch.einsum("nk,nkl->nl", modes, directions).reshape(noisy.shape)
            of_modes = self.mode_network(modes, embedding.float(), timesteps, class_labels)
        if self.place is not None:
            rest = torch.cat([rest, local, self.place.expand(len(x), -1, -1, -1, -1)], 1)
        of_rest = self.unet(rest, timesteps, class_labels=class_labels)
        with full_precision(x.device):
            of_rest = of_rest.float()
            change = of_modes - torch.einsum("nkl,nl->nk", directions, of_rest.flatten(1))
            return of_rest + torch.einsum("nk,nkl->nl", change, directions).reshape(of_rest.shape)


class ConditionalLatentDiffusion(LatentDiffusion):
    """`LatentDiffusion` with a generator that sees the MRI.

    Args:
        embedding: scores of the head, a tracer, that the generator sees.
        prediction: what the generator gives, see `Parametrization`.
        width: of the `ModeNetwork`.
        local_mri: the U-Net sees the MRI's block features.
        arguments: the other arguments of `LatentDiffusion`.

    Attributes:
        gives: what `denoise` gives, for the sampler.
    """

    gives = "clean"

    def __init__(
        self, *, embedding: int = 2, prediction: str = "edm", width: int = 128, local_mri: bool = False, **arguments
    ):
        super().__init__(**arguments)
        self.embedding, self.local_mri = embedding, local_mri
        self.parametrization = Parametrization(self.schedule, prediction)
        self.unet = ModeDenoiser(
            latent_channels=arguments["latent_channels"],
            unet_channels=arguments["unet_channels"],
            components=arguments["components"],
            embedding=self.labels * embedding,
            num_timesteps=self.schedule.num_timesteps,
            labels=self.labels,
            width=width,
            unet=arguments.get("unet"),
            local_mri=local_mri,
            grid=self.cells.latent,
        )
        self.unet.directions = self.mode_directions
        self.register_buffer("head_used", torch.ones(self.labels, arguments["components"]))
        self.register_buffer("score_sd", torch.ones(self.labels, embedding))
        self.register_buffer("residual_scale", torch.ones(self.labels))

    def scale_of_residual(self, labels: torch.Tensor) -> torch.Tensor:
        """See `LatentDiffusion.scale_of_residual`."""
        return self.residual_scale[labels][:, None, None, None, None]

    def encode_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """[N, 2, 160, 180, 160] in [-1, 1] -> the head's scores for every label, and what `local_mri` sees, flat."""
        features = self.features(condition)
        return self.encoded_of(self.scores(features), features)

    def encoded_of(self, scores: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """An encoded condition [N, L] of scores [N, labels, components] and block features [N, 24, 10, 12, 10]."""
        return torch.cat([scores.flatten(1), features.flatten(1)], 1) if self.local_mri else scores.flatten(1)

    def parts(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `encoded_of` put together; no features without `local_mri`."""
        numbers = self.head_used.numel()
        features = encoded[:, numbers:].reshape(len(encoded), -1, *self.cells.latent)
        return encoded[:, :numbers].reshape(-1, *self.head_used.shape), features

    def outlier_features(self, encoded: torch.Tensor) -> torch.Tensor | None:
        """What tells an MRI from other people's, [N, D], of an encoded condition; None without `local_mri`.

        The head's scores, and of the block features the mean and the root mean square in `OUTLIER_CELLS` parts of the
        brain, T1w, T2F and lesions apart.
        """
        if not self.local_mri:
            return None
        scores, local = self.parts(encoded.float())
        blocks = local.unflatten(1, (3, -1))  # the T1w's, the T2F's and the lesions' eight blocks of a cell
        pooled = [F.adaptive_avg_pool3d(each, OUTLIER_CELLS) for each in (blocks.mean(2), blocks.square().mean(2))]
        return torch.cat([scores.flatten(1), pooled[0].flatten(1), pooled[1].sqrt().flatten(1)], 1)

    def head_latent(self, encoded: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LatentDiffusion.head_latent`."""
        return super().head_latent(self.latent_of_scores(self.parts(encoded)[0]).flatten(1, 2), labels)

    def latent_of_scores(self, scores: torch.Tensor) -> torch.Tensor:
        """See `LatentDiffusion.latent_of_scores`; components that are not `head_used` stay at their mean."""
        return super().latent_of_scores(scores * self.head_used)

    def embedded(self, scores: torch.Tensor) -> torch.Tensor:
        """What the generator sees of the MRI, [N, labels E], of scores [N, labels, components]; SD 1 in training."""
        return (scores[:, :, : self.embedding] / self.score_sd).flatten(1)

    def denoise(
        self, x_t: torch.Tensor, encoded: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Clean estimate of a noisy latent [N, C, 10, 12, 10] given an encoded condition, timesteps and labels [N]."""
        self.unet.directions = self.mode_directions  # moved to another device, the two are no longer one tensor
        head = self.head_latent(encoded, labels)
        signal, _ = self.schedule.rates_like(x_t, timesteps)
        r_t = x_t - signal * head
        scores, local = self.parts(encoded)
        embedding = self.embedded(scores)[:, :, None, None, None].expand(-1, -1, *self.cells.latent)
        seen = torch.cat([self.parametrization.network_input(r_t, timesteps), embedding, local], 1)
        output = self.unet(seen, timesteps, class_labels=labels)
        return head + self.parametrization.clean(r_t, output, timesteps)

    def predict_noise(self, x_t, encoded, timesteps, labels) -> torch.Tensor:
        """Noise in x_t, from the clean estimate; arguments as of `denoise`."""
        signal, noise = self.schedule.rates_like(x_t, timesteps)
        return (x_t - signal * self.denoise(x_t, encoded, timesteps, labels)) / noise
