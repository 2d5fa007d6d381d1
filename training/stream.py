"""Which image comes when, and with which timestep and noise: functions of its position in the run alone.

Position p counts every image that all ranks together have been given since the start. Ranks, micro-batches,
accumulation and interruptions only decide who works on p, never what p is, so a resumed run, or the same run on other
hardware, sees the same images with the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from RelAPETLib.networks.blocks import BACKGROUND

from .errors import ConfigError

#: Numbers that set apart what follows from seed and position; `jitter` has 1 and `training.methods.clinical` 2.
PRESENT, NULLS, STYLE, DROPOUT, POOL, TIME, DROPPED = range(3, 10)


def random_of(seed: int, position: int, stream: int, number: int = 0) -> np.random.Generator:
    """Random numbers of the image at a position of the run.

    Args:
        stream: one of the numbers above.
        number: of several such in one network, from 0.
    """
    return np.random.default_rng([seed, position, stream, number + 1])


def places(start: int, rank: int, ranks: int, batch: int) -> list[int]:
    """Positions of a rank's next `batch` images when it has got all of its own before `start`.

    `training.data.dataset.StreamSampler` deals positions like cards: rank r gets those that leave r when divided by
    the number of ranks, so that a global batch is the same set of images whoever works on it.
    """
    return [start + rank + ranks * k for k in range(batch)]


def draw(
    seed: int, positions: list[int], shape: tuple[int, ...], num_timesteps: int, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lines 4 and 5 of Algorithm 1 for the images at `positions`: t uniform over 0..T-1, eps standard normal.

    Timesteps come from the CPU, noise from the device itself; the same device draws the same noise again.

    Returns:
        Timesteps [N] (int64, on the CPU) and noise [N, *shape] (float32, on `device`).
    """
    timesteps, noise = [], []
    for position in positions:
        for_t, for_eps = np.random.SeedSequence([seed, position]).generate_state(2, np.uint64)
        timesteps.append(int(np.random.default_rng(int(for_t)).integers(num_timesteps)))
        generator = torch.Generator(device).manual_seed(int(for_eps >> np.uint64(1)))
        noise.append(torch.randn(shape, generator=generator, device=device))
    return torch.tensor(timesteps), torch.stack(noise)


def dropped(seed: int, positions: Sequence[int], share: float) -> torch.Tensor:
    """Which of the images at `positions` lose a sequence of their MRI, bool [N]: each with the chance `share`."""
    return torch.tensor([random_of(seed, position, DROPPED).random() < share for position in positions])


def jitter(seed: int, positions: list[int], shape: tuple[int, ...], device: torch.device | str) -> torch.Tensor:
    """Standard normal noise [N, *shape] on the conditions of the images at `positions`, apart from `draw`'s."""
    found = [np.random.default_rng([seed, position, 1]).standard_normal(shape, np.float32) for position in positions]
    return torch.from_numpy(np.stack(found)).to(device)


def without_some_t2f(batch: dict, gone: torch.Tensor) -> dict:
    """A batch in which the T2-FLAIR [N, 1, X, Y, Z] of some images is background, as in a synthesis from a T1w alone.

    Args:
        gone: bool [N].

    Raises:
        ConfigError: the batch brings no T2-FLAIR.
    """
    if "t2f" not in batch:
        raise ConfigError("data.drop_t2f: what this method is trained on holds no T2-FLAIR of its own; use 0")
    return {**batch, "t2f": batch["t2f"].masked_fill(gone[:, None, None, None, None], BACKGROUND)}
