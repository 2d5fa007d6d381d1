"""What a run says of itself before it starts."""

import pytest
import torch
from training_runs import latent_config, tiny_config, tiny_data

from training.header import Size, header, memory, sizes
from training.methods import objective
from training.precision import choose


def test_sizes_and_memory_of_the_header():
    config = tiny_config("out")
    found, stages = sizes(objective(config), 1)
    assert not stages
    networks = {name: player.module for name, player in objective(config).build().items()}
    assert list(networks) == list(found) and len(found) == 2
    for name, network in networks.items():
        assert found[name].parameters == sum(p.numel() for p in network.parameters())
    # Weights, gradients, two moments of Adam; and the moving average of the generator.
    kept = 4 * (5 * found["generator"].parameters + 4 * found["discriminator"].parameters)
    buffers = sum(b.nbytes for network in networks.values() for b in network.buffers())
    assert memory(found, {}) == kept + buffers
    config.hardware.strategy = "fsdp"
    shared, _ = sizes(objective(config), 2)
    assert shared["generator"].kept == found["generator"].kept // 2
    assert shared["discriminator"] == found["discriminator"]
    before = torch.get_rng_state()
    sizes(objective(config), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_header_counts_the_stages_that_this_run_trains(tmp_path):
    _, stages = sizes(objective(latent_config("cache", "out")), 1)
    assert list(stages) == ["pet autoencoder", "mri autoencoder"]
    judged, judging = sizes(objective(latent_config("cache", "out", "autoencoder.adversarial_weight=0.1")), 1)
    assert judging["pet autoencoder"].parameters > stages["pet autoencoder"].parameters
    huge = {"pet autoencoder": judging["pet autoencoder"], "mri autoencoder": Size(1, 10**12)}
    assert memory(judged, huge) == 10**12
    assert sizes(objective(latent_config("cache", "out", f"autoencoder.source={tmp_path}")), 1)[1] == {}


def test_header_of_data_without_names():
    lines = header(objective(tiny_config("out")), tiny_data(), "cpu", 2, choose("auto", "cpu", False))
    assert "2 ranks, fp32" in lines[0] and "subjects: unknown" in lines[2] and "images: 4 to train on, 2" in lines[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("preset.adversarial_start_epoch=3",), "no step has the adversarial part: it begins after 3 epochs"),
        (("preset.adversarial_start_epoch=2",), None),
        (("preset.adversarial_start_epoch=3", "method.adversarial=false"), None),
        (("run.warmup_steps=20",), "the learning rate comes to 50% of what is set"),
        (("run.warmup_steps=10",), None),
    ],
)
def test_header_says_what_a_run_never_comes_to(words, said):
    """Ten steps of one of four images are two and a half epochs."""
    config = tiny_config("out", "preset.global_batch=1", "run.steps=10", *words)
    lines = header(objective(config), tiny_data(), "cpu", 1, choose("fp32", "cpu", False))
    assert any("2.5 epochs" in line for line in lines)
    found = [line for line in lines if "no step has" in line or "comes to" in line]
    assert len(found) == (said is not None) and all(said in line for line in found)
