"""Known answers of MTGD."""

import pytest
import torch
from training_runs import Phantoms, batch_of, fresh_objective

from RelAPETLib.diffusion import NoiseSchedule, Parametrization, seeded_noise
from RelAPETLib.methods.mtgd import MTGD
from RelAPETLib.methods.mtgd.network import MultiSequenceDiffusion
from RelAPETLib.methods.mtgd.process import guided, sample_guided
from training.config import load_config
from training.errors import ConfigError
from training.methods import objective
from training.methods.base import Place
from training.methods.mtgd.objective import nulls

SMALL = {"factor": 20, "channels": [4, 8], "num_heads": 2, "norm_num_groups": 1}
WORDS = ["method=mtgd", "data.cache=memory", "out=unused", "hardware.accelerator=cpu", "network.factor=20",
         "preset.channels=[4,8]", "preset.num_heads=2", "preset.norm_num_groups=1"]  # fmt: skip
SHAPE = (8, 9, 8)


def network(**changes):
    """A network whose every weight says something; MONAI's U-Net begins with some that are zero."""
    torch.manual_seed(0)
    made = MultiSequenceDiffusion(**{**SMALL, **changes})
    for parameter in made.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def case(count=1):
    generator = torch.Generator().manual_seed(3)
    x_t, mri = (torch.randn(count, channels, *SHAPE, generator=generator) for channels in (1, 2))
    return x_t, mri, torch.full((count,), 400), torch.arange(count) % 3


def learner(*words):
    return fresh_objective(load_config([*WORDS, *words]))


def batch(count=2):
    return batch_of(Phantoms(count, shape=SHAPE), *range(count))


# -- the network ----------------------------------------------------------------------------------------------------


def test_the_order_of_sequences_with_their_encoders_means_nothing():
    made, (x_t, mri, t, label) = network(), case()
    before = made(x_t, mri, t, label)
    assert not torch.allclose(before, made(x_t, mri.flip(1), t, label), atol=1e-4)
    for pair in (made.encoders, made.shares):
        one, two = ({name: w.clone() for name, w in part.state_dict().items()} for part in pair)
        pair[0].load_state_dict(two)
        pair[1].load_state_dict(one)
    torch.testing.assert_close(made(x_t, mri.flip(1), t, label), before)


def test_without_what_encoders_add_the_mri_is_not_known():
    made, (x_t, mri, t, label) = network(), case()

    def knows():
        return not torch.equal(made(x_t, mri, t, label), made(x_t, -mri, t, label))

    assert knows()
    for parts in (["to_features"], ["to_tokens"]):
        silent = network()
        for share in silent.shares:
            for part in parts:
                for parameter in getattr(share, part).parameters():
                    torch.nn.init.zeros_(parameter)
        # Either way alone still tells of the MRI.
        assert not torch.equal(silent(x_t, mri, t, label), silent(x_t, -mri, t, label))
    for share in made.shares:
        for parameter in [*share.to_features.parameters(), *share.to_tokens.parameters()]:
            torch.nn.init.zeros_(parameter)
    assert not knows()


def test_a_sequence_looks_at_the_other_one_everywhere():
    made, (_, mri, _, _) = network(), case()
    own = made.encoders[0](mri[:, :1])
    other = made.encoders[1](mri[:, 1:])[-1].detach().requires_grad_()
    made.shares[0](own, [other]).features[-1][0, :, 0, 0, 0].sum().backward()
    assert (other.grad.abs().amax(1) > 0).all()


def test_features_of_every_level_reach_the_output():
    made, (x_t, mri, t, label) = network(channels=[4, 4, 8]), case()
    conditions = made.encode(mri)
    before = made.denoise(x_t, conditions, t, label)
    assert [tuple(level.shape[1:]) for level in conditions.features] == [(4, 8, 12, 8), (4, 4, 6, 4), (8, 2, 3, 2)]
    for level in range(3):
        other = [-f if k == level else f for k, f in enumerate(conditions.features)]
        assert not torch.allclose(before, made.denoise(x_t, conditions._replace(features=tuple(other)), t, label))


def test_tracer_time_and_no_tracer_change_the_output():
    made, (x_t, mri, t, label) = network(), case()
    outputs = [made(x_t, mri, t, label + k) for k in range(made.null + 1)] + [made(x_t, mri, t - 300, label)]
    assert outputs[0].shape == x_t.shape
    for k, one in enumerate(outputs):
        assert not any(torch.allclose(one, other) for other in outputs[:k])


def test_encoding_once_is_the_same_as_at_every_step():
    made, (x_t, mri, t, label) = network(), case()
    many = x_t.expand(3, -1, -1, -1, -1) * torch.tensor([1.0, 2.0, -1.0]).reshape(3, 1, 1, 1, 1)
    apart = made.denoise(many, made.encode(mri).expand(3), t.expand(3), label.expand(3))
    torch.testing.assert_close(apart, made(many, mri.expand(3, -1, -1, -1, -1), t.expand(3), label.expand(3)))


def test_sizes_of_the_presets():
    with torch.device("meta"):
        paper = objective(load_config(["method=mtgd", "data.cache=m", "out=u"])).build()["network"].module
    channels, before = [64, 128, 128, 256, 256], [1, 64, 128, 128, 256]
    encoders = 2 * 27 * sum(a * b + b * b for a, b in zip(before, channels, strict=True))
    shares = 2 * (sum(n * n for n in channels) + 5 * 256**2)
    own = sum(p.numel() for part in (paper.encoders, paper.shares) for p in part.parameters())
    assert encoders + shares < own < 1.005 * (encoders + shares)
    assert 50e6 < sum(p.numel() for p in paper.unet.parameters()) < 60e6


# -- guidance -------------------------------------------------------------------------------------------------------


def test_guidance_of_one_is_none_bit_by_bit():
    made, (_, mri, _, label) = network(), case()
    parametrization, asked = Parametrization(NoiseSchedule("linear", 1e-4, 0.02), "noise"), []

    def output(x_t, t, labels):
        asked.append(labels.tolist())
        return made(x_t, mri, t, labels)

    def drawn(guidance):
        return sample_guided(
            output, label, made.null, (1, 1, *SHAPE), parametrization, guidance=guidance, sampler="ddpm", steps=4,
            noise=seeded_noise(5), clip=(-1, 1),
        )  # fmt: skip

    from RelAPETLib.diffusion import sample

    with torch.inference_mode():
        plain = sample(lambda x_t, t: made(x_t, mri, t, label), (1, 1, *SHAPE), parametrization.schedule,
                       sampler="ddpm", steps=4, noise=seeded_noise(5), clip=(-1, 1))  # fmt: skip
        assert torch.equal(drawn(1.0), plain) and asked == [[0]] * 4
        asked.clear()
        assert not torch.equal(drawn(2.0), plain) and asked == [[0], [made.null]] * 4


def test_guidance_goes_along_the_line_from_no_tracer_to_the_tracer():
    one, none = torch.tensor([3.0]), torch.tensor([1.0])
    assert [float(guided(one, none, scale)) for scale in (0, 0.5, 1, 2)] == [1, 2, 3, 5]


@pytest.mark.parametrize("prediction", ["noise", "v", "x0"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp", "unipc"])
def test_a_perfect_network_draws_its_image_whatever_the_noise(prediction, sampler):
    parametrization = Parametrization(NoiseSchedule("linear", 1e-4, 0.02), prediction)
    x0 = torch.rand(2, 1, 4, 4, 4) * 2 - 1

    def perfect(x_t, t, labels):
        a, s = parametrization.schedule.rates_like(x_t, t)
        return parametrization.target(x0, (x_t - a * x0) / s, t)

    made = sample_guided(perfect, torch.tensor([0, 1]), 3, tuple(x0.shape), parametrization, guidance=1.0,
                         sampler=sampler, steps=10, noise=seeded_noise(1))  # fmt: skip
    torch.testing.assert_close(made, x0, atol=1e-4, rtol=0)


# -- what it learns -------------------------------------------------------------------------------------------------


def test_the_loss_is_the_squared_error_of_the_noise():
    learned = learner()
    losses, terms = learned.losses(batch(), Place(0, 0, [0, 1]))
    assert torch.equal(losses["network"].detach(), terms["L_eps"])
    # An untrained network of MONAI gives zeros, and noise has a variance of one.
    assert float(terms["L_eps"]) == pytest.approx(1, abs=0.2)
    losses["network"].backward()
    assert all(p.grad is not None for p in learned.modules["network"].parameters())
    losses, terms = learner("method.image_weight=2").losses(batch(), Place(0, 0, [0, 1]))
    torch.testing.assert_close(losses["network"].detach(), terms["L_eps"] + 2 * terms["L_I"])


def test_the_clean_image_can_be_learned_instead():
    terms = learner("preset.prediction=x0").losses(batch(), Place(0, 0, [0, 1]))[1]
    torch.testing.assert_close(terms["L_eps"], batch()["pet"].square().mean())


def test_for_whom_the_tracer_is_hidden_follows_from_seed_and_position():
    hidden = nulls(0, list(range(2000)), 0.1)
    assert 150 < int(hidden.sum()) < 250
    assert torch.equal(hidden[[5, 900]], nulls(0, [5, 900], 0.1)) and not torch.equal(
        hidden, nulls(1, list(range(2000)), 0.1)
    )
    assert not nulls(0, list(range(100)), 0.0).any()


def test_a_hidden_tracer_is_the_null_label():
    learned, seen = learner("method.null_share=0.5"), []
    learned.modules["network"].unet.class_embedding.register_forward_hook(
        lambda _, given, __: seen.extend(given[0].tolist())
    )
    places = list(range(6))
    learned.losses(batch(6), Place(0, 0, places))
    hidden = nulls(0, places, 0.5).tolist()
    assert any(hidden) and not all(hidden)
    null = learned.modules["network"].null
    assert seen == [null if gone else label for gone, label in zip(hidden, batch(6)["label"].tolist(), strict=True)]


def test_its_bundle_keeps_the_null_label_and_draws():
    learned = learner("preset.sampler_steps=3")
    weights = {name: player.module.state_dict() for name, player in learned.build().items()}
    bundle = learned.bundle(weights, "two phantoms", 4)
    method = MTGD.build(bundle.settings)
    assert method.network.null == learned.modules["network"].null and method.defaults.samples == 4
    assert method.settings["guidance"] == 2.0 and method.default_steps(bundle.settings) == 3
    assert list(method.defaults.samplers)[0] == "ddpm"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("preset.num_heads=3", "preset.num_heads=3 must divide the last of preset.channels"),
        ("preset.channels=[3,8]", "the first must be even"),
        ("method.null_share=0", "preset.guidance=2.0 needs method.null_share above 0"),
        ("method.beta_start=0.5", "method.beta_start=0.5 is above method.beta_end=0.02"),
        ("method.timesteps=50", "preset.sampler_steps=100: there are method.timesteps=50"),
        ("preset.prediction=edm", "preset.prediction=edm is not one of noise, v, x0"),
        ("method.image_weight=-1", "method.image_weight=-1.0 must be at least 0, or null"),
    ],
)
def test_sizes_and_constants_that_cannot_be_are_refused(word, says):
    with pytest.raises(ConfigError, match=says):
        learner(word)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schedule": {"kind": "linear", "beta_start": 0.5, "beta_end": 0.02, "num_timesteps": 10}}, "beta_start"),
        ({"sampler": {"name": "ddpm", "steps": 11, "samples": 1, "clip": None}}, "more than schedule.num_timesteps"),
        ({"sampler": {"name": "ddpm", "steps": 1, "samples": 1, "clip": [1, -1]}}, "is empty"),
    ],
)
def test_settings_of_a_bundle_that_contradict_themselves_are_refused(change, says):
    settings = {
        "schedule": {"kind": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_timesteps": 10},
        "sampler": {"name": "ddpm", "steps": 5, "samples": 1, "clip": [-1, 1]},
    }
    MTGD.check(settings)
    with pytest.raises(ValueError, match=says):
        MTGD.check({**settings, **change})
