"""Every network sees the tracer also where the norms of its paper's sizes might take it away: far from the borders."""

import json

import pytest
import torch
from lightning_fabric import Fabric
from test_every_method import UNCODED, Row
from training_runs import Phantoms

from RelAPETLib.diffusion import seeded_noise
from training.config import TrainConfig, chosen, flatten, method_class, typed
from training.methods import objective

SIDE, MIDDLE = 16, (..., *[slice(6, 10)] * 3)
#: Least change in SD of the image; ResDM is told the tracer as one token of several, on its coarsest level alone.
LEAST = {"resdm": 0.002}


def papers(row: Row) -> TrainConfig:
    """The paper's preset, or the first one, at the row's sizes; the finest level's groups hold the paper's share of it.

    So they are of one channel where the paper's are. Not checked: the volumes are too small for some discriminators.
    """
    choices = method_class([f"method={row.choice}"]).groups["preset"]
    config = chosen([f"method={row.choice}", f"preset={'paper' if 'paper' in choices else next(iter(choices))}"])
    group = "preset" if hasattr(config.preset, "norm_num_groups") else "network"
    groups = getattr(config, group).norm_num_groups
    width = (getattr(config, "channels", None) or getattr(config, group).channels)[0]
    kept = [word for word in row.small if not word.startswith(("preset=", "preset.prediction=", "run."))]
    small = {key: json.loads(value) for key, _, value in (word.partition("=") for word in kept)}
    small[f"{group}.norm_num_groups"] = groups and max(small[f"{group}.channels"][0] * groups // width, 1)
    small |= {"network.factor": 5, "network.crop": [SIDE] * 3, "run.validation_steps": 1}
    return typed(flatten(config) | {"hardware.accelerator": "cpu", "data.cache": "memory", "out": "unused"} | small)


@pytest.mark.parametrize("row", UNCODED, ids=[row.choice for row in UNCODED])
def test_another_tracer_changes_the_middle_of_what_the_papers_network_gives(row):
    learned, answers = objective(papers(row)), []
    modules = {name: player.module.eval() for name, player in learned.build().items()}
    learned.bind(Fabric(accelerator="cpu"), modules)
    network = modules[row.player]
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():  # it begins without saying anything
            torch.nn.init.normal_(parameter, std=0.1)
    network.register_forward_hook(lambda module, given, answer: answers.append(answer))
    batch = torch.utils.data.default_collate([Phantoms(1, shape=(SIDE,) * 3)[0]])
    with torch.no_grad():
        for label in (0, 2):
            learned.draw({**batch, "label": torch.tensor([label])}, seeded_noise(0))
    one, two = answers[0], answers[len(answers) // 2]
    assert one.shape[2:] == (SIDE,) * 3
    assert (two - one)[MIDDLE].abs().mean() > LEAST.get(row.choice, 0.1) * one.std()
