"""One value of a tracer's composite regions, its caveat, and the share of draws that reach a cut-off."""

import json
from dataclasses import replace

import numpy as np
import pytest
from calibrated import write_tiny_conditional

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError
from RelAPETLib.models import load_model
from RelAPETLib.models.bundle import rewrite_bundle
from RelAPETLib.provenance import check_provenance
from RelAPETLib.regions import load_regions
from RelAPETLib.synthesis import Options, draw, prepare_case, run_case
from RelAPETLib.synthesis.maps import sample_rows
from RelAPETLib.synthesis.options import check_drawing, resolve
from RelAPETLib.synthesis.summary import summary
from RelAPETLib.tracers import TRACERS

WITH = [tracer for tracer in TRACERS.values() if tracer.composite]
MEANING = "draws fall in two humps, and how often in the upper one was measured"


@pytest.fixture(scope="module")
def case(grid_case):
    return replace(prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True), simulated=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of simulated people, and copies whose metadata say what their draws of PIB mean."""
    root = tmp_path_factory.mktemp("models")
    plain = write_tiny_conditional(root / "plain")
    metadata = json.loads((plain / "configs" / "metadata.json").read_text())
    for name, more in (("meant", {}), ("with a cut-off", {"cutoff": 1.25, "source": "people of a test"})):
        tracers = metadata["tracers"] | {
            "PIB": metadata["tracers"]["PIB"] | {"positivity": {"meaning": MEANING, **more}}
        }
        rewrite_bundle(plain, root / name, {"tracers": tracers}, {})
    return {name: root / name for name in ("plain", "meant", "with a cut-off")}


def result_of(case, model, tracer="PIB", samples=4, **options):
    (result,) = run_case(case, Options(tracer, model=model, space="mni", samples=samples, **options))
    check_provenance(result.provenance)
    return result


def test_composites_are_of_shipped_regions_and_one_tracer_has_none():
    names = {region.name for region in load_regions()[1]}
    assert {tracer.target for tracer in WITH} == {"tau", "amyloid"} and len(WITH) < len(TRACERS)
    for tracer in WITH:
        assert set(tracer.composite.regions) < names and tracer.reference_region not in tracer.composite.regions


def test_the_value_is_the_mean_of_the_regions_of_the_table(case, models):
    result = result_of(case, models["plain"])
    found, regions = result.provenance["summary"], TRACERS["PIB"].composite.regions
    own = [row["synthetic_pet"] for row in result.regions if row["region"] in regions]
    assert found["value"] == pytest.approx(np.mean(own)) and found["regions"] == list(regions)
    draws = [
        np.mean([row["suvr"] for row in result.samples if row["sample"] == k and row["region"] in regions])
        for k in range(1, 5)
    ]
    assert found["samples"] == pytest.approx(draws)
    assert found["spread"] == pytest.approx(np.std(draws), rel=1e-3) and found["spread"] > 0
    assert np.mean(draws) == pytest.approx(found["value"], abs=1e-4) and found["measured"] is None
    assert found["positivity"] is None, "nobody gave a cut-off, so none is told"
    for words in (f"{found['value']:.2f} SUVR", "uncalibrated model's guess", "not a Centiloid value", "not a reading"):
        assert words in found["says"]


def test_a_measured_pet_that_lacks_part_of_a_region_has_no_value(case, models):
    """Its mean would be of less than the synthetic one's, and their difference no error of the model."""
    drawn = draw(case, "PIB", Options("PIB", model=models["plain"], space="mni", samples=1))
    of_both = {"synthetic_pet": 1.0, "reference": 1.5, "share_in_view": 1.0}
    whole = [{"region": name, **of_both} for name in TRACERS["PIB"].composite.regions]
    nearly = [row | {"share_measured": 0.99} for row in whole]
    partly = [*nearly[:-1], nearly[-1] | {"share_measured": 0.9}]
    for rows in (whole, nearly):
        found = summary(case, drawn, rows, [])
        assert found["measured"] == 1.5 and "measured 1.50" in found["says"]
    found = summary(case, drawn, partly, [])
    assert found["measured"] is None and found["value"] == 1 and "lacks part of a region" in found["says"]


def test_relative_pet_and_tracers_without_a_composite_have_none(case, models):
    assert result_of(case, models["plain"], "PBR", samples=1).provenance["summary"] is None


def test_one_sample_has_neither_spread_nor_share(case, models):
    found = result_of(case, models["with a cut-off"], samples=1).provenance["summary"]
    assert found["spread"] is None and found["samples"] is None and "spread" not in found["says"]
    assert found["positivity"]["reached"] is None and "one sample was drawn" in found["says"]


def test_a_region_out_of_view_leaves_no_value(case, models):
    import SimpleITK as sitk

    view = sitk.GetArrayFromImage(case.ready.mask) > 0
    view[90:] = False  # z from 18 mm on: parietal lobe and most of the frontal one
    image = sitk.GetImageFromArray(view.astype(np.uint8))
    image.CopyInformation(case.ready.mask)
    cut = replace(case, ready=replace(case.ready, in_view=image))
    found = result_of(cut, models["with a cut-off"], samples=2).provenance["summary"]
    assert found["value"] is None and "not in the field of view" in found["says"]
    assert found["positivity"]["reached"] is None


@pytest.mark.parametrize(
    "model, change, cutoffs, words",
    [
        ("meant", {}, None, None),
        ("plain", {}, "PIB=1.2", "does not say that the share of its draws is a probability"),
        ("with a cut-off", {"simulated": False}, None, "simulated people only, and nothing says"),
        ("meant", {"simulated": False}, {"PiB": 1.2}, "simulated people only, and nothing says"),
    ],
)
def test_no_probability_without_a_cut_off_or_a_model_that_means_it(case, models, model, change, cutoffs, words):
    found = result_of(replace(case, **change), models[model], samples=2, cutoffs=cutoffs).provenance["summary"]
    if words is None:
        assert found["positivity"] is None and "probability" not in found["says"]
    else:
        assert found["positivity"]["reached"] is None and words in found["positivity"]["withheld"]
        assert f"No probability of positivity: {found['positivity']['withheld']}." in found["says"]


def test_draws_that_reach_the_cut_off_are_counted(case, models):
    draws = result_of(case, models["plain"]).provenance["summary"]["samples"]
    between = sorted(draws)[2]
    for cutoff, wanted in ((between, 2), (between + 1e-9, 1), (0.01, 4), (2.99, 0)):
        found = result_of(case, models["meant"], cutoffs={"PIB": cutoff}).provenance["summary"]
        assert found["positivity"]["reached"] == wanted and found["positivity"]["source"] == "given by the user"
        assert f"{wanted} of 4 samples ({25 * wanted} %)" in found["says"] and f"{cutoff:g} SUVR" in found["says"]


def test_the_models_own_cut_off_yields_to_the_users(case, models):
    own = result_of(case, models["with a cut-off"], samples=2).provenance["summary"]["positivity"]
    assert own["cutoff"] == 1.25 and own["source"] == "the model's own (people of a test)" and own["meaning"] == MEANING
    given = result_of(case, models["with a cut-off"], samples=2, cutoffs="PIB=1.5").provenance["summary"]["positivity"]
    assert given["cutoff"] == 1.5
    assert given["source"] == "given by the user; the model's share was measured at 1.25 alone"
    other = result_of(case, models["with a cut-off"], samples=2, steps=2).provenance["summary"]["positivity"]
    assert other["reached"] is None and "another sampler or number of steps" in other["withheld"]
    finer = replace(case, preprocessed=False, registration="fine", ready=replace(case.ready, method="fine"))
    other = result_of(finer, models["with a cut-off"], samples=4).provenance["summary"]["positivity"]
    assert other["reached"] is None and "registered in another way than usual" in other["withheld"]
    half = result_of(case, models["with a cut-off"], samples=2, precision="bf16").provenance["summary"]["positivity"]
    assert half["reached"] is None and "measured in fp32" in half["withheld"]


def test_no_probability_for_an_input_that_is_doubted_or_lacks_a_flair(case, models):
    drawn = draw(case, "PIB", Options("PIB", model=models["with a cut-off"], space="mni", samples=2))
    odd = {**drawn.verdict.checks, "features": replace(drawn.verdict.checks["features"], level="caution")}
    refused = {**drawn.verdict.checks, "header": replace(drawn.verdict.checks["header"], level="refuse")}
    alone = replace(case, ready=replace(case.ready, t2f=None))
    for whose, checks, words in (
        (case, refused, "the input check says refuse"),
        (case, odd, "features of this MRI are unlike those"),
        (case, None, "the input was not checked"),
        (alone, drawn.verdict.checks, "measured on people with a T2-FLAIR"),
        (case, drawn.verdict.checks, None),
    ):
        verdict = None if checks is None else replace(drawn.verdict, checks=checks)
        found = summary(whose, replace(drawn, verdict=verdict), [], sample_rows(drawn))["positivity"]
        if words is None:
            assert found["withheld"] is None and found["reached"] is not None
        else:
            assert found["reached"] is None and words in found["withheld"]
    told = summary(case, replace(drawn, told=("age", "sex")), [], sample_rows(drawn))["positivity"]
    assert "was told age and sex of this person, and no clinical value of those on whom it was mea" in told["withheld"]


def test_a_doubted_case_has_no_probability(case, models):
    found = result_of(replace(case, doubted=("two people",)), models["with a cut-off"], samples=2, force=True)
    assert found.provenance["verdict"]["level"] == "refuse"
    assert "No probability of positivity: the input check says refuse" in found.provenance["summary"]["says"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("PIB", "write it as TRACER=SUVR"),
        ("=1", "write it as TRACER=SUVR"),
        ("PIB=high", "a number of SUVR above 0"),
        ("PIB=nan", "a number of SUVR above 0"),
        ("PIB=-1", "a number of SUVR above 0"),
        ("PBR=1", "has no composite value"),
        ("FDG=1", "unknown tracer"),
    ],
)
def test_bad_cut_offs_are_one_line(text, words):
    with pytest.raises(InputError, match=words):
        Options("PIB", cutoffs=[text])


def test_a_cut_off_of_another_tracer_is_refused_on_the_command_line(grid_case, tmp_path, capsys):
    files = ["--t1w", str(grid_case["t1w"]), "--t2f", str(grid_case["t2f"])]
    asked = ["--tracer", "TAU", "--cutoff", "PIB=1.5", "--out", str(tmp_path / "out")]
    assert main(["synthesize", *files, *asked]) == 2
    assert "PIB is not asked for" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_cut_offs_of_several_tracers_go_to_their_own(models):
    plans = resolve(Options("all", model=models["plain"], cutoffs="TAU=1.3,PIB=1.5"), load_model(models["plain"]))
    assert {plan.tracer.name: plan.cutoff for plan in plans} == {"TAU": 1.3, "PIB": 1.5, "PBR": None}


def test_a_cut_off_in_suvr_is_refused_of_a_model_without(models, tmp_path):
    """It would be accepted and have no effect: there is no composite of relative PET."""
    model = load_model(models["plain"])
    relative = {"output": "relative", "window": [0, 1], "units": "relative", "reference_region": None}
    tracers = {**model.metadata["tracers"], "PIB": {"label": model.metadata["tracers"]["PIB"]["label"], **relative}}
    rewrite_bundle(models["plain"], tmp_path / "relative", {"tracers": tracers}, {})
    asked = Options("TAU,PIB", model=tmp_path / "relative", cutoffs="PIB=1.4")
    with pytest.raises(InputError, match="cut-off of PIB was given in SUVR, and the PET of model .* are relative"):
        check_drawing(asked)
    with pytest.raises(InputError, match="leave --cutoff PIB out"):
        resolve(asked, replace(model, metadata={**model.metadata, "tracers": tracers}))
    with pytest.raises(InputError, match="leave --cutoff PIB out"):
        check_drawing(replace(asked, tracers="all"))
    check_drawing(replace(asked, cutoffs="TAU=1.4"))
    check_drawing(replace(asked, tracers="TAU"))  # of a tracer that is not asked for it does no harm
