"""Small real models and simulated volumes that several test files use; fixtures of `conftest` hand them out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.tracers import TRACERS

SCHEDULE = {"kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000}
LATENT = {
    "latent_channels": 2,
    "autoencoder_channels": [16, 16],
    "unet_channels": [16, 32],
    "components": 1,
    "head_features": 4,
    "schedule": SCHEDULE,
}
VOXEL = {
    "channels": [8, 8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False, False],
    "num_head_channels": 8,
    "cross_attention_dim": 8,
}


def _metadata(kind: str, arguments: dict, space: dict, output: str, tracers: tuple[str, ...]) -> dict:
    suvr = output == "suvr"
    facts = {
        name: {
            "label": TRACERS[name].label,
            "output": output,
            "window": list(TRACERS[name].suvr_window) if suvr else [0, 1],
            "units": "SUVR" if suvr else "relative",
            "reference_region": TRACERS[name].reference_region if suvr else None,
        }
        for name in tracers
    }
    return {
        "name": f"tiny-{kind}",
        "version": "0.0.1",
        "title": "Tiny untrained model for tests",
        "description": "Random weights.",
        "grid": {
            "shape": list(MNI_GRID.shape),
            "spacing_mm": list(MNI_GRID.spacing),
            "origin_mm": list(MNI_GRID.origin),
            "axes": "RAS",
            "space": "MNI",
        },
        "inputs": ["t1w", "t2f"],
        "mri_scaling": {"method": "minmax", "range": [-1, 1]},
        "tracers": facts,
        "method": {
            "name": "rela",
            "settings": {
                "network": {"class": f"{kind.capitalize()}Diffusion", "arguments": arguments},
                "diffusion_space": space,
                "schedule": SCHEDULE,
                "prediction": "noise",
                "sampler": {"name": "dpmpp", "steps": 3, "samples": 2 if kind == "latent" else 1, "clip": None},
            },
        },
        "training_data": {"description": "none", "simulated": True},
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "limitations": ["untrained"],
        "differences_from_paper": [],
        "source": {},
    }


def tiny_latent_network(kind, **more):
    """A network of a latent class with random weights around a flat mean PET, and its arguments, `more` among them."""
    import torch

    torch.manual_seed(0)
    mask = _template("brain_mask")[::2, ::2, ::2] > 0
    arguments = LATENT | more | {"brain_voxels": int(mask.sum())}
    network = kind(**arguments)
    with torch.no_grad():
        network.mask.copy_(torch.from_numpy(mask))
        network.mri_sd.fill_(1.0)
        network.latent_sd.fill_(1.0)
        network.pet_mean.fill_(0.4)
        network.head_index.copy_(torch.arange(4))
    return network, arguments


def write_tiny_latent(
    folder: Path,
    output: str = "suvr",
    tracers: tuple[str, ...] = ("TAU", "PIB", "PBR"),
    optional: tuple[str, ...] = (),
) -> Path:
    """A `LatentDiffusion` with random weights around a flat mean PET; half a second a synthesis.

    `optional` are the sequences that its metadata say it can do without.
    """
    from RelAPETLib.methods.rela.regression import LatentDiffusion
    from RelAPETLib.models import write_bundle

    network, arguments = tiny_latent_network(LatentDiffusion)
    metadata = _metadata("latent", arguments, {"channels": 2, "shape": [10, 12, 10]}, output, tracers)
    metadata |= {"optional_inputs": list(optional)} if optional else {}
    write_bundle(folder, network, metadata)
    return folder


def write_tiny_voxel(folder: Path, output: str = "suvr", tracers: tuple[str, ...] = ("TAU", "PIB", "PBR")) -> Path:
    """A `VoxelDiffusion` without attention and with random weights: some seconds a step."""
    import torch

    from RelAPETLib.methods.rela.voxel import VoxelDiffusion
    from RelAPETLib.models import write_bundle

    torch.manual_seed(0)
    network = VoxelDiffusion(**VOXEL)
    metadata = _metadata("voxel", VOXEL, {"channels": 1, "shape": list(MNI_GRID.shape)}, output, tracers)
    write_bundle(folder, network, metadata)
    return folder


def _template(name: str) -> np.ndarray:
    from RelAPETLib.resources import resource

    return image_to_array(sitk.ReadImage(str(resource("template", f"{name}.nii.gz"))))


def write_grid_case(folder: Path) -> dict[str, Path]:
    """A plain brain on the model grid: ``t1w``, ``t2f`` (with a lesion), ``pet`` (SUVR, with its sidecar).

    Their gzip streams hold the voxels as they are: hundreds of tests read them, and would inflate noise each time.
    """
    from RelAPETLib.volumes import write_volume

    rng = np.random.default_rng(0)
    t1w, grey, white, mask = (_template(n).astype(float) for n in ("t1", "grey_matter", "white_matter", "brain_mask"))
    x, y, z = np.meshgrid(*(np.arange(n) for n in MNI_GRID.shape), indexing="ij")
    lesion = np.exp(-((x - 50) ** 2 + (y - 90) ** 2 + (z - 95) ** 2) / 60)
    fluid = np.clip(1 - (grey + white) / 255, 0, 1)
    t2f = grey / 255 + 0.8 * white / 255 + 0.2 * fluid + 0.7 * lesion
    pet = 0.6 + 0.7 * grey / 255 + 0.2 * white / 255
    paths = {}
    for name, array in {"t1w": t1w, "t2f": 100 * t2f, "pet": pet}.items():
        noisy = array * (1 + 0.02 * rng.standard_normal(array.shape))
        plain, paths[name] = folder / f"{name}.nii", folder / f"{name}.nii.gz"
        write_volume(array_to_image((noisy * (mask > 0)).astype(np.float32)), plain)
        paths[name].write_bytes(gzip.compress(plain.read_bytes(), compresslevel=0, mtime=0))
        plain.unlink()
    paths["pet"].with_name("pet.json").write_text(json.dumps({"Units": "unitless"}))
    return paths
