"""Synthesis as a whole with a small real model, and its parts: options, inputs, sampling, saving."""

import csv
import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cases import write_tiny_latent, write_tiny_voxel

from RelAPETLib import devices, provenance
from RelAPETLib.errors import (
    DeviceError,
    DoubtfulInputError,
    InputError,
    LongRunError,
    ModelError,
    OutputError,
    RelAPETWarning,
)
from RelAPETLib.grid import MNI_GRID, image_to_array
from RelAPETLib.methods.rela import RelaDiffusion
from RelAPETLib.models import load_model
from RelAPETLib.notices import printable
from RelAPETLib.regions import regional_means
from RelAPETLib.resources import resource
from RelAPETLib.synthesis import OUTPUT_NAMES, inputs, options, sampling, synthesize
from RelAPETLib.tracers import get_tracer
from RelAPETLib.volumes import file_sha256, read_volume

FAST = {"steps": 2, "preprocessed": True, "device": "cpu"}


@pytest.fixture(scope="module")
def made(tiny_latent, grid_case):
    """One synthesis with everything on: reference, two samples, both spaces."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelAPETWarning)
        return synthesize(
            grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=grid_case["pet"], samples=2,
            space="both", **FAST,
        )  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_latent):
    return load_model(tiny_latent)


@pytest.fixture(scope="module")
def condition(grid_case):
    from RelAPETLib.preprocessing import from_grid
    from RelAPETLib.synthesis import Case

    t1w = read_volume(grid_case["t1w"])
    return Case(from_grid(t1w, read_volume(grid_case["t2f"])), t1w, {}, True).mri()


def drawing(model, condition, label, **how):
    """Draw with a plan that is made here."""
    facts = {"tracer": get_tracer("TAU"), "output": "suvr", "window": (0.0, 3.0), "reference_region": None}
    plan = options.Plan(label=label, space="t1w", **facts, **how)
    return sampling.draw_samples(sampling.ConditionedModel(model, condition), plan)


def test_a_reference_in_other_units_is_compared_on_the_same_scale(made, tiny_latent, grid_case, tmp_path):
    """The measured PET in SUVR, and the same in Bq/mL by way of `reference_region`: the same picture."""
    from RelAPETLib.volumes import write_volume

    synthetic, measured = made.volumes["synthetic_pet_space-MNI"], read_volume(grid_case["pet"])
    for name, image in (("synthetic", synthetic), ("measured", measured)):
        write_volume(sitk.Cast(image * 21_345.0, sitk.sitkFloat32), tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps({"Units": "Bq/mL"}))

    def compared(name):
        return synthesize(
            grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=tmp_path / f"{name}.nii.gz",
            reference_region="cerebellar_grey", samples=2, space="mni", **FAST,
        )  # fmt: skip

    itself = compared("synthetic")
    assert float(np.abs(image_to_array(itself.difference)).max()) < 1e-4
    assert itself.metrics["brain"]["mae"] < 1e-5
    other = compared("measured")
    by_region = regional_means(other.difference)
    assert by_region["cerebellar_grey"] == pytest.approx(0.0, abs=1e-3), "both have the same level there"
    mask = read_volume(resource("template", "brain_mask.nii.gz"))
    level = regional_means(synthetic, ["cerebellar_grey"], mask)["cerebellar_grey"]
    own = regional_means(measured, ["cerebellar_grey"], mask)["cerebellar_grey"]
    brain = image_to_array(mask) > 0
    expected = np.where(brain, image_to_array(synthetic) - image_to_array(measured) * level / own, 0)
    np.testing.assert_allclose(image_to_array(other.difference), expected, atol=1e-3)
    assert "synthetic PET's" in other.provenance["reference"]["units_from"]


def test_a_reference_of_another_brain_is_refused_unless_forced(tiny_latent, grid_case, tmp_path):
    from RelAPETLib.volumes import write_volume

    pet = read_volume(grid_case["pet"])
    moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(pet), 15, axis=1))
    moved.CopyInformation(pet)
    write_volume(moved, tmp_path / "pet.nii.gz")
    (tmp_path / "pet.json").write_text(json.dumps({"Units": "unitless"}))
    given = (grid_case["t1w"], grid_case["t2f"], "TAU")
    told = {"model": tiny_latent, "reference": tmp_path / "pet.nii.gz", "samples": 1, "space": "mni", **FAST}
    with pytest.raises(DoubtfulInputError, match="measured PET does not fit the MRI's brain"):
        synthesize(*given, **told)
    with pytest.warns(RelAPETWarning, match="accepted by force: the measured PET"):
        result = synthesize(*given, force=True, **told)
    assert result.provenance["preprocessing"]["quality"]["pet_outline"] < 0.93


def test_two_people_in_two_threads_keep_their_own_warnings(tiny_latent, grid_case, tmp_path):
    import threading

    from RelAPETLib.volumes import write_volume

    heard = {}

    def person(name, factor):
        path = tmp_path / f"{name}.nii.gz"
        write_volume(sitk.Cast(read_volume(grid_case["pet"]) * factor, sitk.sitkFloat32), path)
        heard[name] = synthesize(
            grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=path, samples=1, space="mni", **FAST
        ).warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        threads = [threading.Thread(target=person, args=case) for case in (("a", 1.0), ("b", 1.3))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    means = [float(line.rsplit(" ", 1)[1]) for name in "ab" for line in heard[name] if "taken to be SUVR" in line]
    assert len(means) == 2 and means[1] == pytest.approx(1.3 * means[0], abs=0.02)
    assert [len(heard[name]) for name in "ab"] == [1, 1]


def test_the_pet_is_suvr_inside_the_window_and_zero_outside_the_brain(made):
    brain = image_to_array(sitk.ReadImage(str(resource("template", "brain_mask.nii.gz")))) > 0
    pet = image_to_array(made.pet)
    assert made.pet.GetPixelID() == sitk.sitkFloat32
    assert (pet[~brain] == 0).all() and pet.min() >= 0 and pet.max() <= 3
    assert pet[brain].mean() == pytest.approx(1.2, abs=0.3), "the tiny model's mean PET is 0.4 of the window"
    assert (image_to_array(made.uncertainty)[brain] > 0).mean() > 0.99


def test_difference_and_metrics_belong_to_this_pet(made, grid_case):
    from skimage.metrics import peak_signal_noise_ratio

    brain = image_to_array(sitk.ReadImage(str(resource("template", "brain_mask.nii.gz")))) > 0
    reference = image_to_array(read_volume(grid_case["pet"])) * brain
    pet = image_to_array(made.pet)
    np.testing.assert_allclose(image_to_array(made.difference), pet - reference, atol=1e-5)
    scaled = [np.clip(v / 3, 0, 1)[brain].astype(float) for v in (reference, pet)]
    assert made.metrics["brain"]["psnr"] == pytest.approx(peak_signal_noise_ratio(*scaled, data_range=1.0), abs=1e-3)


def test_the_record_is_valid_and_names_no_file(made, grid_case):
    from hashlib import sha256

    record = made.provenance
    provenance.check_provenance(record)
    for role, name in (("t1w", "t1w"), ("t2f", "t2f"), ("reference", "pet")):
        assert record["inputs"][role]["sha256"] == sha256(grid_case[name].read_bytes()).hexdigest()
    text = json.dumps(record)
    assert str(grid_case["t1w"].parent) not in text and "t1w.nii" not in text
    assert record["sampling"] == {
        "sampler": "dpmpp", "steps": 2, "samples": 2, "seed": 0, "clip": None, "device": "cpu", "batch": 2,
        "memory_gb": pytest.approx(0.4, abs=0.15), "precision": "fp32", "attention": devices.attention_backend("cpu"),
    }  # fmt: skip
    assert record["preprocessing"]["preprocessed"] and record["preprocessing"]["method"] == "none"


def test_saving_writes_the_set_that_the_record_lists(made, tmp_path):
    out = tmp_path / "Ergebnis für Ω"
    files = made.save(out, report="all")
    record = json.loads((out / "synthetic_pet.json").read_text(encoding="utf-8"))
    provenance.check_provenance(record)
    names = {p.name for p in out.iterdir()}
    assert names == set(files) == set(record["outputs"]) | {"synthetic_pet.json"}
    others = ("departure", "reference_z")  # of models and references with norms
    assert names == {name for name in OUTPUT_NAMES if not name.endswith(".nii") and not name.startswith(others)}
    assert record["outputs"]["uncertainty_space-MNI.nii.gz"]["space"] == "MNI"
    again = read_volume(out / "synthetic_pet.nii.gz")
    np.testing.assert_array_equal(image_to_array(again), image_to_array(made.pet))
    with pytest.raises(OutputError, match="--overwrite"):
        made.save(out)


def test_uncompressed_volumes_are_the_same_and_replace_compressed_ones(made, tmp_path):
    made.save(tmp_path, report=False)
    before = {p.name: read_volume(p) for p in tmp_path.glob("*.nii.gz")}
    with pytest.raises(OutputError, match="--overwrite"):
        made.save(tmp_path, report=False, compress=False)
    files = made.save(tmp_path, report=False, compress=False, overwrite=True)
    assert not list(tmp_path.glob("*.gz")) and "synthetic_pet.nii" in files
    record = json.loads((tmp_path / "synthetic_pet.json").read_text(encoding="utf-8"))
    provenance.check_provenance(record)
    for name, image in before.items():
        again = read_volume(tmp_path / name.removesuffix(".gz"))
        np.testing.assert_array_equal(image_to_array(again), image_to_array(image))
        assert (again.GetOrigin(), again.GetDirection()) == (image.GetOrigin(), image.GetDirection())
        path = tmp_path / name.removesuffix(".gz")
        assert record["outputs"][path.name]["sha256"] == file_sha256(path)


def test_the_measured_pet_is_given_as_it_was_compared(made, tmp_path):
    made.save(tmp_path, report=False)
    for space in ("", "_space-MNI"):
        pet, reference, difference = (
            image_to_array(read_volume(tmp_path / f"{name}{space}.nii.gz"))
            for name in ("synthetic_pet", "reference", "difference")
        )
        inside = pet > 0
        np.testing.assert_allclose((pet - reference)[inside], difference[inside], atol=1e-4)
        assert reference[inside].mean() > 0.5
    outputs = json.loads((tmp_path / "synthetic_pet.json").read_text(encoding="utf-8"))["outputs"]
    assert outputs["reference.nii.gz"]["units"] == "SUVR" and "measured" in outputs["reference.nii.gz"]["content"]


def test_regions_tsv_holds_the_means_of_the_maps(made, tmp_path):
    made.save(tmp_path, report=False)
    with open(tmp_path / "regions.tsv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [int(row["label"]) for row in rows] == list(range(1, 13))
    mask = sitk.ReadImage(str(resource("template", "brain_mask.nii.gz")))
    means = regional_means(made.volumes["synthetic_pet_space-MNI"], mask=mask)
    for row in rows:
        assert float(row["synthetic_pet"]) == pytest.approx(means[row["region"]], rel=1e-4)
        expected = float(row["synthetic_pet"]) - float(row["reference"])
        assert float(row["difference"]) == pytest.approx(expected, abs=1e-4)


def test_samples_tsv_holds_the_regional_means_of_each_sample(made, tmp_path):
    made.save(tmp_path, report=False)
    tables = {}
    for name in ("samples", "regions"):
        with open(tmp_path / f"{name}.tsv", newline="", encoding="utf-8") as stream:
            tables[name] = list(csv.DictReader(stream, delimiter="\t"))
    number = made.provenance["sampling"]["samples"]
    assert number > 1 and len(tables["samples"]) == 12 * number
    for row in tables["regions"]:
        own = [sample for sample in tables["samples"] if sample["region"] == row["region"]]
        assert [(sample["sample"], sample["pair"]) for sample in own] == [
            (str(n + 1), str(n // 2 + 1)) for n in range(number)
        ]
        values = np.array([float(sample["suvr"]) for sample in own])
        assert values.mean() == pytest.approx(float(row["synthetic_pet"]), rel=1e-4)
    for row in made.regions:
        values = np.array([sample["suvr"] for sample in made.samples if sample["region"] == row["region"]])
        squares = ((values - values.mean()) ** 2).sum()
        assert row["spread"] == pytest.approx(np.sqrt(squares / (number - number % 2 / number)), rel=1e-3)
    outputs = json.loads((tmp_path / "synthetic_pet.json").read_text(encoding="utf-8"))["outputs"]
    assert outputs["samples.tsv"]["units"] == "SUVR" and "mirrored" in outputs["samples.tsv"]["content"]


def test_overwriting_leaves_no_mixture_of_two_runs(made, tmp_path):
    made.save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    alone = dataclasses.replace(made, volumes={"synthetic_pet": made.pet}, samples=[])
    alone.save(tmp_path, overwrite=True, report=False)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"synthetic_pet.nii.gz", "regions.tsv", "synthetic_pet.json", "notes.txt"}


def test_without_matplotlib_all_but_the_report_is_written(made, tmp_path, monkeypatch):
    monkeypatch.setattr("RelAPETLib.synthesis.result.find_spec", lambda name: None)
    with pytest.warns(RelAPETWarning, match=r"relapet\[report\]"):
        files = made.save(tmp_path)
    assert "report.png" not in files and "synthetic_pet.nii.gz" in files
    record = json.loads((tmp_path / "synthetic_pet.json").read_text())
    assert any("report.png was left out" in line for line in record["warnings"])


def test_a_relative_model_says_so_everywhere(tmp_path, grid_case):
    folder = write_tiny_latent(tmp_path / "relative", output="relative", tracers=("TAU",))
    counts = read_volume(grid_case["pet"]) * 5000
    result = synthesize(
        grid_case["t1w"], grid_case["t2f"], "TAU", model=folder, reference=counts, samples=1, space="mni", **FAST
    )
    record = result.provenance
    assert record["pet"]["units"] == record["reference"]["difference_units"] == "relative (0 to 1)"
    assert record["tracer"]["window"] is None and result.metrics["scaling"] == "minmax"
    assert result.uncertainty is None and record["uncertainty"] is None
    assert set(result.volumes) == {f"{name}_space-MNI" for name in ("synthetic_pet", "difference", "reference")}
    assert 0 <= image_to_array(result.pet).min() and image_to_array(result.pet).max() <= 1
    with pytest.raises(InputError, match="has no tracer PIB; it has TAU"):
        synthesize(grid_case["t1w"], grid_case["t2f"], "PIB", model=folder, **FAST)


def test_a_sample_depends_on_seed_and_number_not_on_the_batch(model, condition, monkeypatch):
    how = {"sampler": "ddpm", "steps": 2, "samples": 3, "clip": None}
    together = drawing(model, condition, 2, seed=5, **how)
    assert together.batch == 3
    monkeypatch.setattr("RelAPETLib.methods.rela.method.LATENT_BATCH", 1)
    alone = drawing(model, condition, 2, seed=5, **how)
    assert alone.batch == 1
    np.testing.assert_allclose(together.mean, alone.mean, atol=2e-5)
    np.testing.assert_allclose(together.deviation, alone.deviation, atol=2e-5)
    other = drawing(model, condition, 2, seed=6, **how)
    assert np.abs(other.mean - alone.mean).max() > 0.01


@pytest.mark.parametrize("samples", [2, 3, 4, 5])
def test_mean_and_deviation_of_mirrored_samples(samples):
    """Two samples of a pair lie on opposite sides of the mean; the SD is unbiased for an odd number too."""
    halves = np.random.default_rng(0).normal(0, 2, (3, 40, 40, 40)).astype(np.float32)
    volumes = np.stack([3 + sign * half for half in halves for sign in (1, -1)])[:samples]
    moments = sampling.Moments()
    for volume in volumes:
        moments.add(volume)
    np.testing.assert_allclose(moments.mean, volumes.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert np.mean(moments.deviation() ** 2) == pytest.approx(4, rel=0.03)


def test_a_full_gpu_gets_fewer_samples_at_a_time(model, condition, monkeypatch):
    how = {"sampler": "dpmpp", "steps": 1, "samples": 4, "seed": 0, "clip": None}
    expected = drawing(model, condition, 2, **how)
    network = model.method.network
    predict, sizes = network.predict_noise, []

    def crowded(x_t, *rest):
        if x_t.is_meta:  # counted, not computed
            return predict(x_t, *rest)
        sizes.append(len(x_t))
        if len(x_t) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(x_t, *rest)

    monkeypatch.setattr(network, "predict_noise", crowded)
    with pytest.warns(RelAPETWarning, match="ran out of memory with 4 samples at a time; going on with 2"):
        drawn = drawing(model, condition, 2, **how)
    assert sizes == [4, 2, 1, 1, 1, 1] and drawn.batch == 1
    np.testing.assert_allclose(drawn.mean, expected.mean, atol=2e-5)

    def bug(x_t, *rest):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(network, "predict_noise", bug)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        drawing(model, condition, 2, **how)


def test_a_gpu_too_small_for_one_sample_hands_over_to_the_cpu(model):
    with pytest.warns(RelAPETWarning, match="cuda:0 ran out of memory; going on on the CPU"):
        moved, batch = sampling._make_room(dataclasses.replace(model, device="cuda:0"), 1)
    assert moved.device == "cpu" and batch == 1
    with pytest.raises(DeviceError, match="too little free memory"):
        sampling._make_room(moved, 1)


class SlowDiffusion(RelaDiffusion):
    """The same model with steps of 100 s."""

    @property
    def defaults(self):
        return dataclasses.replace(super().defaults, slow_on_cpu=True)

    def seconds_per_step(self, label):
        return 100.0


def test_long_voxel_synthesis_on_a_cpu_needs_consent(model):
    own = model.method
    voxel = dataclasses.replace(model, method=SlowDiffusion(own.settings, own.network, own.schedule))
    said = []
    assert sampling.check_duration(voxel, 2, 10, 1, False, lambda f, m: said.append(m)) == 1000
    assert "about 17 minute(s) for 10 steps" in said[-1]
    with pytest.raises(LongRunError, match=r"100\.0 s on this CPU: about 33 minute.* use --yes"):
        sampling.check_duration(voxel, 2, 20, 1, False)
    assert sampling.check_duration(voxel, 2, 20, 1, True) == 2000
    assert sampling.check_duration(model, 2, 1000, 64, False) is None, "a latent model is not timed"


def test_a_step_is_really_timed(model):
    assert 0 < model.method.seconds_per_step(2) < 60


def test_a_model_that_gives_nan_is_refused(tiny_latent, condition):
    broken = load_model(tiny_latent)
    broken.method.network.pet_mean.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        drawing(broken, condition, 2, sampler="ddim", steps=1, samples=1, seed=0, clip=None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "steps 0 is out of range"),
        ({"samples": 0}, "samples 0 is out of range; use 1 to 64"),
        ({"samples": 65}, "samples 65"),
        ({"samples": 2.5}, "whole number"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**63}, "seed"),
        ({"sampler": "leapfrog"}, "unknown sampler 'leapfrog'; use one of dpmpp, unipc, ddim, ddpm"),
        ({"space": "native"}, "unknown space"),
        ({"tracer": "FDG"}, "unknown tracer 'FDG'; use one of TAU, PIB, PBR"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(wrong, words):
    given = {"tracer": "TAU", "sampler": None, "steps": None, "samples": None, "seed": 0, "space": "t1w"} | wrong
    with pytest.raises(InputError, match=words):
        options.Options(tracers=given["tracer"], **{k: v for k, v in given.items() if k != "tracer"})
    with pytest.raises(InputError, match=words):
        synthesize("missing.nii.gz", "missing.nii.gz", **{k: v for k, v in given.items() if v is not None})


def test_defaults_come_from_the_model(model):
    def resolved(tracers, **rest):
        return options.resolve(options.Options(tracers=tracers, **rest), model)

    (plan,) = resolved("AV1451")
    assert (plan.tracer.name, plan.sampler, plan.steps, plan.samples) == ("TAU", "dpmpp", 3, 2)
    assert plan.window == (0.0, 3.0) and plan.label == 2
    assert resolved("TAU", sampler="ddim")[0].steps == 20
    assert resolved("TAU", steps=1000, samples=64)[0].steps == 1000
    with pytest.raises(InputError, match="has 1000 timesteps, use 1 to 1000"):
        resolved("TAU", steps=1001)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("all", ("all",)),
        ("pib, tau,PiB", ("PIB", "TAU")),
        (["PBR111", "TAU,PIB"], ("PBR", "TAU", "PIB")),
        (["TAU", "all"], ("all",)),
    ],
)
def test_tracers_in_any_spelling(asked, names):
    assert options.Options(tracers=asked).tracers == names
    with pytest.raises(InputError, match="unknown tracer ''"):
        options.Options(tracers="TAU,")
    with pytest.raises(InputError, match="no tracer was asked for"):
        options.Options(tracers=[])


def test_a_reference_is_of_one_tracer():
    with pytest.raises(InputError, match="one reference PET cannot be compared with 2 tracers"):
        options.Options(tracers="TAU,PIB", reference="pet.nii.gz")
    with pytest.raises(InputError, match="a reference of PBR was given, which is not asked for"):
        options.Options(tracers="TAU,PIB", reference={"PBR": "pet.nii.gz"})
    assert options.Options(tracers="TAU,PIB", reference={"AV1451": "a", "PIB": None}).reference == {"TAU": "a"}


class AtOnce(RelaDiffusion):
    """The same model as a method that takes no steps."""

    @property
    def defaults(self):
        return dataclasses.replace(super().defaults, samplers={}, longest=1)


def test_a_method_that_draws_at_once_takes_no_steps(model):
    own = model.method
    at_once = dataclasses.replace(model, method=AtOnce(own.settings, own.network, own.schedule))
    (plan,) = options.resolve(options.Options(tracers="TAU"), at_once)
    assert (plan.sampler, plan.steps) == (None, 1)
    for given in ({"sampler": "ddim"}, {"steps": 1}):
        with pytest.raises(
            InputError, match="draws at once and takes neither sampler, steps nor quality; leave --sampler"
        ):
            options.resolve(options.Options(tracers="TAU", **given), at_once)


def test_doubtful_inputs_need_force(tiny_latent, grid_case):
    swapped = {"model": tiny_latent, "samples": 1, **FAST}
    with pytest.raises(DoubtfulInputError, match=r"swapped.*--force"):
        synthesize(grid_case["t2f"], grid_case["t1w"], "TAU", **swapped)
    with pytest.warns(RelAPETWarning, match="accepted by force: .*swapped"):
        result = synthesize(grid_case["t2f"], grid_case["t1w"], "TAU", force=True, **swapped)
    assert any("accepted by force" in line for line in result.warnings)
    assert result.provenance["warnings"] == result.warnings


def test_the_same_volume_twice_is_refused(grid_case, tmp_path):
    copy = tmp_path / "other_name.nrrd"
    sitk.WriteImage(read_volume(grid_case["t1w"]), str(copy))
    for second in (grid_case["t1w"], copy):
        with pytest.raises(InputError, match="is the same volume as"):
            inputs.read_inputs({"t1w": grid_case["t1w"], "t2f": second, "reference": None}, lambda *_: None)


def test_a_header_with_its_voxels_apart_is_known_by_both_files(tmp_path):
    """Two exports may have the same header in two folders: they are two scans, and each has two hashes."""
    import hashlib

    voxels = np.random.default_rng(0).normal(100, 10, (2, 12, 12, 12)).astype(np.float32)
    paths = {}
    for role, array in zip(("t1w", "t2f"), voxels, strict=True):
        (tmp_path / role).mkdir()
        paths[role] = tmp_path / role / "scan.mhd"
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((10.0, 10.0, 10.0))
        sitk.WriteImage(image, str(paths[role]))
    read = inputs.read_inputs(paths, lambda *_: None)
    assert read.sha256["t1w"] == read.sha256["t2f"] == hashlib.sha256(paths["t1w"].read_bytes()).hexdigest()
    assert read.second_sha256 == {
        role: hashlib.sha256(path.with_suffix(".raw").read_bytes()).hexdigest() for role, path in paths.items()
    }
    paths["t2f"].with_suffix(".raw").write_bytes(paths["t1w"].with_suffix(".raw").read_bytes())
    with pytest.raises(InputError, match="is the same volume as"):
        inputs.read_inputs(paths, lambda *_: None)


def test_images_in_memory_work_like_files(grid_case):
    image = read_volume(grid_case["t1w"])
    read = inputs.read_inputs({"t1w": image, "t2f": grid_case["t2f"]}, lambda *_: None)
    again = inputs.read_inputs({"t1w": sitk.Image(image), "t2f": grid_case["t2f"]}, lambda *_: None)
    assert read.sha256 == again.sha256 and set(read.paths) == {"t2f"}
    moved = sitk.Image(image)
    moved.SetOrigin((0, 0, 0))
    other = inputs.read_inputs({"t1w": moved, "t2f": grid_case["t2f"]}, lambda *_: None)
    assert other.sha256["t1w"] != read.sha256["t1w"]
    with pytest.raises(InputError, match="a path or a SimpleITK image is wanted, not ndarray"):
        inputs.read_inputs({"t1w": np.zeros((3, 3, 3))}, lambda *_: None)


def test_messages_lose_paths_and_line_breaks(tmp_path):
    path = tmp_path / "sub-Jane_T1w.nii.gz"
    said = [f"{path}: odd\nheader", "sub-Jane_T1w.nii.gz is thick", "same", "same"]
    cleaned = inputs.without_paths(said, {"t1w": path})
    assert cleaned == ["the T1w: odd header", "the T1w is thick", "same"]


@pytest.mark.parametrize("name", ["DICOM", "T1w", "t1w", "T2-FLAIR", "brain", "header", "the", "PET"])
def test_a_file_named_like_a_word_breaks_no_sentence(tmp_path, name):
    said = [
        "T1w: taken with a contrast agent, as its DICOM header says; the model was trained on scans without",
        "about 3 % of the brain is outside the field of view of the T2-FLAIR; the PET is not founded there",
        "give it as --t1w",
    ]
    for path in (tmp_path / "Jane Doe" / name, Path("doe", name), Path(name)):
        assert inputs.without_paths(said, {"t1w": path, "t2f": path.with_name("FLAIR")}) == said
    for path in (tmp_path / "Jane Doe" / name, Path("doe", name)):
        more = [f"{path.absolute()}: odd", f"T1w {path}: odd", f"{path}/IM_1: odd"]
        assert inputs.without_paths(more, {"t1w": path}) == ["the T1w: odd", "T1w: odd"]


@pytest.mark.parametrize(
    "name", ["Doe^Jane", "Smith", "DOE Jane 1950", "Jane-Doe.nii.gz", "doe_jane", "Jané\x1b", "a+b (1)"]
)
def test_a_name_that_may_be_a_persons_is_replaced(tmp_path, name):
    said = [
        f"{name} is thick",
        f"T1w {name}: odd",
        f"x{name}x",
        f"({printable(name)})",
        f"{tmp_path / name / 'flair'}: odd",
    ]
    cleaned = inputs.without_paths(said, {"t1w": tmp_path / name, "t2f": tmp_path / name / "flair"})
    kept = " ".join(f"x{name}x".split())
    assert cleaned == ["the T1w is thick", "T1w: odd", kept, "(the T1w)", "the T2-FLAIR: odd"]


def test_progress_rises_from_stage_to_stage():
    from RelAPETLib.synthesis.stages import _SHARES, parts

    seen = []
    part = parts(lambda fraction, message: seen.append(fraction))
    for stage in _SHARES:
        for fraction in (-0.5, 0.0, 0.5, 1.0, 1.5):
            part(stage)(fraction, "x")
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == pytest.approx(1.0)


def test_devices_by_name():
    assert devices.resolve_device("CPU") == "cpu"
    assert devices.resolve_device("auto") in {"cpu", "mps", "cuda:0"}
    for name in ("gpu", "cuda:x", "", "cuda:0:1"):
        with pytest.raises(DeviceError, match="unknown device"):
            devices.resolve_device(name)
    with pytest.raises(DeviceError, match="no CUDA device|no device cuda:99"):
        devices.resolve_device("cuda:99")
    assert devices.describe_devices()[0]["device"] == "cpu"
    assert devices.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not devices.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_grid_is_the_models(made):
    assert MNI_GRID.matches(made.volumes["synthetic_pet_space-MNI"])


@pytest.mark.slow
def test_a_voxel_model_from_timing_to_pet(tmp_path, grid_case):
    """Without attention but for the middle block; a step takes a minute on a busy machine."""
    folder, said = write_tiny_voxel(tmp_path / "voxel"), []
    given = {"model": folder, "preprocessed": True, "device": "cpu"}
    with pytest.raises(InputError, match="use --yes"):
        synthesize(grid_case["t1w"], grid_case["t2f"], "PBR", steps=1000, samples=4, **given)
    result = synthesize(
        grid_case["t1w"], grid_case["t2f"], "PBR", steps=1, yes=True, progress=lambda f, m: said.append(m), **given
    )
    assert any(message.startswith("one step takes") and "for 1 steps" in message for message in said)
    pet = image_to_array(result.pet)
    assert result.uncertainty is None and 0 <= pet.min() and pet.max() <= 3 and pet.std() > 0
    assert result.provenance["model"]["method"] == "rela" and result.provenance["sampling"]["samples"] == 1


def test_the_picture_is_drawn_while_the_volumes_are_written(made, tmp_path, monkeypatch):
    """In another thread where torch has two, and the same bytes as without."""
    from threading import Event, get_ident

    import torch

    from RelAPETLib import report, volumes

    drawn, seen, own = Event(), [], report.write_report

    def draw(*arguments, **keywords):
        seen.append(get_ident())
        own(*arguments, **keywords)
        drawn.set()

    def write(image, path):
        assert threads == 1 or drawn.wait(60), "the picture waits for the volumes"
        path.write_bytes(b"")

    monkeypatch.setattr(report, "write_report", draw)
    monkeypatch.setattr(volumes, "write_volume", write)
    before, content = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            content.append(made.save(tmp_path / str(threads))["report.png"].read_bytes())
    finally:
        torch.set_num_threads(before)
    assert content[0] == content[1] and content[0].startswith(b"\x89PNG")
    assert seen[0] == get_ident() != seen[1] and len(seen) == 2
