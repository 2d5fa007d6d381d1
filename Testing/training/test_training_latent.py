"""The latent variant: autoencoders, coded data, Algorithm 1 in the latent with D on decoded images, and its bundle."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import simulated
from training_runs import latent_config, scenario

from RelAPETLib.diffusion import NoiseSchedule, Parametrization, seeded_noise
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.models import load_model
from RelAPETLib.tracers import TRACERS
from training import checkpoints, loop
from training.__main__ import main
from training.autoencoding import FOLDER as AUTOENCODERS
from training.bench.figures import trained_objective
from training.data.cache import open_cache
from training.data.split import make_split
from training.export import export_checkpoint
from training.methods.rela.bundle import network_of
from training.methods.rela.latent.encoded import TRAINED
from training.methods.rela.latent.stages import FILE, FOLDER
from training.methods.rela.losses import image_loss, noise_loss
from training.methods.rela.steps import Weights, algorithm_1
from training.reports import LOG


class StopAfter:
    """A `StopRequest` that asks after some looks at it; None never asks."""

    def __init__(self, looks: int | None):
        self.looks = looks

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def asked(self) -> bool:
        if self.looks is not None:
            self.looks -= 1
        return self.looks is not None and self.looks < 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory, eight_people) -> Path:
    """Six simulated people in blocks of 10 mm, with their split."""
    out = simulated(tmp_path_factory.mktemp("people") / "cache", 6, eight_people)
    make_split(open_cache(out).subjects, seed=0, fractions=(0.6, 0.2, 0.2)).save(out / "split.json")
    return out


def run(cache: Path, out: Path, *words: str) -> int:
    config = latent_config(cache, out, *words)
    return loop.run(config, loop.load_data(config), quiet=True)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("latent")
    assert run(cache, out) == 0
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    players = checkpoints.latest(out)[1]["players"]
    return {f"{player}.{name}": t for player, parts in players.items() for name, t in parts["weights"].items()}


def test_all_terms_are_there_and_the_frozen_parts_stay_as_they_were(trained):
    lines = [json.loads(line) for line in (trained / LOG).read_text().splitlines()]
    first = next(line for line in lines if line["group"] == "train")
    assert {"L_N", "L_I", "L_R", "L_R_D", "L_G"} <= first.keys()
    before = checkpoints.load(trained / FOLDER / FILE)["frozen"]["state"]
    after = checkpoints.latest(trained)[1]["objective"]["state"]
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_latents_have_mean_zero_and_sd_one_a_channel(trained):
    coded = checkpoints.load(trained / FOLDER / FILE)["train"]
    assert coded["x0"].shape[1:] == (3, 8, 10, 8) and coded["mri"].shape[1:] == (6, 8, 10, 8)
    assert torch.allclose(coded["x0"].mean((0, 2, 3, 4)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(coded["x0"].transpose(0, 1).flatten(1).std(1), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("looks", [3, 7, 12])
def test_stopped_in_any_stage_it_goes_on_to_the_same_weights(cache, trained, tmp_path, monkeypatch, looks):
    """Five steps each of the PET's and the MRI's autoencoder, then four of the generator."""
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(looks))
    assert run(cache, tmp_path) == 75
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(None))
    assert run(cache, tmp_path) == 0
    whole, resumed = weights(trained), weights(tmp_path)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="ranks are forked")
def test_two_ranks_learn_what_one_does_in_every_stage(cache, tmp_path):
    report = scenario("latent", tmp_path, cache)
    assert report["codes"] == [0, 0, 0], report["told"]
    coded = [checkpoints.load(tmp_path / name / FOLDER / FILE) for name in ("one", "two")]
    for name, tensor in coded[0]["frozen"]["state"].items():
        assert torch.allclose(tensor.double(), coded[1]["frozen"]["state"][name].double(), atol=1e-4), name
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-3), name


def test_another_autoencoder_is_refused(cache, trained, capsys):
    assert run(cache, trained, "autoencoder.kl_weight=1e-3") == 2
    assert "another configuration" in capsys.readouterr().err


def test_autoencoders_of_another_run_are_taken(cache, trained, tmp_path, capsys):
    assert run(cache, tmp_path / "a", f"autoencoder.source={trained}", "method.adversarial=false") == 0
    theirs, own = (checkpoints.load(out / FOLDER / FILE)["frozen"]["state"] for out in (trained, tmp_path / "a"))
    assert torch.equal(theirs["pet_autoencoder.coder.encoder.blocks.0.conv.weight"],
                       own["pet_autoencoder.coder.encoder.blocks.0.conv.weight"])  # fmt: skip
    assert not (tmp_path / "a" / "autoencoder").exists()
    words = [f"autoencoder.source={trained}", "autoencoder.latent_channels=2"]
    assert run(cache, tmp_path / "b", *words) == 2
    assert "not the autoencoder that the configuration describes" in capsys.readouterr().err


def test_data_that_were_coded_by_others_than_are_named_are_refused(cache, trained, tmp_path, capsys):
    """The place of another run may change, and it may be gone; another autoencoder may not be there."""
    moved, other, out = tmp_path / "moved", tmp_path / "other", tmp_path / "own"
    for copy in (moved, other):
        shutil.copytree(trained / AUTOENCODERS, copy / AUTOENCODERS)
    path, saved = checkpoints.latest(other / AUTOENCODERS / "mri")
    next(iter(saved["players"]["autoencoder"]["weights"].values())).add_(1e-3)
    checkpoints.save(path, saved)
    assert run(cache, out, f"autoencoder.source={trained}", "run.steps=1") == 0
    for source in (moved, tmp_path / "gone"):
        assert run(cache, out, f"autoencoder.source={source}", "run.steps=1") == 0
    capsys.readouterr()
    assert run(cache, out, f"autoencoder.source={other}", "run.steps=1") == 2
    assert f"coded by other autoencoders than those of autoencoder.source={other}" in capsys.readouterr().err


def test_an_autoencoders_discriminator_is_part_of_it(cache, tmp_path, monkeypatch, capsys):
    judged, other = "autoencoder.adversarial_weight=0.1", "preset.penalty_gamma=1e-5"
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(3))
    assert run(cache, tmp_path, judged) == 75
    monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(None))
    assert run(cache, tmp_path, judged, other) == 2
    assert "preset.penalty_gamma: 6.25e-06 -> 1e-05" in capsys.readouterr().err
    assert run(cache, tmp_path, judged, "run.steps=1") == 0
    shutil.rmtree(tmp_path / checkpoints.FOLDER)
    assert run(cache, tmp_path, judged, other) == 2
    assert "was coded from another configuration" in capsys.readouterr().err


def test_autoencoder_terms_as_configured(cache, tmp_path):
    from monai.networks.nets import resnet10

    features = resnet10(
        spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False
    )
    torch.save(features.state_dict(), tmp_path / "resnet.pt")
    words = ["autoencoder.adversarial_weight=0.1", "autoencoder.perceptual_weight=0.1", "autoencoder.mirror=true"]
    words += [f"autoencoder.perceptual_network={tmp_path / 'resnet.pt'}", "autoencoder.steps=2", "run.steps=1"]
    assert run(cache, tmp_path / "run", *words) == 0
    line = json.loads((tmp_path / "run" / "autoencoder" / "pet" / LOG).read_text().splitlines()[0])
    assert line["perceptual"] > 0 and line["adversarial"] > 0


def test_a_perceptual_network_that_is_none(cache, tmp_path, capsys):
    (tmp_path / "resnet.pt").write_bytes(b"nothing")
    words = ["autoencoder.perceptual_weight=1", f"autoencoder.perceptual_network={tmp_path / 'resnet.pt'}"]
    assert run(cache, tmp_path / "run", *words) == 2
    assert "no state dict of a 3-D ResNet-10" in capsys.readouterr().err


def test_an_autoencoder_that_diverges_says_so(cache, tmp_path, capsys):
    assert run(cache, tmp_path, "run.largest_loss=1e-6") == 3
    assert "step 1 of the pet autoencoder diverged" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("ablation=wo_t1w",), ("preset.first_timestep=1", "preset.prediction=v"),
                                   ("ablation=wo_t2f", "preset.missing_sequence=blank"),
                                   ("preset.mean_pet=input",),
                                   ("preset.mean_pet=residual", "preset.prediction=v")])  # fmt: skip
def test_the_bundle_predicts_what_the_generator_does(cache, tmp_path, words):
    """From MRI on the 1 mm grid; the generator is fed the coded data set's latents."""
    out = tmp_path / "run"
    assert run(cache, out, "preset.ema_decay=0", *words) == 0
    command = ["export", "--checkpoint", str(checkpoints.saved(out)[-1]), "--out", str(tmp_path / "bundle")]
    assert main([*command, "--name", "latent"]) == 0
    model = load_model(tmp_path / "bundle")
    config = latent_config(cache, out, *words)
    data = loop.load_data(config)
    item = data.train[1]
    volume = torch.cat([item["t1w"], item["t2f"]])[None]
    fine = torch.nn.functional.interpolate(volume, scale_factor=10, mode="nearest")
    x_t = torch.randn(1, *model.method.diffusion_shape, generator=torch.Generator().manual_seed(0))
    found = model.method.predict_noise(x_t, model.method.encode(fine), 300, item["label"])

    from training.methods.rela.networks import build_networks

    generator, _ = build_networks(config)
    state = checkpoints.latest(out)[1]
    generator.load_state_dict(state["players"]["generator"]["weights"])
    coded = checkpoints.load(out / FOLDER / FILE)["train"]
    t = torch.tensor([300])
    with torch.no_grad():
        mean = model.method.network.mean_pet[item["label"]][None] if config.preset.mean_pet != "none" else x_t[:, :0]
        seen = torch.cat([x_t, coded["mri"][1:2], mean], 1)
        shift = config.preset.first_timestep
        expected = generator.eval()(seen, t + shift, class_labels=torch.tensor([item["label"]]))
        if config.preset.prediction == "v":
            expected = NoiseSchedule().noise_of_velocity(x_t, expected, t)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert model.method.settings["network"]["class"] == "AutoencodedDiffusion"
    pet = model.method.decode(coded["x0"][1:2], item["label"])
    assert pet.shape == (1, 1, 160, 180, 160) and float(pet.abs().max()) <= 1


def test_differences_from_the_mean_latent_are_diffused_in_the_latent_form(cache, tmp_path):
    """Of SD 1 and mean 0 for each tracer; with the mean they are the latent that is diffused without it."""
    parts = {}
    for use in ("none", "residual"):
        out = tmp_path / use
        assert run(cache, out, f"preset.mean_pet={use}", "run.steps=1") == 0
        saved = checkpoints.load(out / FOLDER / FILE)
        parts[use] = saved["train"]["x0"], network_of(saved["frozen"])
    config = latent_config(cache, tmp_path / "none")
    labels = torch.tensor([TRACERS[scan.tracer].label for scan in loop.load_data(config).train.items])
    whole, differences = parts["none"][0], parts["residual"][0]
    for label in labels.unique():
        torch.testing.assert_close(differences[labels == label].mean(0), torch.zeros_like(whole[0]), rtol=0, atol=1e-4)
    spread = differences.transpose(0, 1).flatten(1).std(1)
    assert bool(((spread - 1).abs() < 0.02).logical_or(spread < 1e-3).all()), "a channel that never varies stays 0"
    with torch.no_grad():
        plain = parts["none"][1].decode(whole[:1], labels[:1])
        through = parts["residual"][1].decode(differences[:1], labels[:1])
    torch.testing.assert_close(through, plain, rtol=0, atol=1e-3)
    assert not torch.allclose(parts["residual"][1].decode(0 * differences[:1], labels[:1]), plain, atol=1e-3)


@pytest.mark.parametrize("use", ["none", "input", "residual"])
def test_a_trained_run_draws_what_its_bundle_draws(cache, tmp_path, use):
    """Without its coded data, as the bench has it."""
    assert run(cache, tmp_path / "run", f"preset.mean_pet={use}", "run.steps=1", "run.validation_volumes=0") == 0
    checkpoint = checkpoints.saved(tmp_path / "run")[-1]
    objective = trained_objective(checkpoint)
    export_checkpoint(checkpoint, tmp_path / "bundle", name="small", version="1", licence="Apache-2.0")
    method = load_model(tmp_path / "bundle").method
    data = loop.load_data(latent_config(cache, tmp_path / "run"))
    item = data.train[0]
    batch = {name: item[name][None] for name in ("t1w", "t2f", "pet")} | {"label": torch.tensor([item["label"]])}
    mri = torch.cat([item["t1w"], item["t2f"]])[None]
    for axis in (2, 3, 4):
        mri = mri.repeat_interleave(10, axis)
    how = DrawOptions("ddpm", objective.config.run.validation_steps, None)
    with torch.no_grad():
        theirs = objective.draw(batch, seeded_noise(5)).float().clamp(-1, 1)
    ours = method.draw(method.encode(mri), item["label"], 1, how, seeded_noise(5))
    torch.testing.assert_close(ours, method.network.blocks.to_grid(theirs), rtol=0, atol=1e-3)


def test_decoding_undoes_padding_and_scale(trained):
    """A network whose autoencoder is exact would give the PET back; here its padded reconstruction is cropped alike."""
    network = network_of(checkpoints.latest(trained)[1]["objective"]).eval()
    pet = torch.rand(1, 1, 16, 18, 16) * 2 - 1
    with torch.no_grad():
        whole = network.pet_autoencoder.decode(network.pet_autoencoder.encode(network.padded_volume(pet))[0])
        back = network.decode_blocks(network.code_pet(pet))
    assert whole.shape[2:] == (16, 20, 16)
    torch.testing.assert_close(back, whole[:, :, :, 1:-1], rtol=1e-4, atol=1e-4)


def test_adversarial_gradient_reaches_the_generator_through_the_decoder():
    """L_R is of decode(z_hat) against the image; L_I stays on the latent."""
    schedule, t = NoiseSchedule(), torch.tensor([100])
    z, mri = torch.randn(1, 2, 12, 12, 12), torch.zeros(1, 0, 12, 12, 12)
    eps, image = torch.randn_like(z), torch.rand(1, 1, 12, 12, 12) * 2 - 1
    scale = torch.ones((), requires_grad=True)
    D = torch.nn.Module()
    D.conv = torch.nn.Conv3d(1, 1, 3)
    D.forward = lambda x: [D.conv(x)]
    seen = []

    def decode(latent):
        seen.append(latent)
        return latent.sum(1, keepdim=True).tanh()

    def generator(x, t, class_labels):
        return scale * 0.3 * x

    weights = Weights(clamp_clean_estimate=False, adversarial_weight=0.1)
    losses = algorithm_1(
        generator, D, z, mri, torch.tensor([0]), t, eps, Parametrization(schedule), weights, decode, image
    )
    x_t = schedule.add_noise(z, eps, t)
    z_hat = schedule.clean_estimate(x_t, 0.3 * x_t, t)
    torch.testing.assert_close(seen[0].detach(), z_hat)
    torch.testing.assert_close(losses.terms["L_I"], image_loss(z, z_hat))
    plain = losses.terms["L_N"] + losses.terms["L_I"]
    torch.testing.assert_close(losses.generator.detach(), plain + 0.1 * losses.terms["L_R"])
    only = torch.autograd.grad(losses.generator, scale, retain_graph=True)[0]
    without = algorithm_1(
        generator, None, z, mri, torch.tensor([0]), t, eps, Parametrization(schedule), weights, decode, image
    ).generator
    assert not torch.isclose(only, torch.autograd.grad(without, scale)[0], rtol=1e-6)


@pytest.mark.parametrize("timestep", [0, 400, 999])
def test_error_of_v_is_that_of_noise_and_clean_estimate_together(timestep):
    schedule, t = NoiseSchedule(), torch.tensor([timestep])
    x0, eps, v_hat = (torch.randn(1, 2, 4, 4, 4) for _ in range(3))
    x_t = schedule.add_noise(x0, eps, t)
    assert torch.allclose(schedule.noise_of_velocity(x_t, schedule.velocity(x0, eps, t), t), eps, atol=1e-5)
    assert torch.allclose(schedule.clean_of_velocity(x_t, schedule.velocity(x0, eps, t), t), x0, atol=1e-5)
    weights = Weights(adversarial_weight=0.0)
    losses = algorithm_1(
        lambda x, t, class_labels: v_hat,
        None,
        x0,
        x0[:, :0],
        torch.tensor([0]),
        t,
        eps,
        Parametrization(schedule, "v"),
        weights,
    )
    both = noise_loss(eps, schedule.noise_of_velocity(x_t, v_hat, t))
    both = both + noise_loss(x0, schedule.clean_of_velocity(x_t, v_hat, t))
    torch.testing.assert_close(losses.terms["L_N"], both, rtol=1e-4, atol=1e-4)


def test_two_level_latents_of_the_published_grid_are_10_12_10():
    """Sizes only: nothing is coded."""
    from RelAPETLib.methods.rela.autoencoded import AutoencodedDiffusion

    with torch.device("meta"):
        network = AutoencodedDiffusion(
            latent_channels=4,
            autoencoder={"channels": [16, 32, 64, 64, 64], "blocks": 1, "norm_num_groups": 8},
            generator={"channels": [32, 64], "attention_levels": [False, True], "cross_attention_dim": 64},
            schedule={},
        )
    assert network.padded == (160, 192, 160) and network.diffusion_shape == (4, 10, 12, 10)


def test_what_is_trained_is_named_for_every_class():
    network = network_of_names()
    assert all(any(name.startswith(TRAINED[kind]) for name in names) for kind, names in network.items())


def network_of_names() -> dict[str, list[str]]:
    from RelAPETLib.methods.rela.autoencoded import AutoencodedDiffusion
    from RelAPETLib.methods.rela.regression import LatentDiffusion

    autoencoder = {"channels": [4, 4], "blocks": 1, "norm_num_groups": 4}
    generator = {"channels": [8, 8], "attention_levels": [False, False], "num_head_channels": 8}
    coded = AutoencodedDiffusion(
        latent_channels=2,
        autoencoder=autoencoder,
        generator=generator | {"cross_attention_dim": 8},
        schedule={},
        factor=10,
    )
    regression = LatentDiffusion(2, (16, 16), (16, 16), components=2, head_features=5, brain_voxels=8, schedule={})
    return {type(network).__name__: list(network.state_dict()) for network in (coded, regression)}


def test_mri_autoencoder_sees_every_case_once(cache):
    from training.autoencoding import MriImages

    config = latent_config(cache, cache / "out")
    images = MriImages(loop.load_data(config).train)
    cases = {item.case for item in images.dataset.items}
    assert len(images) == 2 * len(cases)
    seen = [images[i]["image"] for i in range(len(images))]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    sums = np.array([float(image.sum()) for image in seen])
    assert len(np.unique(sums)) == len(sums)


REGRESSION = [
    "@training/recipes/demo.txt",
    "latent.components=2",
    "autoencoder.steps=4",
    "run.steps=4",
    "run.log_every=1",
    "run.checkpoint_every=2",
    "run.validate_every=4",
    "run.validation_steps=2",
    "run.validation_volumes=1",
    "preset.global_batch=2",
    "hardware.micro_batch=2",
    "hardware.accelerator=cpu",
    "data.workers=0",
]


@pytest.mark.slow
def test_the_demo_recipe_from_people_to_a_synthetic_pet(tmp_path, monkeypatch, grid_case):
    """prepare, train (stopped and gone on with, beside a straight run), export, synthesize; a handful of steps.

    The cache of registered people is that of one other brain under a training subject's name.
    """
    import SimpleITK as sitk
    import training_cases as cases

    from RelAPETLib.cli import main as relapet
    from RelAPETLib.grid import MNI_GRID

    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    rendered, registered = tmp_path / "rendered", tmp_path / "registered"
    command = ["prepare", "--rendered", "8", "--rendered-seed", "1", "--factor", "2", "--out", str(rendered)]
    assert main([*command, "--fractions", "0.875,0.125,0"]) == 0
    training = json.loads((rendered / "split.json").read_text())["train"]
    cases.prepared(cases.write_table(tmp_path, grid_case, [(training[0], "TAU")]), registered, factor=2)

    def train(out: Path, looks: int | None, *words: str) -> int:
        monkeypatch.setattr(loop, "StopRequest", lambda: StopAfter(looks))
        return loop.main([*REGRESSION, f"data.cache={rendered}", f"out={out}", *words])

    shown = f"latent.registered={registered}"
    assert train(tmp_path / "straight", None, shown) == 0
    assert [train(tmp_path / "resumed", looks, shown) for looks in (2, 3, None)] == [75, 75, 0]
    whole, resumed = weights(tmp_path / "straight"), weights(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert train(tmp_path / "unshown", None, f"autoencoder.source={tmp_path / 'straight'}") == 0
    states = [checkpoints.latest(tmp_path / name)[1]["objective"]["state"] for name in ("straight", "unshown")]
    assert torch.equal(states[0]["mri_mean"], states[1]["mri_mean"])
    assert not torch.allclose(states[0]["head_feature_mean"], states[1]["head_feature_mean"], atol=1e-4)

    bundle, checkpoint = tmp_path / "bundle", checkpoints.saved(tmp_path / "straight")[-1]
    command = ["export", "--checkpoint", str(checkpoint), "--out", str(bundle), "--half", "--samples", "2"]
    assert main([*command, "--title", "Demo"]) == 0
    metadata = load_model(bundle).metadata
    assert metadata["title"] == "Demo" and metadata["method"]["settings"]["sampler"]["samples"] == 2
    assert metadata["training_data"]["simulated"]
    assert any("registration" in line for line in metadata["differences_from_paper"])
    command = ["synthesize", "--t1w", str(grid_case["t1w"]), "--t2f", str(grid_case["t2f"]), "--tracer", "TAU"]
    command += ["--preprocessed", "--model", str(bundle), "--steps", "2", "--out", str(tmp_path / "pet")]
    assert relapet(command) == 0
    assert sitk.ReadImage(str(tmp_path / "pet" / "synthetic_pet.nii.gz")).GetSize() == MNI_GRID.shape
