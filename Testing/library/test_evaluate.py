"""relapet evaluate over a small study: each table beside what scikit-image, scipy, statsmodels or numpy say."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from evaluation_study import MODELS, own_brain, own_means, read_table, write_study, write_table
from scipy import stats
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from RelAPETLib.cli import main
from RelAPETLib.evaluation.retest import retest_rows
from RelAPETLib.evaluation.significance import compare_models
from RelAPETLib.tracers import TRACERS


def evaluate(*arguments) -> int:
    return main(["evaluate", "--progress", "none", *map(str, arguments)])


def load(path):
    return nib.load(path).get_fdata()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Folder of the study, its rows, and the evaluation's tables by name."""
    folder = tmp_path_factory.mktemp("study")
    rows = write_study(folder, people=5, retested=2)
    (folder / "train").mkdir()
    write_study(folder / "train", people=5, retested=0, first=20)
    out = folder / "out"
    train = folder / "train" / "study.tsv"
    code = evaluate(
        "--table", folder / "study.tsv", "--train", train, "--other-references", "white_matter", "--out", out,
        "--resamples", 200,
    )  # fmt: skip
    assert code == 0
    return folder, rows, {path.name: read_table(path) for path in out.glob("*.tsv")}


def of(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_figures_of_images_are_those_of_scikit_image(study):
    folder, rows, tables = study
    low, high = TRACERS["PIB"].suvr_window
    assert len(of(tables["volumes.tsv"], model="better")) == 2 * 7
    for row in rows[1:3]:
        made, measured = (load(folder / row[name]) for name in ("synthetic", "measured"))
        inside = own_brain()
        made, measured = (np.clip(np.where(inside, v, 0) / (high - low), 0, 1) for v in (made, measured))
        key = {name: row[name] for name in ("participant_id", "session", "tracer", "model")}
        (whole,), (brain,) = (of(tables["volumes.tsv"], **key, region=r) for r in ("whole_grid", "brain"))
        padded = [np.pad(v, 5) for v in (measured, made)]
        _, similarity = structural_similarity(
            *padded, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        similarity = similarity[5:-5, 5:-5, 5:-5]
        for found, where in ((whole, np.ones_like(inside)), (brain, inside)):
            pair = measured[where], made[where]
            assert float(found["psnr"]) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=1), abs=1e-3)
            assert float(found["ssim"]) == pytest.approx(similarity[where].mean(), abs=1e-4)
            assert float(found["mae"]) == pytest.approx(np.abs(pair[0] - pair[1]).mean(), rel=1e-4)
            assert float(found["nrmse"]) == pytest.approx(normalized_root_mse(*pair), rel=1e-4)


def test_regional_values_are_those_of_scipy(study):
    folder, rows, tables = study
    for row in rows[1:3]:
        made, measured = (load(folder / row[name]) for name in ("synthetic", "measured"))
        key = {name: row[name] for name in ("participant_id", "session", "tracer", "model")}
        found = {r["region"]: r for r in of(tables["regions.tsv"], **key)}
        for name, volume in (("synthetic", made), ("measured", measured)):
            for region, value in own_means(volume).items():
                assert float(found[region][name]) == pytest.approx(value, rel=1e-5), (region, name)
        assert found["thalamus"]["spread"] == "n/a" and 0.9 < float(found["thalamus"]["in_field"]) <= 1
        assert float(found["frontal"]["volume_ml"]) > 100


def test_agreement_is_that_of_statsmodels_and_numpy(study):
    import pandas
    import statsmodels.formula.api as formula
    from statsmodels.stats.anova import anova_lm

    *_, tables = study
    for model in MODELS:
        rows = of(tables["regions.tsv"], model=model, region="frontal")
        x, y = (np.array([float(row[name]) for row in rows]) for name in ("synthetic", "measured"))
        (found,) = of(
            tables["agreement.tsv"], model=model, region="frontal", what="suvr", covariate="all",
            reference="as evaluated",
        )  # fmt: skip
        found = {name: float(value) for name, value in found.items() if value != "n/a" and name not in _WORDS}
        n = len(x)
        assert (found["people"], found["volumes"]) == (5, 7)
        assert found["bias"] == pytest.approx((x - y).mean(), abs=1e-5)
        assert found["mae"] == pytest.approx(np.abs(x - y).mean(), abs=1e-5)
        assert found["loa_high"] == pytest.approx((x - y).mean() + 1.96 * (x - y).std(ddof=1), abs=1e-4)
        line = stats.linregress(y, x)
        assert (found["slope"], found["intercept"]) == pytest.approx((line.slope, line.intercept), abs=1e-4)
        # CCC: one minus the squared distance of pairs over that of pairs put together by chance.
        assert found["ccc"] == pytest.approx(1 - ((x - y) ** 2).mean() / ((x[:, None] - y) ** 2).mean(), abs=1e-4)
        frame = pandas.DataFrame({
            "value": np.concatenate([x, y]), "who": [*map(str, range(n))] * 2, "rater": ["x"] * n + ["y"] * n
        })  # fmt: skip
        squares = anova_lm(formula.ols("value ~ C(who) + C(rater)", frame).fit())["mean_sq"]
        among, raters, error = squares["C(who)"], squares["C(rater)"], squares["Residual"]
        assert found["icc"] == pytest.approx((among - error) / (among + error + 2 * (raters - error) / n), abs=1e-4)
        assert found["icc_low"] < found["icc"] < found["icc_high"] and found["mae_low"] < found["mae_high"]


_WORDS = ("tracer", "model", "atlas", "region", "what", "reference", "covariate", "group", "note")


def test_intervals_are_over_people_not_over_volumes():
    """Each person twice is no more people: the interval stays as wide."""
    from RelAPETLib.evaluation.agreement import intervals

    rng = np.random.default_rng(0)
    y = rng.normal(1.2, 0.2, 12)
    x, people = y + rng.normal(0.1, 0.1, 12), [f"p{i}" for i in range(12)]
    once = intervals(x, y, people, 2000, 1)
    twice = intervals(np.tile(x, 2), np.tile(y, 2), people * 2, 2000, 1)
    assert twice["bias"] == pytest.approx(once["bias"]) and twice["slope"] == pytest.approx(once["slope"])
    spread = once["bias"][1] - once["bias"][0]
    assert spread == pytest.approx(2 * 1.96 * (x - y).std(ddof=1) / np.sqrt(12), rel=0.2)


def test_published_icc():
    """Shrout and Fleiss, Psychol Bull 1979;86:420-428: six people, raters 1 and 2 of their table 2."""
    from RelAPETLib.evaluation.agreement import agreement

    first, second = np.array([9, 6, 8, 7, 10, 6.0]), np.array([2, 1, 4, 1, 5, 2.0])
    both = np.stack([first, second], 1)
    rows = 2 * both.mean(1).var(ddof=1)
    columns = 6 * both.mean(0).var(ddof=1)
    rest = both - both.mean(1, keepdims=True) - both.mean(0) + both.mean()
    error = (rest**2).sum() / 5
    assert agreement(first, second)["icc"] == pytest.approx((rows - error) / (rows + error + (columns - error) / 3))


def test_tests_are_scipys_over_people_and_corrected_by_holm(study):
    from statsmodels.stats.multitest import multipletests

    *_, tables = study
    rows = of(tables["statistics.tsv"], model="worse", against="better", kind="region", metric="absolute_error")
    assert len(rows) == 12
    errors = {}
    for model in MODELS:
        by_person = {}
        for row in of(tables["regions.tsv"], model=model, region="frontal"):
            error = abs(float(row["synthetic"]) - float(row["measured"]))
            by_person.setdefault(row["participant_id"], []).append(error)
        errors[model] = np.array([np.mean(by_person[person]) for person in sorted(by_person)])
    (frontal,) = of(rows, region="frontal")
    difference = errors["worse"] - errors["better"]
    t = stats.ttest_rel(errors["worse"], errors["better"])
    assert int(frontal["people"]) == 5 and frontal["better"] == "better"
    assert float(frontal["t"]) == pytest.approx(t.statistic, rel=1e-3)
    assert float(frontal["t_p"]) == pytest.approx(t.pvalue, rel=1e-3)
    assert float(frontal["wilcoxon_p"]) == pytest.approx(stats.wilcoxon(difference).pvalue, rel=1e-4)
    assert float(frontal["effect_dz"]) == pytest.approx(difference.mean() / difference.std(ddof=1), rel=1e-3)
    family = of(tables["statistics.tsv"], kind="region", metric="absolute_error")
    corrected = multipletests([float(row["t_p"]) for row in family], method="holm")[1]
    assert [float(row["t_p_holm"]) for row in family] == pytest.approx(list(corrected), rel=1e-4)


def test_models_are_compared_over_the_sessions_that_both_have():
    """A model that failed in the hard second sessions is no better than one that did them, the same in the first."""
    easy = {f"sub-{n}": 0.1 + 0.01 * n for n in range(6)}
    both = {who: {"ses-1": value, "ses-2": value + 1} for who, value in easy.items()}
    first = {who: {"ses-1": value + 0.02 * (n % 2), "ses-2": np.nan} for n, (who, value) in enumerate(easy.items())}
    first["sub-5"].pop("ses-2")
    figures = {("TAU", "region", "a", "r", "absolute_error"): {"all": both, "first": {**first, "sub-9": {"": 1.0}}}}
    (row,) = compare_models(figures, ["all", "first"], "first", ())
    assert row["people"] == 6 and row["better"] == "all"
    assert row["mean"] == pytest.approx(np.mean(list(easy.values()))) and row["difference"] == pytest.approx(-0.01)


def test_groups_sensitivity_and_asymmetry_are_there(study):
    *_, tables = study
    rows = of(tables["agreement.tsv"], model="better", region="striatum")
    groups = {(row["covariate"], row["group"]) for row in rows}
    assert {("sex", "F"), ("sex", "M"), ("age", "60 to 69"), ("age", "70 to 79")} <= groups
    assert not any(covariate == "site" for covariate, _ in groups), "one site divides nobody"
    (main,) = of(rows, what="suvr", covariate="all", reference="as evaluated")
    (other,) = of(rows, what="suvr", covariate="all", reference="white_matter")
    own = of(tables["regions.tsv"], model="better", region="striatum")
    white = of(tables["regions.tsv"], model="better", region="white_matter")
    ratios = [float(a["measured"]) / float(b["measured"]) for a, b in zip(own, white, strict=True)]
    assert float(other["mean_measured"]) == pytest.approx(np.mean(ratios), rel=1e-4)
    assert other["bias"] != main["bias"]
    (asymmetry,) = of(rows, what="asymmetry", covariate="all")
    assert abs(float(asymmetry["mean_measured"])) < 3, "painted people are as good as symmetric"


def test_baselines_are_those_of_training_people(study):
    folder, _, tables = study
    mean = of(tables["regions.tsv"], model="baseline: training people's mean", region="parietal")
    assert len(mean) == 7 and len({row["synthetic"] for row in mean}) == 1
    trained = {}
    for row in read_table(folder / "train" / "study.tsv"):
        volume = load(folder / "train" / row["measured"])
        value = own_means(volume)["parietal"]
        trained.setdefault(row["participant_id"], {})[row["session"]] = value
    people = [np.mean(list(sessions.values())) for sessions in trained.values()]
    assert float(mean[0]["synthetic"]) == pytest.approx(np.mean(people), rel=1e-4)
    assert of(tables["regions.tsv"], model="baseline: age and sex", region="parietal")
    assert of(tables["volumes.tsv"], model="baseline: training people's mean", region="brain")
    (row,) = of(
        tables["agreement.tsv"], model="baseline: training people's mean", region="parietal", covariate="all",
        what="suvr",
    )  # fmt: skip
    assert float(row["slope"]) == 0 and "all the same" in row["note"]


def test_training_people_may_not_be_evaluated(study, capsys, tmp_path):
    folder = study[0]
    table = folder / "study.tsv"
    assert evaluate("--table", table, "--train", table, "--out", tmp_path / "out") == 2
    assert (
        "--train: sub-00, sub-01, sub-02, sub-03, sub-04 are among the people tested" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )


def test_test_retest_over_sessions(study):
    *_, tables = study
    (found,) = of(tables["retest.tsv"], pet="measured", region="thalamus")
    by_person = {}
    for row in of(tables["regions.tsv"], model="worse", region="thalamus"):
        by_person.setdefault(row["participant_id"], []).append(float(row["measured"]))
    pairs = np.array([values for values in by_person.values() if len(values) == 2])
    within = np.sqrt((np.diff(pairs)[:, 0] ** 2 / 2).mean())
    assert int(found["people"]) == 2 and float(found["within_sd"]) == pytest.approx(within, rel=1e-3)
    assert float(found["repeatability"]) == pytest.approx(2.77 * within, rel=2e-3)
    assert {row["model"] for row in of(tables["retest.tsv"], pet="synthetic")} == set(MODELS)


def test_measured_sessions_that_one_model_alone_has_count():
    """The first model has nobody's second session: the measured PET of both are there all the same, once."""
    rows = [
        {"tracer": "TAU", "model": model, "atlas": "a", "region": "r", "participant_id": f"sub-{n}",
         "session": f"ses-{session}", "synthetic": 1 + 0.1 * n, "measured": 1 + 0.1 * n + 0.02 * session}
        for model, sessions in (("a", (1,)), ("b", (1, 2))) for n in range(4) for session in sessions
    ]  # fmt: skip
    found = {(row["pet"], row["model"]): row for row in retest_rows(rows)}
    assert set(found) == {("synthetic", "b"), ("measured", "n/a")}
    measured = found["measured", "n/a"]
    assert (measured["people"], measured["sessions"]) == (4, 8)
    assert measured["within_sd"] == pytest.approx(0.02 / np.sqrt(2))


def test_the_first_two_sessions_are_those_of_the_lowest_numbers():
    """ses-1 and ses-2 of twelve, not ses-1 and ses-10, whose names come first as texts."""
    rows = [
        {"tracer": "TAU", "model": "a", "atlas": "a", "region": "r", "participant_id": f"sub-{n}",
         "session": f"ses-{session}", "synthetic": float("nan"), "measured": 1 + 0.01 * session}
        for n in range(2) for session in (11, 10, 2, 1, 12)
    ]  # fmt: skip
    (found,) = retest_rows(rows)
    assert found["variability_percent"] == pytest.approx(100 * 0.01 / 1.015)


def test_the_summary_and_the_tables_say_what_they_are(study):
    folder, *_ = study
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["people"] == 5 and summary["measured"] == 14 and summary["training_people"] == 5
    assert summary["data_range"] == {"PIB": list(TRACERS["PIB"].suvr_window)}
    assert any("taken to be SUVR" in note for note in summary["notes"])
    assert summary["images"]["better"]["PIB"]["brain"]["volumes"] == 7
    text = (folder / "out" / "tables.md").read_text()
    assert "a model's guess, not a measurement" in text and "nan" not in text.lower()
    plain = "| Method | PIB-PET PSNR ↑ | PIB-PET SSIM ↑ | PIB-PET MAE ↓ |"
    headers = [line for line in text.splitlines() if line.startswith("| Method")]
    assert headers == [f"{plain} Sig. |", plain] * 2, "Tables I and III; nothing tells the time of Table IV"
    assert "no layout of Table IV" in text


def test_inference_time_is_that_of_the_results_own_records(study, tmp_path):
    """The first of a model is left out, as a warm-up, and what a folder does not tell."""
    folder, rows, _ = study
    own = [row for row in rows if row["model"] == "better"]
    for number, row in enumerate(own[:3]):
        place = tmp_path / f"{number}"
        place.mkdir()
        shutil.copy(folder / row["synthetic"], place / "synthetic_pet.nii.gz")
        record = {"pet": {"units": "SUVR"}, "seconds": {"registration": 50.0, "sampling": (90.0, 4.0, 5.0)[number]}}
        (place / "synthetic_pet.json").write_text(json.dumps(record))
        own[number] = {**row, "synthetic": place}
    own = [{**row, "measured": folder / row["measured"], "synthetic": folder / row["synthetic"]} for row in own]
    assert evaluate("--table", write_table(tmp_path / "t.tsv", own), "--out", tmp_path / "out", "--resamples", 100) == 0
    text = (tmp_path / "out" / "tables.md").read_text()
    last = text.split("Layout of Table IV: inside the brain mask")[1].split("| better |")[1].splitlines()[0]
    assert last.split("|")[-2].strip() == "4.500"
    assert "- inference time: that all samples of a PET took" in text and "no layout of" not in text
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"]["better"]["PIB"]["brain"]["seconds_per_volume"] == 4.5


def test_outputs_are_kept_unless_overwritten(study, capsys):
    folder, *_ = study
    before = (folder / "out" / "tables.md").read_bytes()
    assert evaluate("--table", folder / "study.tsv", "--out", folder / "out") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "out" / "tables.md").read_bytes() == before


def test_one_person_and_identical_images_are_said(study, tmp_path):
    folder, rows, _ = study
    row = {**rows[0], "synthetic": folder / rows[0]["measured"], "measured": folder / rows[0]["measured"]}
    table = write_table(tmp_path / "one.csv.tsv", [row])
    assert evaluate("--table", table, "--out", tmp_path / "out") == 0
    assert of(read_table(tmp_path / "out" / "volumes.tsv"), region="brain")[0]["psnr"] == "n/a"
    (images,) = of(read_table(tmp_path / "out" / "images.tsv"), region="brain")
    assert "one person" in images["note"] and "identical" in images["note"]
    agreement = read_table(tmp_path / "out" / "agreement.tsv")
    assert all("one volume" in row["note"] for row in agreement)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert any("one person" in note for note in summary["notes"])
    texts = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".png"]
    assert not any("nan" in path.read_text().lower() for path in texts)


@pytest.mark.slow
def test_rendered_people_from_their_volumes_to_the_tables(tmp_path):
    """Simulated people, the law's mean as the synthetic PET: regional SUVR, PSNR and bias computed apart."""
    from RelAPETLib.grid import array_to_image
    from RelAPETLib.phantom.people import make_person, model_grid_at
    from RelAPETLib.phantom.render import render
    from RelAPETLib.volumes import write_volume

    grid, rows, wanted = model_grid_at(2), [], {}
    for index in range(3):
        rendering = render(make_person(11, index), oracle=True, tracers=("TAU",))
        pet = rendering.pet["TAU"], rendering.oracle["TAU"].astype(np.float32)
        row = {"participant_id": f"sub-{index}", "tracer": "TAU", "model": "oracle", "space": "MNI"}
        for name, array in zip(("measured", "synthetic"), pet, strict=True):
            row[name] = f"{index}_{name}.nii.gz"
            write_volume(array_to_image(array, grid), tmp_path / row[name])
            wanted[f"sub-{index}", name] = own_means(array, grid)
        inside = own_brain(grid)
        error = (np.clip(pet[0], 0, 3) - np.clip(pet[1], 0, 3))[inside] / 3
        wanted[f"sub-{index}", "psnr"] = -10 * np.log10((error**2).mean())
        rows.append(row)
    table = write_table(tmp_path / "people.tsv", rows)
    assert evaluate("--table", table, "--out", tmp_path / "out", "--resamples", 100) == 0
    for row in read_table(tmp_path / "out" / "regions.tsv"):
        for name in ("synthetic", "measured"):
            # Labels lie half way between voxels here, so that a few at the brain's edge count in one of the two only.
            assert float(row[name]) == pytest.approx(wanted[row["participant_id"], name][row["region"]], rel=5e-3)
    for row in of(read_table(tmp_path / "out" / "volumes.tsv"), region="brain"):
        assert float(row["psnr"]) == pytest.approx(wanted[row["participant_id"], "psnr"], abs=1e-3)
    people = [f"sub-{index}" for index in range(3)]
    for row in of(read_table(tmp_path / "out" / "agreement.tsv"), what="suvr", covariate="all"):
        made, measured = (
            np.array([wanted[who, name][row["region"]] for who in people]) for name in ("synthetic", "measured")
        )
        assert float(row["bias"]) == pytest.approx((made - measured).mean(), abs=0.01)
