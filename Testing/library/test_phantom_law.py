"""The laws of uptake: law 1 as it was, what law 2 promises, its posterior, and the linear map of the truth table."""

import csv
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from RelAPETLib.errors import InputError
from RelAPETLib.phantom import hidden, law, law1, law2, tables, truth
from RelAPETLib.phantom.factors import COMPONENTS, CORTEX, FACTORS, REGIONS, draw_factors
from RelAPETLib.phantom.hidden import Clinical, Hidden
from RelAPETLib.phantom.people import activity, make_person
from RelAPETLib.phantom.render import blur_pet, render

MANY = 20_000
OLD = json.loads((Path(__file__).parents[1] / "golden" / "phantom_law1.json").read_text())
PBR28 = Path(__file__).parents[1] / "benchmarks" / "results" / "pbr28_regions.tsv"


@pytest.fixture(scope="module")
def crowd():
    """Factors, clinical values and hidden levels of many people."""
    rng = np.random.default_rng(7)
    factors = draw_factors(rng, MANY)
    return factors, *hidden.draw_people(factors, rng)


@pytest.fixture(scope="module")
def matrix():
    return truth.regional_matrix(make_person(3, 7))


def auc(score, positive):
    """Share of pairs of a positive and a negative person in which the positive one scores higher."""
    ranks = np.argsort(np.argsort(score)) + 1
    ones = positive.sum()
    return (ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(score) - ones))


# -- law 1 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", OLD["people"])
def test_law_1_draws_the_people_it_always_drew(who):
    person, known = make_person(*map(int, who.split("/")), law=1), OLD["people"][who]
    np.testing.assert_allclose(person.factors, known["factors"], rtol=1e-12)
    assert list(person.scanned) == known["scanned"] and person.clinical is None and person.hidden is None
    for tracer, uptake in person.uptake.items():
        was = known["uptake"][tracer]
        np.testing.assert_allclose(list(uptake.regional.values()), was["regional"], rtol=1e-12)
        np.testing.assert_allclose(list(uptake.predictable.values()), was["predictable"], rtol=1e-12)
        assert uptake.amplitude == pytest.approx(was["amplitude"], rel=1e-12)
        assert uptake.expected_amplitude == pytest.approx(was["expected"], rel=1e-12)


def test_law_1_renders_what_it_always_rendered():
    rendering, known = render(make_person(3, 7, law=1), oracle=True), OLD["means"]
    for kind in ("pet", "oracle"):
        for tracer, mean in known[kind].items():
            assert getattr(rendering, kind)[tracer].astype(float).mean() == pytest.approx(mean, rel=1e-6)
    assert rendering.t1w.astype(float).mean() == pytest.approx(known["t1w"], rel=1e-6)


def test_both_laws_have_the_same_mri():
    one, two = (render(make_person(3, 8, law=version), tracers=()) for version in law.VERSIONS)
    assert np.array_equal(one.t1w, two.t1w) and np.array_equal(one.t2f, two.t2f)


def test_law_2_is_the_default_and_an_unknown_one_is_refused():
    assert make_person(1, 1).law == law.LATEST == 2
    with pytest.raises(InputError, match="unknown law '3'; use one of 1, 2"):
        make_person(1, 1, law=3)


@pytest.mark.parametrize("tracer", law1.LAWS)
def test_posterior_of_law_1_is_the_law(tracer):
    rng, factors = np.random.default_rng(0), np.array([0.8, 0.3, -0.4, 1.1])
    drawn = law.posterior(factors, tracer, 4000, rng, law=1)
    single = np.stack([law1.draw_uptake(tracer, factors, rng).vector() for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), law.posterior_mean(factors, tracer, law=1), atol=0.03)
    np.testing.assert_allclose(drawn.std(0), single.std(0), atol=0.02)


# -- law 2 -----------------------------------------------------------------------------------------------------------


def test_status_is_predictable_from_the_mri_at_an_auc_between_70_and_75(crowd):
    factors, clinical, found = crowd
    known = auc(hidden.probability_positive(factors), found.positive)
    assert 0.70 < known < 0.75
    assert auc(hidden.probability_positive(factors, clinical), found.positive) > known + 0.03
    for mix in np.eye(len(FACTORS)):  # no single factor says as much
        assert auc(factors @ mix, found.positive) < known


def test_probabilities_of_positivity_are_true(crowd):
    """Of people with a probability around p a share of p is positive, with and without clinical values."""
    factors, clinical, found = crowd
    for values in (None, clinical):
        probability = hidden.probability_positive(factors, values)
        for low in np.arange(0, 0.9, 0.1):
            group = (probability >= low) & (probability < low + 0.1)
            if group.sum() > 200:
                expected = probability[group].mean()
                error = 4 * math.sqrt(expected * (1 - expected) / group.sum())
                assert found.positive[group].mean() == pytest.approx(expected, abs=error)


def test_amyloid_has_two_humps(crowd):
    _, _, found = crowd
    level, positive = found.centiloid, found.positive
    assert 0.3 < positive.mean() < 0.45
    assert abs(level[~positive].mean()) < 5 and level[~positive].std() < 10
    assert level[positive].min() > 30 and level[positive].max() < 110 and level[positive].std() > 12
    counts = np.histogram(level, bins=np.arange(-25, 120, 10))[0]
    valley = counts[4:6].min()  # 15 to 35 Centiloid
    assert counts[:4].max() > 10 * valley and counts[6:].max() > 5 * valley


def test_tau_is_high_only_with_amyloid_and_then_goes_with_atrophy(crowd):
    factors, clinical, found = crowd
    positive, atrophy = found.positive, factors[:, FACTORS.index("cortical_atrophy")]
    cortex = law2.uptake_vectors("TAU", found, np.random.default_rng(0))[:, : len(CORTEX)].mean(1)
    normal = np.median(cortex[~positive])
    assert cortex[~positive].max() < normal + 0.35
    assert np.mean(cortex[positive] > normal + 0.35) > 0.4 and np.quantile(cortex[positive], 0.95) > normal + 1
    assert np.corrcoef(cortex[positive], atrophy[positive])[0, 1] > 0.5
    slope = [np.polyfit(atrophy[group], cortex[group], 1)[0] for group in (positive, ~positive)]
    assert slope[0] > 8 * slope[1]
    women = clinical.female == 1
    assert found.tau[positive & women].mean() > found.tau[positive & (clinical.female == 0)].mean()


def test_tspo_has_no_genotype_and_more_than_one_component(crowd):
    """Uptake is one Gaussian cloud: no two groups, hence no excess of flatness; no component has nearly everything."""
    _, _, found = crowd
    vectors = law2.uptake_vectors("PBR", found, np.random.default_rng(0))[:, : len(REGIONS)]
    centred = vectors - vectors.mean(0)
    flatness = (centred**4).mean(0)[: len(CORTEX)] / (centred**2).mean(0)[: len(CORTEX)] ** 2
    assert np.all(np.abs(flatness - 3) < 0.2)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    assert 0.3 < squares[0] / squares.sum() < 0.75
    old = np.stack([make_person(3, i, law=1).uptake["PBR"].vector()[: len(REGIONS)] for i in range(300)])
    squares = np.linalg.svd(old - old.mean(0), compute_uv=False) ** 2
    assert squares[0] / squares.sum() > 0.9  # the measure tells them apart


def test_regional_pbr_is_as_in_the_measured_controls(crowd):
    """Through the mean of four average people's anatomy, smoothed as the volumes are (`benchmarks/law_vs_real.py`)."""
    matrix = 0
    for index in range(4):
        person = replace(make_person(3, index), factors=np.zeros(len(FACTORS)))
        maps = np.stack([blur_pet(array, 2) for array in truth.component_maps(person)])
        matrix = matrix + truth.regional_means(maps, truth.region_weights(2)) / 4
    with open(PBR28, newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["group"] == "control"]
    real = np.array([[float(row[region]) for region in REGIONS] for row in rows])
    assert real.shape == (6, 12) and np.all(real[:, REGIONS.index("cerebellar_grey")] == 1)

    def suvr(vectors):
        made = vectors @ matrix.T
        return np.delete(made / made[:, [REGIONS.index("cerebellar_grey")]], REGIONS.index("cerebellar_grey"), 1)

    real = np.delete(real, REGIONS.index("cerebellar_grey"), 1)
    mean, sd = real.mean(0), real.std(0, ddof=1)
    new = suvr(law2.uptake_vectors("PBR", crowd[2], np.random.default_rng(0)))
    assert np.all(np.abs(new.mean(0) - mean) < 2 * sd)
    assert np.all(new.std(0) < 2 * sd) and np.mean(new.std(0) > 0.5 * sd) > 0.9
    old = suvr(np.stack([make_person(3, i, law=1).uptake["PBR"].vector() for i in range(100)]))
    assert np.mean(np.abs(old.mean(0) - mean) < 2 * sd) < 0.3 and np.mean(old.std(0) < 2 * sd) < 0.4


def test_regional_noise_differs_by_region_and_the_reference_has_none(crowd):
    for tracer, tracer_law in law2.LAWS.items():
        assert len(set(tracer_law.noise)) > 3
        vectors = law2.uptake_vectors(tracer, crowd[2], np.random.default_rng(1))
        assert np.all(vectors[:, REGIONS.index("cerebellar_grey")] == 1)
        rest = vectors - tracer_law.vectors(crowd[2].levels())
        np.testing.assert_allclose(rest[:, : len(REGIONS)].std(0), tracer_law.noise, atol=0.002)


def test_some_clinical_values_are_missing_and_the_rest_go_with_the_mri(crowd):
    factors, clinical, found = crowd
    for name, rate in hidden.MISSING.items():
        assert np.isnan(getattr(clinical, name)).mean() == pytest.approx(rate, abs=0.01)
    age, memory = clinical.age, clinical.memory
    known = ~np.isnan(age) & ~np.isnan(memory)
    assert np.nanmin(age) > 55 and np.nanmax(age) < 89 and set(np.unique(clinical.female[known])) >= {0, 1}
    for factor in factors.T:
        assert np.corrcoef(age[known], factor[known])[0, 1] > 0.3
        assert np.corrcoef(memory[known], factor[known])[0, 1] < -0.2
    old = age > 78
    assert found.positive[old].mean() > 1.8 * found.positive[age < 65].mean()
    assert np.nanmean(memory[found.positive]) < np.nanmean(memory[~found.positive]) - 0.5


@pytest.mark.parametrize(
    "clinical",
    [None, Clinical(80.0, 1.0, -1.5), Clinical(60.0, 0.0, 1.0), Clinical(math.nan, math.nan, -2.0),
     Clinical(85.0, math.nan, math.nan)],
    ids=["mri", "ill", "well", "memory alone", "age alone"],
)  # fmt: skip
def test_posterior_draws_have_the_posterior_mean(clinical):
    factors, n = np.array([0.5, 0.9, 0.2, -0.4]), 40_000
    found = hidden.draw_hidden(np.tile(factors, (n, 1)), np.random.default_rng(0), clinical)
    probability = hidden.probability_positive(factors[None], clinical)[0]
    assert found.positive.mean() == pytest.approx(probability, abs=0.01)
    means = hidden.mean_levels(factors[None], clinical)
    for name, level in found.levels().items():
        assert level.mean() == pytest.approx(float(means[name][0]), abs=5 * level.std() / math.sqrt(n) + 1e-9), name
    for tracer in law2.LAWS:
        drawn = law.posterior(factors, tracer, n, np.random.default_rng(1), clinical=clinical)
        expected = law.posterior_mean(factors, tracer, clinical=clinical)
        np.testing.assert_allclose(drawn.mean(0), expected, atol=5 * drawn.std(0).max() / math.sqrt(n))


def test_posterior_given_clinical_values_is_that_of_people_who_have_them():
    """Against brute force: of many people of the same factors, those with such a memory score and sex."""
    factors = np.tile([0.5, 0.9, 0.2, -0.4], (400_000, 1))
    clinical, found = hidden.draw_people(factors, np.random.default_rng(3))
    alike = (np.abs(clinical.memory + 1.2) < 0.05) & (clinical.female == 1) & (np.abs(clinical.age - 74) < 2)
    assert alike.sum() > 800
    drawn = hidden.draw_hidden(factors[:40_000], np.random.default_rng(4), Clinical(74.0, 1.0, -1.2))
    for name in ("positive", "centiloid", "tau"):
        theirs = getattr(found, name)[alike].astype(float)
        ours = getattr(drawn, name).astype(float)
        assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * theirs.std() / math.sqrt(alike.sum()))
        assert ours.std() == pytest.approx(theirs.std(), rel=0.12)


def test_the_tracers_of_one_draw_share_the_hidden_levels():
    drawn = law2.posterior(np.zeros(4), ("TAU", "PIB"), 4000, np.random.default_rng(0))
    precuneus = REGIONS.index("precuneus_posterior_cingulate")
    assert np.corrcoef(drawn["TAU"][:, precuneus], drawn["PIB"][:, precuneus])[0, 1] > 0.6


def test_predictable_share_is_what_the_posterior_mean_explains():
    assert 0.1 < law.predictable_share("PIB") < 0.25
    for tracer in law2.LAWS:
        assert law.predictable_share(tracer) < law.predictable_share(tracer, 1)


def test_a_tracer_without_a_law_of_its_own_follows_atrophy(crowd):
    vectors = law2.uptake_vectors("FDG", crowd[2], np.random.default_rng(0))
    atrophy = crowd[0][:, FACTORS.index("cortical_atrophy")]
    assert np.corrcoef(vectors[:, REGIONS.index("parietal")], atrophy)[0, 1] < -0.5


def test_a_persons_values_are_numbers():
    person = make_person(2, 3)
    assert all(isinstance(getattr(person.clinical, field.name), float) for field in fields(Clinical))
    assert isinstance(person.hidden.positive, bool)
    assert all(isinstance(getattr(person.hidden, field.name), float) for field in fields(Hidden)[1:])


# -- the linear map and the truth table ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", law.VERSIONS)
def test_the_linear_map_is_the_rendering(version, matrix):
    """Posterior draws and means through the matrix equal the regional means of the rendered images."""
    person = make_person(3, 7, version)
    weights = truth.region_weights(2)
    known = truth.truth_of(person, matrix, draws=4)
    rendering = render(person, oracle=True)
    for tracer in law.law_tracers(version):
        rendered = truth.regional_means(rendering.oracle[tracer][None], weights)[:, 0]
        np.testing.assert_allclose(known.from_mri.mean[tracer], rendered, atol=1e-5)
        noisy = truth.regional_means(rendering.pet[tracer][None], weights)[:, 0]
        np.testing.assert_allclose(known.suvr[tracer], noisy, atol=0.02)  # scanner noise, averaged
    drawn = truth.posterior_draws(person, 2, np.random.default_rng(0))
    images = render(truth.with_uptake(person, {t: v[1] for t, v in drawn.items()}), oracle=True).oracle
    for tracer, vectors in drawn.items():
        rendered = truth.regional_means(images[tracer][None], weights)[:, 0]
        np.testing.assert_allclose(matrix @ vectors[1], rendered, atol=1e-5)


def test_unit_activity_is_the_activity_of_one_component():
    person = make_person(3, 7)
    template, tissue = truth.template_maps(2), truth.tissue_maps(person, 2)
    for unit, found in zip(np.eye(len(COMPONENTS)), truth.unit_activity(person, 2), strict=True):
        assert np.array_equal(found, activity(template, tissue, unit))


def test_component_maps_sum_to_the_image():
    person = make_person(3, 7)
    maps = truth.component_maps(person)
    image = np.tensordot(person.uptake["PIB"].vector(expected=True), maps, 1)
    rendered = render(person, oracle=True).oracle["PIB"]
    inside = truth.template_maps(2)["brain"] > 0.5
    np.testing.assert_allclose(image[inside], rendered[inside], atol=1e-4)


def test_truth_of_a_person(matrix):
    person = make_person(3, 7)
    known = truth.truth_of(person, matrix, draws=500)
    assert known.positive is person.hidden.positive and known.centiloid == person.hidden.centiloid
    assert known.from_mri.probability_positive == pytest.approx(
        hidden.probability_positive(person.factors[None])[0], abs=1e-12
    )
    for ideal in (known.from_mri, known.with_clinical):
        for tracer in law2.LAWS:
            draws = ideal.draws[tracer]
            assert draws.shape == (500, 12)
            np.testing.assert_allclose(draws.mean(0), ideal.mean[tracer], atol=0.1)
    again = truth.truth_of(person, matrix, draws=500)
    assert np.array_equal(again.from_mri.draws["TAU"], known.from_mri.draws["TAU"])
    other = truth.truth_of(person, matrix, draws=500, seed=1)
    assert not np.array_equal(other.from_mri.draws["TAU"], known.from_mri.draws["TAU"])


def test_the_first_law_knows_no_status(matrix):
    old = truth.truth_of(make_person(3, 7, 1), matrix, draws=2)
    assert old.positive is None and old.with_clinical is None and math.isnan(old.from_mri.probability_positive)
    assert old.from_mri.draws["PBR"].shape == (2, 12)


def test_tables_say_what_every_column_means(matrix, tmp_path):
    known = tables.truth_rows(truth.truth_of(make_person(3, 7), matrix, draws=3))
    tables.write_truth(tmp_path / "truth", [known, known])
    assert sorted(path.name for path in (tmp_path / "truth").iterdir()) == sorted(tables.TRUTH_FILES)
    for name, rows in (("truth", 2), ("truth_draws", 12)):
        with open(tmp_path / "truth" / f"{name}.tsv", newline="", encoding="utf-8") as stream:
            found = list(csv.DictReader(stream, delimiter="\t"))
        assert len(found) == rows
        meanings = json.loads((tmp_path / "truth" / f"{name}.json").read_text())
        assert set(meanings) == set(found[0]) - {"participant_id"}
        assert all(entry["Description"] for entry in meanings.values())
    assert found[0]["given"] == "mri" and found[3]["given"] == "mri_and_clinical"
    case = known.case()
    assert len(case["draws"]["mri"]["blurred_suvr_PIB_frontal"]) == 3 and case["law"] == 2


@pytest.mark.parametrize("version", law.VERSIONS)
def test_participants_columns(version):
    row = tables.participant(make_person(3, 7, version))
    assert set(tables.participant_columns(version)) == set(row) - {"participant_id"}
    assert ({"age", "sex", "memory_score"} <= set(row)) == (version == 2)


def test_missing_values_are_na_in_the_table():
    person = make_person(3, 7)
    nobody = replace(person, clinical=Clinical(math.nan, math.nan, math.nan))
    assert [tables.participant(nobody)[name] for name in ("age", "sex", "memory_score")] == ["n/a"] * 3
    woman = tables.participant(replace(person, clinical=Clinical(71.26, 1.0, -0.333)))
    assert (woman["age"], woman["sex"], woman["memory_score"]) == (71.3, "F", -0.33)


# -- in training -----------------------------------------------------------------------------------------------------


def test_a_cache_of_rendered_people_names_its_law():
    from training.data.prepare import Options, digest
    from training.data.rendered import rendered_people

    new, old = rendered_people(1, 3), rendered_people(1, 3, law=1)
    assert (new.options["law"], old.options["law"]) == (2, 1)
    assert digest(new.cases[0], Options()) != digest(old.cases[0], Options())
    with pytest.raises(InputError, match="unknown law"):
        rendered_people(1, 3, law=4)


def test_a_raw_data_set_of_an_unknown_law_is_refused(tmp_path):
    from RelAPETLib.cohort.bids import read_bids

    (tmp_path / "sub-0000").mkdir()
    entry = {"Name": "relapet phantom", "Law": ["2"]}
    (tmp_path / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [entry]}))
    with pytest.raises(InputError, match="unknown law"):
        read_bids(tmp_path)
    (tmp_path / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [{**entry, "Law": 2}]}))
    assert read_bids(tmp_path).options == {"law": 2}
