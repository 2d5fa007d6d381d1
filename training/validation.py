"""How good the generator is on a fixed few of the validation subjects: sampled in few steps, compared in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from RelAPETLib.diffusion import NoiseSchedule, sample, seeded_noise

from .config import TrainConfig
from .spaces import Space
from .steps import objective, predict_noise


@dataclass(frozen=True)
class Validation:
    """Mean over the volumes of all ranks, and the first volume's pictures."""

    psnr: float
    mae: float
    pictures: list[torch.Tensor]


def fixed_subset(size: int, volumes: int) -> list[int]:
    """Up to `volumes` items of `size`, spread over the data set, the same every time."""
    count = min(size, volumes)
    return [i * size // count for i in range(count)]


@torch.no_grad()
def validate(
    fabric, config: TrainConfig, generator, space: Space, dataset: Dataset, schedule: NoiseSchedule
) -> Validation:
    """Sample the fixed subset, shared out over the ranks, and compare.

    The generator has the weights to be judged. Every rank makes as many volumes as the busiest, because a sharded
    generator works only when all ranks call it.
    """
    chosen = fixed_subset(len(dataset), config.run.validation_volumes)
    rounds = math.ceil(len(chosen) / fabric.world_size)
    totals = torch.zeros(3, dtype=torch.float64, device=fabric.device)
    pictures: list[torch.Tensor] = []
    generator.eval()
    for turn in range(rounds):
        place = turn * fabric.world_size + fabric.global_rank
        item = dataset[chosen[min(place, len(chosen) - 1)]]
        made, measured = (
            synthesize(fabric, config, generator, space, item, schedule, place),
            item["pet"].to(fabric.device),
        )
        if place < len(chosen):
            error = (made.double() - measured.double()) / 2
            psnr = -10 * error.square().mean().clamp(min=1e-12).log10()
            totals += torch.stack([psnr, error.abs().mean(), torch.ones_like(psnr)])
        if not turn:
            pictures = [item["t1w"][0], item["t2f"][0], item["pet"][0], made[0].cpu()]
    generator.train()
    psnr, mae, count = fabric.all_reduce(totals, reduce_op="sum").tolist()
    return Validation(psnr / count, mae / count, pictures)


def synthesize(
    fabric, config: TrainConfig, generator, space: Space, item: dict, schedule: NoiseSchedule, number: int
) -> torch.Tensor:
    """PET [1, X, Y, Z] in [-1, 1] of one item, from noise that follows from the seed and its number."""
    batch = {name: value[None] for name, value in item.items() if isinstance(value, torch.Tensor)}
    batch["label"] = labels = torch.tensor([item["label"]], device=fabric.device)
    encoded = space.encode(batch, fabric.device)
    clip = (-1.0, 1.0) if config.preset.sampler_clip and not config.method.latent else None
    weights = objective(config, 0)

    def noise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        output = predict_noise(generator, x_t, encoded.mri, t, labels, weights.first_timestep)
        return schedule.noise_of_velocity(x_t, output, t) if weights.prediction == "v" else output

    z = sample(
        noise,
        encoded.x0.shape,
        schedule,
        sampler="dpmpp",
        steps=config.run.validation_steps,
        noise=seeded_noise(config.seed, first=number),
        clip=clip,
        device=fabric.device,
    )
    return (z if encoded.decode is None else encoded.decode(z))[0].float().clamp(-1, 1)
