"""Predictions of v, x0 and EDM's output in training: losses, statistics of the training set, bundles, old names."""

import json

import numpy as np
import pytest
import torch
import training_cases as cases
from lightning_fabric import Fabric
from training_runs import COMMON

from RelAPETLib.diffusion import NoiseSchedule, Parametrization
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.models import load_model
from training import checkpoints, loop
from training.__main__ import main
from training.bench.figures import trained_objective
from training.config import differences, flatten, load_config, typed, upgraded
from training.data.cache import open_cache
from training.data.dataset import PetDataset
from training.data.split import make_split
from training.export import export_checkpoint
from training.methods import objective
from training.methods.base import Place
from training.methods.rela.config import RelaConfig
from training.methods.rela.steps import Weights, algorithm_1, weights_of
from training.statistics import PetStatistics, pet_statistics

SMALL = (
    "network.channels=[8,8] network.attention_levels=[false,false] network.num_head_channels=8 "
    "network.cross_attention_dim=8 network.num_res_blocks=1 network.factor=10 network.crop=[16,18,16]"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, grid_case):
    folder = tmp_path_factory.mktemp("people")
    table = cases.write_table(folder, grid_case, [("a", "TAU"), ("b", "TAU"), ("c", "TAU"), ("a", "PIB"), ("b", "PIB")])
    cases.prepared(table, folder / "cache")
    make_split("abc", seed=1, fractions=(0.67, 0.33, 0.0)).save(folder / "cache" / "split.json")
    return folder / "cache"


def train(cache, out, *words):
    """Exit code of a run of the small network over a cache."""
    plain = ("preset.prediction=noise", "preset.mean_pet=none")
    config = load_config([*COMMON, *SMALL, *plain, "method=ficd", f"data.cache={cache}", f"out={out}", *words])
    return loop.run(config, loop.load_data(config), quiet=True)


def test_differences_from_the_mean_are_clamped_nowhere():
    """They are scaled to SD 1: bounds of [-1, 1] would cut a third of them off."""
    words = ["preset.mean_pet=residual", "data.cache=c", "out=o"]
    assert not weights_of(load_config(words), 0).clamp_clean_estimate
    assert weights_of(load_config(["preset.mean_pet=none", *words[1:]]), 0).clamp_clean_estimate


@pytest.mark.parametrize("prediction", ["noise", "v", "x0", "edm"])
def test_a_perfect_generator_costs_nothing_and_a_wrong_one_by_its_weight(prediction):
    p = Parametrization(NoiseSchedule(), prediction, 0.4)
    x0, eps = torch.randn(2, 2, 1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([20, 900])
    perfect = p.target(x0, eps, t)
    off = torch.tensor([0.1, 0.2])[:, None, None, None, None]

    def losses(output, weighting):
        weights = Weights(adversarial_weight=0, loss_weighting=weighting)
        answer = algorithm_1(
            lambda x, t, class_labels: output, None, x0, x0[:, :0], t, t, eps, p, weights
        )  # fmt: skip
        return answer.terms

    for weighting in ("none", "min_snr"):
        found = losses(perfect, weighting)
        assert float(found["L_N"]) < 1e-10
        assert float(found["L_I"]) < 1e-3 or prediction == "noise"  # noise: clamped to [-1, 1]
    plain, weighted = (float(losses(perfect + off, how)["L_N"]) for how in ("none", "min_snr"))
    assert plain == pytest.approx(0.025, rel=1e-4)
    share = p.weight(t, "min_snr")
    assert weighted == pytest.approx(float((share * torch.tensor([0.01, 0.04])).mean()), rel=1e-4)


def test_statistics_are_of_the_brain_and_by_tracer(trained):
    data = PetDataset(open_cache(trained), "abc", factor=10, crop=[16, 18, 16])
    found = pet_statistics(data, 4)
    assert found.mean.shape == (4, 1, 16, 18, 16) and bool((found.mean[[0, 3]] == -1).all())
    by_tracer = {"TAU": [], "PIB": []}
    for place, item in enumerate(data.items):
        by_tracer[item.tracer].append(data[place]["pet"].double())
    values, residuals = [], {}
    for tracer, label in (("TAU", 2), ("PIB", 1)):
        mean = torch.stack(by_tracer[tracer]).mean(0)
        torch.testing.assert_close(found.mean[label].double(), mean, rtol=0, atol=1e-6)
        brain = mean > -0.999
        values += [pet[brain] for pet in by_tracer[tracer]]
        residuals[label] = torch.cat([(pet - mean)[brain] for pet in by_tracer[tracer]])
    assert found.sd == pytest.approx(float(torch.cat(values).std(correction=0)), rel=1e-6)
    whole = torch.cat(list(residuals.values()))
    for label, sd in enumerate(found.residual_sd):  # two scans of PIB are too few for an SD of their own
        own = residuals[label] if label == 2 else whole
        assert sd == pytest.approx(float(own.square().mean().sqrt()), rel=1e-6)
    again = PetStatistics.of_state(found.state())
    assert again.residual_sd == found.residual_sd and torch.equal(again.mean, found.mean)
    earlier = PetStatistics.of_state({**found.state(), "residual_sd": 0.25})  # one for all tracers
    assert earlier.residual_sd == (0.25,) * 4


@pytest.mark.parametrize("power", [1, 2])
def test_the_unet_control_learns_differences_in_each_tracers_own_sd(trained, power):
    """What gives the mean PET, as a new network does, errs by one SD in the brain of every tracer."""
    data = PetDataset(open_cache(trained), "abc", factor=10, crop=[16, 18, 16])
    words = [word for word in (*COMMON, *SMALL) if not word.startswith(("preset.adversarial", "preset.generator"))]
    config = load_config(
        [*words, f"method=unet_l{power}", "preset.mean_pet=residual", f"data.cache={trained}", "out=unused"]
    )
    learned = objective(config)
    learned.statistics = PetStatistics.of_state({**pet_statistics(data, 4).state(), "residual_sd": [9, 0.5, 0.02, 9]})
    learned.bind(Fabric(accelerator="cpu"), {name: player.module for name, player in learned.build().items()})
    for place, item in enumerate(data.items):
        label, scale = (1, 0.5) if item.tracer == "PIB" else (2, 0.02)
        batch = torch.utils.data.default_collate([data[place]])
        losses, _ = learned.losses(batch, Place(0, 0, [0]))
        gap = (learned.statistics.mean[label] - batch["pet"][0]).abs() / scale
        assert float(losses["network"].detach()) == pytest.approx(float((gap**power).mean()), rel=1e-2)


def test_a_tracer_of_few_scans_has_the_sd_of_all(trained):
    data = PetDataset(open_cache(trained), "abc", factor=10, crop=[16, 18, 16])
    assert [sum(item.tracer == tracer for item in data.items) for tracer in ("TAU", "PIB")] == [3, 2]
    found = pet_statistics(data, 4)
    assert found.residual_sd[1] == found.residual_sd[0] != found.residual_sd[2]


@pytest.mark.parametrize(
    "words",
    [
        ("preset.prediction=edm", "preset.mean_pet=residual", "preset.zero_terminal_snr=true"),
        ("preset.prediction=edm", "preset.loss_weighting=min_snr", "ablation=wo_t1w"),
        ("preset.prediction=v", "preset.mean_pet=input", "preset.first_timestep=1"),
        ("preset.prediction=x0",),
    ],
    ids=lambda words: " ".join(word.partition(".")[2] for word in words),
)
def test_the_bundle_draws_what_the_run_validated(trained, tmp_path, words):
    """The same noise through the trained objective and through the library's method gives the same blocks."""
    out = tmp_path / "run"
    assert train(trained, out, *words, "run.steps=2", "preset.ema_decay=0", "run.validation_volumes=0") == 0
    checkpoint = checkpoints.saved(out)[-1]
    export_checkpoint(checkpoint, tmp_path / "bundle", name="small", version="1", licence="Apache-2.0")
    objective = trained_objective(checkpoint)
    method = load_model(tmp_path / "bundle").method
    cache = open_cache(trained)
    item = PetDataset(cache, "a", factor=10, crop=[16, 18, 16], tracers=["TAU"])[0]
    batch = {name: value[None] for name, value in item.items() if isinstance(value, torch.Tensor)}
    batch["label"] = torch.tensor([item["label"]])
    start = torch.randn(1, 1, 16, 18, 16, generator=torch.Generator().manual_seed(0))
    theirs = objective.draw(batch, lambda index, shape: start)
    mri = np.stack([cache.array("a", name).astype(np.float32) for name in ("t1w", "t2f")])
    steps = objective.config.run.validation_steps
    clip = method.defaults.clip
    assert clip == (None if "preset.mean_pet=residual" in words else (-1, 1))
    ours = method.draw(
        method.encode(torch.from_numpy(mri)[None]), 2, 1, DrawOptions("dpmpp", steps, clip), lambda index, shape: start
    )
    expected = method.network.decode((theirs - _mean(objective, batch)) / _scale(objective), torch.tensor([2]))
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-3)


def _scale(objective):
    return 1.0 if objective.space.scale is None else objective.space.scale[2]  # of TAU


def _mean(objective, batch):
    return 0.0 if objective.space.scale is None else objective.space.means(batch, batch["t1w"], batch["t2f"])


def test_a_run_goes_on_with_the_statistics_it_began_with(trained, tmp_path):
    words = ("preset.prediction=edm", "preset.mean_pet=residual", "run.validation_volumes=0")
    out = tmp_path / "run"
    assert train(trained, out, *words, "run.steps=1") == 0
    kept = (out / "statistics.pt").read_bytes()
    assert train(trained, out, *words, "run.steps=2") == 0
    assert (out / "statistics.pt").read_bytes() == kept
    again = trained_objective(checkpoints.saved(out)[-1])
    assert again.parametrization.sigma_data == 1.0 and (again.space.scale > 0).all()
    (out / "statistics.pt").write_bytes(kept[:100])
    assert train(trained, out, *words, "run.steps=3") == 2, "a damaged file is told of"


def test_configurations_of_earlier_versions(tmp_path):
    """Keys that were not there mean what was done then; the latent form's prediction moved."""
    old = flatten(load_config(["method=rela_latent", "preset.prediction=v", "data.cache=c", "out=o"]))
    for key in ("preset.loss_weighting", "preset.zero_terminal_snr", "preset.mean_pet"):
        del old[key]
    old["latent.prediction"] = old.pop("preset.prediction")
    config = typed(old)
    assert config.preset.prediction == "v" and config.preset.mean_pet == "none"
    assert differences(upgraded(old, RelaConfig), flatten(config)) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("words", [("method=unet_l1",), ("method=unet_l2", "preset.mean_pet=residual"),
                                   ("method=unet_l1", "preset.mean_pet=input")])  # fmt: skip
def test_the_unet_control_learns_and_draws_what_it_learned(trained, tmp_path, words):
    """Its error falls where it can, and its bundle gives the blocks of the run's network, without noise or sampler."""
    out = tmp_path / "run"
    words = (*words, "preset.learning_rate=3e-3", "run.steps=30", "preset.ema_decay=0", "run.validation_volumes=2")
    common = [word for word in (*COMMON, *SMALL) if not word.startswith(("preset.adversarial", "preset.generator"))]
    config = load_config([*common, f"data.cache={trained}", f"out={out}", "run.validate_every=30", *words])
    assert loop.run(config, loop.load_data(config), quiet=True) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    term = "L1" if config.method.power == 1 else "L2"
    errors = [line[term] for line in lines if term in line]
    if config.preset.mean_pet != "residual":  # two people's differences from their mean are not in their equal MRI
        assert np.mean(errors[-5:]) < 0.8 * np.mean(errors[:5])
    checkpoint = checkpoints.saved(out)[-1]
    export_checkpoint(checkpoint, tmp_path / "bundle", name="control", version="1", licence="Apache-2.0")
    model = load_model(tmp_path / "bundle")
    assert model.metadata["method"]["name"] == "unet" and not model.method.defaults.samplers
    cache = open_cache(trained)
    item = PetDataset(cache, "a", factor=10, crop=[16, 18, 16], tracers=["PIB"])[0]
    batch = {name: value[None] for name, value in item.items() if isinstance(value, torch.Tensor)}
    batch["label"] = torch.tensor([item["label"]])
    with torch.no_grad():
        blocks = trained_objective(checkpoint).draw(batch, None)
    mri = torch.from_numpy(np.stack([cache.array("a", name).astype(np.float32) for name in ("t1w", "t2f")]))[None]
    method = model.method
    drawn = method.draw(method.encode(mri), 1, 2, DrawOptions(None), None)
    assert drawn.shape == (2, 1, 160, 180, 160) and torch.equal(drawn[0], drawn[1])
    expected = method.network.blocks.to_grid(blocks).clamp(-1, 1)
    torch.testing.assert_close(drawn[:1], expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("method", ["ficd", "unet_l2"])
def test_a_dry_run_measures_the_mean_of_a_few(trained, tmp_path, capsys, method):
    words = [word for word in (*COMMON, *SMALL) if not word.startswith(("preset.adversarial", "preset.generator"))]
    words += [f"method={method}", "preset.mean_pet=residual", f"data.cache={trained}", f"out={tmp_path / 'out'}"]
    assert main(["train", *words, "run.validation_volumes=0", "run.steps=100", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "time of the whole run" in said and not (tmp_path / "out").exists()
