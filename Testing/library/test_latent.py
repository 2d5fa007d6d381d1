"""The demo network's own algebra, and its regression's."""

import numpy as np
import pytest
import torch

from RelAPETLib.evaluation.ridge import ridge
from RelAPETLib.methods.rela.regression import LatentDiffusion, robust_scale
from RelAPETLib.networks.autoencoder import depth_to_space, space_to_depth

SCHEDULE = {"kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000}


def small_model() -> LatentDiffusion:
    torch.manual_seed(0)
    model = LatentDiffusion(2, (16, 16), (16, 16), components=2, head_features=5, brain_voxels=8, schedule=SCHEDULE)
    model.mask[40:42, 44:46, 40:42] = 1
    model.mri_sd.fill_(1)
    model.latent_sd.fill_(1)
    model.mode_directions.copy_(torch.linalg.qr(torch.randn(3, 2400, 2)).Q.mT)
    model.mode_sd.copy_(torch.tensor([[9.0, 3.0], [5.0, 2.0], [7.0, 1.0]]))
    model.head_mean.normal_()
    model.unet.out[2].conv.weight.data.normal_(0, 0.1)  # MONAI starts the last convolution at zero
    return model.eval()


def test_space_to_depth_keeps_every_voxel():
    volume = torch.arange(2 * 3 * 8 * 12 * 4.0).reshape(2, 3, 8, 12, 4)
    blocks = space_to_depth(volume, 4)
    assert blocks.shape == (2, 192, 2, 3, 1)
    assert torch.equal(depth_to_space(blocks, 4), volume)
    assert set(blocks[0, :64, 1, 2, 0].tolist()) == set(volume[0, 0, 4:8, 8:12, 0:4].flatten().tolist())


def test_robust_scale_ignores_gain_and_offset():
    mri = torch.rand(1, 2, 80, 90, 80)
    mask = torch.rand(80, 90, 80) > 0.5
    assert torch.allclose(robust_scale(mri, mask), robust_scale(3 * mri - 7, mask), atol=1e-4)


@pytest.mark.parametrize("timestep", [0, 500, 999])
def test_noise_prediction_is_that_of_the_shifted_residual(timestep):
    """Shifting z by the head's latent and x_t by sqrt(alpha_bar) times it leaves the predicted noise as it was."""
    model = small_model()
    labels, timesteps = torch.tensor([2]), torch.tensor([timestep])
    encoded = torch.randn(1, 3 * 2, 10, 12, 10)
    x_t = torch.randn(1, 2, 10, 12, 10)
    alpha_bar = model.schedule.alphas_cumprod[timestep]
    head = model.head_latent(encoded, labels)
    v = model.unet(x_t - alpha_bar.sqrt() * head, timesteps, class_labels=labels)
    eps = model.predict_noise(x_t, encoded, timesteps, labels)
    clean = (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    residual = alpha_bar.sqrt() * (x_t - alpha_bar.sqrt() * head) - (1 - alpha_bar).sqrt() * v
    assert torch.allclose(clean, head + residual, atol=2e-3)


def test_whitening_is_undone_and_divides_along_its_directions_only():
    model, labels = small_model(), torch.tensor([0, 2])
    latent = torch.randn(2, 2, 10, 12, 10)
    white = model.whiten(latent, labels)
    assert torch.allclose(model.whiten(white, labels, inverse=True), latent, atol=1e-4)
    along = [torch.einsum("nkl,nl->nk", model.mode_directions[labels], z.flatten(1)) for z in (latent, white)]
    assert torch.allclose(along[1] * model.mode_sd[labels], along[0], atol=1e-4)


def test_head_picks_the_tracer():
    model = small_model()
    encoded = model.head(torch.zeros(3, 24, 10, 12, 10)).flatten(1, 2)
    latents = model.head_latent(encoded, torch.tensor([0, 1, 2]))
    assert torch.allclose(latents.flatten(1), model.head_mean, atol=1e-5)


def test_decode_gives_the_mean_pet_where_the_residual_is_zero():
    model = small_model()
    model.pet_mean.fill_(0.4)
    model.autoencoder.coder.decoder.blocks[-1].conv.weight.data.zero_()
    model.autoencoder.coder.decoder.blocks[-1].conv.bias.data.zero_()
    pet = model.decode(torch.zeros(1, 2, 10, 12, 10), torch.tensor([1])).detach()
    assert pet.shape == (1, 1, 160, 180, 160)
    assert pet[0, 0, 81, 89, 81] == pytest.approx(2 * 0.4 - 1, abs=1e-5)
    assert pet[0, 0, 0, 0, 0] == -1


def test_nothing_of_the_outside_is_interpolated_into_the_brain():
    model = small_model()
    model.mask.zero_()
    model.mask[20:60, 20:70, 20:60] = 1
    slope = torch.linspace(0.2, 0.8, 80)[:, None, None].expand(80, 90, 80)
    filled = model.filled((slope * model.mask)[None, None])[0, 0]
    assert torch.equal(filled[20:60, 20:70, 20:60], slope[20:60, 20:70, 20:60])
    # One voxel beyond each face goes on with what lies next to it; further out there is nothing.
    assert filled[30, 19, 30] == pytest.approx(slope[30, 20, 30].item(), abs=1e-3)
    assert filled[60, 40, 40] == pytest.approx(slope[59, 40, 40].item(), abs=1e-3)
    assert (filled[:19] == 0).all() and (filled[:, 72:] == 0).all()


def test_ridge_leave_one_out_is_what_refitting_gives():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 50))
    y = x[:, :3] @ rng.standard_normal((3, 2)) + 0.5 * rng.standard_normal((30, 2))
    x, y = x - x.mean(0), y - y.mean(0)
    weights, left_out, penalties = ridge(x, y)
    eigenvalues = np.linalg.eigvalsh(x @ x.T)
    for target in range(2):
        penalty = penalties[target] * eigenvalues.mean()
        full = np.linalg.solve(x.T @ x + penalty * np.eye(50), x.T @ y[:, target])
        assert np.allclose(full, weights[target], atol=1e-8)
        rest = np.delete(np.arange(30), 4)
        seen, said = x[rest] - x[rest].mean(0), y[rest, target] - y[rest, target].mean()
        refit = np.linalg.solve(seen.T @ seen + penalty * np.eye(50), seen.T @ said)
        alone = (x[4] - x[rest].mean(0)) @ refit + y[rest, target].mean()
        assert alone == pytest.approx(left_out[4, target], abs=1e-8)


def test_ridge_does_not_take_chance_for_knowledge():
    """Fewer people than features, and nothing to be known: the strongest penalty, and nothing is predicted."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((40, 300)), rng.standard_normal((40, 6))
    _, left_out, _ = ridge(x - x.mean(0), y - y.mean(0))
    assert 1 - ((left_out - (y - y.mean(0))) ** 2).sum() / ((y - y.mean(0)) ** 2).sum() < 0.1
