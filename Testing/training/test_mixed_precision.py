"""bf16 and fp16: what a network is given stays whole, and all players of a step share one scale of their losses."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from training_runs import batch_of, plain_config, tiny_config, tiny_data

from training import checkpoints, methods
from training.errors import DivergedError
from training.faults import StopRequest
from training.loop import start_fabric
from training.methods.base import Place
from training.mixed_precision import PlayersPrecision
from training.plans import plan_of
from training.trainer import Trainer

SMALL = {
    "rela": ("preset.prediction=noise",),
    "cyclegan": ("method=cyclegan", "preset=fair", "preset.channels=[8,16]", "preset.num_res_blocks=1",
                 "preset.discriminator_channels=4", "preset.discriminator_layers=1"),
    "jdam": ("method=jdam", "preset=fair", "preset.channels=[4,8]", "preset.attention_levels=[false,false]",
             "preset.norm_num_groups=1"),
}  # fmt: skip


def small(name, out, *words):
    configured = tiny_config if name == "rela" else plain_config
    return configured(out, *SMALL[name], "preset.global_batch=2", "run.validation_volumes=0", *words)


@pytest.mark.parametrize("gives", ["edm", "clean", "score"])
def test_noise_of_a_hundred_times_the_image_leaves_the_clean_estimate_whole_in_bfloat16(tmp_path, gives):
    """An untrained U-Net gives zeros, so that all of JDAM's error is that of its own arithmetic."""
    found = {}
    for precision in ("fp32", "bf16"):
        config = small(
            "jdam", tmp_path, f"preset.gives={gives}", "preset.sigma_max=348", f"hardware.precision={precision}"
        )
        fabric, objective = start_fabric(config), methods.objective(config)
        objective.bind(fabric, {n: fabric.setup_module(player.module) for n, player in objective.build().items()})
        batch = batch_of(tiny_data(4).train, 0, 1, 2, 3)
        terms = [objective.losses(batch, Place(0, 0, range(4 * n, 4 * n + 4)))[1] for n in range(4)]
        found[precision] = torch.stack([torch.stack(list(one.values())) for one in terms])
    torch.testing.assert_close(found["bf16"], found["fp32"], rtol=1e-3, atol=1e-5)


def half_precision(scale):
    """fp16 with the scaling of losses that GPUs need, here on a CPU."""
    return PlayersPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


def moves(config, precision=None):
    """How far the weights of each player went in a step."""
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[precision] if precision else None)
    fabric.launch()
    data = tiny_data(4)
    plan = replace(plan_of(config, len(data.train), 1), skips_overflow=precision is not None)
    trainer = Trainer(fabric, methods.objective(config), data, plan, quiet=True)
    before = {name: [p.detach().clone() for p in t.network.parameters()] for name, t in trainer.players.items()}
    with StopRequest() as stop:
        assert trainer.train(stop) == 0
    return {
        name: torch.cat(
            [(p.detach() - old).flatten() for p, old in zip(t.network.parameters(), before[name], strict=True)]
        )
        for name, t in trainer.players.items()
    }


@pytest.mark.parametrize("name", ["rela", "cyclegan"])
def test_every_player_takes_the_step_of_float32_under_fp16(tmp_path, name):
    """Adam hides a wrong scale but for its epsilon."""
    words = ("run.steps=1", "run.clip_gradients=1")
    whole, precision = moves(small(name, tmp_path / "whole", *words)), half_precision(256.0)
    half = moves(small(name, tmp_path / "half", *words), precision)
    assert len(whole) > 1
    for player, move in whole.items():
        assert move.any(), player
        torch.testing.assert_close(half[player].abs().mean(), move.abs().mean(), rtol=0.05, atol=0)
    assert precision.state_dict()["_growth_tracker"] == 1, "one step, whatever the number of players"


def test_an_overflow_holds_back_whose_it_is_and_lowers_the_scale_once(tmp_path):
    precision = half_precision(2.0**40)
    found = moves(small("cyclegan", tmp_path, "run.steps=1", "run.clip_gradients=1"), precision)
    assert not found["network"].any() and not found["mri_network"].any()
    assert found["discriminator"].any() and found["mri_discriminator"].any(), "they work in float32"
    assert precision.scaler.get_scale() == 2.0**39


def test_gradients_that_no_scale_saves_end_the_run_with_one_line(tmp_path, monkeypatch):
    """A gradient that is infinite in float16 whatever it is multiplied by; a run of weeks would learn nothing."""
    monkeypatch.setattr("training.trainer.MOST_OVERFLOWS", 3)
    config = small("cyclegan", tmp_path, "run.steps=9", "run.checkpoint_every=100", "run.clip_gradients=1")
    with pytest.raises(DivergedError, match="step 3: gradients overflowed float16 in 3.*=bf16 or fp32.*-00000002.pt"):
        moves(config, half_precision(2.0**100))
    assert checkpoints.latest(tmp_path)[1]["step"] == 2, "nothing is lost"
    assert len(moves(config)) == 4 and checkpoints.latest(tmp_path)[1]["step"] == 9, "and float32 goes on"
    monkeypatch.setattr("training.trainer.MOST_OVERFLOWS", 2)
    precision = half_precision(2.0**18)
    moves(small("rela", tmp_path / "found", "run.steps=6"), precision)
    assert precision.overflows == 0, "a scale that is found again is nothing to end for"
