"""The configuration: groups, the reference's table, refusals in one line."""

import pytest

from training.config import PRESETS, Ablation, differences, flatten, load_config
from training.errors import ConfigError


def configured(*overrides):
    return load_config(["data.cache=unused", "out=unused", *overrides])


def test_default_is_the_full_method():
    config = configured()
    assert (config.method.name, config.preset.name, config.ablation.name) == ("rela", "default", "none")
    assert config.preset == PRESETS["default"] and config.ablation == Ablation()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_arrive_as_they_are(preset):
    assert configured(f"preset={preset}").preset == PRESETS[preset]


def test_rows_of_the_reference():
    paper, release, default = (configured(f"preset={name}").preset for name in ("paper", "release", "default"))
    rows = {
        "beta_schedule": ("linear", "scaled-linear", "scaled-linear"),
        "first_timestep": (1, 0, 0),
        "adversarial_weight": (0.1, 1.0, 0.1),
        "adversarial_start_epoch": (0, 20, 20),
        "penalty_gamma": (6.25e-6, 1e-3, 6.25e-6),
        "penalty_reduction": ("full", "release", "full"),
        "discriminator_norm": ("batch", "batch", "group"),
        "global_batch": (3, 1, 3),
        "pet_intensity": ("minmax", "minmax", "suvr"),
        "generator_learning_rate": (5e-5, 5e-5, 5e-5),
        "discriminator_learning_rate": (5e-6, 5e-6, 5e-6),
        "epochs": (100, 100, 100),
        "clamp_clean_estimate": (False, True, True),
        "sampler_steps": (1000, 1000, 20),
        "sampler_clip": (False, True, True),
    }
    for key, values in rows.items():
        assert tuple(getattr(preset, key) for preset in (paper, release, default)) == values, key


def test_one_key_of_a_preset_can_be_changed():
    changed = configured("preset=release", "preset.adversarial_weight=0.1").preset
    assert changed.adversarial_weight == 0.1 and changed.penalty_reduction == "release"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("run.stepz=3", "stepz"),
        ("+run.stepz=3", "stepz"),
        ("preset=papr", "papr"),
        ("run.steps=many", "many"),
        ("preset.discriminator_norm=layer", "group, batch"),
        ("preset.relativistic_loss=printed", "unbounded below"),
        ("preset.global_batch=0", "at least 1"),
        ("preset.ema_decay=1", "below 1"),
        ("method.noise_weight=-1", "at least 0"),
        ("network.channels=[4,8]", "same length"),
        ("ablation.t1w=false ablation.t2f=false", "nothing to synthesize"),
        ("ablation=wo_gp method=ficd", "method=ficd does not have"),
        ("ablation=wo_ra method=ddpm", "method=ddpm does not have"),
        ("method.image_weight=0 method.noise_weight=0", "nothing teaches"),
        ("method=rela_latent network.crop=[160,160,160]", "codes whole volumes"),
        ("method=rela_latent data.augment=true", "coded once"),
        ("method=rela_latent autoencoder.channels=[10,20]", "no multiples of norm_num_groups"),
        ("method=rela_latent autoencoder.perceptual_weight=1", "autoencoder.perceptual_network"),
        ("method=rela_latent latent=regression", "needs network.factor=2"),
        ("method=rela_latent latent.registered=somewhere", "is for latent=regression"),
        ("hardware.strategy=fsdp", "needs hardware.devices=2"),
        ("hardware.strategy=fsdp hardware.devices=2 hardware.precision=fp16", "use precision bf16"),
        ("hardware.strategy=fsdp hardware.devices=2 method=rela_latent", "use ddp"),
        ("nonsense", "nonsense"),
    ],
)
def test_refused_in_one_line(override, says):
    with pytest.raises(ConfigError) as refusal:
        configured(*override.split(" "))
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["out", "data.cache"])
def test_what_must_be_given(missing):
    given = [word for word in ("out=a", "data.cache=b") if not word.startswith(missing)]
    with pytest.raises(ConfigError, match=missing.split(".")[-1]):
        load_config(given)


def test_what_a_resumed_run_may_change():
    before = flatten(configured())
    now = flatten(configured("hardware.devices=2", "preset.global_batch=4", "preset.penalty_gamma=1", "seed=3"))
    forbidden, allowed = differences(before, now)
    assert forbidden == ["preset.penalty_gamma: 6.25e-06 -> 1.0", "seed: 0 -> 3"]
    assert allowed == ["hardware.devices: 1 -> 2", "preset.global_batch: 3 -> 4"]
