"""A tiny data set in memory and the configuration of runs over it that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.config import TrainConfig, load_config
from training.trainer import RunData

SHAPE = (12, 16, 12)
TINY = [
    "network.channels=[4,8]",
    "network.attention_levels=[false,true]",
    "network.num_head_channels=8",
    "network.norm_num_groups=4",
    "network.cross_attention_dim=8",
    "network.num_res_blocks=1",
    "preset.adversarial_start_epoch=0",
    "preset.generator_learning_rate=1e-3",
    "preset.discriminator_learning_rate=1e-3",
    "data.cache=memory",
    "data.workers=0",
    "hardware.accelerator=cpu",
    "run.log_every=1",
    "run.validation_volumes=2",
    "run.validation_steps=3",
]


class Phantoms(torch.utils.data.Dataset):
    """Smooth blobs whose PET is a fixed function of the MRI and the tracer. `broken` raises, `nan` is no number."""

    def __init__(self, count: int, shape=SHAPE, broken: int | None = None, nan: int | None = None):
        self.count, self.shape, self.broken, self.nan = count, shape, broken, nan

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        if index == self.broken:
            raise RuntimeError(f"item {index} is broken")
        rng = np.random.default_rng(index)
        places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in self.shape), indexing="ij"))
        waves = [np.sin((rng.normal(size=(3, 1, 1, 1)) * places).sum(0) * 2 + rng.normal()) for _ in range(2)]
        t1w, t2f = (torch.from_numpy(w.astype(np.float32))[None] for w in waves)
        label = index % 3
        pet = torch.tanh(t1w * (label - 1) + 0.5 * t2f)
        if index == self.nan:
            pet = pet * float("nan")
        tracer = ("PBR", "PIB", "TAU")[label]
        return {"t1w": t1w, "t2f": t2f, "pet": pet, "label": label, "subject": f"sub-{index:02d}", "tracer": tracer}


def tiny_config(out: Path | str, *overrides: str) -> TrainConfig:
    """Configuration of a run of a small network over phantoms."""
    return load_config([*TINY, f"out={out}", *overrides])


def tiny_data(count: int = 4, **how) -> RunData:
    """Phantoms to train on and two others to validate on."""
    return RunData(Phantoms(count, **how), Phantoms(2), "0" * 64)
