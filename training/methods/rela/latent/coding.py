"""The space of a trained run without its coded data: batches of volumes are coded as they come, to draw from them."""

from __future__ import annotations

from typing import Any

import torch

from RelAPETLib.methods.mean_pet import MeanPetNetwork
from RelAPETLib.methods.rela.autoencoded import AutoencodedDiffusion
from RelAPETLib.methods.rela.conditional import ConditionalLatentDiffusion
from RelAPETLib.methods.rela.regression import LatentDiffusion
from RelAPETLib.networks.blocks import BACKGROUND

from ..bundle import network_of
from ..config import RelaConfig
from ..networks import sequences
from ..spaces import Encoded
from .encoded import LatentSpace


class CodingSpace(LatentSpace):
    """A `LatentSpace` whose batches are volumes: ``t1w``, ``t2f`` [N, 1, X, Y, Z] in blocks of the run's own size.

    Args:
        fabric: launched.
        config: of the run.
        frozen: of `LatentSpace.frozen`, as the run's checkpoints have it.
    """

    def __init__(self, fabric, config: RelaConfig, frozen: dict[str, Any]):
        network = network_of(frozen)
        super().__init__(fabric, network, frozen["arguments"], self._decoded)
        self.config = config

    def _decoded(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PET blocks in [-1, 1], not clamped, of whole latents."""
        if isinstance(self.network, AutoencodedDiffusion):
            return self.network.decode_blocks(self.network.from_residual(z, labels))
        return self.network.decode_inner(z, labels) * 2 - 1

    @torch.no_grad()
    def encode(self, batch: dict, device: torch.device) -> Encoded:
        """What `draw` needs: the generator's other channels, and how latents are decoded; `x0` is empty (zeros)."""
        mri = torch.cat([batch["t1w"], batch["t2f"]], 1).to(device)
        labels = torch.as_tensor(batch["label"]).to(device)
        if isinstance(self.network, AutoencodedDiffusion):
            seen, base = self._autoencoded(mri)
        else:
            seen, base = self._predicted(mri, labels)
        x0 = torch.zeros(len(mri), *self.network.diffusion_shape, device=device)
        seen = seen.expand(-1, -1, *x0.shape[2:])
        if isinstance(self.network, MeanPetNetwork):
            seen = self.network.with_mean(seen, labels)
        return Encoded(x0, seen, None, lambda z: self._decoded(z + base, labels).float())

    def _autoencoded(self, mri: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Latents of the sequences that the generator sees; of one that is blanked, the background's."""
        fed = sequences(self.config)
        for channel, use in enumerate(fed):
            if use is None:
                mri = mri.index_fill(1, torch.tensor([channel], device=mri.device), BACKGROUND)
        coded = self.network.code_mri(mri).chunk(len(fed), 1)
        return torch.cat([part for part, use in zip(coded, fed, strict=True) if use is not False], 1), 0.0

    def _predicted(self, mri: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the generator sees of the MRI, and the latent that the regression predicts."""
        network: LatentDiffusion = self.network
        features = network.inner_features(mri)
        scores = network.scores(features)
        base = network.latent_of_scores(scores)[torch.arange(len(mri), device=mri.device), labels]
        if not isinstance(network, ConditionalLatentDiffusion):
            return features.new_zeros(len(mri), 0, 1, 1, 1), base
        seen = network.embedded(scores)[:, :, None, None, None].expand(-1, -1, *network.cells.latent)
        return torch.cat([seen, features], 1) if network.local_mri else seen, base
