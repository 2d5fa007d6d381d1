"""``departure``: the mean and SD of a model's synthetic PET over training people, into a copy of its bundle."""

from types import SimpleNamespace

import numpy as np
import pytest
from calibrated import write_tiny_conditional
from departures import inside_blocks
from training_cases import prepared, write_table

from RelAPETLib.errors import InputError
from RelAPETLib.models import load_model
from RelAPETLib.models.bundle import rewrite_bundle
from training import departure
from training.__main__ import main
from training.data.cache import Cache, open_cache
from training.data.split import Split
from training.departure import MOMENTS, draw_moments, draw_person, training_cases
from training.drawn import trained_cases

PEOPLE = [("p1", "TAU"), ("p2", "TAU"), ("p3", "PIB"), ("p4", "PIB")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("departure")


@pytest.fixture(scope="module")
def cache(folder, grid_case):
    (folder / "people").mkdir()
    prepared(write_table(folder / "people", grid_case, PEOPLE), folder / "cache", factor=2)
    (folder / "cache" / "split.json").unlink(missing_ok=True)
    return folder / "cache"


@pytest.fixture(scope="module")
def bundle(folder, cache):
    """A tiny model that says which cache it was trained on."""
    data = {"description": "a test", "simulated": True, "cache_sha256": open_cache(cache).sha256}
    rewrite_bundle(write_tiny_conditional(folder / "plain"), folder / "model", {"training_data": data}, {})
    return folder / "model"


@pytest.fixture
def few(monkeypatch):
    """So few people will do."""
    monkeypatch.setattr(departure, "LEAST_PEOPLE", 2)
    monkeypatch.setattr(departure, "LEAST_TWICE", 1)


@pytest.mark.slow
def test_moments_are_those_of_all_samples_and_go_on_where_they_stopped(few, bundle, cache, folder):
    model, people = load_model(bundle), open_cache(cache)
    cases = training_cases(model, people, 4)
    said = []
    draw_moments(model, people, cases[:2], 2, folder / "work", said.append)
    found = draw_moments(model, people, cases, 2, folder / "work", said.append)
    assert [words.split()[0] for words in said] == ["1", "2", "3", "4"]
    drawn = [draw_person(model, people, case, 2 if n < 2 else 1, seed=n + 1)["PIB"] for n, case in enumerate(cases)]
    assert [len(samples) for samples in drawn] == [4, 4, 2, 2]
    means = np.stack([samples.mean(0, dtype=float) for samples in drawn])
    np.testing.assert_allclose(found["mean_PIB"], means.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["squares_PIB"], 3 * means.var(0, ddof=1), atol=1e-6)
    pairs = [samples.reshape(2, 2, *samples.shape[1:]).mean(1, dtype=float) for samples in drawn[:2]]
    np.testing.assert_allclose(found["pairs_PIB"], np.mean([p.var(0, ddof=1) for p in pairs], axis=0), atol=1e-6)
    assert found["inverse"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4) and found["twice"] == 2
    assert not np.allclose(drawn[0][0], drawn[1][0]), "everybody has a seed of their own"
    with pytest.raises(InputError, match="choose another --work"):
        draw_moments(model, people, cases, 3, folder / "work", said.append)


@pytest.mark.slow
def test_a_bundle_with_norms_from_the_shell(few, bundle, cache, folder, capsys):
    words = ["departure", "--model", bundle, "--training", cache, "--out", folder / "out"]
    assert main([*map(str, words), "--twice", "2", "--version", "0.9.0"]) == 0
    said = capsys.readouterr().out
    assert "at least 150 are wanted" in said and "4 people; S of" in said
    made = load_model(folder / "out")
    facts, inside = made.departures.facts, inside_blocks()
    assert made.version == "0.9.0" and facts["population"]["people"] == 4 and facts["population"]["simulated"]
    assert facts["noise"] == {"people": 2, "share": 0.75} and set(made.departures.tracers) == {"TAU", "PIB", "PBR"}
    with np.load(folder / "out-departure" / MOMENTS) as kept:
        sd, mean = np.sqrt(kept["squares_TAU"] / 3), kept["mean_TAU"]
    own = facts["tracers"]["TAU"]
    assert own["floor"] == pytest.approx(0.25 * np.median(sd[inside]), rel=1e-5)
    np.testing.assert_allclose(made.departures.mean("TAU")[inside], mean[inside], rtol=1e-5)
    kept = made.departures.arrays["sd_TAU"]
    np.testing.assert_allclose(kept[inside], np.maximum(sd[inside], own["floor"]), rtol=1e-5)
    assert not kept[~inside].any() and own["floored"] == pytest.approx((sd[inside] < own["floor"]).mean(), abs=1e-5)


def test_people_held_out_are_never_drawn_as_training_people(tmp_path):
    """Where the bundle knows a split; of one that knows none everybody is a training person."""
    cases = [("a_1", "a"), ("a_2", "a"), ("b", "b"), ("c", "c"), ("d", "d")]
    records = [{"case": case, "subject": who, "pets": {"TAU": {}}} for case, who in cases]
    cache, split = Cache(tmp_path, {"cases": records, "sha256": "0"}), Split(("a", "d"), ("b",), ("c",))
    known = SimpleNamespace(name="m", metadata={"training_data": {"split_sha256": split.sha256}})
    unknown = SimpleNamespace(name="m", metadata={"training_data": {}})
    with pytest.raises(InputError, match="split.json: missing; name the split that model m"):
        trained_cases(known, cache)
    assert trained_cases(unknown, cache) == ["a_1", "b", "c", "d"]
    split.save(tmp_path / "split.json")
    assert trained_cases(known, cache) == trained_cases(unknown, cache) == ["a_1", "d"]
    split.save(tmp_path / "other.json")
    Split(("a", "b"), ("c",), ("d",)).save(tmp_path / "split.json")
    assert trained_cases(known, cache, tmp_path / "other.json") == ["a_1", "d"]
    with pytest.raises(InputError, match="not the split that model m was trained with"):
        trained_cases(known, cache)


def test_too_few_people_and_another_cache_are_refused(bundle, cache, folder, capsys):
    words = ["departure", "--model", str(bundle), "--training", str(cache), "--out", str(folder / "none")]
    for more, said in (
        ([], "4 training people are too few for an SD; at least 30 are wanted"),
        (["--twice", "1"], "too few to tell chance from people"),
        (["--model", str(folder / "plain")], "not the cache that model"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (folder / "none").exists()
