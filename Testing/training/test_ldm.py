"""Latent diffusion: its schedule, sizes and sampler, what its autoencoder loses, and what all methods must do.

It codes the volumes of a cache first, so the claims of `test_every_method` on learning are tested here.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from test_training_latent import StopAfter, weights
from training_cases import simulated
from training_runs import latent_config, logged, scenario

from RelAPETLib.cli import main
from RelAPETLib.diffusion import NoiseSchedule
from RelAPETLib.methods.rela.control import ControlledUNet
from RelAPETLib.models import load_model
from RelAPETLib.networks.generator import build_generator
from training import checkpoints, loop
from training.config import load_config
from training.data.cache import open_cache
from training.data.split import explicit_split, make_split
from training.errors import ConfigError
from training.export import export_checkpoint
from training.methods import objective
from training.methods.base import Place
from training.methods.rela.bundle import network_of
from training.methods.rela.latent.encoded import LatentDataset, Latents, LatentSpace
from training.methods.rela.latent.modes import identity_of
from training.methods.rela.latent.reconstruction import in_words, reconstruction
from training.methods.rela.latent.stages import FIGURES, FILE, FOLDER
from training.methods.rela.networks import noise_schedule
from training.trainer import RunData


def configured(*words):
    return load_config(["data.cache=memory", "out=unused", *words])


# -- constants and sizes --------------------------------------------------------------------------------------------


def test_the_schedule_is_latent_diffusions():
    """Published: 0.9985, 0.108576 and 9.69109e-5 of a schedule that ends at .0205; the paper's own ends at .0195."""
    bars = noise_schedule(configured("method=ldm", "preset.beta_end=0.0205")).alphas_cumprod
    assert bars[[0, 499, 999]].tolist() == pytest.approx([0.9985, 0.108576, 9.69109e-5], rel=1e-5)
    own = noise_schedule(configured("method=ldm"))
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    np.testing.assert_allclose(own.alphas_cumprod, np.cumprod(1 - betas), rtol=1e-5)


@pytest.mark.parametrize("preset", ["paper", "fair"])
def test_it_learns_noise_and_draws_by_ddim_in_50_steps(preset):
    config = configured("method=ldm", f"preset={preset}")
    assert (config.preset.prediction, config.preset.sampler, config.preset.sampler_steps) == ("noise", "ddim", 50)
    assert (config.method.noise_weight, config.method.image_weight) == (1, 0)


def test_relas_schedule_stays_what_it_was():
    for method in ("rela", "rela_latent", "ficd", "ddpm"):
        assert noise_schedule(configured(f"method={method}")) == NoiseSchedule(beta_start=5e-4, beta_end=1.95e-2)


@pytest.mark.parametrize(
    "words, said",
    [
        (["preset.beta_start=0.02"], "preset.beta_start=0.02 is above preset.beta_end=0.0195"),
        (["preset.beta_end=1"], "preset.beta_end=1.0 must be below 1"),
        (["preset.beta_start=0"], "preset.beta_start=0.0 must be above 0"),
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["method.adversarial=true"], "no discriminator; use method=rela_latent"),
        (["method.latent=false"], "use method=ddpm for voxels"),
        (["latent=regression"], "there is no such latent"),
        (["preset=release"], "there is no such preset, but paper, fair"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(words, said):
    with pytest.raises(ConfigError, match=said):
        configured("method=ldm", *words)


def test_a_preset_brings_its_sizes():
    fair = configured("method=ldm", "preset=fair")
    assert fair.network.channels == [16, 24, 32] and fair.autoencoder.channels == [8, 16, 24]
    mixed = configured("method=ldm", "preset=fair", "network=paper", "network.factor=2", "autoencoder.steps=7")
    assert mixed.network.channels == [224, 448, 672, 896] and mixed.network.factor == 2
    assert mixed.autoencoder == replace(fair.autoencoder, steps=7)
    assert configured("method=ldm").network.channels == [224, 448, 672, 896]


def sizes(*words) -> list[int]:
    """Weights of the denoiser, and of each autoencoder."""
    config = configured("method=ldm", *words)
    with torch.device("meta"):
        made = objective(config)
        players = [made.build(), *(stage.players for stage in made.trainings_before())]
    return [sum(p.numel() for player in part.values() for p in player.module.parameters()) for part in players]


def test_sizes_of_both_presets():
    assert sizes("preset=paper") == [785_862_115, 83_608_488, 83_608_488]
    fair = sizes("preset=fair")
    assert fair == [626_148, 131_921, 131_921] and sum(fair) < 1_000_000


def test_trainings_of_modes_from_before_the_betas_were_keys_go_on():
    said = identity_of(configured("method=rela_latent", "preset.prediction=v"), "0")
    assert "preset.beta_schedule" in said and not {"preset.beta_start", "preset.beta_end"} & said.keys()
    assert identity_of(configured("method=rela_latent", "preset.beta_end=0.02"), "0")["preset.beta_end"] == 0.02


# -- what the autoencoder loses -------------------------------------------------------------------------------------


class Volumes(torch.utils.data.Dataset):
    """Forty volumes of PET."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict:
        return {"pet": torch.full((1, 2, 3, 4), index / 80), "label": index % 3}


def test_figures_of_a_decoder_that_is_known():
    """A tenth of the range too much everywhere is 20 dB, and MAE .1; what is exact has 120 dB, the most there is."""
    fabric, dataset = Fabric(accelerator="cpu"), Volumes()
    x0 = torch.stack([dataset[index]["pet"] for index in range(40)])
    off = reconstruction(fabric, lambda z, labels: z + 0.2, dataset, Latents(x0, x0[:, :0]))
    assert off == {"scans": 32, "psnr": pytest.approx(20, abs=1e-4), "mae": pytest.approx(0.1)}
    whole = Latents(x0 - 0.3, x0[:, :0], base=torch.full_like(x0, 0.3))
    assert reconstruction(fabric, lambda z, labels: z, dataset, whole)["psnr"] == pytest.approx(120, abs=1)


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory, eight_people) -> Path:
    """Six simulated people in blocks of 10 mm, with their split."""
    out = simulated(tmp_path_factory.mktemp("ldm_people") / "cache", 6, eight_people)
    make_split(open_cache(out).subjects, seed=0, fractions=(0.6, 0.2, 0.2)).save(out / "split.json")
    return out


def run(cache: Path, out: Path, *words: str, method: str = "ldm") -> int:
    config = latent_config(cache, out, *words, method=method)
    return loop.run(config, loop.load_data(config), quiet=True)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ldm")
    assert run(cache, out) == 0
    return out


def test_it_learns_l_n_alone(trained):
    lines = [line for line in logged(trained) if line["group"] == "train"]
    assert len(lines) == 4 and all(line["L"] == pytest.approx(line["L_N"]) for line in lines)
    assert not any(name.startswith(("L_R", "L_G")) for line in lines for name in line)
    assert all(name.startswith("generator.") for name in weights(trained))


def test_scaled_latents_have_sd_one(trained):
    """A channel each, and so all together, over the training set."""
    x0 = checkpoints.load(trained / FOLDER / FILE)["train"]["x0"]
    assert x0.transpose(0, 1).flatten(1).std(1).tolist() == pytest.approx([1] * 3, abs=0.02)
    assert float(x0.std()) == pytest.approx(1, abs=0.02) and abs(float(x0.mean())) < 0.02


def test_what_the_autoencoder_loses_is_said_before_the_denoiser_learns(cache, tmp_path, monkeypatch, capsys):
    """Stopped at the first look of the second stage: ten were of the autoencoders."""
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(10))
    assert run(cache, tmp_path) == 75
    figures = json.loads((tmp_path / FOLDER / FIGURES).read_text())
    assert in_words(figures) in capsys.readouterr().out
    found = checkpoints.latest(tmp_path)
    assert found is None or found[1]["step"] <= 1
    config = latent_config(cache, tmp_path, method="ldm")
    data = loop.load_data(config)
    network = network_of(checkpoints.load(tmp_path / FOLDER / FILE)["frozen"]).eval()
    for part in ("train", "validation"):
        pets = torch.stack([item["pet"] for item in getattr(data, part)])
        with torch.no_grad():
            error = (network.decode_blocks(network.code_pet(pets)).clamp(-1, 1) - pets) / 2
        psnr = -10 * error.square().flatten(1).mean(1).log10()
        assert figures[part] == {
            "scans": len(pets),
            "psnr": pytest.approx(float(psnr.mean()), abs=1e-3),
            "mae": pytest.approx(float(error.abs().mean()), rel=1e-4),
        }


def exported(out: Path, to: Path) -> dict:
    export_checkpoint(checkpoints.saved(out)[-1], to, name="ldm", licence="LicenseRef-a-test")
    return load_model(to).metadata


def test_the_bundle_says_schedule_sampler_differences_and_bound(trained, tmp_path):
    metadata = exported(trained, tmp_path / "bundle")
    settings = metadata["method"]["settings"]
    schedule = {"kind": "scaled-linear", "beta_start": 0.0015, "beta_end": 0.0195, "num_timesteps": 1000}
    assert settings["schedule"] == settings["network"]["arguments"]["schedule"] == schedule
    assert load_model(tmp_path / "bundle").method.schedule == NoiseSchedule(beta_start=0.0015)
    assert (settings["sampler"]["name"], settings["sampler"]["steps"]) == ("ddim", 50)
    assert metadata["title"].startswith("Latent diffusion (method ldm, preset paper)")
    figures = json.loads((trained / FOLDER / FIGURES).read_text())
    assert in_words(figures) in metadata["description"]
    lines = metadata["differences_from_paper"]
    assert any("each channel of a latent has mean 0 and SD 1" in line for line in lines)
    assert any(line.startswith("network.channels: [4, 8] (paper: [224,") for line in lines)
    assert not any("beta" in line or "sampler" in line for line in lines)


def test_checkpoints_from_before_the_betas_were_keys_go_on_and_are_exported(cache, tmp_path):
    """RelA-Diffusion-Latent, half way; as it was saved then, there were no figures of the autoencoder either."""
    words = ["method.adversarial=false"]
    for name in ("new", "old"):
        assert run(cache, tmp_path / name, *words, "run.steps=2", method="rela_latent") == 0
    for path in [*checkpoints.saved(tmp_path / "old"), tmp_path / "old" / FOLDER / FILE]:
        state = torch.load(path, weights_only=True)
        for key in ("preset.beta_start", "preset.beta_end"):
            assert "config" not in state or state["config"].pop(key)
        assert state["frozen" if "frozen" in state else "objective"].pop("reconstruction")
        torch.save(state, path)
    assert "beta_start" not in str(exported(tmp_path / "old", tmp_path / "early")["source"])
    for name in ("new", "old"):
        assert run(cache, tmp_path / name, *words, method="rela_latent") == 0
    new, old = weights(tmp_path / "new"), weights(tmp_path / "old")
    assert new.keys() == old.keys() and all(torch.equal(new[name], old[name]) for name in new)
    schedules = [exported(tmp_path / name, tmp_path / f"{name}_bundle")["method"]["settings"]["schedule"]
                 for name in ("new", "old")]  # fmt: skip
    assert schedules[0] == schedules[1] and schedules[0]["beta_start"] == 5e-4


@pytest.mark.parametrize("looks", [7, 12])
def test_it_resumes_bit_by_bit(cache, trained, tmp_path, monkeypatch, looks):
    """In the second autoencoder, and in the denoiser."""
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(looks))
    assert run(cache, tmp_path) == 75
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(None))
    assert run(cache, tmp_path) == 0
    whole, resumed = weights(trained), weights(tmp_path)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


# -- with a ControlNet ----------------------------------------------------------------------------------------------

CONTROL = ["method.control=true", "method.base_steps=3"]


@pytest.fixture(scope="module")
def controlled(cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("controlled")
    assert run(cache, out, *CONTROL) == 0
    return out


def test_a_controlled_unet_begins_as_the_unet_and_learns_by_the_control_alone():
    torch.manual_seed(0)
    sizes = {"channels": [4, 8], "attention_levels": [False, False], "num_head_channels": 4, "norm_num_groups": 4,
             "num_res_blocks": 1, "cross_attention_dim": 8, "num_class_embeds": 3}  # fmt: skip
    base = build_generator(in_channels=2, out_channels=2, **sizes)
    torch.nn.init.normal_(base.out[2].conv.weight, 0, 0.1)
    network = ControlledUNet(latent_channels=2, condition_channels=4, **sizes)
    network.take_base(base.state_dict())
    x, mri, t, labels = (
        torch.randn(2, 2, 8, 8, 8),
        torch.randn(2, 4, 8, 8, 8),
        torch.tensor([3, 700]),
        torch.tensor([0, 2]),
    )
    with torch.no_grad():
        before = base(x, t, class_labels=labels)
    torch.testing.assert_close(network(torch.cat([x, mri], 1), t, labels), before)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.cat([x, mri], 1), t, labels).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(tensor, base.state_dict()[name]) for name, tensor in network.unet.state_dict().items())
    with torch.no_grad():
        own, other = (network(torch.cat([x, seen], 1), t, labels) for seen in (mri, -mri))
    assert (own - before).abs().max() > 1e-4 and (own - other).abs().max() > 1e-6


def test_the_unet_is_trained_first_without_mri_and_stays_what_it_is(controlled):
    base = checkpoints.exported_weights(checkpoints.latest(controlled / "base")[1])["generator"]
    own = weights(controlled)
    assert len(base) > 50 and all(torch.equal(own[f"generator.unet.{name}"], tensor) for name, tensor in base.items())
    start = base["down_blocks.0.resnets.0.conv1.conv.weight"]
    assert not torch.equal(own["generator.control.down_blocks.0.resnets.0.conv1.conv.weight"], start)
    config = latent_config("memory", "unused", *CONTROL, method="ldm")
    assert [(stage.name, stage.steps) for stage in objective(config).trainings_before()][-1] == ("U-Net without MRI", 3)


@pytest.mark.parametrize("looks", [12, 15])
def test_a_controlled_run_resumes_bit_by_bit(cache, controlled, tmp_path, monkeypatch, looks):
    """In the U-Net's training, and in the ControlNet's."""
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(looks))
    assert run(cache, tmp_path, *CONTROL) == 75
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(None))
    assert run(cache, tmp_path, *CONTROL) == 0
    whole, resumed = weights(controlled), weights(tmp_path)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_the_program_draws_by_a_controlled_bundle(controlled, grid_case, tmp_path):
    metadata = exported(controlled, tmp_path / "bundle")
    assert metadata["method"]["settings"]["network"]["arguments"]["control"] is True
    assert any("a ControlNet tells it the MRI" in line for line in metadata["differences_from_paper"])
    words = ["synthesize", "--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "TAU",
             "--model", tmp_path / "bundle", "--out", tmp_path / "out", "--device", "cpu", "--no-report", "--space",
             "mni", "--steps", "2"]  # fmt: skip
    assert main(list(map(str, words))) == 0 and list((tmp_path / "out").glob("synthetic_pet*.nii.gz"))


@pytest.mark.parametrize("words", [["ablation=wo_t2f"], ["preset.first_timestep=1"]])
def test_a_control_net_wants_both_sequences(words):
    with pytest.raises(ConfigError, match="method.control: the ControlNet sees T1w and T2-FLAIR"):
        configured("method=ldm", "method.control=true", *words)


# -- ranks ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_ranks_are_one_rank_with_accumulation(cache, tmp_path):
    report = scenario("latent", tmp_path, cache, "ldm")
    assert report["codes"] == [0, 0, 0], report["told"]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-3), name


# -- learning -------------------------------------------------------------------------------------------------------

#: Autoencoders of blocks of 2 voxels a side, which are quick, and a small denoiser.
LEARNER = ["preset=fair", "network.channels=[16,32]", "network.attention_levels=[false,false]",
           "network.num_head_channels=32", "network.cross_attention_dim=32", "autoencoder.blocks=2",
           "autoencoder.channels=[48]", "autoencoder.latent_channels=8", "autoencoder.norm_num_groups=8",
           "autoencoder.learning_rate=3e-3", "autoencoder.l2_weight=1", "preset.generator_learning_rate=5e-3",
           "preset.ema_decay=0.95", "preset.prediction=x0", "run.learning_rate=cosine", "run.log_every=50",
           "run.checkpoint_every=9999", "run.validate_every=9999", "run.validation_steps=15"]  # fmt: skip


@pytest.mark.slow
def test_it_learns_a_person_by_heart_as_well_as_its_autoencoder_does(cache, tmp_path):
    """Mean PSNR over four draws of other noise, in all of 16 x 18 x 16 blocks; its autoencoder is the bound."""
    people = open_cache(cache).subjects
    one = min(people, key=lambda subject: len(open_cache(cache).items([subject])))
    rest = [subject for subject in people if subject != one]
    explicit_split(people, {"train": [one], "validation": rest[:1], "test": rest[1:]}).save(tmp_path / "split.json")
    words = [f"data.split={tmp_path / 'split.json'}", "preset.global_batch=1", "hardware.micro_batch=1",
             "autoencoder.batch=1", "autoencoder.steps=400", "run.steps=150"]  # fmt: skip
    config = latent_config(cache, tmp_path / "run", *LEARNER, *words, "run.validation_volumes=4", method="ldm")
    train = loop.load_data(config).train
    four = torch.utils.data.ConcatDataset([train] * 4)
    four.items, four.cache = train.items * 4, train.cache
    assert loop.run(config, RunData(train, four, "0" * 64), quiet=True) == 0
    bound = json.loads((tmp_path / "run" / FOLDER / FIGURES).read_text())["train"]["psnr"]
    last = logged(tmp_path / "run")[-1]
    assert last["group"] == "validation" and last["step"] == 150
    assert 30 < last["psnr"] < bound + 1, (bound, last)


@pytest.mark.slow
def test_another_persons_mri_makes_its_loss_worse(cache, tmp_path):
    """At the same places of the stream: the same timesteps and noise."""
    words = ["autoencoder.batch=3", "autoencoder.steps=100", "preset.global_batch=3", "hardware.micro_batch=3",
             "run.steps=300", "run.validation_volumes=0"]  # fmt: skip
    config = latent_config(cache, tmp_path, *LEARNER, *words, method="ldm")
    data = loop.load_data(config)
    assert loop.run(config, data, quiet=True) == 0
    state, coded = checkpoints.latest(tmp_path)[1], checkpoints.load(tmp_path / FOLDER / FILE)
    learned = objective(config)
    (player,) = learned.build().values()
    player.module.load_state_dict(state["players"]["generator"]["weights"])
    fabric, frozen = Fabric(accelerator="cpu"), coded["frozen"]
    learned.bind(fabric, {"generator": player.module})
    learned.space = LatentSpace(fabric, network_of(frozen), frozen["arguments"], None, judged=False)
    dataset = LatentDataset(Latents(**coded["train"]), data.train, volumes=False)
    own = torch.utils.data.default_collate([dataset[index] for index in range(len(dataset))])
    cases, count = own["case"], len(dataset)
    other = [next(k % count for k in range(n, n + count) if cases[k % count] != cases[n]) for n in range(count)]
    others = {**own, "mri": own["mri"][other]}

    def loss(batch):
        with torch.no_grad():
            starts = range(0, 8 * count, count)
            found = [learned.losses(batch, Place(300, 100, list(range(at, at + count))))[0] for at in starts]
        return sum(float(losses["generator"]) for losses in found) / len(found)

    worse, right = loss(others), loss(own)
    assert worse > 1.1 * right, (worse, right)
