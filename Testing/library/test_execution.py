"""Sampling on a device that works behind the program: nothing in the loop waits for it."""

import pytest
import torch

from RelAPETLib.diffusion import NoiseSchedule, Parametrization, noise_for, sample, seeded_noise
from RelAPETLib.methods.rela import RelaDiffusion
from RelAPETLib.methods.rela.method import DEFAULT_SCHEDULE


@pytest.mark.parametrize(
    ("prediction", "sampler"), [("noise", "dpmpp"), ("v", "ddpm"), ("x0", "ddim"), ("edm", "dpmpp")]
)
def test_no_step_waits_for_the_device(prediction, sampler):
    """On the device ``meta`` there are no values: whatever asks for one, or copies one to the CPU, raises."""
    small = {"channels": (8, 16), "attention_levels": (False, True), "num_head_channels": 16, "norm_num_groups": 4}
    arguments = {"factor": 20, "crop": (8, 8, 8), "cross_attention_dim": 16, **small}
    settings = {
        "network": {
            "class": "VoxelDiffusion",
            "arguments": {**arguments, "prediction": prediction, "schedule": dict(DEFAULT_SCHEDULE)},
        },
        "diffusion_space": {"channels": 1, "shape": (8, 8, 8)},
        "schedule": DEFAULT_SCHEDULE,
        "prediction": prediction,
        "sampler": {"name": sampler, "steps": 3, "clip": [-1, 1], "samples": 1},
    }
    method = RelaDiffusion.build(settings)
    method.network.to("meta")
    predict = method.predict_noise if prediction == "noise" else method.denoise
    encoded, labels = torch.zeros(1, 2, 8, 8, 8, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    asked = []

    def answer(x_t, timesteps):
        asked.append(timesteps.device.type)
        return predict(x_t, encoded, timesteps, labels)

    drawn = sample(
        answer,
        (2, 1, 8, 8, 8),
        method.schedule,
        gives=method.network.gives,
        sampler=sampler,
        steps=3,
        clip=(-1, 1),
        device="meta",
    )
    assert asked == ["meta"] * 3 and drawn.shape == (2, 1, 8, 8, 8) and drawn.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):  # so the device does tell
        asked_for = drawn.sum()
        asked_for.item()


def test_rates_are_the_schedules_whatever_mode_they_are_first_asked_in():
    schedule, t = NoiseSchedule(), torch.tensor([0, 500, 999])
    with torch.inference_mode():
        schedule.rates_like(torch.zeros(3, 1, 2), t)
    x = torch.zeros(3, 1, 2, requires_grad=True)
    alpha, sigma = schedule.rates_like(x, t)
    assert alpha.shape == sigma.shape == (3, 1, 1)
    for k, timestep in enumerate(t.tolist()):
        wanted = torch.tensor(schedule.rates(timestep), dtype=torch.float64).float()
        assert torch.equal(torch.stack([alpha[k, 0, 0], sigma[k, 0, 0]]), wanted)
    Parametrization(schedule, "v").clean(x, x, t).sum().backward()  # inference tensors could not be used here
    assert x.grad is not None


def test_noise_is_the_cpus_and_comes_to_a_gpu_without_waiting(monkeypatch):
    """There is no GPU here: what is done to the numbers is recorded, and left out."""
    own, done = seeded_noise(7, mirrored=True), []
    assert noise_for("cpu", own) is own and noise_for(torch.device("mps"), own) is own

    def recorded(tensor, *args, **kwargs):
        done.append((args, kwargs))
        return tensor

    plain = seeded_noise(7, mirrored=True)
    wanted = [plain(index, (2, 1, 3)) for index in range(2)]
    monkeypatch.setattr(torch.Tensor, "pin_memory", recorded)
    monkeypatch.setattr(torch.Tensor, "to", recorded)
    source = noise_for("cuda:1", own)
    found = [source(index, (2, 1, 3)) for index in range(2)]
    assert done == 2 * [((), {}), (("cuda:1",), {"non_blocking": True})]
    assert torch.equal(torch.stack(found), torch.stack(wanted))
