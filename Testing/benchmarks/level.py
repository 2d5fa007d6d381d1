"""Do the generator's normalisation groups hide a volume's level? A phantom learned with 8 groups and with one.

``python Testing/benchmarks/level.py`` trains ``method=ficd`` on one phantom of 12 x 16 x 12 voxels, draws eight samples
from different noise, and writes ``results/level.md``: their error, and the error of their means alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from training_runs import Phantoms, tiny_config

from RelAPETLib.diffusion import NoiseSchedule, sample
from training import checkpoints
from training.data.cache import write_whole
from training.loop import run
from training.methods.rela.networks import build_networks, condition
from training.methods.rela.steps import predict
from training.trainer import RunData

GROUPS = (8, 1)
DRAWS = 8


def errors(groups: int, seed: int, steps: int) -> tuple[float, float]:
    """MAE of the samples, and mean absolute error of their means, both in the [-1, 1] of the data."""
    with tempfile.TemporaryDirectory() as folder:
        config = tiny_config(
            folder,
            "method=ficd",
            f"run.steps={steps}",
            f"run.checkpoint_every={steps}",
            f"run.validate_every={2 * steps}",
            "run.learning_rate=cosine",
            f"seed={seed}",
            "preset.global_batch=4",
            "hardware.micro_batch=4",
            "network.channels=[16,32]",
            f"network.norm_num_groups={groups}",
            "network.num_head_channels=32",
            "network.cross_attention_dim=32",
            "preset.ema_decay=0.99",
            "preset.generator_learning_rate=2e-3",
        )
        phantom = Phantoms(1)
        if run(config, RunData(phantom, phantom, "0" * 64), quiet=True):
            raise SystemExit("the training failed")
        generator, _ = build_networks(config)
        generator.load_state_dict(checkpoints.exported_weights(checkpoints.latest(Path(folder))[1])["generator"])
    generator.eval()
    item, schedule = phantom[0], NoiseSchedule()
    x0, labels = item["pet"][None], torch.tensor([item["label"]])
    mri = condition(config, item["t1w"][None], item["t2f"][None])

    def noise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return predict(generator, x_t, mri, t, labels)

    with torch.no_grad():
        made = [sample(noise, x0.shape, schedule, steps=20, seed=draw, clip=(-1, 1)) - x0 for draw in range(DRAWS)]
    return (
        float(np.mean([float(error.abs().mean()) for error in made])),
        float(np.mean([abs(float(error.mean())) for error in made])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# What normalisation groups do to a volume's level",
        "",
        f"- made by `python Testing/benchmarks/level.py --steps {options.steps}` on {date.today()}, one CPU thread",
        f"- ficd, 16 and 32 channels, one phantom of 12 x 16 x 12 voxels, {options.steps} steps of batch 4; {DRAWS} "
        "samples from different noise",
        "- in the [-1, 1] of the data",
        "",
        "| seed | groups | MAE | error of the volume's mean |",
        "|---|---|---|---|",
    ]
    for seed in options.seeds:
        for groups in GROUPS:
            whole, level = errors(groups, seed, options.steps)
            lines.append(f"| {seed} | {groups} | {whole:.3f} | {level:.3f} |")
            print(lines[-1], flush=True)
    write_whole(Path(__file__).parent / "results" / "level.md", ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
