"""Known answers of FICD and DDPM, which are RelA-Diffusion without some of its terms, and of their sizes."""

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective

from training.bench.settings import UNET
from training.config import load_config
from training.methods.base import Place
from training.methods.rela.networks import noise_schedule

SMALL = ("network.factor=10", "network.channels=[8,16]", "network.num_res_blocks=1",
         "network.attention_levels=[false,true]", "network.num_head_channels=16", "network.norm_num_groups=4",
         "network.cross_attention_dim=16", "hardware.accelerator=cpu")  # fmt: skip


def configured(*words):
    return load_config([*words, "data.cache=memory", "out=unused"])


def learned(*words):
    """Weights of the generator, its loss on two phantoms, and the gradient of that."""
    objective = fresh_objective(configured(*words, *SMALL))
    batch = batch_of(Phantoms(2, shape=(16, 18, 16)), 0, 1)
    losses, _ = objective.losses(batch, Place(30, 30, [4, 5]))
    losses["generator"].backward()
    own = dict(objective.modules["generator"].named_parameters())
    return {name: p.detach() for name, p in own.items()}, losses["generator"], {n: p.grad for n, p in own.items()}


@pytest.mark.parametrize("preset", ["paper", "release", "fair"])
def test_ficd_is_rela_without_its_adversarial_part_bit_by_bit(preset):
    two = [learned("method=ficd", f"preset={preset}"),
           learned("method=rela", f"preset={preset}", "preset.adversarial_weight=0")]  # fmt: skip
    (weights, loss, gradient), (same_weights, same_loss, same_gradient) = two
    assert torch.equal(loss, same_loss) and weights.keys() == same_weights.keys()
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    found = [name for name in gradient if gradient[name] is not None]
    assert found and all(torch.equal(gradient[name], same_gradient[name]) for name in found)
    _, ddpm, _ = learned("method=ddpm", f"preset={preset}")
    _, image, _ = learned("method=ficd", f"preset={preset}", "method.image_weight=0")
    assert torch.equal(ddpm, image) and not torch.equal(ddpm, loss)


def test_the_schedule_is_the_papers():
    bars = noise_schedule(configured("method=ficd", "preset=paper")).alphas_cumprod
    assert bars[[0, 499, 999]].tolist() == pytest.approx([0.9995, 0.0719755, 4.25124e-5], rel=1e-5)


@pytest.mark.parametrize("method", ["rela", "ficd", "ddpm", "unet_l1", "unet_l2"])
def test_the_fair_preset_has_the_benchs_network(method):
    assert configured(f"method={method}", "preset=fair").network == configured(f"method={method}", *UNET).network
    other = configured(f"method={method}", "preset=fair", "network=published", "network.norm_num_groups=4").network
    assert other.channels == [16, 32, 64] and other.norm_num_groups == 4
