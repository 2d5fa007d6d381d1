"""``calibrate``: people of two caches, drawn as a synthesis draws them, into a calibrated copy of a bundle."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from calibrated import write_tiny_conditional
from scipy.stats import norm
from training_cases import prepared, write_table

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.conformal import quantile
from RelAPETLib.grid import array_to_image
from RelAPETLib.methods.base import Defaults
from RelAPETLib.models import load_model
from RelAPETLib.regions import regional_rows
from RelAPETLib.synthesis import synthesize
from training import calibrate
from training.__main__ import main
from training.calibrate import SETTINGS, Choices, check_people, draw_people
from training.data.cache import open_cache
from training.errors import user_error

#: Where the first calibration, to the folder ``out``, keeps what it drew; who comes later need not draw it again.
DRAWS = "out-draws"
PEOPLE = [("c1", "TAU"), ("c2", "TAU"), ("c3", "TAU"), ("c4", "PIB")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("calibrate")


@pytest.fixture(scope="module")
def trained(folder, grid_case):
    (folder / "trained").mkdir()
    table = write_table(folder / "trained", grid_case, [("t1", "TAU"), ("t2", "TAU")])
    # The first scans of any table are the same: these people get pictures of their own.
    for path in table.parent.glob("*_t*.nii"):
        _shift(path)
    prepared(table, folder / "trained_cache")
    return folder / "trained_cache"


def _shift(path):
    from RelAPETLib.grid import array_to_image, image_to_array
    from RelAPETLib.volumes import read_volume, write_volume

    array = image_to_array(read_volume(path)).copy()
    array[60:64, 80:84, 60:64] *= 1.2
    write_volume(array_to_image(array), path, overwrite=True)


@pytest.fixture(scope="module")
def people(folder, grid_case):
    (folder / "people").mkdir()
    prepared(write_table(folder / "people", grid_case, PEOPLE), folder / "people_cache", dtype="float32")
    return folder / "people_cache"


@pytest.fixture(scope="module")
def model(folder, trained):
    """A tiny model that says which cache it was trained on."""
    from RelAPETLib.models.bundle import rewrite_bundle

    plain = write_tiny_conditional(folder / "plain")
    data = {"description": "a test", "simulated": True, "cache_sha256": open_cache(trained).sha256}
    rewrite_bundle(plain, folder / "model", {"training_data": data}, {})
    return folder / "model"


def words(model, people, trained, out, *more):
    return [
        "calibrate",
        "--model",
        str(model),
        "--data",
        str(people),
        "--training",
        str(trained),
        "--out",
        str(out),
        *more,
    ]


def test_a_calibrated_bundle_from_two_caches(model, people, trained, folder, capsys):
    out = folder / "out"
    assert main(words(model, people, trained, out, "--version", "0.2.0")) == 0
    said = capsys.readouterr().out
    assert "TAU: 3 people" in said and "at least 200 are wanted" in said and "infinite: too few people" in said
    found = load_model(out)
    facts = found.calibration.facts
    assert found.version == "0.2.0" and facts["population"]["people"] == 4 and facts["population"]["kind"] == "grid"
    assert facts["population"]["training_sha256"] == open_cache(trained).sha256
    assert facts["sampling"] == {"sampler": "dpmpp", "steps": 3, "samples": 2}
    assert set(facts["intervals"]["tracers"]) == {"TAU", "PIB"}
    assert facts["intervals"]["tracers"]["TAU"]["regions"]["frontal"] == [None, None]
    assert len(found.calibration.arrays["distances"]) == 4


def test_a_person_is_drawn_as_a_synthesis_draws_them(model, people, folder):
    """Regional means of the draws, the measured PET and the voxels' spread are a synthesis' of the same files."""
    drawn = draw_people(load_model(model), open_cache(people), folder / DRAWS)
    case = next(iter(drawn))
    source = folder / "people"
    result = synthesize(
        source / "c1_t1w.nii", source / "c1_t2f.nii", "TAU", model=model, preprocessed=True, space="mni",
        reference=source / "c1_TAU.nii",
    )  # fmt: skip
    for ours, theirs in (("synthetic", "synthetic_pet"), ("measured", "reference")):
        assert np.allclose(drawn[case][f"{ours}_TAU"], [row[theirs] for row in result.regions], atol=2e-4)
    brain = array_to_image((open_cache(people).mask() > 0).astype(np.uint8))
    of_voxels = [row["spread"] for row in regional_rows({"spread": result.volumes["uncertainty_space-MNI"]}, brain)]
    assert np.allclose(drawn[case]["spread_TAU"], of_voxels, atol=2e-4)


def test_a_person_with_several_sessions_counts_once(tmp_path, monkeypatch):
    """Two sessions of everybody are no more people: the coverage of a calibration follows from their number."""
    records = [("a_1", "a", ("TAU",)), ("a_2", "a", ("TAU", "PIB")), ("a_3", "a", ("PIB", "TAU")), ("b", "b", ("PIB",))]
    cases = {case: {"subject": subject, "pets": dict.fromkeys(pets)} for case, subject, pets in records}
    monkeypatch.setattr(calibrate, "_sampling", lambda model: {})
    monkeypatch.setattr(calibrate, "draw_person", lambda model, people, case: {"features": np.zeros(1)})
    model, cache = SimpleNamespace(weights_sha256="w"), SimpleNamespace(cases=cases, sha256="c")
    assert list(draw_people(model, cache, tmp_path)) == ["a_2", "b"]


def test_what_a_model_that_uses_clinical_values_is_told_is_written():
    for inputs, told in ((("t1w", "t2f", "clinical"), {"told": []}), (("t1w", "t2f"), {})):
        model = SimpleNamespace(method=SimpleNamespace(defaults=Defaults(inputs=inputs)))
        assert calibrate._told_values(model) == told


def test_the_coverage_of_weighted_people_is_that_of_so_many_in_effect():
    """Weighted quantiles scatter as those of fewer people: the range that is told holds over calibrations."""
    rng, heavy = np.random.default_rng(0), np.arange(300) < 30
    weights = np.where(heavy, 20.0, 1.0)
    drawn = {str(n): dict.fromkeys(("synthetic_TAU", "spread_TAU"), np.zeros(12)) for n in range(300)}
    for number, arrays in enumerate(drawn.values()):
        arrays["measured_TAU"] = rng.normal(size=12) * (1 + heavy[number])
    counted = {str(n): weight for n, weight in enumerate(weights)}
    low, high = calibrate._intervals(drawn, Choices(asymmetric=False), counted, str)["tracers"]["TAU"]["coverage_95"]
    ends = np.array([quantile(np.abs(rng.normal(size=300) * (1 + heavy)), 0.9, weights) for _ in range(400)])
    share = weights[heavy].sum() / weights.sum()
    covered = share * (2 * norm.cdf(ends / 2) - 1) + (1 - share) * (2 * norm.cdf(ends) - 1)
    assert np.mean((covered >= low) & (covered <= high)) > 0.85, "of 0.95: the law of an effective size is not exact"


def test_what_is_usual_is_kept_for_the_same_cases_alone(model, trained, tmp_path):
    """Of a folder of draws from before, in which no cases stand, it is measured anew."""
    loaded, cache, file = load_model(model), open_cache(trained), tmp_path / "reference" / "features.npz"

    def features(cases):
        return calibrate.reference_features(loaded, cache, cases, file, print)

    first, second = features(["t1"]), features(["t2"])
    assert first.shape == second.shape and not np.array_equal(first, second)
    kept = dict(np.load(file))
    np.savez(file, **(kept | {"features": second + 1}))  # a mark that measuring again would remove
    assert np.array_equal(features(["t2"]), second + 1)
    kept.pop("cases")
    np.savez(file, **(kept | {"features": second + 1}))
    assert np.array_equal(features(["t2"]), second)


def test_going_on_draws_only_who_is_missing(model, people, folder):
    draws, known = folder / "going_on", folder / DRAWS
    loaded, cache = load_model(model), open_cache(people)
    draw_people(loaded, cache, known)
    shutil.copytree(known, draws)
    first, second = sorted(draws.glob("*.npz"))[:2]
    kept = dict(np.load(second))
    np.savez(second, **(kept | {"features": kept["features"] + 1}))  # a mark that drawing again would remove
    first.unlink()
    again = draw_people(loaded, cache, draws)
    assert np.array_equal(again[second.stem]["features"], kept["features"] + 1)
    assert np.allclose(again[first.stem]["features"], np.load(known / first.name)["features"])
    settings = json.loads((draws / SETTINGS).read_text())
    (draws / SETTINGS).write_text(json.dumps(settings | {"steps": 7}))
    with pytest.raises(Exception, match="draws of another model, cache or sampling") as error:
        draw_people(loaded, cache, draws)
    assert user_error(error.value)


@pytest.mark.parametrize("which", ["same cache", "same scan", "same name"])
def test_people_of_the_training_are_refused(model, people, trained, folder, grid_case, capsys, which):
    """The training's cache itself, one of its scans under another name, one of its names from the same table."""
    loaded, cache = load_model(model), open_cache(people)
    if which == "same cache":
        assert main(words(model, trained, trained, folder / "refused")) == 2
        error = capsys.readouterr().err
        assert "is in the training cache too" in error and error.count("\n") == 1 and not (folder / "refused").exists()
        return
    changed = json.loads(json.dumps(cache.index))
    own = open_cache(trained).index
    if which == "same scan":
        changed["cases"][2]["t2f"]["sha256"] = own["cases"][1]["t2f"]["sha256"]
        who = changed["cases"][2]["subject"]
    else:
        changed["source"], changed["options"], changed["cases"][0]["subject"] = own["source"], own["options"], "t2"
        who = "t2"
    with pytest.raises(Exception, match=f"{who} is in the training cache too"):
        check_people(loaded, type(cache)(cache.folder, changed), open_cache(trained))


def test_another_training_cache_and_blocks_are_refused(model, people, trained, folder, capsys):
    assert main(words(model, trained, people, folder / "refused")) == 2
    assert "not the cache that model" in capsys.readouterr().err
    with pytest.raises(Exception, match="blocks, on which the model was not trained"):
        cache = open_cache(people)
        small = cache.index | {"grid": cache.index["grid"] | {"shape": [80, 90, 80]}}
        check_people(load_model(model), type(cache)(cache.folder, small), open_cache(trained))


@pytest.mark.parametrize(
    ("trained_by", "people_by", "says"),
    [
        (
            {"reference_region": "tracer"},
            {"reference_region": "white_matter"},
            "reference region of TAU is white_matter",
        ),
        ({"frames": {"TAU": "80-100 min"}}, {"frames": {"TAU": "50-70 min"}}, "window of TAU is 50-70 min, and was 80"),
        ({"reference_region": "tracer"}, {"reference_region": "cerebellar_grey"}, ""),
        ({"reference_region": "tracer"}, {}, ""),
    ],
)
def test_people_of_another_scale_do_not_calibrate(model, people, trained, trained_by, people_by, says):
    theirs, own = open_cache(trained), open_cache(people)
    theirs.index["options"] |= trained_by
    own.index["options"] |= people_by
    if not says:
        check_people(load_model(model), own, theirs)
        return
    with pytest.raises(InputError, match=says):
        check_people(load_model(model), own, theirs)


@pytest.mark.parametrize(
    "table, message",
    [
        ("participant_id\tweight\nc1\t1\n", "no weight of c2"),
        ("name\tweight\nc1\t1\n", "participant_id and weight"),
        ("participant_id\tweight\nc1\tmuch\n", "participant_id and weight"),
        ("participant_id\tweight\nc1\tinf\n", "participant_id and weight"),
        ('participant_id\tweight\nc1\t"1\nc2\t1\n', "participant_id and weight"),
        (f"participant_id\tweight\nc1\t{'1' * 200_000}\n", "participant_id and weight"),
        ("participant_id\tweight\nc1\t1\nc2\t1\nc3\t1\nc4\t1\n", "effective sample of 3.0 people"),
        ("participant_id\tweight\nc1\t1\nc2\t-1\nc3\t1\nc4\t1\n", "positive numbers"),
    ],
)
def test_weights_that_say_nothing_are_refused(model, people, trained, folder, capsys, table, message):
    path = folder / "weights.tsv"
    path.write_text(table)
    more = ("--weights", str(path), "--draws", str(folder / DRAWS))
    assert main(words(model, people, trained, folder / "refused", *more)) == 2
    assert message in capsys.readouterr().err and not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("options", "stands"),
    [
        ({"method": "auto"}, None),
        ({"method": "torch"}, None),
        ({"method": "fine"}, "fine"),
        ({"method": "fine", "preprocessed": True}, None),
        ({"rendered_seed": 3}, None),
    ],
)
def test_people_who_were_not_registered_as_usual_say_so(options, stands):
    cache = SimpleNamespace(
        index={"options": options, "simulated": False, "source": "x"}, subjects=["a", "b"], sha256="0" * 64
    )
    assert calibrate.population(cache, cache).get("registration") == stands
