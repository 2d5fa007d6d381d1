"""A tiny data set in memory and the configuration of runs over it that take seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from training import checkpoints, methods
from training.config import TrainConfig, load_config
from training.methods.base import Objective
from training.reports import LOG
from training.trainer import RunData

SHAPE = (12, 16, 12)
COMMON = [
    "network.channels=[4,8]",
    "network.attention_levels=[false,true]",
    "network.num_head_channels=8",
    "network.norm_num_groups=4",
    "network.cross_attention_dim=8",
    "network.num_res_blocks=1",
    "preset.adversarial_start_epoch=0",
    "preset.generator_learning_rate=1e-3",
    "data.workers=0",
    "hardware.accelerator=cpu",
    "run.log_every=1",
]
TINY = [
    *COMMON,
    "preset.prediction=noise",
    "preset.mean_pet=none",
    "preset.discriminator_learning_rate=1e-3",
    "data.cache=memory",
    "run.validation_volumes=2",
    "run.validation_steps=3",
]
#: A run of any method; its sizes are further words.
PLAIN = ["data.cache=memory", "data.workers=0", "hardware.accelerator=cpu", "run.log_every=1"]
#: A latent run over a cache of blocks of 10 mm.
LATENT = [
    *COMMON,
    "preset.prediction=noise",
    "preset.mean_pet=none",
    "network.factor=10",
    "autoencoder.channels=[4,8]",
    "autoencoder.norm_num_groups=4",
    "autoencoder.latent_channels=3",
    "autoencoder.steps=5",
    "preset.global_batch=2",
    "hardware.micro_batch=2",
    "run.steps=4",
    "run.checkpoint_every=2",
    "run.validate_every=4",
    "run.validation_steps=2",
    "run.validation_volumes=1",
]


#: What a log holds that no two runs have alike.
TIMING = ("images_per_second",)


class Phantoms(torch.utils.data.Dataset):
    """Smooth blobs whose PET is a fixed function of the MRI and the tracer. `broken` raises, `nan` is no number."""

    #: What a run's statistics are kept by, as of a cache.
    cache = SimpleNamespace(sha256="0" * 64)
    #: Side of a block in mm.
    factor = 10

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
        who = f"sub-{index:02d}"
        return {"t1w": t1w, "t2f": t2f, "pet": pet, "label": label, "subject": who, "case": who, "tracer": tracer}


class Ball(torch.utils.data.Dataset):
    """One ball of white in grey matter on the background, with uptake in both, `copies` times."""

    def __init__(self, copies: int, shape: tuple[int, int, int]):
        self.copies, self.shape = copies, shape

    def __len__(self) -> int:
        return self.copies

    def __getitem__(self, index: int) -> dict:
        places = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in self.shape), indexing="ij")
        radius = torch.stack(places).square().sum(0, keepdim=True).sqrt()
        brain, white = radius < 0.85, radius < 0.5
        volumes = {
            name: torch.where(brain, torch.where(white, inner, outer), -1.0)
            for name, inner, outer in (("t1w", 0.6, 0.1), ("t2f", -0.1, 0.3), ("pet", 0.0, 1.0))
        }
        return {**volumes, "label": 2, "subject": "sub-00", "tracer": "TAU"}


def tiny_config(out: Path | str, *overrides: str) -> TrainConfig:
    """Configuration of a run of a small network over phantoms."""
    return load_config([*TINY, f"out={out}", *overrides])


def plain_config(out: Path | str, *overrides: str) -> TrainConfig:
    """Configuration of a run of any method over phantoms; `overrides` name it and its sizes."""
    return load_config([*PLAIN, f"out={out}", *overrides])


def tiny_data(count: int = 4, **how) -> RunData:
    """Phantoms to train on and two others to validate on."""
    return RunData(Phantoms(count, **how), Phantoms(2), "0" * 64)


def latent_config(cache: Path | str, out: Path | str, *overrides: str, method: str = "rela_latent") -> TrainConfig:
    """Configuration of a small latent run over a cache of blocks of 10 mm."""
    return load_config([f"method={method}", *LATENT, f"data.cache={cache}", f"out={out}", *overrides])


def scenario(name: str, out: Path, *arguments: Path | str) -> dict:
    """What ``training_child.py`` reports about a scenario, and under "told" what its processes said."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("training_child.py")), name, str(out), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(out.glob("*.txt")))
    assert done.returncode == 0, done.stderr[-3000:] + told
    return json.loads(done.stdout.splitlines()[-1]) | {"told": told}


def logged(out: Path) -> list[dict]:
    """A run's log without its timings."""
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def same_within(a: list[dict], b: list[dict], tolerance: float) -> None:
    """Two logs tell the same up to a relative tolerance."""
    for mine, theirs in zip(a, b, strict=True):
        assert mine.keys() == theirs.keys() and mine.pop("group") == theirs.pop("group")
        assert mine == pytest.approx(theirs, rel=tolerance), mine["step"]


def tensors(out: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a run's last checkpoint, by its place."""
    found = {}

    def walk(place, item):
        if isinstance(item, torch.Tensor):
            found[place] = item
        elif isinstance(item, dict):
            for key, value in item.items():
                walk(f"{place}.{key}", value)

    state = checkpoints.latest(out)[1]
    state.pop("rng")
    walk("", state)
    return found


def fresh_objective(config: TrainConfig) -> Objective:
    """What a configuration learns, with its players as they begin, on the CPU."""
    learned = methods.objective(config)
    learned.bind(Fabric(accelerator="cpu"), {name: player.module for name, player in learned.build().items()})
    return learned


def batch_of(dataset, *places: int) -> dict:
    """These items of a data set put together."""
    return torch.utils.data.default_collate([dataset[place] for place in places])


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """The network with every weight drawn anew: MONAI's last layer begins as 0, and would answer to nothing."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()
