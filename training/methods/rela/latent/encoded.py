"""The coded data set, and the space that Algorithm 1 works in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from RelAPETLib.methods.mean_pet import MeanPetNetwork
from RelAPETLib.tracers import TRACERS

from ....data.cache import Item
from ....data.dataset import PetDataset
from ..spaces import Encoded

#: Parameters that are trained after everything else is frozen, by class of the library's network.
TRAINED = {"AutoencodedDiffusion": "generator.", "LatentDiffusion": "unet.", "ConditionalLatentDiffusion": "unet."}


@dataclass(frozen=True)
class Latents:
    """Latents of a part of the split, one row an item.

    Attributes:
        x0: what is diffused, float32 [n, C, x, y, z].
        mri: the generator's other channels, [n, K, x, y, z]; K may be 0, and x, y, z 1 where they are constant.
        base: what is added to a clean x0 before decoding, like x0; None for nothing.
        local: still other channels of the generator, float16 [cases, M, x, y, z]; None for none.
        case: which row of `local` is whose, int64 [n].
    """

    x0: torch.Tensor
    mri: torch.Tensor
    base: torch.Tensor | None = None
    local: torch.Tensor | None = None
    case: torch.Tensor | None = None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(vars(self))

    def seen(self, index: int) -> torch.Tensor:
        """All channels of the generator beside x0, of one item."""
        if self.local is None:
            return self.mri[index]
        constant = self.mri[index].expand(-1, *self.local.shape[2:])
        return torch.cat([constant, self.local[self.case[index]].float()])


class LatentDataset(Dataset):
    """Latents of a `PetDataset`'s items; with its volumes when they are wanted.

    An item has ``x0``, ``mri``, ``label``, ``subject``, ``tracer``, perhaps ``base``, and with volumes also ``t1w``,
    ``t2f`` and ``pet``.
    """

    def __init__(self, latents: Latents, images: PetDataset, volumes: bool):
        self.latents, self.images, self.volumes = latents, images, volumes

    def __len__(self) -> int:
        return len(self.latents.x0)

    def __getitem__(self, index: int) -> dict:
        item = {"x0": self.latents.x0[index], "mri": self.latents.seen(index)}
        if self.latents.base is not None:
            item["base"] = self.latents.base[index]
        if self.volumes:
            return {**self.images[index], **item}
        scan = self.images.items[index]
        return {"label": self.label(index), "subject": scan.subject, "case": scan.case, "tracer": scan.tracer, **item}

    @property
    def items(self) -> list[Item]:
        """Cases and tracers, in the order of the items."""
        return self.images.items

    def label(self, index: int) -> int:
        """Class label of an item's tracer."""
        return TRACERS[self.images.items[index].tracer].label


class Decoder(Protocol):
    """How a network of the library makes a PET [N, 1, X, Y, Z] in [-1, 1] of whole latents."""

    def __call__(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor: ...


class LatentSpace:
    """Latents are diffused, decoded ones compared.

    Args:
        fabric: launched; decoding happens in its precision.
        network: `AutoencodedDiffusion` or `LatentDiffusion` with everything but the generator in place.
        arguments: that it was made with.
        decoder: of its latents.
        judged: the discriminator judges decoded latents; else latents themselves.
        modes: weights of a `ModeNetwork` that was trained before, which then stay as they are.
        figures: of `training.methods.rela.latent.reconstruction`, by part; None where they were not measured.
        base: weights of a U-Net that was trained before without MRI, which a ControlNet steers; None without one.
    """

    def __init__(
        self,
        fabric,
        network: torch.nn.Module,
        arguments: dict,
        decoder: Decoder,
        judged: bool = True,
        modes: dict[str, torch.Tensor] | None = None,
        figures: dict[str, Any] | None = None,
        base: dict[str, torch.Tensor] | None = None,
    ):
        self.fabric, self.arguments, self.decoder, self.judged, self.modes = fabric, arguments, decoder, judged, modes
        self.figures, self.base = figures, base
        self.network = network.to(fabric.device).eval().requires_grad_(False)

    def encode(self, batch: dict, device: torch.device) -> Encoded:
        """Latents on the device, and how to decode them."""
        there = {
            name: batch[name].to(device, non_blocking=True) for name in ("x0", "mri", "base", "pet") if name in batch
        }
        labels = torch.as_tensor(batch["label"]).to(device)

        def decode(x0_hat: torch.Tensor) -> torch.Tensor:
            with self.fabric.autocast():
                z = x0_hat + there["base"] if "base" in there else x0_hat
                return self.decoder(z, labels).float()

        mri = there["mri"].expand(-1, -1, *there["x0"].shape[2:])
        if isinstance(self.network, MeanPetNetwork):
            mri = self.network.with_mean(mri, labels)
        return Encoded(there["x0"], mri, there.get("pet"), decode, self.judged)

    def prepare(self, generator: torch.nn.Module) -> None:
        """Tell a generator what it must know of the latent."""
        if hasattr(generator, "directions"):
            generator.directions.copy_(self.network.mode_directions)
        if self.modes is not None:
            generator.mode_network.load_state_dict(self.modes)
            generator.mode_network.requires_grad_(False)
        if self.base is not None:
            generator.take_base(self.base)

    def frozen(self) -> dict[str, Any]:
        """Class, arguments and everything but the generator; what the autoencoder loses, where that was measured."""
        kind = type(self.network).__name__
        state = {
            name: tensor.cpu()
            for name, tensor in self.network.state_dict().items()
            if not name.startswith(TRAINED[kind])
        }
        figures = {"reconstruction": self.figures} if self.figures else {}
        return {"class": kind, "arguments": self.arguments, "state": state, **figures}
