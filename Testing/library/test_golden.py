"""Network, schedule and sampler against numbers made by running the published implementation on a CPU in float32."""

import pytest
import torch
from golden import published_layout, published_numbers, ruled_weights

from RelAPETLib.diffusion import NoiseSchedule, sample
from RelAPETLib.networks.discriminator import build_discriminator
from RelAPETLib.networks.generator import build_generator, load_release_state_dict, release_name


@pytest.fixture(scope="module")
def golden():
    return published_numbers()


@pytest.fixture(scope="module")
def weights():
    return ruled_weights()


@pytest.fixture(scope="module")
def generator(weights):
    network = build_generator().eval()
    load_release_state_dict(network, weights["generator"])
    return network


def largest_difference(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def test_generator_has_the_published_tensors():
    network = build_generator()
    assert sum(p.numel() for p in network.parameters()) == 3_038_017
    ours = {release_name(name): list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == dict(published_layout()["generator"])


@pytest.mark.parametrize("t", [0, 37, 500, 999])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_generator_output(generator, golden, label, t):
    with torch.no_grad():
        noise = generator(golden["unet_input"], torch.tensor([t]), class_labels=torch.tensor([label]))
    assert largest_difference(noise, golden[f"unet_output_label{label}_t{t}"]) < 1e-5


def test_schedule(golden):
    schedule = NoiseSchedule()
    assert largest_difference(schedule.betas, golden["betas"]) < 1e-8
    assert largest_difference(schedule.alphas_cumprod, golden["alphas_cumprod"]) < 1e-6


def test_forward_process(golden):
    x_t = NoiseSchedule().add_noise(golden["x0"], golden["eps"], golden["timesteps"])
    assert largest_difference(x_t, golden["x_t"]) < 1e-5


def test_clean_estimate(golden):
    schedule = NoiseSchedule()
    x0 = schedule.clean_estimate(golden["x_t"], golden["eps_hat"], golden["timesteps"], clip=(-1, 1))
    assert largest_difference(x0, golden["x0_hat_clipped"]) < 1e-5


def test_last_ten_ancestral_steps_with_replayed_noise(generator, golden):
    replayed = [golden["x_T"], *golden["chain_noise"]]
    x0 = sample(
        lambda x_t, t: generator(torch.cat([x_t, golden["condition"]], 1), t, class_labels=torch.tensor([2])),
        golden["x_T"].shape,
        NoiseSchedule(),
        sampler="ddpm",
        timesteps=golden["chain_timesteps"].tolist(),
        noise=lambda index, shape: replayed[index],
        clip=(-1, 1),
    )
    theirs = golden["chain_output"]
    assert largest_difference(x0, theirs) < 1e-4
    # Nearly all of that is one factor: in float32 beta_0 / (1 - alphas_cumprod_0) is not 1, in our float64 it is.
    inside = theirs.abs() < 0.999
    factor = (x0[inside] @ theirs[inside]) / theirs[inside].square().sum()
    assert abs(float(factor) - 1) < 1e-4
    assert largest_difference(x0[inside], factor * theirs[inside]) < 1e-5


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_discriminator_logits(weights, golden, kind):
    network = build_discriminator(norm="batch").eval()
    assert sum(p.numel() for p in network.parameters()) == 11_573
    network.load_state_dict(weights["discriminator"])
    with torch.no_grad():
        logits = network(golden[f"d_{kind}_input"])[-1]
    assert largest_difference(logits, golden[f"d_{kind}_logits_eval"]) < 1e-5
