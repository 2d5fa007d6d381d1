"""Write the trained demo model as a bundle, saying what it is and where it departs from the paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from RelAPETLib.grid import MNI_GRID
from RelAPETLib.models import write_bundle
from RelAPETLib.networks.latent import LatentDiffusion
from RelAPETLib.phantom.law import predictable_share
from RelAPETLib.tracers import TRACERS

from .autoencoder import KL_WEIGHT
from .denoiser import IMAGE_WEIGHT

REPOSITORY = Path(__file__).resolve().parents[2]

#: Stored as float16; the head's weights are too small for it.
HALF = ("autoencoder.", "unet.", "mri_", "pet_mean", "head_components", "head_mean", "mode_directions")

DIFFERENCES = [
    "trained on simulated people (RelAPETLib.phantom), not on NFL-LONG or any other patient data",
    "SUVR output in a fixed window per tracer; the published implementation scales every PET to its own minimum and "
    "maximum",
    "works on 2 mm voxels inside (80x90x80, padded to 80x96x80); input and output are on the 1 mm grid",
    "the autoencoder codes the PET's difference from the tracer's simulated population mean, times 8, behind a "
    f"space-to-depth of 4; loss L1 + L2 + {KL_WEIGHT:g} KL, no adversarial or perceptual part",
    "the MRI is not autoencoded: robustly scaled, voxelwise z-scored, averaged over 4 mm blocks",
    "a ridge regression from the blocks predicts the latent; the U-Net diffuses what it leaves and sees the tracer but "
    "not the MRI",
    f"v-prediction (turned into a noise prediction outside) plus {IMAGE_WEIGHT:g} L1 on the clean latent; no "
    "relativistic adversarial loss and no gradient penalty, which belong to the training package",
    "a two-level U-Net (the paper's three levels do not fit a 10x12x10 latent)",
]

LIMITATIONS = [
    "It has seen simulated images only: on a real scan its output shows that the software works, nothing about the "
    "patient.",
    "MRI does not determine amyloid, tau or TSPO uptake; in the simulation a stated share of the variance is absent "
    "from the MRI and the model cannot show it.",
    "The spread of its samples describes the simulation, not the error on a real scan.",
    "Abnormalities that the simulation does not have (tumours, infarcts, surgery) are not represented.",
]


def tracer_entries() -> dict:
    """Metadata of the three tracers."""
    return {
        tracer.name: {
            "label": tracer.label,
            "output": "suvr",
            "window": list(tracer.suvr_window),
            "units": "SUVR",
            "reference_region": tracer.reference_region,
        }
        for tracer in TRACERS.values()
    }


def export(model: LatentDiffusion, folder: Path, arguments: dict, options: argparse.Namespace, metrics: dict) -> dict:
    """Write the bundle and return its metadata.

    Args:
        arguments: what `LatentDiffusion` was built with.
        options: the training command's options, kept in the metadata.
        metrics: what `evaluate` measured on held-out people.
    """
    shares = {tracer: round(predictable_share(tracer), 3) for tracer in TRACERS}
    metadata = {
        "name": "demo",
        "version": "1.0.0",
        "title": "Demo model (simulated data)",
        "description": "A latent diffusion model in the shape of RelA-Diffusion-Latent, trained on simulated people so "
        "that the whole software can be tried, tested and understood. It is not a model of real PET.",
        "kind": "latent",
        "network": {"class": "LatentDiffusion", "arguments": arguments},
        "grid": {
            "shape": list(MNI_GRID.shape),
            "spacing_mm": list(MNI_GRID.spacing),
            "origin_mm": list(MNI_GRID.origin),
            "axes": "RAS",
            "space": "ICBM 152 2009a symmetric",
        },
        "inputs": ["t1w", "t2f"],
        "mri_scaling": {"method": "minmax", "range": [-1, 1]},
        "tracers": tracer_entries(),
        "diffusion_space": {"channels": model.diffusion_shape[0], "shape": list(model.diffusion_shape[1:])},
        "schedule": arguments["schedule"],
        "prediction": "noise",
        "sampler": {"name": "dpmpp", "steps": 20, "samples": 4, "clip": None},
        "training_data": {
            "description": f"{options.people} simulated people rendered on the model grid at 2 mm with simulated "
            "residual misregistration (RelAPETLib.phantom.render); their MRI features carry the differences that raw "
            f"scanning and registration made for {options.registered_people} of them; no real image of anybody",
            "simulated": True,
            "predictable_share_of_regional_variance": shares,
        },
        "licence": "Apache-2.0",
        "intended_use": "Demonstration, teaching and software tests. Not for diagnosis, treatment or patient research.",
        "limitations": LIMITATIONS,
        "differences_from_paper": DIFFERENCES,
        "source": {
            "command": "python -m training.demo",
            "options": {key: value for key, value in vars(options).items() if key != "out"},
        },
        "metrics": {"held_out_simulated_people": metrics},
    }
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    return write_bundle(folder, model, metadata, overwrite=True, half=HALF, licence_text=licence)
