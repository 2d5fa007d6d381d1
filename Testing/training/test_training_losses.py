"""Losses of Algorithm 1 against the published implementation's numbers, and each ablation's objective."""

import pytest
import torch
from golden import published_numbers, ruled_weights

from RelAPETLib.diffusion import NoiseSchedule, Parametrization
from RelAPETLib.networks.discriminator import build_discriminator
from RelAPETLib.networks.generator import build_generator
from training.config import load_config
from training.methods.rela import losses
from training.methods.rela.networks import condition, published_state_dict
from training.methods.rela.steps import (
    Weights,
    algorithm_1,
    discriminator_loss,
    generator_adversarial,
    predict,
    weights_of,
)

SMALL = {
    "channels": [4, 8],
    "attention_levels": [False, True],
    "num_head_channels": 8,
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "num_res_blocks": 1,
}
SMALL_OVERRIDES = [f"network.{key}={value}".replace(" ", "") for key, value in SMALL.items()]


@pytest.fixture(scope="module")
def golden():
    return published_numbers()


@pytest.fixture(scope="module")
def published_D():
    network = build_discriminator(norm="batch").eval()
    network.load_state_dict(ruled_weights()["discriminator"])
    return network


@pytest.fixture
def step():
    """Arguments of `algorithm_1` for small networks on a small random pair."""
    torch.manual_seed(0)
    x0 = torch.rand(2, 1, 16, 20, 16) * 2 - 1
    return {
        "G": build_generator(**SMALL),
        "D": build_discriminator("group"),
        "x0": x0,
        "mri": torch.randn(2, 2, 16, 20, 16),
        "c": torch.tensor([0, 2]),
        "t": torch.tensor([12, 300]),
        "eps": torch.randn_like(x0),
        "parametrization": Parametrization(NoiseSchedule()),
    }


def configured(*overrides):
    return load_config(["data.cache=unused", "out=unused", *SMALL_OVERRIDES, *overrides])


def test_generator_loss_of_the_release(golden, published_D):
    ours = generator_adversarial(published_D, golden["d_real_input"], golden["d_fake_input"], Weights())
    assert abs(float(ours.detach()) - float(golden["loss_generator_eval"])) < 1e-5


@pytest.mark.parametrize("one_by_one", [False, True])
def test_discriminator_loss_of_the_release(golden, published_D, one_by_one):
    weights = Weights(
        adversarial_weight=1.0, penalty_gamma=1e-3, penalty_reduction="release", penalty_one_by_one=one_by_one
    )
    ours, _ = discriminator_loss(published_D, golden["d_real_input"], golden["d_fake_input"], weights)
    assert abs(float(ours.detach()) - float(golden["loss_discriminator_eval"])) < 1e-5


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_squared_gradient_norm_of_the_release(golden, published_D, kind):
    image = golden[f"d_{kind}_input"]
    full = losses.squared_gradient_norm(lambda x: published_D(x)[-1], image)
    theirs = golden[f"grad_sq_norm_{kind}_eval"]
    assert torch.allclose(full, theirs, rtol=1e-5)
    averaged = losses.squared_gradient_norm(lambda x: published_D(x)[-1], image, "release")
    assert torch.allclose(averaged * image.shape[-1], theirs, rtol=1e-5)


def test_clean_estimate_in_the_step(golden):
    x0, eps, t = golden["x0"], golden["eps"], golden["timesteps"]
    zero = torch.zeros(x0.shape[0], 2, *x0.shape[2:])
    terms = algorithm_1(
        lambda x, t, class_labels: golden["eps_hat"],
        None,
        x0,
        zero,
        None,
        t,
        eps,
        Parametrization(NoiseSchedule()),
        Weights(),
    ).terms
    assert torch.allclose(terms["L_N"], (golden["eps_hat"] - eps).square().mean())
    assert abs(float(terms["L_I"] - (golden["x0_hat_clipped"] - x0).abs().mean())) < 1e-5


def test_generator_gradient_through_the_published_discriminator(golden, published_D):
    """d L_R / d x0_hat by differences, with the published weights in float64."""
    D = build_discriminator(norm="batch").double().eval()
    D.load_state_dict(published_D.state_dict())
    real, fake = golden["d_real_input"].double(), golden["d_fake_input"].double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(generator_adversarial(D, real, fake, Weights()), fake)
    direction = torch.randn(fake.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (generator_adversarial(D, real, fake + h * direction, Weights()) for h in (1e-8, -1e-8))
    expected = float((gradient * direction).sum())
    assert abs(float(ahead - behind) / 2e-8 - expected) < 1e-4 * abs(expected)


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
def test_discriminator_gradient_with_penalty(golden, published_D, reduction):
    """d L_D / d parameters, second derivatives of the penalty included, by differences."""
    D = build_discriminator(norm="batch").double().eval()
    D.load_state_dict(published_D.state_dict())
    weights = Weights(adversarial_weight=1.0, penalty_gamma=1e-3, penalty_reduction=reduction)
    pair = golden["d_real_input"].double(), golden["d_fake_input"].double()
    parameters = list(D.parameters())
    gradients = torch.autograd.grad(discriminator_loss(D, *pair, weights)[0], parameters, allow_unused=True)
    torch.manual_seed(0)
    directions = [torch.randn_like(p) for p in parameters]
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
    values = []
    for h in (1e-9, -2e-9):  # LeakyReLU's kinks make the penalty jump: small steps cross none
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=h)
        values.append(float(discriminator_loss(D, *pair, weights)[0].detach()))
    assert abs((values[0] - values[1]) / 2e-9 - expected) < 1e-4 * abs(expected)


def test_each_player_keeps_to_its_own_parameters(step):
    result = algorithm_1(**step, weights=Weights())
    result.generator.backward()
    assert all(p.grad is None for p in step["D"].parameters())
    before = [p.grad.clone() for p in step["G"].parameters()]
    result.discriminator.backward()
    assert all(p.grad is not None for p in step["D"].parameters())
    assert all(torch.equal(a, p.grad) for a, p in zip(before, step["G"].parameters(), strict=True))


def test_total_objective_is_the_weighted_sum_of_its_terms(step):
    weights = Weights(adversarial_weight=0.1)
    result = algorithm_1(**step, weights=weights)
    terms = result.terms
    assert torch.isclose(result.generator, terms["L_N"] + terms["L_I"] + 0.1 * terms["L_R"])
    assert torch.isclose(result.discriminator, 0.1 * (terms["L_R_D"] + terms["L_G"]))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("ablation=wo_ra", {"L_R", "L_R_D"}),
        ("ablation=wo_gp", {"L_G"}),
        ("ablation=wo_ra_gp", {"L_R", "L_R_D", "L_G"}),
        ("method=ficd", {"L_R", "L_R_D", "L_G", "D_gap"}),
    ],
)
def test_an_ablation_differs_in_the_term_it_names(step, override, changed):
    full = algorithm_1(**step, weights=weights_of(configured(), epoch=20)).terms
    ablated = algorithm_1(**step, weights=weights_of(configured(override), epoch=20)).terms
    differing = {name for name in full if name not in ablated or not torch.equal(full[name], ablated[name])}
    assert differing == changed and not ablated.keys() - full.keys()


def test_ddpm_is_the_noise_loss_alone(step):
    result = algorithm_1(**step, weights=weights_of(configured("method=ddpm"), epoch=99))
    assert torch.equal(result.generator, result.terms["L_N"]) and result.discriminator is None


def test_an_ablation_is_one_term_of_the_configuration():
    full = weights_of(configured(), 20)
    for name, fields in {"wo_gp": {"penalty_gamma": 0.0}, "wo_ra": {"relativistic": False}}.items():
        ablated = weights_of(configured(f"ablation={name}"), 20)
        assert ablated == Weights(**{**vars(full), **fields})
    for name in ("wo_t1w", "wo_t2f"):
        assert weights_of(configured(f"ablation={name}"), 20) == full


def test_standard_gan_loss_is_binary_cross_entropy():
    real, fake = torch.randn(2, 1, 3, 3, 3), torch.randn(2, 1, 3, 3, 3)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(real), torch.zeros_like(real)
    assert torch.isclose(losses.plain_generator_loss(real, fake), bce(fake, one))
    assert torch.isclose(losses.plain_discriminator_loss(real, fake), bce(real, one) + bce(fake, zero))


def test_adversarial_part_waits_for_its_epoch(step):
    assert weights_of(configured(), 19).adversarial_weight == 0
    assert weights_of(configured("preset=release"), 20).adversarial_weight == 1
    assert weights_of(configured("preset=paper"), 0).adversarial_weight == 0.1
    assert algorithm_1(**step, weights=weights_of(configured(), 19)).discriminator is None


def test_a_missing_sequence_is_dropped_or_blanked():
    t1w, t2f = torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4)
    assert torch.equal(condition(configured("ablation=wo_t1w"), t1w, t2f), t2f)
    assert torch.equal(condition(configured("ablation=wo_t2f"), t1w, t2f), t1w)
    blanked = condition(configured("ablation=wo_t2f", "preset=paper"), t1w, t2f)
    assert torch.equal(blanked, torch.cat([t1w, torch.full_like(t2f, -1)], 1))
    assert torch.equal(condition(configured(), t1w, t2f), torch.cat([t1w, t2f], 1))


@pytest.mark.parametrize("override", ["ablation=wo_t1w", "ablation=wo_t2f", "preset=paper"])
def test_published_shape_answers_as_the_trained_network(override):
    config = configured(override)
    torch.manual_seed(1)
    t1w, t2f, x_t = (torch.randn(1, 1, 8, 8, 8) for _ in range(3))
    t, c = torch.tensor([437]), torch.tensor([1])
    mri = condition(config, t1w, t2f)
    trained = build_generator(**{**SMALL, "in_channels": 1 + mri.shape[1]}).eval()
    torch.nn.init.normal_(trained.out[2].conv.weight)
    published = build_generator(**SMALL).eval()
    published.load_state_dict(published_state_dict(config, trained.state_dict()))
    with torch.no_grad():
        theirs = predict(trained, x_t, mri, t, c, config.preset.first_timestep)
        ours = predict(published, x_t, torch.cat([t1w, t2f], 1), t, c)
    assert torch.allclose(ours, theirs, atol=1e-5) and theirs.std() > 0.1
