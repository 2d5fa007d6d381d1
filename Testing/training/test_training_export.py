"""The way out of the training: bundles, samples, figures and tables."""

import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as cases

from RelAPETLib.errors import InputError, OutputError
from RelAPETLib.models import load_model
from RelAPETLib.models.bundle import METADATA_FILE
from RelAPETLib.networks.generator import build_generator
from RelAPETLib.report.card import model_card
from training import checkpoints, methods
from training.__main__ import main
from training.commands import named_folder, named_once
from training.config import flatten
from training.data.cache import open_cache
from training.data.split import make_split
from training.evaluate import read_summary
from training.export import _metrics, export_model
from training.methods.rela.config import ABLATIONS, METHODS, PRESETS, Network, RelaConfig
from training.methods.rela.networks import build_networks
from training.origins import source_sha256

SMALL = Network(
    channels=[8, 16], num_res_blocks=1, attention_levels=[False, False], num_head_channels=8, cross_attention_dim=16,
    factor=4, crop=[40, 44, 40],
)  # fmt: skip
TAU = {"label": 2, "output": "suvr", "window": [0.0, 3.0], "units": "SUVR", "reference_region": "cerebellar_grey"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, grid_case):
    """A cache with its split."""
    folder = tmp_path_factory.mktemp("trained")
    table = cases.write_table(folder, grid_case, [("a", "TAU"), ("b", "TAU"), ("c", "TAU"), ("a", "PIB")])
    cases.prepared(table, folder / "cache")
    make_split("abc", seed=1).save(folder / "cache" / "split.json")
    return folder / "cache"


def config_of(preset="default", ablation="none", method="rela", cache=""):
    how = replace(PRESETS[preset], prediction="noise", mean_pet="none")  # others: test_training_predictions
    config = RelaConfig(METHODS[method], how, SMALL, out="out", ablation=ABLATIONS[ablation])
    config.data.cache = str(cache)
    return config


def saved_run(folder, config, split_sha256, **more):
    """A checkpoint as the loop writes it, of an untrained generator; its path and the generator."""
    generator, _ = build_networks(config)
    state = {
        "step": 7, "best_psnr": 20.5, "history": [], "config": flatten(config), "split_sha256": split_sha256,
        "players": {"generator": {"weights": generator.state_dict(), "average": {}, "optimizer": {}}},
        "objective": {}, **more,
    }  # fmt: skip
    checkpoints.save(folder / "c.pt", state)
    return folder / "c.pt", generator.eval()


BASELINE_FILE = Path(__file__).resolve().parents[2] / "training" / "recipes" / "demo_baseline.json"
FACTS = {
    "name": "small", "version": "0.1.0", "licence": "Apache-2.0", "title": None, "text": None, "samples": 1,
    "training_data": {"description": "nobody", "simulated": True}, "tracers": {"TAU": TAU}, "source": {}, "metrics": {},
}  # fmt: skip


def exported(config, weights, out, **how):
    """A generator's weights as a bundle."""
    return export_model(methods.objective(config), {"generator": weights}, FACTS, out, **how)


@pytest.mark.parametrize(
    ("preset", "ablation"), [("default", "none"), ("paper", "none"), ("default", "wo_t1w"), ("paper", "wo_t2f")]
)
def test_an_exported_run_loads_and_predicts_what_its_generator_does(trained, tmp_path, capsys, preset, ablation):
    from training.methods.rela.networks import condition

    config = config_of(preset, ablation, cache=trained)
    config.out = "/data/Jane Doe study/runs/one"
    split = json.loads((trained / "split.json").read_text())
    resumed = "step 3: data.cache: C:\\Jane Doe\\first -> Jane Doe/second"
    path, generator = saved_run(tmp_path, config, split["sha256"], history=[resumed, "step 3: run.steps: 5 -> 9"])
    meaning = {"TAU": {"meaning": "a probability, in a test", "cutoff": 1.3, "source": "a test"}}
    (tmp_path / "positivity.json").write_text(json.dumps(meaning))
    words = ["export", "--checkpoint", str(path), "--out", str(tmp_path / "bundle"), "--name", "small"]
    asked = ["--positivity", str(tmp_path / "positivity.json"), "--baseline", str(BASELINE_FILE)]
    assert main([*words, *asked]) == 0
    model = load_model(tmp_path / "bundle")
    card = model_card(model.metadata)
    assert "**Baseline for comparison**: not stated" not in card and "ridge regression" in card
    assert "with its significance**: not stated" not in card
    assert model.metadata["tracers"]["TAU"]["positivity"] == meaning["TAU"]
    (tmp_path / "positivity.json").write_text(json.dumps({"FDG": meaning["TAU"]}))
    assert main([*words, "--overwrite", "--positivity", str(tmp_path / "positivity.json")]) == 2
    rng = torch.Generator().manual_seed(0)
    mri = torch.rand((1, 2, 160, 180, 160), generator=rng) * 2 - 1
    x_t = torch.randn((1, 1, 40, 44, 40), generator=rng)
    encoded = model.method.encode(mri)
    pooled = torch.nn.functional.avg_pool3d(mri, 4)[:, :, :, :44]
    with torch.no_grad():
        seen = condition(config, pooled[:, :1], pooled[:, 1:])
        t = torch.tensor([5 + config.preset.first_timestep])
        expected = generator(torch.cat([x_t, seen], 1), t, class_labels=torch.tensor([2]))
    found = model.method.predict_noise(x_t, encoded, 5, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    metadata = model.metadata
    assert metadata["training_data"]["split_sha256"] == split["sha256"] and metadata["training_data"]["simulated"]
    assert metadata["training_data"]["cache_sha256"] == open_cache(trained).sha256
    assert metadata["source"]["step"] == 7 and metadata["metrics"]["validation_in_training"]
    assert set(metadata["tracers"]) <= {"TAU", "PIB"} and "TAU" in metadata["tracers"]
    assert metadata["tracers"]["TAU"]["output"] == ("relative" if preset == "paper" else "suvr")
    assert metadata["method"]["settings"]["sampler"]["clip"] == (None if preset == "paper" else [-1, 1])
    source = metadata["source"]
    assert (source["config"]["out"], source["config"]["data"]["cache"]) == ("one", trained.name)
    assert source["changed_on_resuming"] == ["step 3: data.cache: first -> second", "step 3: run.steps: 5 -> 9"]
    assert str(trained.parent) not in json.dumps(metadata) and "Jane Doe" not in json.dumps(metadata)
    assert any("4 mm" in line for line in metadata["differences_from_paper"])
    assert ("ablation" in metadata["title"]) == (ablation != "none")
    assert model.optional_inputs == (("t2f",) if ablation == "wo_t2f" else ())


def test_without_validation_those_subjects_are_trained_on(trained):
    """`preset.held_out=test_only`, as in paper and release: nobody of the test part, everybody else."""
    from training.data.split import load_split
    from training.export import describe_data
    from training.loop import load_data

    cache = open_cache(trained)
    split = load_split(trained / "split.json", cache)
    data = load_data(config_of("paper", cache=trained))
    assert data.validation is None and split.validation
    assert {item.subject for item in data.train.items} == {*split.train, *split.validation}
    said = describe_data(cache, split, "test_only")["subjects"]
    assert said == {"train": len(split.train) + len(split.validation), "validation": 0, "test": len(split.test)}
    kept = load_data(config_of(cache=trained))
    assert {item.subject for item in kept.validation.items} == set(split.validation)


def test_tracers_and_warnings_are_of_all_who_were_trained_on(trained):
    from training.data.split import Split
    from training.export import few_people, tracer_entries, training_subjects

    cache, split = open_cache(trained), Split(("b",), ("a",), ("c",))
    assert set(tracer_entries(cache, training_subjects(split, "subjects"), relative=False)) == {"TAU"}
    everybody = training_subjects(split, "test_only")
    assert set(tracer_entries(cache, everybody, relative=False)) == {"TAU", "PIB"}
    real = replace(cache, index=cache.index | {"simulated": False})
    assert few_people(cache, everybody) == []
    assert [line.partition(";")[0] for line in few_people(real, everybody)] == [
        "TAU: trained on 2 people", "PIB: trained on 1 person",
    ]  # fmt: skip


def test_a_run_on_another_split_is_not_exported(trained, tmp_path, capsys):
    path, _ = saved_run(tmp_path, config_of(cache=trained), "0" * 64)
    assert main(["export", "--checkpoint", str(path), "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "trained with another split" in said and said.count("\n") == 1 and not (tmp_path / "b").exists()


def test_a_run_on_another_cache_is_not_exported(trained, tmp_path, capsys):
    split = json.loads((trained / "split.json").read_text())["sha256"]
    path, _ = saved_run(tmp_path, config_of(cache=trained), split, volumes_sha256="0" * 64)
    assert main(["export", "--checkpoint", str(path), "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "another cache" in said and said.count("\n") == 1 and not (tmp_path / "b").exists()


def test_what_cannot_be_exported(tmp_path):
    config = config_of()
    state = build_generator(
        **{k: v for k, v in asdict(SMALL).items() if k not in ("factor", "crop")},
    ).state_dict()
    state.pop("out.2.conv.bias")
    for other in (config, config_of(method="rela_latent")):
        with pytest.raises(InputError, match="do not fit the configuration's network"):
            exported(other, state, tmp_path / "b")
    with pytest.raises(InputError, match="does not hold the statistics"):
        exported(RelaConfig(METHODS["rela"], PRESETS["default"], SMALL, out="out"), state, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_not_replaced_unasked_and_half_is_half_the_size(tmp_path):
    config = config_of()
    generator, _ = build_networks(config)
    exported(config, generator.state_dict(), tmp_path / "b")
    whole = (tmp_path / "b" / "model.safetensors").stat().st_size
    with pytest.raises(OutputError, match="exists already"):
        exported(config, generator.state_dict(), tmp_path / "b")
    exported(config, generator.state_dict(), tmp_path / "b", half=True, overwrite=True)
    assert (tmp_path / "b" / "model.safetensors").stat().st_size < 0.6 * whole
    assert "Apache License" in (tmp_path / "b" / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["export", "--checkpoint", "none.pt", "--out", "b"], "cannot read checkpoint none.pt"),
        (["sample", "--bundle", "demo", "--cache", "none", "--out", "b"], "none: no cache"),
        (["evaluate", "--samples", "x", "--cache", "none", "--out", "b"], "none: no cache"),
        (["evaluate"], "required: --samples"),
        (["sing"], "invalid choice: 'sing'"),
        ([], "required: COMMAND"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, command, message):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_folders_of_samples_are_told_apart_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/lr=1/samples").mkdir(parents=True)
    assert named_folder("runs/lr=1/samples") == ("samples", Path("runs/lr=1/samples"))
    assert named_folder("a=b=runs/lr=1/samples") == ("a=b", Path("runs/lr=1/samples"))
    assert named_folder("ours=not/there") == ("ours", Path("not/there")) and named_folder("not/there")[0] == "there"
    assert named_once([("a", Path("x")), ("b", Path("x"))]) == {"a": Path("x"), "b": Path("x")}
    with pytest.raises(InputError, match="ddpm/samples and rela/samples are both named samples; name them"):
        named_once([("samples", Path("ddpm/samples")), ("samples", Path("rela/samples"))])
    with pytest.raises(InputError, match="a row that every table has"):
        named_once([("population mean (ours)", Path("x"))])


# -- figures --------------------------------------------------------------------------------------------------------


def common_evaluate(folder, cache):
    return ["evaluate", "--samples", f"tiny={folder / 's'}", "--cache", str(cache)]


@pytest.mark.slow
def test_sampling_and_evaluating_a_bundle(trained, tiny_latent, tmp_path, capsys):
    common = ["--cache", str(trained), "--out"]
    sample = ["sample", "--bundle", str(tiny_latent), *common, str(tmp_path / "s"), "--tracers", "TAU", "--steps", "2"]
    assert main(sample) == 0
    record = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert len(record["volumes"]) == 1 and record["steps"] == 2 and record["volumes"][0]["seconds"] > 0
    before = (tmp_path / "s" / record["volumes"][0]["file"]).stat().st_mtime_ns
    assert main(sample) == 0  # nothing is drawn twice
    assert (tmp_path / "s" / record["volumes"][0]["file"]).stat().st_mtime_ns == before
    (tmp_path / "s" / record["volumes"][0]["file"]).unlink()
    assert main(["evaluate", "--samples", f"tiny={tmp_path / 's'}", *common, str(tmp_path / "e")]) == 2
    assert record["volumes"][0]["file"] in capsys.readouterr().err
    assert main(sample) == 0  # what is gone is drawn again, once
    redrawn = json.loads((tmp_path / "s" / "samples.json").read_text())["volumes"]
    assert [volume["file"] for volume in redrawn] == [record["volumes"][0]["file"]]
    assert main([*sample, "--seed", "3"]) == 2
    assert "made with another seed" in capsys.readouterr().err
    assert main(["evaluate", "--samples", f"tiny={tmp_path / 's'}", *common, str(tmp_path / "e")]) == 0
    with open(tmp_path / "e" / "volumes.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["method"], r["region"]) for r in rows] == [
        (method, region) for method in ("tiny", "population mean") for region in ("whole_grid", "brain")
    ]
    by_method, models = read_summary(tmp_path / "e" / "summary.json")
    assert models == {"tiny": source_sha256(json.loads((tiny_latent / METADATA_FILE).read_text())["source"])}
    assert by_method["population mean"]["TAU"]["brain"]["psnr_mean"] > by_method["tiny"]["TAU"]["brain"]["psnr_mean"]
    tables = (tmp_path / "e" / "tables.md").read_text()
    assert "## Layout of Table IV: inside the brain mask" in tables
    data = open_cache(trained)
    assert f"- population mean: of the training part of this cache ({data.index['source']}), 1 subject(s)\n" in tables
    assert "- tiny: not trained on this cache and split, as far as its bundle says" in tables
    assert main([*common_evaluate(tmp_path, trained), "--metrics", "release", "--out", str(tmp_path / "r")]) == 0
    with open(tmp_path / "r" / "volumes.csv", newline="") as stream:
        assert {row["region"] for row in csv.DictReader(stream)} == {"release"}
    same = {key: record[key] for key in ("cache_sha256", "split_sha256")}
    (tmp_path / "s" / "samples.json").write_text(json.dumps({**record, "trained_on": same}))
    assert main([*common_evaluate(tmp_path, trained), "--out", str(tmp_path / "r")]) == 0
    assert "not trained on" not in (tmp_path / "r" / "tables.md").read_text()
    split = make_split("abc", seed=2)
    split.save(tmp_path / "other.json")
    other = ["--split-file", str(tmp_path / "other.json")]
    assert main(["evaluate", "--samples", str(tmp_path / "s"), *other, *common, str(tmp_path / "f")]) == 2
    assert "drawn with another split" in capsys.readouterr().err


def test_tracers_of_a_case_are_drawn_with_the_same_noise_and_cases_with_their_own(trained, tiny_latent, monkeypatch):
    """As the library draws the tracers of one person; whatever else is drawn."""
    from RelAPETLib.methods.rela import RelaDiffusion
    from training.data.cache import Item
    from training.sample import Drawing, draw_volume

    noises, own = [], RelaDiffusion.draw

    def listening(self, encoded, label, count, options, noise, progress=None):
        noises.extend(numbers for numbers in [noise(0, (1, 8))] if not numbers.is_meta)  # else memory is counted
        return own(self, encoded, label, count, options, noise, progress)

    monkeypatch.setattr(RelaDiffusion, "draw", listening)
    model, cache = load_model(tiny_latent, "cpu"), open_cache(trained)
    inside, drawing = cache.mask(), Drawing("cpu", steps=1, seed=5)
    for case, tracer in (("a", "TAU"), ("a", "PIB"), ("b", "TAU")):
        draw_volume(model, cache, Item(case, case, tracer), drawing, inside)
    assert torch.equal(noises[0], noises[1]) and not torch.equal(noises[0], noises[2])


def test_volumes_of_another_way_of_noise_are_not_gone_on_with(trained, tiny_latent, tmp_path, capsys):
    """Folders of versions whose noise differed by tracer have no such line."""
    from training.sample import RECORD

    words = ["sample", "--bundle", str(tiny_latent), "--cache", str(trained), "--tracers", "TAU", "--steps", "1"]
    words += ["--device", "cpu", "--limit", "1", "--out", str(tmp_path / "s")]
    assert main(words) == 0
    record = json.loads((tmp_path / "s" / RECORD).read_text())
    assert record.pop("noise") == "by case"
    (tmp_path / "s" / RECORD).write_text(json.dumps(record))
    assert main(words) == 2
    assert "made with another noise" in capsys.readouterr().err


@pytest.mark.parametrize("own", [("ddpm", 1000), ("dpmpp", 20), ("ddim", 7), ("dpmpp", 1000)])
@pytest.mark.parametrize("sampler", [None, "dpmpp", "unipc", "ddim", "ddpm"])
@pytest.mark.parametrize("steps", [None, 1, 33])
def test_synthesize_and_sample_take_the_same_steps(monkeypatch, tmp_path, own, sampler, steps):
    """What is asked of the network, by both ways, for each combination of given and not given."""
    from types import SimpleNamespace

    from RelAPETLib.diffusion import NoiseSchedule
    from RelAPETLib.methods.rela import RelaDiffusion
    from RelAPETLib.synthesis import options, sampling
    from training import sample
    from training.data.cache import Item

    facts = {"label": 2, "output": "suvr", "window": [0, 3], "reference_region": "cerebellar_grey"}
    settings = {
        "network": {"class": "VoxelDiffusion"}, "schedule": {"num_timesteps": 1000},
        "sampler": {"name": own[0], "steps": own[1], "samples": 1, "clip": [-1, 1]},
    }  # fmt: skip
    model = SimpleNamespace(
        name="m", version="1", weights_sha256="0", device="cpu",
        metadata={"name": "m", "tracers": {"TAU": facts}, "source": {}},
        method=RelaDiffusion(settings, torch.nn.Identity(), NoiseSchedule()), brought_back=lambda: None,
    )  # fmt: skip
    (plan,) = options.resolve(options.Options(tracers="TAU", sampler=sampler, steps=steps), model)
    asked = []

    def drawn(shown, plan, **_):
        asked.append((plan.sampler, plan.steps))
        return SimpleNamespace(mean=np.zeros((1, 1, 1), np.float32))

    monkeypatch.setattr(sampling, "draw_samples", drawn)
    cache = SimpleNamespace(array=lambda case, name: np.zeros((1, 1, 1)), sha256="0")
    drawing = sample.Drawing(steps=steps, sampler=sampler)
    sample.draw_volume(model, cache, Item("a", "a", "TAU"), drawing, np.ones((1, 1, 1), bool))
    assert asked == [(plan.sampler, plan.steps)]
    assert plan.sampler == (sampler or own[0])
    assert plan.steps == (steps or (own[1] if sampler in (None, own[0]) else 20))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "0"], "steps 0 is out of range"),
        (["--steps", "1001"], "use 1 to 1000"),
        (["--sampler", "leapfrog"], "unknown sampler 'leapfrog'"),
        (["--samples", "0"], "samples 0 is out of range"),
        (["--limit", "0"], "limit 0 is out of range"),
    ],
)
def test_what_sample_refuses(trained, tiny_latent, tmp_path, capsys, words, says):
    assert main(["sample", "--bundle", str(tiny_latent), "--cache", str(trained), "--out", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_the_demo_s_baseline_is_that_of_the_result_it_names():
    said = json.loads(BASELINE_FILE.read_text(encoding="utf-8"))
    (name,) = re.findall(r"Testing/\S+\.md", said["baseline"]["source"])
    table = (BASELINE_FILE.parents[2] / name).read_text(encoding="utf-8").split("## Images")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    means = {(row[0], row[1]): row[3] for row in rows}
    gains = {row[0]: row[6] for row in rows if row[1] == "demo31"}
    for tracer, own in said["baseline"]["psnr_brain"].items():
        for title, row in (("model", "demo31"), ("ridge regression", "control"), ("mean PET", "mean PET")):
            assert float(means[tracer, row]) == own[title], (tracer, row)
        assert (
            f"+{said['significance']['gain'][tracer][0]:.2f} ± {said['significance']['gain'][tracer][1]:.2f}"
            == gains[tracer]
        )


@pytest.mark.parametrize("content", [{}, {"baseline": ""}, {"significance": "much"}, {"baseline": "a", "psnr": 3}])
def test_a_file_of_a_baseline_holds_that_and_no_more(content, tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="an object with baseline and perhaps significance is wanted"):
        _metrics(None, path, {}, {})


def test_the_mean_pet_beside_a_model_is_its_baseline(tmp_path):
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps({"population mean": {}, "own": {}}))
    found = _metrics(summary, None, {"best_psnr": 30.0}, {})
    assert found["baseline"] == "held_out has it: population mean, mean PET of the evaluated cache's training people"
    card = model_card({"name": "own", "metrics": found})
    assert "held_out has it" in card and "**Baseline for comparison**: not stated" not in card
    summary.write_text(json.dumps({"own": {}}))
    assert "baseline" not in _metrics(summary, None, {}, {})


def test_figures_of_other_models_are_refused(tmp_path):
    """By run, configuration and step, so that neither float16 nor a calibration makes it another model."""
    summary, source = tmp_path / "summary.json", {"step": 3, "config": {"seed": 0}}
    models = {name: {"name": "own", "version": "1", "source_sha256": source_sha256(source | {"step": step})}
              for name, step in (("ddpm", 2), ("rela", 3))}  # fmt: skip
    figures = {"population mean": {}, "ddpm": {}, "rela": {}}
    summary.write_text(json.dumps({"models": models, "figures": figures}))
    found = _metrics(summary, None, {}, source)
    assert found["held_out"] == figures and found["held_out_own"] == "rela" and "population mean" in found["baseline"]
    with pytest.raises(InputError, match="figures of ddpm, rela, none of which was exported from this checkpoint"):
        _metrics(summary, None, {}, source | {"step": 4})
    models["ddpm"]["source_sha256"] = None  # of volumes that an earlier version drew: nobody knows
    summary.write_text(json.dumps({"models": models, "figures": figures}))
    assert "held_out_own" not in _metrics(summary, None, {}, source | {"step": 4})
    summary.write_text(json.dumps({"models": {"rela": []}, "figures": figures}))
    with pytest.raises(InputError, match="evaluate again"):
        _metrics(summary, None, {}, source)
