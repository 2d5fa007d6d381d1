"""The configuration: groups, the reference's table, refusals in one line."""

from dataclasses import replace

import pytest

from RelAPETLib.grid import MNI_GRID
from training.config import differences, flatten, load_config
from training.errors import ConfigError
from training.methods.rela.config import PRESETS, Ablation, Network


def configured(*overrides):
    return load_config(["data.cache=unused", "out=unused", *overrides])


def test_default_is_the_full_method():
    config = configured()
    assert (config.method.name, config.preset.name, config.ablation.name) == ("rela", "default", "none")
    assert config.preset == replace(PRESETS["default"], mean_pet="regression") and config.ablation == Ablation()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_arrive_as_they_are(preset):
    said = PRESETS[preset]
    assert replace(configured(f"preset={preset}").preset, mean_pet=said.mean_pet) == said


@pytest.mark.parametrize(("words", "use"), [
    ((), "regression"), (("method=ddpm",), "regression"), (("ablation=wo_t2f",), "regression"),
    (("method=rela_latent",), "residual"), (("data.augment=true",), "residual"), (("data.drop_t2f=0.1",), "residual"),
    (("preset.mean_pet=residual",), "residual"), (("preset=paper",), "none"),
])  # fmt: skip
def test_the_default_differs_from_a_regression_where_there_can_be_one(words, use):
    assert configured(*words).preset.mean_pet == use


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
        ("network.channels=[8,16]", "same length"),
        ("ablation.t1w=false ablation.t2f=false", "nothing to synthesize"),
        ("ablation=wo_gp method=ficd", "method=ficd does not have"),
        ("ablation=wo_ra method=ddpm", "method=ddpm does not have"),
        ("method.image_weight=0 method.noise_weight=0", "nothing teaches"),
        ("method=rela_latent network.crop=[160,160,160]", "codes whole volumes"),
        ("method=rela_latent data.augment=true", "coded once"),
        (
            "method=rela_latent autoencoder.channels=[10,20]",
            "[10, 20] are no multiples of",
        ),
        ("method=rela_latent autoencoder.perceptual_weight=1", "autoencoder.perceptual_network"),
        ("method=rela_latent latent=regression", "needs network.factor=2"),
        ("method=rela_latent latent.registered=somewhere", "is for latent=regression"),
        (
            "method=rela_latent latent=regression network.factor=2 autoencoder.blocks=4 autoencoder.channels=[48,96] "
            "preset.prediction=noise",
            "use preset.prediction=v with it",
        ),
        (
            "method=rela_latent latent=regression network.factor=2 autoencoder.blocks=4 autoencoder.channels=[48,96] "
            "preset.mean_pet=input",
            "codes the difference from the tracer's mean PET",
        ),
        ("preset.zero_terminal_snr=true preset.prediction=noise", "use preset.prediction=v, x0 or edm with it"),
        ("preset.prediction=score", "noise, v, x0, edm"),
        ("preset.loss_weighting=max_snr", "none, min_snr"),
        ("method=rela_latent latent.prediction=v", "latent.prediction=v: this key is called preset.prediction now"),
        ("hardware.strategy=fsdp", "needs hardware.devices=2"),
        ("hardware.strategy=fsdp hardware.devices=2 hardware.precision=fp16", "use precision bf16"),
        ("hardware.strategy=fsdp hardware.devices=2 method=rela_latent", "use ddp"),
        ("nonsense", "nonsense"),
        ("run.stepz=3", "did you mean run.steps?"),
        ("netwrok.channels=[8]", "did you mean network.channels?"),
        ("network.channels=[8,16,32]", "network.num_head_channels=64 must divide"),
        (
            "network.channels=[8,16,32] network.num_head_channels=8",
            "network.cross_attention_dim=64 must",
        ),
        ("network.channels=[]", "network.channels=[]: one number a level"),
        ("network.channels=[0,0,64]", "network.channels=[0, 0, 64]: each must lie between 1"),
        ("network.channels=[-8,16,64]", "each must lie between 1"),
        ("network.channels=[16,32,1000000000000]", "each must lie between 1"),
        ("network.channels=[16,30,64]", "no multiples of network.norm_num_groups=8"),
        ("network.channels=[1,2,64] network.norm_num_groups=1", "the first must be even"),
        ("network.norm_num_groups=0", "network.norm_num_groups=0"),
        ("network.norm_num_groups=-8", "network.norm_num_groups=-8"),
        ("network.num_res_blocks=0", "network.num_res_blocks=0"),
        ("network.num_res_blocks=100000", "network.num_res_blocks=100000"),
        ("network.num_head_channels=0", "network.num_head_channels=0"),
        ("network.cross_attention_dim=32", "network.cross_attention_dim=32"),
        ("network.attention_levels=[false,true,true] network.num_head_channels=8", "network.cross_attention_dim=64"),
        ("network.factor=0", "network.factor=0"),
        ("network.factor=3", "network.factor=3 does not divide"),
        ("network.factor=4", "no multiples of 4"),
        ("network.factor=20 network.channels=[64] network.attention_levels=[true]", "too small for the discriminator"),
        ("network.crop=[160,160]", "network.crop=[160, 160]"),
        ("network.crop=[160,160,0]", "network.crop=[160, 160, 0]"),
        ("network.crop=[160,184,160]", "network.crop=[160, 184, 160]"),
        ("network.crop=[158,160,160]", "no multiples of 4; use another network.crop"),
        ("method=rela_latent network.factor=2 autoencoder.channels=[8,8,8,8,8,8,8,8]", "reduce 128 voxels to one"),
        ("method=rela_latent network.factor=20", "reduce 16 voxels to one"),
        ("method=rela_latent autoencoder.blocks=0", "autoencoder.blocks=0"),
        ("method=rela_latent autoencoder.num_res_blocks=0", "autoencoder.num_res_blocks=0"),
        ("method=rela_latent autoencoder.latent_channels=100000", "autoencoder.latent_channels=100000"),
        (
            "method=rela_latent latent=regression preset.prediction=v network.factor=2 autoencoder.blocks=4 "
            "autoencoder.channels=[48,96]",
            "latents of (10, 12, 10) are no multiples of 4",
        ),
        ("preset.generator_learning_rate=0", "must be above 0"),
        ("preset.generator_learning_rate=.nan", "preset.generator_learning_rate"),
        ("preset.penalty_gamma=nan", "preset.penalty_gamma=nan"),
        ("run.clip_gradients=inf", "run.clip_gradients=inf"),
        ("run.largest_loss=-1", "run.largest_loss=-1.0 must be above 0"),
        ("run.validation_steps=1001", "at most 1000"),
        ("preset.sampler_steps=1001", "at most 1000"),
        ("preset.global_batch=1000000000000", "at most 65536"),
        ("seed=-1", "seed=-1 must be at least 0"),
        ("seed=99999999999999999999999", "seed=99999999999999999999999"),
        ("hardware.accelerator=gpus", "auto, cpu, gpu, cuda, mps"),
        ("out=a\0b", "out="),
        ("network.factor=[1,2]", "network.factor"),
        ("run=[1]", "run"),
        ("run.steps={a:{b:1}}", "run.steps"),
        ("run.steps=", "run.steps"),
        ("=3", ""),
        ("((((", "(((("),
        ("out=${oc.env:NOT_THERE}", "NOT_THERE"),
    ],
)
def test_refused_in_one_line(override, says):
    with pytest.raises(ConfigError) as refusal:
        configured(*override.split(" "))
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def verdicts(count: int) -> list[tuple[str, bool, str]]:
    """(sizes, accepted, what building and one pass without numbers said) of random network sizes."""
    import random

    import torch

    from training.methods.rela.networks import build_networks, sees_mean_pet
    from training.sizes import check_grid, refuse

    rng, found, config = random.Random(0), [], configured()
    while len(found) < count:
        levels = rng.choice((1, 2, 2, 3))
        channels = [rng.choice((2, 4, 6, 8, 12, 16)) for _ in range(levels)]
        sizes = {
            "channels": channels,
            "attention_levels": [rng.random() < 0.4 for _ in channels],
            "num_head_channels": rng.choice((2, 3, 4, channels[-1])),
            "norm_num_groups": rng.choice((1, 2, 3, 4)),
            "cross_attention_dim": rng.choice((channels[-1], channels[-1], 8)),
            "num_res_blocks": rng.choice((1, 2)),
            "factor": rng.choice((4, 5, 10)),
        }
        config.network = Network(**sizes)
        try:
            check_grid(config.network)
            config.check()
            refuse(config.size_problems())
            accepted = True
        except ConfigError:
            accepted = False
        if accepted != (len(found) % 3 > 0):  # two of three to be accepted
            continue
        shape = tuple(n // sizes["factor"] for n in (160, 180, 160))
        try:
            with torch.device("meta"):
                generator, discriminator = build_networks(config)
                t = torch.zeros(1, dtype=torch.long)
                made = generator(torch.empty(1, 3 + sees_mean_pet(config), *shape), t, class_labels=t)
                discriminator(made)
            said = "" if made.shape == (1, 1, *shape) else f"shape {made.shape}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        found.append((str(sizes), accepted, said))
    return found


@pytest.mark.parametrize("count", [6, pytest.param(150, marks=pytest.mark.slow)])
def test_sizes_are_accepted_exactly_when_the_networks_work(count):
    wrong = [verdict for verdict in verdicts(count) if verdict[1] == bool(verdict[2])]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("preset=paper", "use hardware.micro_batch=3 (or at least 2), or preset.discriminator_norm=group"),
        ("preset=release preset.global_batch=4", "use hardware.micro_batch=4"),
        ("hardware.devices=2", "not preset.global_batch=3"),
        ("hardware.micro_batch=2", "not preset.global_batch=3"),
        ("hardware.devices=1024 preset.global_batch=1024", "hardware.devices=1024: this machine has"),
        ("hardware.precision=fp16", "hardware.precision=fp16 needs a GPU"),
        ("hardware.accelerator=cuda", "hardware.accelerator=cuda: this machine has none"),
        ("hardware.accelerator=gpu", "hardware.accelerator=gpu: this machine has none"),
        ("hardware.accelerator=mps", "hardware.accelerator=mps: this machine has none"),
        (
            "method=rela_latent autoencoder.batch=3 hardware.devices=2 preset.global_batch=4",
            "autoencoder.batch=3",
        ),
        (
            "method=rela_latent autoencoder.batch=2 autoencoder.adversarial_weight=1 hardware.devices=2 "
            "preset.global_batch=4 preset.discriminator_norm=batch hardware.micro_batch=2",
            "autoencoder.batch / 2 ranks=1",
        ),
    ],
)
def test_what_a_machine_cannot_do_is_told_before_anything_runs(monkeypatch, tmp_path, capsys, overrides, says):
    import torch

    from training.__main__ import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("training.asked.read_index", lambda folder: {"grid": {"shape": MNI_GRID.shape}})
    words = ["train", "data.cache=none", f"out={tmp_path / 'out'}", *overrides.split(" ")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("overrides", ["preset=paper hardware.micro_batch=3", "preset=release", "preset=default"])
def test_presets_run_as_the_message_says(overrides):
    from training.machine import check_machine

    check_machine(configured(*overrides.split(" ")))


def test_gpus(monkeypatch):
    """Too many of them, and a precision that they lack."""
    import torch

    from training.machine import check_machine

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check_machine(configured("hardware.devices=2", "preset.global_batch=2", "hardware.precision=fp16"))
    for word, says in (("hardware.devices=3", "has 2 of cuda"), ("hardware.precision=bf16", "no bfloat16")):
        with pytest.raises(ConfigError, match=says):
            check_machine(configured(word, "hardware.accelerator=cuda"))


@pytest.mark.parametrize("missing", ["out", "data.cache"])
def test_what_must_be_given(missing):
    given = [word for word in ("out=a", "data.cache=b") if not word.startswith(missing)]
    with pytest.raises(ConfigError, match=missing.split(".")[-1]):
        load_config(given)


def test_what_a_resumed_run_may_change():
    before = flatten(configured())
    changed = configured("hardware.devices=2", "preset.global_batch=4", "preset.penalty_gamma=1", "seed=3")
    forbidden, allowed = differences(before, flatten(changed), changed.rules.free)
    assert forbidden == ["preset.penalty_gamma: 6.25e-06 -> 1.0", "seed: 0 -> 3"]
    assert allowed == ["hardware.devices: 1 -> 2", "preset.global_batch: 3 -> 4"]
