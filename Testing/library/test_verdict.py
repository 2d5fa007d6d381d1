"""One verdict on an input, and intervals only where they mean something: in results, files, and on the command line."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from calibrated import facts, features_of, say_simulated, write_calibrated_tiny, write_tiny_conditional

from RelAPETLib.cli import main
from RelAPETLib.errors import DoubtfulInputError, RelAPETWarning
from RelAPETLib.models import Model, load_model
from RelAPETLib.models.additions import write_calibrated
from RelAPETLib.provenance import check_provenance
from RelAPETLib.synthesis import Options, draw, load_case, prepare_case, run_case, save_case
from RelAPETLib.synthesis.intervals import why_withheld
from RelAPETLib.synthesis.options import resolve
from RelAPETLib.synthesis.sampling import ConditionedModel
from RelAPETLib.synthesis.verdict import CHECKS, Check, Verdict, check_case, judge

pytestmark = pytest.mark.filterwarnings("ignore::RelAPETLib.errors.RelAPETWarning")


@pytest.fixture(scope="module")
def pair(grid_case, tmp_path_factory):
    """T1w and FLAIR on the model grid whose files say that they are a simulated person's."""
    import shutil

    folder = tmp_path_factory.mktemp("pair")
    paths = [shutil.copy(grid_case[name], folder / grid_case[name].name) for name in ("t1w", "t2f")]
    say_simulated(paths)
    return paths


@pytest.fixture(scope="module")
def case(pair):
    return prepare_case(*pair, preprocessed=True)


@pytest.fixture(scope="module")
def models(pair, tmp_path_factory):
    """Bundles by what they are calibrated on: the pair is usual, near, or far; real or simulated training."""
    folder = tmp_path_factory.mktemp("models")
    plain = write_tiny_conditional(folder / "plain")
    real = write_tiny_conditional(folder / "real", simulated=False)
    own = features_of(plain, *pair)
    away = np.zeros_like(own)
    away[0] = 1.2
    return {
        "plain": plain,
        "usual": write_calibrated_tiny(plain, folder / "usual", own),
        "near": write_calibrated_tiny(plain, folder / "near", own + away),
        "far": write_calibrated_tiny(plain, folder / "far", own + 10 * away),
        "no gate": write_calibrated_tiny(plain, folder / "no_gate", None),
        "infinite": write_calibrated_tiny(plain, folder / "infinite", own, people=8, end=None),
        "of scans": write_calibrated_tiny(plain, folder / "of_scans", own + away, kind="raw"),
        "far of scans": write_calibrated_tiny(
            real, folder / "far_of_scans", own + 10 * away, kind="raw", simulated=False
        ),
        "real near": write_calibrated_tiny(real, folder / "real_near", own + away, simulated=False),
        "real far": write_calibrated_tiny(real, folder / "real_far", own + 10 * away, simulated=False),
        "real usual": write_calibrated_tiny(real, folder / "real_usual", own, simulated=False),
    }


def result_of(case, model, tracer="TAU", **options):
    (result,) = run_case(case, Options(tracer, model=model, space="mni", **options))
    check_provenance(result.provenance)
    return result


def test_the_worst_check_is_the_verdict_and_its_line_says_all():
    checks = dict.fromkeys(CHECKS, Check())
    assert Verdict(checks).says == "Input check: ok"
    checks["features"] = Check("not checked", ("no features",))
    assert Verdict(checks).level == "ok" and Verdict(checks).says == "Input check: ok (not checked: features)"
    checks["header"] = Check("caution", ("odd header",))
    assert Verdict(checks).says == "Input check: caution: odd header (not checked: features)"
    checks["registration"] = Check("refuse", ("no brain",))
    verdict = Verdict(checks, accepted=True)
    assert verdict.level == "refuse" and verdict.reasons == ["no brain", "odd header"]
    assert verdict.says.startswith("Input check: refuse, accepted by --force: no brain; odd header")


def test_a_usual_simulated_person_is_ok_and_has_intervals(case, models):
    result = result_of(case, models["usual"])
    verdict, intervals = result.provenance["verdict"], result.provenance["intervals"]
    assert verdict["level"] == "ok" and verdict["says"] == "Input check: ok" and set(verdict["checks"]) == set(CHECKS)
    assert verdict["checks"]["features"]["p_value"] == 1.0
    assert intervals["withheld"] is None and intervals["people"] == 50 and "calibrated on 50" in intervals["says"]
    for row in result.regions:
        scale = (row["high"] - row["low"]) / 4
        assert row["low"] == pytest.approx(row["synthetic_pet"] - 2 * scale)
        # Scaled by the mean of the voxels' SD, of which the SD of the samples' means is no more than.
        assert scale - 0.05 >= row["spread"] - 1e-6 > 0
        low, high = intervals["joint"][row["region"]]
        assert (low, high) == (pytest.approx(row["synthetic_pet"] - 4 * scale),
                               pytest.approx(row["synthetic_pet"] + 4 * scale))  # fmt: skip


@pytest.mark.parametrize(
    "model, change, options, words",
    [
        ("usual", {"simulated": False}, {}, "simulated people only, and nothing says"),
        ("plain", {}, {}, "no calibration"),
        ("usual", {}, {"tracer": "PBR"}, "no calibration for PBR"),
        ("usual", {}, {"steps": 2}, "calibrated for 2 sample(s) of 3 step(s)"),
        ("usual", {}, {"samples": 4}, "calibrated for 2 sample(s) of 3 step(s)"),
        ("usual", {}, {"precision": "bf16"}, "calibrated in fp32"),
        ("real usual", {}, {}, "these scans are simulated"),
        ("near", {}, {}, "unlike"),
    ],
)
def test_intervals_are_withheld_with_the_reason(case, models, model, change, options, words):
    result = result_of(replace(case, **change), models[model], **options)
    assert words in result.provenance["intervals"]["withheld"]
    assert words in result.provenance["intervals"]["says"] and result.provenance["intervals"]["joint"] is None
    assert all(np.isnan(row["low"]) and np.isnan(row["high"]) and np.isfinite(row["spread"]) for row in result.regions)


def test_intervals_are_withheld_where_clinical_values_are_told_otherwise_than_at_calibration(case, models, tmp_path):
    drawn = draw(case, "TAU", Options("TAU", model=models["usual"]))
    assert why_withheld(case, drawn) is None
    for told, words in ((("age",), "was told age of this person, and no clinical value of those"), ((), None)):
        assert (why_withheld(case, replace(drawn, told=told)) or "").count(words or "nothing") == bool(words)
    with_age = facts()
    with_age["sampling"]["told"] = ["age", "sex"]
    write_calibrated(models["plain"], tmp_path / "told", with_age)
    again = replace(drawn, model=load_model(tmp_path / "told"))
    assert "told no clinical value of this person, and age and sex of those" in why_withheld(case, again)
    assert why_withheld(case, replace(again, told=("age", "sex"))) is None


def test_a_model_of_people_shows_intervals_for_people(case, models):
    assert result_of(replace(case, simulated=False), models["real usual"]).provenance["intervals"]["withheld"] is None


def test_too_few_people_give_infinite_intervals_that_say_so(case, models, tmp_path):
    result = result_of(case, models["infinite"])
    assert all(row["low"] == -np.inf and row["high"] == np.inf for row in result.regions)
    assert "infinite" in result.provenance["intervals"]["says"]
    result.save(tmp_path, report=False)
    with open(tmp_path / "regions.tsv", newline="") as stream:
        assert {(row["low"], row["high"]) for row in csv.DictReader(stream, delimiter="\t")} == {("-inf", "inf")}


def test_a_region_partly_outside_the_view_has_no_interval(case, models):
    import SimpleITK as sitk

    from RelAPETLib.grid import array_to_image, image_to_array

    seen = np.ones(image_to_array(case.ready.mask).shape, np.uint8)
    seen[:, :, :60] = 0
    cut = replace(case, ready=replace(case.ready, in_view=sitk.Cast(array_to_image(seen), sitk.sitkUInt8)))
    rows = result_of(cut, models["usual"], force=True).regions
    assert any(row["share_in_view"] < 0.98 for row in rows)
    assert all(np.isnan(row["low"]) for row in rows if row["share_in_view"] < 0.98)


def test_a_device_that_is_full_by_now_is_told_of_in_the_record(case, models, monkeypatch):
    def full(self):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Model, "brought_back", full)
    result = result_of(case, models["plain"])
    told = [line for line in result.provenance["warnings"] if "has no room for model" in line]
    assert len(told) == 1 and told[0] in result.warnings


def test_without_features_they_are_not_checked(case, models):
    verdict = result_of(case, models["no gate"]).provenance["verdict"]
    assert verdict["level"] == "ok" and verdict["checks"]["features"]["level"] == "not checked"
    assert "not checked: features" in verdict["says"]


def test_another_way_onto_the_grid_is_said(case, models):
    """Features are then no reason for a caution, unless they are far."""
    record = result_of(case, models["of scans"]).provenance
    assert "no promise covers that" in record["intervals"]["says"]
    assert (
        record["verdict"]["level"] == "ok"
        and "registered from raw" in record["verdict"]["checks"]["features"]["says"][0]
    )
    far = result_of(replace(case, simulated=False), models["far of scans"]).provenance["verdict"]
    assert far["level"] == "caution" and "registered from raw" in far["reasons"][0]


@pytest.mark.parametrize("model", ["near", "far"])
def test_a_model_of_simulated_people_says_caution_at_most(case, models, model):
    with pytest.warns(RelAPETWarning, match="unlike those of the 50 simulated people"):
        result = result_of(case, models[model])
    verdict = result.provenance["verdict"]
    assert verdict["level"] == "caution" and verdict["checks"]["features"]["p_value"] == round(1 / 51, 4)
    assert verdict["reasons"][0] in result.warnings


def test_a_model_of_people_refuses_what_is_far_unless_forced(case, models):
    people = replace(case, simulated=False)
    assert result_of(people, models["real near"]).provenance["verdict"]["level"] == "caution"
    with pytest.raises(DoubtfulInputError, match="times as far out as the farthest") as refused:
        result_of(people, models["real far"])
    assert refused.value.accepted_by == "--force"
    result = result_of(people, models["real far"], force=True)
    verdict = result.provenance["verdict"]
    assert verdict["level"] == "refuse" and verdict["accepted"] and "accepted by --force" in verdict["says"]
    assert result.provenance["intervals"]["withheld"] == "the input check says refuse"


def test_earlier_refusals_are_in_the_verdict_once_forced(case, models):
    """The scans swapped: what force accepted is told as such, by the check that found it."""
    swapped = replace(case, ready=replace(case.ready, quality=case.ready.quality | {"t1w_contrast": -0.5}))
    with pytest.raises(DoubtfulInputError, match="swapped"):
        result_of(swapped, models["usual"])
    verdict = result_of(swapped, models["usual"], force=True).provenance["verdict"]
    assert verdict["level"] == "refuse" and verdict["checks"]["registration"]["level"] == "refuse"
    assert [name for name, check in verdict["checks"].items() if check["level"] != "ok"] == ["registration"]


@pytest.mark.parametrize(
    "quality, changes, check, level",
    [
        ({"brain_missing_t2f": 0.04}, {}, "field_of_view", "caution"),
        (
            {},
            {"header": ("the header says two things",), "warnings": ("the header says two things",)},
            "header",
            "caution",
        ),
        ({}, {"doubted": ("two people",), "warnings": ("accepted by force: two people",)}, "header", "refuse"),
        ({}, {"warnings": ("demons folded",)}, "registration", "caution"),
        ({"pair_mutual_information": 0.01}, {}, "same_person", "refuse"),
    ],
)
def test_each_finding_belongs_to_one_check(case, models, quality, changes, check, level):
    odd = replace(case, ready=replace(case.ready, quality=case.ready.quality | quality), **changes)
    verdict = result_of(odd, models["usual"], force=True).provenance["verdict"]
    assert {n: c["level"] for n, c in verdict["checks"].items() if c["level"] != "ok"} == {check: level}


def test_a_measured_pet_counts_for_its_own_tracer_alone(case, models):
    model = load_model(models["plain"])
    plans = resolve(Options("TAU,PIB", model=models["plain"]), model)
    misfit = replace(case, ready=replace(case.ready, pet_quality={"TAU": {"pet_outline": 0.5}, "PIB": {}}))
    with pytest.raises(DoubtfulInputError, match="does not fit the MRI's brain"):
        check_case(misfit, plans, False)
    assert check_case(misfit, plans[1:], False) == {"PIB": []}
    said = check_case(misfit, plans, True)
    assert "does not fit" in said["TAU"][0] and said["PIB"] == []
    other = replace(case, pet_doubted={"TAU": ("two people",)}, warnings=("accepted by force: two people",))
    with pytest.raises(DoubtfulInputError, match="two people"):
        check_case(other, plans, False)
    assert check_case(other, plans[1:], False) == {"PIB": []}
    for odd in (misfit, other):
        verdicts = judge(odd, plans, ConditionedModel(model, case.mri()), True)
        assert {name: verdict.level for name, verdict in verdicts.items()} == {"TAU": "refuse", "PIB": "ok"}
        assert verdicts["TAU"].accepted and not verdicts["PIB"].accepted


def test_what_was_accepted_of_a_pet_is_told_of_no_other_tracer_and_goes_with_it(case, models):
    forced = ("odd header", "accepted by force: PET: two people", "accepted by force: both")
    odd = replace(case, doubted=("both",), pet_doubted={"TAU": ("PET: two people", "both"), "PIB": ()}, warnings=forced)
    kept = (forced[0], forced[2])
    assert odd.warnings_of(["TAU"]) == odd.warnings_of(["TAU", "PIB"]) == forced and odd.warnings_of(["PIB"]) == kept
    assert odd.without_pet("PIB").warnings == forced and odd.without_pet("TAU").warnings == kept
    odd = replace(odd, doubted=(), pet_doubted={"TAU": ("PET: two people",)}, warnings=forced[1:2])
    assert forced[1] not in result_of(odd, models["plain"], "PIB").warnings
    plans = resolve(Options("TAU", model=models["plain"]), model := load_model(models["plain"]))
    verdict = judge(odd.without_pet("TAU"), plans, ConditionedModel(model, case.mri()))["TAU"]
    assert verdict.level == "ok", "the PET that was doubted is gone"


def test_a_reference_region_out_of_view_counts_for_its_own_tracer_alone(case, models, monkeypatch):
    plans = resolve(Options("TAU,PIB", model=models["plain"]), load_model(models["plain"]))
    plans = (plans[0], replace(plans[1], reference_region="pons"))
    monkeypatch.setattr(
        "RelAPETLib.preprocessing.reference_doubts",
        lambda ready, region, tracer=None: ["no pons"] if region == "pons" else [],
    )
    assert check_case(case, plans[:1], False) == {"TAU": []}
    with pytest.raises(DoubtfulInputError, match="no pons"):
        check_case(case, plans, False)


def test_a_saved_case_keeps_what_the_verdict_needs(case, models, tmp_path):
    odd = replace(case, header=("odd header",), doubted=("two people",), warnings=("odd header",))
    save_case(odd, tmp_path / "case")
    again = load_case(tmp_path / "case")
    assert (again.header, again.doubted, again.simulated) == (odd.header, odd.doubted, True)
    plans = resolve(Options("TAU", model=models["plain"]), load_model(models["plain"]))
    with pytest.raises(DoubtfulInputError, match="two people"):
        check_case(again, plans, False)
    assert check_case(again, plans, True) == {"TAU": []}
    assert load_case(save_case(case, tmp_path / "plain") and tmp_path / "plain").header == ()


def test_one_scan_that_does_not_say_so_is_a_real_person(pair, grid_case):
    assert not prepare_case(pair[0], grid_case["t2f"], preprocessed=True).simulated


def test_the_command_line_says_it_in_the_same_words(pair, models, tmp_path, capsys):
    words = ["synthesize", "--t1w", str(pair[0]), "--t2f", str(pair[1]), "--tracer", "TAU", "--preprocessed"]
    assert main([*words, "--model", str(models["near"]), "--out", str(tmp_path / "near")]) == 0
    record = json.loads((tmp_path / "near" / "synthetic_pet.json").read_text())
    shown = capsys.readouterr().out
    assert record["verdict"]["says"] in shown and record["intervals"]["says"] in shown
    assert main([*words, "--model", str(models["real far"]), "--out", str(tmp_path / "far")]) == 2
    assert "unlike those of the 50 people" in capsys.readouterr().err and not (tmp_path / "far").exists()
    assert main([*words, "--model", str(models["real far"]), "--out", str(tmp_path / "far"), "--force"]) == 0
    assert "Input check: refuse, accepted by --force" in capsys.readouterr().out


def test_a_feature_check_sees_the_mri_and_not_the_noise(pair, case, models):
    """The same features whatever tracer and seed, and others for another MRI."""
    model = load_model(models["plain"])
    own = ConditionedModel(model, case.mri()).features()
    flipped = ConditionedModel(model, case.mri().flip(2)).features()
    assert own.equal(ConditionedModel(model, case.mri()).features()) and not own.allclose(flipped)
