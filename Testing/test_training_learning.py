"""Known answers of training: a phantom learnt by heart, a discriminator that the penalty keeps smooth."""

import json

import pytest
import torch
from training_runs import Phantoms, tiny_config

from RelAPETLib.networks.discriminator import build_discriminator
from training.config import Preset
from training.loop import run
from training.losses import squared_gradient_norm
from training.reports import LOG
from training.steps import Objective, discriminator_loss
from training.trainer import RunData


def gradient_norm_after(gamma: float, seed: int, steps: int = 300) -> float:
    """Mean ||grad D|| on true and noisy phantoms over the last 100 steps of D's learning to tell them apart."""
    torch.manual_seed(seed)
    phantoms = Phantoms(4)
    real = torch.stack([phantoms[i]["pet"] for i in range(len(phantoms))])
    D = build_discriminator("group")
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-3)
    weights = Objective(adversarial_weight=1.0, penalty_gamma=gamma)
    norms = []
    for step in range(steps):
        fake = real + 0.3 * torch.randn_like(real)
        loss, _ = discriminator_loss(D, real, fake, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps - 100 and step % 20 == 0:
            squared = squared_gradient_norm(lambda x: D(x)[-1], torch.cat([real, fake])).detach()
            norms.append(float(squared.sqrt().mean()))
    return sum(norms) / len(norms)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_penalty_keeps_the_discriminator_smooth(seed):
    """The gradient of all summed logits is penalised: the default for a volume's 62,092 is scaled to a phantom's 2."""
    gamma = Preset().penalty_gamma * 62_092 / 2
    assert gradient_norm_after(gamma, seed) < gradient_norm_after(0.0, seed) / 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ddpm", "ficd", "rela"])
def test_one_phantom_is_learnt_by_heart(tmp_path, method):
    config = tiny_config(
        tmp_path,
        f"method={method}",
        "run.steps=600",
        "run.learning_rate=cosine",
        "seed=1",
        "run.log_every=200",
        "run.checkpoint_every=1000",
        "run.validate_every=1000",
        "run.validation_volumes=1",
        "run.validation_steps=10",
        "preset.global_batch=4",
        "hardware.micro_batch=4",
        "network.channels=[16,32]",
        "network.num_head_channels=32",
        "network.norm_num_groups=8",
        "network.cross_attention_dim=32",
        "preset.ema_decay=0.99",
        "preset.generator_learning_rate=1e-3",
        "preset.discriminator_learning_rate=3e-4",
    )
    phantom = Phantoms(1)
    assert run(config, RunData(phantom, phantom, "0" * 64), quiet=True) == 0
    last = json.loads((tmp_path / LOG).read_text().splitlines()[-1])
    assert last["group"] == "validation" and last["mae"] < 0.03, last
