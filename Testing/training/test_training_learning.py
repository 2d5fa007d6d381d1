"""Known answers of training: a phantom that is memorised, a discriminator that the penalty keeps smooth."""

import json

import pytest
import torch
from training_runs import SHAPE, Ball, Phantoms, tiny_config

from RelAPETLib.networks.discriminator import build_discriminator
from training.loop import run
from training.methods.rela.config import Preset
from training.methods.rela.losses import squared_gradient_norm
from training.methods.rela.steps import Weights, discriminator_loss
from training.reports import LOG
from training.trainer import RunData


def gradient_norm_after(gamma: float, seed: int, steps: int = 600) -> float:
    """Mean ||grad D|| on true and noisy phantoms over the last 100 steps of D's learning to tell them apart.

    The learning rate falls to 0: at a constant one the penalised norm of some seeds leaps up for some steps.
    """
    torch.manual_seed(seed)
    phantoms = Phantoms(4)
    real = torch.stack([phantoms[i]["pet"] for i in range(len(phantoms))])
    D = build_discriminator("group")
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    weights = Weights(adversarial_weight=1.0, penalty_gamma=gamma)
    norms = []
    for step in range(steps):
        fake = real + 0.3 * torch.randn_like(real)
        loss, _ = discriminator_loss(D, real, fake, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
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
@pytest.mark.parametrize(
    ("method", "shape", "steps", "batch"),
    [("ddpm", (8, 8, 8), 1200, 8), ("ficd", (8, 8, 8), 600, 8), ("rela", SHAPE, 1000, 4)],
)
def test_one_phantom_is_memorised(tmp_path, method, shape, steps, batch):
    """Whatever noise sampling begins with: MAE in [0, 1] over eight draws.

    One normalisation group, not pairs of channels, lets the volume's level through: what the noise's mean hides of it
    at the first timesteps is a thousandth of the noise loss, and the larger the volume the less. D takes no 8 x 8 x 8.
    """
    config = tiny_config(
        tmp_path,
        f"method={method}",
        f"run.steps={steps}",
        "run.learning_rate=cosine",
        "seed=1",
        "run.log_every=200",
        "run.checkpoint_every=2000",
        "run.validate_every=2000",
        "run.validation_volumes=8",
        "run.validation_steps=20",
        f"preset.global_batch={batch}",
        f"hardware.micro_batch={batch}",
        "network.channels=[16,32]",
        "network.attention_levels=[false,false]",
        "network.norm_num_groups=1",
        "network.num_head_channels=32",
        "network.cross_attention_dim=32",
        "preset.ema_decay=0.99",
        "preset.generator_learning_rate=2e-3",
        "preset.discriminator_learning_rate=3e-4",
    )
    assert run(config, RunData(Ball(1, shape), Ball(8, shape), "0" * 64), quiet=True) == 0
    last = json.loads((tmp_path / LOG).read_text().splitlines()[-1])
    assert last["group"] == "validation" and last["mae"] < 0.025, last
