"""``steps``: how few sampling steps draw the same PET, and ``relapet synthesize --quality`` that uses them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from calibrated import facts, write_tiny_conditional
from training_cases import prepared, write_table

from RelAPETLib.errors import InputError, ModelError
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.models import load_model, write_bundle
from RelAPETLib.models.additions import write_calibrated
from RelAPETLib.models.bundle import rewrite_bundle
from RelAPETLib.synthesis import Options, resolve
from RelAPETLib.volumes import read_volume, write_volume
from training.__main__ import main
from training.data.cache import open_cache
from training.few_steps import FIGURES, Choices, check_enough, draw_person, figures, smallest

PEOPLE = [("c1", "TAU"), ("c2", "TAU"), ("c3", "PIB")]


def rows(**worst):
    """A table whose figures are all the same, by number of steps."""
    return [{"steps": int(steps[1:]), **dict.fromkeys(FIGURES, value)} for steps, value in worst.items()]


def test_the_smallest_number_holds_for_all_larger_ones_too():
    table = rows(n4=0.2, n6=0.01, n8=0.06, n10=0.04, n20=0.01)
    assert smallest(table, 0.05, 100) == 10, "six steps are good by chance: eight are not"
    assert smallest(table, 0.02, 100) == 20 and smallest(table, 0.001, 100) == 100
    assert smallest(table, 0.07, 100) == 6


def test_people_are_counted_and_not_their_cases():
    def cache(*subjects):
        records = [{"case": f"c{n}", "subject": subject} for n, subject in enumerate(subjects)]
        return SimpleNamespace(folder="CACHE", index={"cases": records})

    check_enough(cache("a", "a", "b", "c"))
    with pytest.raises(InputError, match="CACHE: 2 people; 3 or more are wanted"):
        check_enough(cache("a", "a", "b", "b"))


def test_figures_are_biases_in_standard_deviations_over_people():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(40, 500))
    people = (people - people.mean(0)) / people.std(0, ddof=1) * 2  # SD 2 in each block
    spread, regional = np.full((40, 500), 0.3), people[:, :12]
    off = np.where(np.arange(500) % 2, 0.1, -0.1)
    drawn = {}
    for number, mean in enumerate(people):
        arrays = {"mean": mean, "spread": spread[number], "regional": regional[number]}
        few = {
            "mean": mean + off,
            "spread": spread[number] * 2,
            "regional": regional[number] + 0.5 * (np.arange(12) == 7),
        }
        drawn[str(number)] = {f"TAU_9_{kind}": value for kind, value in arrays.items()}
        drawn[str(number)] |= {f"TAU_5_{kind}": value for kind, value in few.items()}
    found = figures(drawn, 5, 9)
    assert found == {"mean": 0.05, "spread": 0.15, "regional": 0.25, "error": 0.0}
    assert figures(drawn, 9, 9) == {**dict.fromkeys(FIGURES, 0.0), "error": 0.0}
    with pytest.raises(InputError, match="everybody has the same TAU PET"):
        figures({str(number): drawn["0"] for number in range(5)}, 5, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("few_steps")


@pytest.fixture(scope="module")
def people(folder, grid_case):
    (folder / "people").mkdir()
    table = write_table(folder / "people", grid_case, PEOPLE)
    for number, name in enumerate(PEOPLE):  # each with a picture of their own
        for path in table.parent.glob(f"{name[0]}_t*.nii"):
            array = image_to_array(read_volume(path)).copy()
            array[40 : 80 + 10 * number, 60:100, 50:90] *= 1 + 0.3 * number
            write_volume(array_to_image(array), path, overwrite=True)
    prepared(table, folder / "cache", dtype="float32")
    return folder / "cache"


@pytest.fixture(scope="module")
def model(folder):
    """A calibrated model that answers to the MRI; its calibration must come along."""
    plain = load_model(write_tiny_conditional(folder / "plain"))
    generator, network = torch.Generator().manual_seed(1), plain.method.network
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and not tensor.any():  # what a training starts from
            tensor.normal_(0, 0.1, generator=generator)
    metadata = {name: value for name, value in plain.metadata.items() if name != "weights"}
    metadata["tracers"] = {name: metadata["tracers"][name] for name in ("TAU",)}
    write_bundle(folder / "answering", network, metadata)
    known = facts()
    known["intervals"]["tracers"].pop("PIB")
    write_calibrated(folder / "answering", folder / "model", known)
    return folder / "model"


@pytest.fixture(scope="module")
def measured(folder, people, model):
    """The bundle that knows its steps."""
    words = ["steps", "--model", str(model), "--data", str(people), "--out", str(folder / "out"), "--people", "3"]
    assert main([*words, "--samples", "2", "--tried", "2", "6", "--reference", "8", "--version", "0.3.0"]) == 0
    return folder / "out"


@pytest.mark.slow
def test_a_bundle_that_knows_its_steps(measured, model):
    found = load_model(measured)
    quality = found.metadata["quality"]
    table = quality["measured"]["table"]
    assert found.version == "0.3.0" and found.calibration.facts == load_model(model).calibration.facts
    assert [row["steps"] for row in table] == [2, 6] and quality["reference"] == 8 and quality["sampler"] == "dpmpp"
    assert all(row[kind] > 0 for row in table for kind in (*FIGURES, "error"))
    for name, limit in (("fast", 0.05), ("balanced", 0.02)):
        assert quality[name] == smallest(table, limit, 8)


@pytest.mark.slow
def test_going_on_draws_nobody_again(measured, model, people, folder):
    draws = folder / "out-draws"
    times = {path: path.stat().st_mtime_ns for path in draws.glob("*.npz")}
    words = ["steps", "--model", str(model), "--data", str(people), "--out", str(folder / "again"), "--people", "3"]
    words += ["--draws", str(draws), "--samples", "2", "--tried", "2", "6"]
    assert main([*words, "--reference", "8"]) == 0
    assert {path: path.stat().st_mtime_ns for path in draws.glob("*.npz")} == times and len(times) == 3
    assert load_model(folder / "again").metadata["quality"] == load_model(measured).metadata["quality"]
    assert main([*words, "--reference", "9", "--overwrite"]) == 2, "draws of another reference"


@pytest.mark.slow
def test_the_reference_is_a_synthesis(measured, people):
    """What people are measured by is what ``--quality`` draws: the means of the same blocks."""
    loaded, cache = load_model(measured), open_cache(people)
    case = next(iter(cache.cases))
    drawn = draw_person(loaded, cache, case, Choices(3, 2, (5,), 10))
    assert {name.split("_")[1] for name in drawn} == {"5", "10"} and len(drawn["TAU_5_regional"]) == 12
    assert drawn["TAU_5_mean"].shape == drawn["TAU_10_spread"].shape and drawn["TAU_10_spread"].min() >= 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "balanced", "reference"])
def test_quality_chooses_the_steps(measured, name):
    loaded = load_model(measured)
    (plan,) = resolve(Options("TAU", quality=name), loaded)
    assert (plan.sampler, plan.steps) == ("dpmpp", loaded.metadata["quality"][name])


@pytest.mark.slow
def test_what_has_no_quality_says_so(measured, model, folder, tmp_path):
    with pytest.raises(InputError, match="unknown quality 'best'; use one of fast"):
        Options("TAU", quality="best")
    with pytest.raises(InputError, match="quality chooses sampler and steps"):
        Options("TAU", quality="fast", steps=4)
    with pytest.raises(InputError, match="how few steps model tiny-latent needs was not measured"):
        resolve(Options("TAU", quality="fast"), load_model(model))
    quality = json.loads(json.dumps(load_model(measured).metadata["quality"]))
    rewrite_bundle(measured, tmp_path / "odd", {"quality": quality | {"sampler": "heun"}}, {})
    with pytest.raises(ModelError, match="no 8 steps of heun"):
        resolve(Options("TAU", quality="reference"), load_model(tmp_path / "odd"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--people", "2"], "2 people, 8 samples: 3 and 2 at least are wanted"),
        (["--samples", "1"], "12 people, 1 samples"),
        (["--tried", "12", "--reference", "10"], "nothing to try below 10 steps"),
    ],
)
def test_what_cannot_be_measured_is_one_line(model, people, tmp_path, capsys, more, why):
    words = ["steps", "--model", str(model), "--data", str(people), "--out", str(tmp_path / "out")]
    assert main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
