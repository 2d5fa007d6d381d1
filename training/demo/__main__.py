"""Train the demo model from nothing: ``python -m training.demo --out DIR``. Every stage resumes where it stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from RelAPETLib.networks.latent import LatentDiffusion

from . import autoencoder, denoiser, export, head, registered
from .cohort import Cohort, make_cohort
from .evaluate import evaluate

ARCHITECTURE = {"latent_channels": 8, "autoencoder_channels": [48, 96], "unet_channels": [32, 64], "components": 24}
SCHEDULE = {"kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000}
CODER_ARGUMENTS = {"latent_channels": "latent_channels", "channels": "autoencoder_channels"}
TRAIN_SEED, VALIDATION_SEED = 1, 2


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run (about 5 GB)")
    parser.add_argument("--people", type=int, default=1040, help="simulated people to train on")
    parser.add_argument("--validation-people", type=int, default=60)
    parser.add_argument("--registered-people", type=int, default=36, help="training people also scanned raw")
    parser.add_argument("--autoencoder-steps", type=int, default=2400)
    parser.add_argument("--denoiser-steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def fill(model: LatentDiffusion, buffers: dict[str, torch.Tensor]) -> None:
    """Copy the given buffers into the model."""
    for name, value in buffers.items():
        getattr(model, name).copy_(value)


def left_over(cohort: Cohort, latents: torch.Tensor, predicted: torch.Tensor, model: LatentDiffusion):
    """(rest, labels) of every scan, as `denoiser.train` takes them; `predicted` is whitened already."""
    labels = torch.from_numpy(autoencoder.scans(cohort)[:, 1])
    z = (latents - model.latent_mean[:, None, None, None]) / model.latent_sd[:, None, None, None]
    return whiten_all(model, z, labels) - predicted, labels


def whiten_all(model: LatentDiffusion, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`LatentDiffusion.whiten` of many latents, a few at a time."""
    return torch.cat([model.whiten(z, c) for z, c in zip(latents.split(32), labels.split(32), strict=True)])


def main() -> None:
    options = parse()
    out = options.out
    cohort = make_cohort(out / "cohort-train", TRAIN_SEED, options.people)
    held_out = make_cohort(out / "cohort-validation", VALIDATION_SEED, options.validation_people)
    if (fewest := cohort.scanned.sum(0).min()) <= ARCHITECTURE["components"]:
        raise SystemExit(
            f"--people {options.people}: only {fewest} were scanned with some tracer; more than 24 are needed"
        )
    mean = autoencoder.mean_pet(cohort)
    coder_arguments = {name: ARCHITECTURE[key] for name, key in CODER_ARGUMENTS.items()}
    coder = autoencoder.train(cohort, out, options.autoencoder_steps, options.seed, coder_arguments)
    latents = autoencoder.encode_all(coder, cohort, mean, out / "latents-train.pt")

    torch.manual_seed(options.seed)
    features_in_brain = head.brain_features(cohort.mask)
    sizes = {"head_features": len(features_in_brain), "brain_voxels": int(cohort.mask.sum())}
    model = LatentDiffusion(**ARCHITECTURE, **sizes, schedule=SCHEDULE)
    model.autoencoder.load_state_dict(coder.state_dict())
    mri_mean, mri_sd = head.mri_statistics(cohort)
    mask = torch.from_numpy(cohort.mask).to(torch.uint8)
    fill(model, {"mask": mask, "pet_mean": torch.from_numpy(mean), "mri_mean": mri_mean, "mri_sd": mri_sd})
    features = head.all_features(model, cohort, out / "features-train.pt")
    scanned = registered.registered_people(out / "registered", TRAIN_SEED, options.registered_people)
    differences = registered.feature_differences(model, cohort, scanned, features)
    features = registered.as_if_registered(features, differences, seed=options.seed)
    fitted = head.fit(cohort, features, latents, features_in_brain, ARCHITECTURE["components"])
    fill(model, fitted.buffers)
    labels = torch.from_numpy(autoencoder.scans(cohort)[:, 1])
    left_out = whiten_all(model, fitted.leave_one_out, labels)
    data = left_over(cohort, latents, left_out, model)

    held_latents = autoencoder.encode_all(coder, held_out, mean, out / "latents-validation.pt")
    held_features = head.all_features(model, held_out, out / "features-validation.pt")
    held_features = registered.as_if_registered(held_features, differences, seed=options.seed + 1)
    pairs = torch.from_numpy(autoencoder.scans(held_out))
    with torch.no_grad():
        predicted = model.head(held_features)[pairs[:, 0], pairs[:, 1]]
    held_data = left_over(held_out, held_latents, predicted, model)
    denoiser.train(model, data, held_data, out, options.denoiser_steps, options.seed)

    metrics = evaluate(model, held_out, held_features, cohort)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2))
    print(json.dumps(metrics, indent=2))
    export.export(model, out / "bundle", {**ARCHITECTURE, **sizes, "schedule": SCHEDULE}, options, metrics)


if __name__ == "__main__":
    main()
