"""Where memory is short one sample is computed slab by slab, before a GPU is left and before the CPU gives up."""

import dataclasses

import pytest
import torch
from test_memory_ahead import plan

from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.methods.rela import RelaDiffusion
from RelAPETLib.models import Model, load_model
from RelAPETLib.networks import lean_unet
from RelAPETLib.networks.execution import in_slabs, slabs_wanted
from RelAPETLib.synthesis import memory, sampling


@pytest.fixture(scope="module")
def wide(tiny_latent):
    """A model with a voxel network that takes more than the MRI does, on blocks of 5 mm."""
    model = load_model(tiny_latent)
    torch.manual_seed(0)
    arguments = {"factor": 5, "channels": [32, 32], "num_res_blocks": 1, "attention_levels": [False, False],
                 "num_head_channels": 8, "cross_attention_dim": None,
                 "prediction": "x0", "schedule": model.method.settings["schedule"]}  # fmt: skip
    settings = model.method.settings | {"network": {"class": "VoxelDiffusion", "arguments": arguments}}
    settings["diffusion_space"] = {"channels": 1, "shape": [32, 36, 32]}
    method = RelaDiffusion.build(settings | {"prediction": "x0"})
    torch.nn.init.normal_(method.network.generator.out[2].conv.weight, std=0.02)  # zero when untrained
    method.network.eval().requires_grad_(False)
    return dataclasses.replace(model, method=method)


def counted_in_slabs(model):
    with in_slabs():
        return memory.counted_bytes(model.method, 2, 1, DrawOptions("dpmpp", 1))


def test_one_sample_that_does_not_fit_is_computed_slab_by_slab(wide, free, monkeypatch):
    monkeypatch.setattr(lean_unet, "LEAST", 2**20)
    plain, lean = memory.counted_bytes(wide.method, 2, 1, DrawOptions("dpmpp", 1)), counted_in_slabs(wide)
    assert lean < plain
    need, mri, said, drawn = memory.SHARE["cpu"] * lean + memory.BESIDE["cpu"], torch.zeros(1, 2, 160, 180, 160), [], {}
    for free["cpu"] in (64e9, need + 1e6):
        (one,) = sampling.draw_tracers(
            sampling.ConditionedModel(wide, mri), [plan(samples=1)], progress=lambda f, words: said.append(words)
        )
        drawn[one.slabs] = one
    assert drawn[True].needed == need < drawn[False].needed and drawn[True].device == "cpu"
    assert f"one sample, computed slab by slab, needs about {need / 1e9:.1f} GB" in " ".join(said)
    assert 0 < abs(drawn[True].mean - drawn[False].mean).max() < 2e-5


def test_a_step_is_timed_the_way_it_will_go(wide, free, monkeypatch):
    found = []
    monkeypatch.setattr(RelaDiffusion, "defaults", dataclasses.replace(wide.method.defaults, slow_on_cpu=True))
    monkeypatch.setattr(RelaDiffusion, "seconds_per_step", lambda self, label: found.append(slabs_wanted()) or 1.0)
    for free["cpu"] in (64e9, memory.SHARE["cpu"] * counted_in_slabs(wide) + memory.BESIDE["cpu"] + 1e6):
        sampling.check_duration(wide, 2, 1, 1, yes=False)
    assert found == [False, True]


def test_a_gpu_that_runs_out_goes_slab_by_slab_before_it_is_left(wide, free, monkeypatch):
    monkeypatch.setattr(Model, "to", lambda self, device: dataclasses.replace(self, device=device))
    monkeypatch.setattr(Model, "brought_back", lambda self: self)
    conditioned = sampling.ConditionedModel(
        dataclasses.replace(wide, device="cuda:0"), torch.zeros(1, 2, 160, 180, 160)
    )
    free.update({"cpu": 64e9, "cuda:0": 64e9})
    seen = []

    def draw(conditioned, plans, part, progress):
        seen.append((str(conditioned.model.device), conditioned.slabs))
        if seen[-1][0] != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [torch.zeros(4, 4, 4).numpy()]

    monkeypatch.setattr(sampling, "_draw_batch", draw)
    with pytest.warns(RelAPETWarning) as said:
        (drawn,) = sampling.draw_tracers(conditioned, [plan(samples=1)], yes=True)
    assert seen == [("cuda:0", False), ("cuda:0", True), ("cpu", False)] and not drawn.slabs
    assert "going on slab by slab" in str(said[0].message) and "going on on the CPU" in str(said[1].message)
    free["cuda:0"] = memory.OTHER_SHARE * counted_in_slabs(wide) + memory.OTHER_BESIDE + 1e6
    conditioned = sampling.ConditionedModel(
        dataclasses.replace(wide, device="cuda:0"), torch.zeros(1, 2, 160, 180, 160)
    )
    assert conditioned.find_room(plan(), 4)[0] == 1 and conditioned.slabs and conditioned.model.device == "cuda:0"


def test_a_compiled_network_is_not_expected_to(wide, monkeypatch):
    assert memory.saved_by_slabs(wide.method, 2, DrawOptions("dpmpp", 1), {})
    monkeypatch.setattr(wide.method.network, "ways", ("compile",), raising=False)
    assert not memory.saved_by_slabs(wide.method, 2, DrawOptions("dpmpp", 1), {})
