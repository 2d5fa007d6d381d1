"""How good the players are on a fixed few of the validation subjects: PET drawn and compared in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from RelAPETLib.diffusion import seeded_noise

from .faults import StopRequest
from .methods.base import Objective
from .precision import exact


@dataclass(frozen=True)
class Validation:
    """Mean over the volumes of all ranks, and the first volume's pictures."""

    psnr: float
    mae: float
    pictures: list[torch.Tensor]


def spread(size: int, volumes: int) -> list[int]:
    """Up to `volumes` items of `size` at equal distances."""
    count = min(size, volumes)
    return [i * size // count for i in range(count)]


def fixed_subset(dataset: Dataset, volumes: int) -> list[int]:
    """Up to `volumes` items spread over a data set and all of its tracers, the same every time.

    Where items at equal distances are of some tracers alone (every third of people with three), tracers take turns.
    """
    chosen, tracers = spread(len(dataset), volumes), [item.tracer for item in getattr(dataset, "items", ())]
    own = [[place for place, one in enumerate(tracers) if one == name] for name in dict.fromkeys(tracers)]
    if len({tracers[place] for place in chosen} if own else ()) == min(len(own), len(chosen)):
        return chosen
    counts = [0] * len(own)
    while sum(counts) < len(chosen):
        for k, places in enumerate(own):
            counts[k] += counts[k] < len(places) and sum(counts) < len(chosen)
    return sorted(
        places[int((i + k / len(own)) * len(places) / count)]  # of other people for each tracer
        for k, (places, count) in enumerate(zip(own, counts, strict=True))
        for i in range(count)
    )


@torch.no_grad()
def validate(
    fabric, objective: Objective, dataset: Dataset, volumes: int, seed: int, stop: StopRequest | None = None
) -> Validation | None:
    """Draw the fixed subset, shared out over the ranks, and compare.

    The modules have the weights to be judged. Every rank makes as many volumes as the busiest, because a sharded
    network works only when all ranks call it.

    Args:
        stop: looked at before each volume; None: it is not to be stopped.

    Returns:
        None where any rank was asked to stop before the last volume.
    """
    chosen = fixed_subset(dataset, volumes)
    rounds = math.ceil(len(chosen) / fabric.world_size)
    totals = exact(torch.zeros(3, device=fabric.device))
    pictures: list[torch.Tensor] = []
    for module in objective.modules.values():
        module.eval()
    asked = False
    for turn in range(rounds):
        if asked := stop is not None and any_asked(fabric, stop):
            break
        place = turn * fabric.world_size + fabric.global_rank
        item = dataset[chosen[min(place, len(chosen) - 1)]]
        made, measured = synthesize(objective, item, seed, place), item["pet"].to(fabric.device)
        if place < len(chosen):
            error = (exact(made) - exact(measured)) / 2
            psnr = -10 * error.square().mean().clamp(min=1e-12).log10()
            totals += torch.stack([psnr, error.abs().mean(), torch.ones_like(psnr)])
        if not turn:
            pictures = [item["t1w"][0], item["t2f"][0], item["pet"][0], made[0].cpu()]
    for module in objective.modules.values():
        module.train()
    if asked:
        return None
    psnr, mae, count = fabric.all_reduce(totals, reduce_op="sum").tolist()
    return Validation(psnr / count, mae / count, pictures)


def any_asked(fabric, stop: StopRequest) -> bool:
    """Whether any rank was asked to stop; all of them have to ask together."""
    return bool(fabric.all_reduce(torch.tensor(float(stop.asked), device=fabric.device), reduce_op="sum") > 0)


def synthesize(objective: Objective, item: dict, seed: int, number: int) -> torch.Tensor:
    """PET [1, X, Y, Z] in [-1, 1] of one item, from noise that follows from the seed and its number."""
    batch = {name: value[None] if isinstance(value, torch.Tensor) else [value] for name, value in item.items()}
    batch["label"] = torch.as_tensor(batch["label"])
    return objective.draw(batch, seeded_noise(seed, first=number))[0].float().clamp(-1, 1)
