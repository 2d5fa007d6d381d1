"""What the autoencoder alone loses: no denoiser in its latent can be expected to do better."""

from __future__ import annotations

from typing import Any

import torch

from ....data.dataset import PetDataset
from ....progress import counted
from ....validation import fixed_subset
from .encoded import Latents

#: Scans of a part that are decoded, spread over it; a few say what all would.
MOST = 32


@torch.no_grad()
def reconstruction(fabric, decoder, dataset: PetDataset, latents: Latents) -> dict[str, Any]:
    """Figures of decoded codes against the PET that was coded, of all voxels, as validations have them.

    Args:
        fabric: launched; decoding happens in its precision.
        decoder: `training.methods.rela.latent.encoded.Decoder`.
        dataset: the scans.
        latents: of them, row by row.

    Returns:
        ``scans``, how many were looked at, and their means: ``psnr`` in dB for a data range of 1, and ``mae`` as a
        share of the PET's range.
    """
    found = []
    for place in counted(fixed_subset(dataset, MOST), "decoding", fabric.print):
        item = dataset[place]
        z = latents.x0[place] if latents.base is None else latents.x0[place] + latents.base[place]
        label = torch.tensor([item["label"]], device=fabric.device)
        with fabric.autocast():
            made = decoder(z[None].to(fabric.device), label).float().cpu().clamp(-1, 1)
        error = (made[0] - item["pet"]).double() / 2
        psnr = -10 * error.square().mean().clamp(min=1e-12).log10()
        found.append(torch.stack([psnr, error.abs().mean()]))
    psnr, mae = torch.stack(found).mean(0).tolist()
    return {"scans": len(found), "psnr": psnr, "mae": mae}


def in_words(figures: dict[str, dict[str, Any]]) -> str:
    """Figures by part (``train``, ``validation``) as a clause."""
    parts = [
        f"{found['psnr']:.2f} dB, MAE {found['mae']:.4f} on {found['scans']} {part} scans"
        for part, found in figures.items()
    ]
    return f"its autoencoder alone gives the PET back with {'; '.join(parts)}, which bounds what it can do"
