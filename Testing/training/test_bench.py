"""The bench: its statistics by hand, and a whole small one."""

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.scores import auc, crps, energy_distance
from RelAPETLib.models import import_model, load_model
from training.__main__ import main
from training.bench import command, four_mm, published, settings, tables
from training.bench.people import check_scans, pooled, regional
from training.bench.runs import draws_of, last_gap, plain
from training.methods import LEFT_OUT, METHODS

EVERY = (
    settings.SETTINGS
    | settings.ablations("v", "residual")
    | settings.ablations("noise", "none")
    | settings.without_image_loss()
)


#: By name: what `test_a_finished_run_is_known_by_the_same_hash_as_ever` finds.
KEYS = {
    "unet_l1": "0a7ff14d",
    "unet_l2": "f629a250",
    "unet_l2_residual": "026211bd",
    "pix2pix": "97a3e673",
    "scgan": "919bc4c8",
    "cyclegan": "8241eda0",
    "diffusion_gan": "061126cc",
    "transunet": "e1dba7ac",
    "resvit": "9c8373bc",
    "ddpm": "f0e2108b",
    "ficd": "f5355343",
    "rela": "25546815",
    "rela_default": "86927a97",
    "rela_residual": "46505f81",
    "ddgan": "d6a90723",
    "resdm": "9e09dbfc",
    "mri2pet": "3e1a6d1e",
    "mtgd": "6b57bd65",
    "jdam": "41d16e9c",
    "sde": "f349a9aa",
    "rectified_flow": "4aa8e95e",
    "bridge": "ed2e1481",
    "rela_latent": "77903ebf",
    "ldm": "e18c14e6",
    "conditional": "7fd0bbf9",
    "full-v-residual": "4c5b23d7",
    "wo_ra-v-residual": "87fb142a",
    "wo_gp-v-residual": "40e6198f",
    "wo_ra_gp-v-residual": "2c6bb896",
    "wo_t2f-v-residual": "5d89b176",
    "wo_t1w-v-residual": "329abf58",
    "full-noise-none": "5f0ef035",
    "wo_ra-noise-none": "745ce406",
    "wo_gp-noise-none": "03008bcd",
    "wo_ra_gp-noise-none": "93078011",
    "wo_t2f-noise-none": "0c8792e8",
    "wo_t1w-noise-none": "774d03ed",
    "cyclegan-no_image_loss": "e85540e8",
    "diffusion_gan-no_image_loss": "3796c663",
    "ddgan-no_image_loss": "a9505675",
    "resdm-no_image_loss": "e27c6565",
    "mri2pet-no_image_loss": "cdc7cf9c",
    "mtgd-no_image_loss": "cd1a9621",
    "jdam-no_image_loss": "999132ea",
    "sde-no_image_loss": "d6de77fe",
    "rectified_flow-no_image_loss": "89fddae7",
    "bridge-no_image_loss": "b44656f2",
}


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_is_a_configuration_with_its_steps(tmp_path, name):
    from training.config import flatten, load_config

    setting, minutes = EVERY[name], 2
    steps = settings.lengths(setting, minutes)
    config = load_config(
        settings.overrides(name, setting, tmp_path, tmp_path / "split.json", tmp_path / name, steps, 3)
    )
    flat = flatten(config)
    assert config.method.name == (setting.method or name) and config.seed == 3
    assert {key: flat[key] for key in steps} == steps
    spent = steps["run.steps"] / setting.pace + sum(steps[stage.key] / stage.pace for stage in setting.before)
    assert spent == pytest.approx(minutes, abs=1 / setting.pace + sum(1 / stage.pace for stage in setting.before))
    assert setting.calls <= settings.MOST_CALLS and 1 <= setting.samples <= settings.SAMPLES
    assert setting.full is None or setting.full.calls > settings.MOST_CALLS


def test_every_method_that_can_be_trained_is_on_the_bench():
    known = {name for names in METHODS.values() for name in names}
    assert {setting.method or name for name, setting in settings.SETTINGS.items()} == known
    assert all(name in settings.SETTINGS for name in published.METHODS)


def test_a_finished_run_is_known_by_the_same_hash_as_ever():
    """Of the words that a run's key is made of: who changes them on purpose trains these methods anew, and says so."""
    found = {}
    for name, setting in EVERY.items():
        words = settings.overrides(name, setting, Path("c"), Path("s"), Path("o"), settings.lengths(setting, 15), 0)
        told = [words, setting.calls, setting.samples, setting.sampler]
        told += [setting.revision] if setting.revision else []
        found[name] = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
    assert found == KEYS


def test_the_figures_that_are_shipped_are_of_todays_settings():
    """Else `--kept` with their folder ends with an error before anything is trained."""
    shipped = sorted((Path(four_mm.__file__).parents[2] / "Testing/benchmarks/results/methods").glob("*.json.gz"))
    assert len(shipped) > 10
    for path in shipped:
        found = json.loads(gzip.decompress(path.read_bytes()))
        setting, out = EVERY[found["name"]], Path("out")
        steps = settings.lengths(setting, found["minutes"])
        words = settings.overrides(found["name"], setting, Path("c"), Path("s"), out, steps, found["seed"])
        assert found["told"] == [plain(words), draws_of(setting)], f"{path.name}: remove it, and run it anew"
        if path.name.endswith(".full.json.gz"):
            assert settings.Full(found["calls"], found["sampler"]) == setting.full, f"{path.name}: draw it anew"


def test_steps_follow_from_minutes_paces_and_shares():
    setting = settings.Setting((), 60, 20, before=(settings.Stage("a", 0.25, 40), settings.Stage("b", 0.25, 80)))
    assert settings.lengths(setting, 4) == {"a": 40, "b": 80, "run.steps": 120}
    assert settings.lengths(setting, 1e-9) == {"a": 1, "b": 1, "run.steps": 1}


def test_holm_is_stricter_than_each_test_alone_and_stops_at_the_first_that_fails():
    found = tables.holm({"a": 0.03, "b": 0.001, "c": 0.02, "d": 0.9})
    assert found == {"b": True, "c": False, "a": False, "d": False}  # .02 > .05 / 3
    assert tables.holm({"a": 0.01, "b": 0.02, "c": 0.04}) == {"a": True, "b": True, "c": True}
    assert tables.holm({}) == {}


def rows(psnr, tracer="PIB", people=8, **more):
    generator = np.random.default_rng(0)
    return [
        {"case": f"sub-{n}", "tracer": tracer, "psnr": level, "one": level - 1, "ssim": 0.9, "mae": 0.01,
         "regional_error": 0.1, "regions": list(generator.normal(size=12)), "measured": list(generator.normal(size=12)),
         "crps": 0.1, "distance": 0.02, "spread": 0.1 + n / 100, "ideal_spread": 0.1 + n / 50, "composite": float(n),
         "positive": n > 3, **more}
        for n, level in enumerate(np.full(people, psnr) if np.isscalar(psnr) else psnr)
    ]  # fmt: skip


def test_a_difference_is_marked_only_where_people_and_seeds_bear_it():
    control = [25 + 0.1 * n for n in range(8)]
    better = [level + 1 + 0.1 * (n % 2) for n, level in enumerate(control)]
    same = [level + 0.5 * (-1) ** n for n, level in enumerate(control)]
    seeds = {"ridge_head": [rows(control)], "ideal": [rows(30)], "better": [rows(better)], "same": [rows(same)]}
    # Two seeds that differ by more than their gain over the control.
    seeds["fickle"] = [rows([level + 4 + 0.1 * (n % 2) for n, level in enumerate(control)]), rows(control)]
    seeds["worse"] = [rows([level - 1 + 0.1 * (n % 3) for n, level in enumerate(control)])]
    assert tables.significant(seeds, "PIB") == {"better": "+", "worse": "-"}


def test_methods_that_the_seeds_leave_unmarked_are_corrected_for_all_the_same():
    """Who is tested must not follow from how the tests come out."""
    control = [25.0 + n for n in range(8)]
    near = [level + 0.5 + 0.5 * (-1) ** n for n, level in enumerate(control)]
    seeds = {"ridge_head": [rows(control)], "near": [rows(near)]}
    assert tables.significant(seeds, "PIB") == {"near": "+"}, "alone its p lies between 0.025 and 0.05"
    fickle = [level + 0.1 * (-1) ** n for n, level in enumerate(control)]
    seeds["fickle"] = [rows([level + sign * 4 for level in fickle]) for sign in (1, -1)]
    assert tables.significant(seeds, "PIB") == {}


def test_explained_is_of_all_people_together():
    """A guess that is right for most, and for few far off: better in mean decibels, worse in squared error."""
    mean, median = [rows([20.0] * 8)], [rows([26.0] * 7 + [10.0])]
    assert np.mean(tables.by_person(median, "PIB", "psnr")) > 20
    share = float(tables.explained(median, mean, "PIB").split(" ± ")[0])
    assert share == pytest.approx(1 - (7 * 10**-2.6 + 0.1) / (8 * 10**-2), abs=0.005) and share < -0.4
    assert tables.explained(mean, mean, "PIB") == "0.00 ± 0.00"
    # The jackknife's error of a mean is the usual one.
    errors = np.linspace(0.001, 0.02, 9)
    told = tables.explained([rows(list(-10 * np.log10(errors)), people=9)], [rows([20.0] * 9, people=9)], "PIB")
    assert float(told.split(" ± ")[1]) == pytest.approx(errors.std(ddof=1) / 3 / 0.01, abs=0.005)
    assert tables.explained([rows(23.0), rows(23.0)], mean, "PIB") == "0.50 ± 0.00"


def test_what_seeds_do_not_tell_apart_is_not_ranked():
    seeds = {"ridge_head": [rows(25)], "a": [rows(26), rows(26.2)], "b": [rows(26.05), rows(26.05)]}
    seeds |= {"c": [rows(20), rows(20.2)], "d": [rows(29)]}
    line = tables.unranked({name: seeds[name] for name in ("ridge_head", "a", "b", "c")}, "PIB")
    assert "The seeds' spread (SD) is 0.12 dB; within it of the best, a, and so not ranked: b." in line
    assert "of one seed alone, and so not ranked either: d" in tables.unranked(seeds, "PIB")
    assert "no ranking" in tables.unranked({"ridge_head": [rows(25)], "d": [rows(29)]}, "PIB")


def test_the_papers_figures_stand_beside_ours_and_say_so():
    everywhere = [row for tracer in ("TAU", "PBR", "PIB") for row in rows(25, tracer)]
    seeds = {"population mean": [everywhere], "ridge_head": [everywhere], "rela": [everywhere]}
    lines = tables.image_tables(seeds, published.METHODS, "ridge_head", published.LEFT_OUT)
    text = "\n".join(lines)
    assert text.count("paper's PSNR (other data)") == 3 and "| 28.314 | 0.898 | 0.017 |" in text
    assert lines.index("TAU:") < lines.index("PBR:") < lines.index("PIB:")
    assert "| NFlow (left out) |  |  |  |  |  | 27.615 | 0.881 | 0.019 |" in lines
    assert published.LEFT_OUT.keys() == LEFT_OUT.keys()
    whole = {"population mean": everywhere, "ridge_head": everywhere}
    run = {"rows": everywhere, "diverged": False, "seed": 0, "steps": 9, "seconds": 1.0, "parameters": 5}
    run["cost"] = {"cpu_s": 60, "peak_mb": 1}
    runs = [{**run, "name": name} for name in ("full-v-residual", "wo_gp-v-residual")]
    own = settings.ablations("v", "residual")
    told = "\n".join(tables.tables(whole, [{**run, "name": "rela"}], []))
    assert told.count("| NFlow (left out) |") == 3 and "\nNFlow is left out: the published code" in told
    lines = tables.ablation_tables(whole, runs, own, "full-v-residual")
    assert not any("NFlow" in line for line in lines)
    assert any(line.startswith("| wo_gp-v-residual | 25.00") and "| 18.401 |" in line for line in lines)
    assert any("Sig. against full-v-residual" in line for line in lines)


def test_methods_without_a_papers_image_loss_are_those_that_stand_beside_themselves_without_it(tmp_path):
    from training.config import flatten, load_config

    def weights(name, setting):
        words = settings.overrides(name, setting, tmp_path, tmp_path, tmp_path, settings.lengths(setting, 1), 0)
        config = flatten(load_config(words))
        own = config.get("method.image_weight")
        return config["preset.image_weight"] if own is None else own

    bare = settings.without_image_loss()
    given = {name for name, setting in settings.SETTINGS.items() if "preset=fair" in setting.words}
    # Their own papers have it (Pix2Pix, ResViT, SC-GAN, TransUNet), or nobody gave it (ldm).
    assert given - {"pix2pix", "resvit", "scgan", "transunet", "ldm"} == set(settings.GIVEN_IMAGE_LOSS)
    for name in settings.GIVEN_IMAGE_LOSS:
        assert weights(name, settings.SETTINGS[name]) > 0 and weights(name, bare[name + settings.BARE]) == 0


def test_the_image_loss_is_compared_on_seeds_that_both_have():
    controls = {"population mean": [row for tracer in ("TAU", "PBR", "PIB") for row in rows(20, tracer)]}
    run = {"diverged": False}
    with_loss = [
        {
            **run,
            "name": "resdm",
            "seed": seed,
            "rows": [row for tracer in ("TAU", "PBR", "PIB") for row in rows(psnr, tracer)],
        }
        for seed, psnr in ((0, 25), (1, 40))
    ]
    assert tables.image_loss_table(controls, with_loss) == []
    less = [row for tracer in ("TAU", "PBR", "PIB") for row in rows(24, tracer)]
    bare = {**run, "name": "resdm-no_image_loss", "seed": 0, "rows": less}
    lines = tables.image_loss_table(controls, [*with_loss, bare])
    table = [line for line in lines if line.startswith("| resdm |")]
    assert len(table) == 6 and all(line.startswith("| resdm | 0 |") for line in table)
    assert (
        "| with | 25.00" in table[0]
        and "| without | 24.00" in table[1]
        and table[1].rstrip(" |").endswith("-1.00 ± 0.00")
    )
    assert tables.image_loss_table(controls, [*with_loss, {**bare, "diverged": True}]) == []


def test_the_shipped_tables_begin_as_the_command_writes_them():
    """Also what is measured, and where: in the paper, on whole volumes."""
    head = command._head(60, 15)[1:]
    path = Path(four_mm.__file__).parents[2] / "Testing/benchmarks/results/methods.md"
    assert "\n".join(head) in path.read_text(encoding="utf-8")
    assert "inside the brain" in " ".join(head) and "of whole volumes" in " ".join(head)


def test_figures_of_a_table_are_of_people_first():
    assert tables.cell(np.array([[1.0, 3.0]]), 1) == "2.0 ± 1.0"
    assert tables.cell(np.array([[1.0, 3.0], [3.0, 5.0]]), 1) == "3.0 ± 1.0 (1.4)"
    assert tables.cell(np.array([[1.0, np.nan]]), 1) == ""
    assert tables.cell(np.array([[2.0], [4.0]]), 1) == "3.0 of one person (1.4)"
    alone = {"ridge_head": [rows(25, people=1)], "a": [rows(27, people=1)]}
    assert tables.significant(alone, "PIB") == {}
    assert tables.spread(rows(25), "PIB") == pytest.approx(1) and tables.amyloid(rows(25)) == 1
    assert np.isnan(tables.correlation(rows(25, regions=[1.0] * 12), "PIB"))
    assert tables.correlation([{**row, "regions": row["measured"]} for row in rows(25)], "PIB") == pytest.approx(1)


def test_regional_means_and_blocks():
    volume = np.arange(64.0).reshape(4, 4, 4)
    assert pooled(volume, 2).shape == (2, 2, 2) and pooled(volume, 2)[0, 0, 0] == volume[:2, :2, :2].mean()
    weights = np.zeros((2, 4, 4, 4))
    weights[0, 0, 0, 0], weights[1, 3] = 2, 1
    assert regional(volume, weights).tolist() == [0, volume[3].mean()]


def test_scores_of_distributions():
    """Of normal draws: CRPS of N(0, 1) at 0 is (sqrt 2 - 1) / sqrt pi; two of one distribution lie nowhere apart."""
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 4000, 3))
    assert crps(a, np.zeros(3)) == pytest.approx((2**0.5 - 1) / np.pi**0.5, abs=0.01)
    assert abs(energy_distance(a, b)) < 0.005
    assert energy_distance(a, b + 10) == pytest.approx(2 * 10 - 4 / np.pi**0.5, rel=0.02)
    assert auc(np.array([1, 2, 2, 3.0]), np.array([False, False, True, True])) == pytest.approx(0.875)
    with pytest.raises(ValueError, match="one draw is no distribution"):
        crps(a[:1], np.zeros(3))


def test_what_cannot_be_asked_is_one_line(tmp_path, capsys):
    for words, why in (
        (["--part", "3/2"], "--part 3/2: I/N is wanted"),
        (["--minutes", "0"], "--minutes above 0"),
        (["--minutes", "nan"], "--minutes above 0"),
        (["--minutes", "inf", "--four-mm", "unet_l1"], "--minutes above 0"),
        (["--train-people", "2"], "2 people to train on; at least 3"),
        (["--test-people", "1"], "1 people to test on; at least 2"),
        (["--cache", str(tmp_path / "none")], "none"),
        (["--only", "wo_gp"], "--only wo_gp: an ablation; give --ablations"),
        (["--only", "ldm", "--ablations"], "--only ldm: a method; leave --ablations out"),
        (["--only", "rela", "--without-image-loss"], "--only rela: has no image loss beside its paper's"),
        (["--only", "wo_gp", "--without-image-loss"], "--only wo_gp: an ablation; give --ablations"),
        (["--ablations", "--without-image-loss"], "--ablations and --without-image-loss are two sets of runs"),
        (["--without-image-loss", "--four-mm", "rela"], "--without-image-loss does not go with it"),
    ):
        assert main(["bench", "--out", str(tmp_path / "out"), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
    assert not (tmp_path / "out").exists(), "nobody was rendered"


def test_a_tracer_that_few_were_scanned_with_is_told_before_the_trainings():
    def people(**counts):
        items = [SimpleNamespace(tracer=tracer) for tracer, count in counts.items() for _ in range(count)]
        return SimpleNamespace(items=items)

    check_scans(people(PIB=3, TAU=3), people(PIB=2, TAU=2), people(PIB=1))
    with pytest.raises(InputError, match="2 TAU scans of the people to train on, where 3 are wanted"):
        check_scans(people(PIB=3, TAU=2), people(PIB=2, TAU=2), people(PIB=1))
    with pytest.raises(InputError, match="0 TAU scans of the people to validate on, where 2 are wanted"):
        check_scans(people(PIB=3, TAU=3), people(PIB=3), people(PIB=1))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_where_no_folder_can_be_is_one_line(capsys):
    assert main(["bench", "--out", "/proc/bench"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "/proc/bench: no folder can be made there" in line


def test_a_discriminator_that_stayed_at_chance_is_told_from_the_log(tmp_path):
    log = tmp_path / "log.jsonl"
    assert last_gap(log) is None
    lines = [{"step": step, "group": "train", "D_gap": gap} for step, gap in ((10, 9), (20, 9), (30, 0.5), (40, 0.7))]
    lines.append({"step": 40, "group": "validation", "psnr": 20})
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert last_gap(log) == pytest.approx(0.6)
    log.write_text('{"step": 10, "group": "train", "L_I": 1}\n')
    assert last_gap(log) is None
    assert tables.gap_cell([{"gap": 0.6}, {"gap": 0.8}]) == "0.70 (0.14)"
    assert tables.gap_cell([{"gap": 0.02}]) == "0.02, at chance" and tables.gap_cell([{"gap": None}, {}]) == ""


@pytest.mark.slow
def test_a_small_bench_from_nothing_to_its_tables_and_a_second_call_that_trains_nothing(tmp_path, capsys, monkeypatch):
    names = ["unet_l2", "ddpm", "ldm"]
    for name in names[1:]:  # fewer draws than are wanted of a real one
        monkeypatch.setitem(settings.SETTINGS, name, replace(settings.SETTINGS[name], calls=3, samples=2))
    small = ["bench", "--out", str(tmp_path), "--minutes", "0.01", "--seeds", "0",
             "--train-people", "5", "--validation-people", "3", "--test-people", "3"]  # fmt: skip
    words = [*small, "--only", *names]
    assert main(words) == 0
    text = (tmp_path / "methods.md").read_text(encoding="utf-8")
    for name in ("population mean", "population median", "ridge_head", "ideal", *names):
        assert sum(line.startswith(f"| {name} |") for line in text.splitlines()) >= 2
    (missing,) = (line for line in text.splitlines() if line.startswith("**Not run yet**: "))
    assert " resdm," in missing and not any(f" {name}," in missing for name in names)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/figures.json")}
    assert len(kept) == len(names)
    shared = ["--kept", str(tmp_path / "shared")]
    assert main([*words, *shared]) == 0
    _are_taken_over_elsewhere([*words, *shared], names, tmp_path, capsys)
    for path in kept:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert not found["diverged"] and found["cost"]["cpu_s"] > 1 and len({row["case"] for row in found["rows"]}) == 3
    capsys.readouterr()
    assert main(words) == 0 and "step" not in capsys.readouterr().out.split("# Methods")[0]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert main([*words, "--train-people", "50"]) == 2 and "too few people" in capsys.readouterr().err
    # In full, and where it was stopped; and one ablation.
    monkeypatch.setitem(settings.SETTINGS, "ddpm", replace(settings.SETTINGS["ddpm"], full=settings.Full(5, "ddpm")))
    assert main([*words, "--in-full"]) == 0
    (folder,) = tmp_path.glob("runs/ddpm-*/full")
    single = sorted(folder.iterdir())
    before = [path.stat().st_mtime_ns for path in single]
    single[0].unlink()
    assert main([*small, "--only", "ddpm", "--in-full", *shared]) == 0
    third = tmp_path / "third"
    there = ["--out", str(third), "--cache", str(tmp_path / "people"), "--test", str(tmp_path / "test"), "--table"]
    assert main([*words, *shared, *there]) == 0 and "## In full" in (third / "methods.md").read_text(encoding="utf-8")
    full = folder.parent / "full.json"
    assert (third / full.relative_to(tmp_path)).read_bytes() == full.read_bytes()
    assert [path.stat().st_mtime_ns for path in single][1:] == before[1:] and single[0].exists()
    assert main([*small, "--ablations", "--only", "full"]) == 0
    text = (tmp_path / "methods.md").read_text(encoding="utf-8")
    assert "## In full" in text and "| ddpm | 0 | 5 | ddpm |" in text
    assert "## Ablations, preset.prediction=v preset.mean_pet=regression" in text and "| full-v-regression |" in text
    assert "no order of merit" in text and "tuned once, for all" in text
    both = ["--only", "rectified_flow"]
    assert main([*small, *both]) == 0 and main([*small, *both, "--without-image-loss"]) == 0
    text = (tmp_path / "methods.md").read_text(encoding="utf-8")
    assert "## Without the image loss" in text and text.count("| rectified_flow | 0 | PIB | with") == 2
    assert "| rectified_flow-no_image_loss | its own |" in text


def _are_taken_over_elsewhere(words, names, folder, capsys):
    """In another folder with figures of all runs nothing is trained, and all but the weights is there."""
    words = [*words, "--out", str(folder / "other"), "--cache", str(folder / "people"), "--test", str(folder / "test")]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"taken over from {folder / 'shared'}: {', '.join(names)}" in said
    here, there = ((at / "methods.md").read_text(encoding="utf-8") for at in (folder, folder / "other"))
    assert here == there and not list(folder.glob("other/runs/*/checkpoints"))
    for path in folder.glob("runs/*/figures.json"):
        assert (folder / "other" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert main([*words, "--in-full"]) == 0 and "without its weights, so left out" in capsys.readouterr().out
    (folder / "other" / "runs" / f"{names[0]}-0.01min-0" / "figures.json").unlink()
    (file,) = (folder / "shared").glob(f"{names[0]}-*.json.gz")
    whole = json.loads(gzip.decompress(file.read_bytes()))
    for content, why in (
        (gzip.compress(json.dumps(whole | {"recipe": "0"}).encode()), "of other people, steps or settings"),
        (b"{}", "not the figures of a run"),
        (gzip.compress(b"[]"), "not the figures of a run"),
    ):
        file.write_bytes(content)
        assert main(words) == 2 and f"{file}: {why}" in capsys.readouterr().err
    file.write_bytes(gzip.compress(json.dumps(whole).encode()))


@pytest.mark.slow
def test_a_method_on_blocks_of_4_mm_becomes_a_bundle_that_can_be_installed(tmp_path, capsys, monkeypatch):
    words = ["bench", "--out", str(tmp_path), "--four-mm", "unet_l2", "--minutes", "0.005", "--seeds", "0",
             "--train-people", "2", "--validation-people", "2"]  # fmt: skip
    kept = tmp_path / "four_mm" / f"unet_l2-{4 * 0.005:g}min-0" / four_mm.PACES
    kept.parent.mkdir(parents=True)
    kept.write_text('{"run.steps": 60}')  # as an earlier call may have measured
    assert main(words) == 0
    (file,) = tmp_path.glob("four_mm/*.zip")
    assert f"relapet models import {file}" in capsys.readouterr().out
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    model = load_model(import_model(file))
    assert model.metadata["name"] == "bench-unet-l2-4mm" and "not a model of real PET" in model.metadata["description"]
    written = file.stat().st_mtime_ns
    assert main(words) == 0 and file.stat().st_mtime_ns == written
    assert "step" not in capsys.readouterr().out
    assert main([*words, "--only", "unet_l2"]) == 2 and "--only does not go with it" in capsys.readouterr().err


def test_settings_of_4_mm_are_those_of_the_bench_but_for_the_blocks(tmp_path):
    from training.config import load_config

    for name, latent in (("rela", False), ("rela_latent", True), ("unet_l1", False)):
        common, setting = four_mm.fine(name)
        setting = four_mm.paced(setting, dict.fromkeys([*(stage.key for stage in setting.before), "run.steps"], 5.0))
        steps = settings.lengths(setting, 60)
        config = load_config(settings.overrides(name, setting, tmp_path, tmp_path, tmp_path, steps, 0, common))
        assert config.network.factor == 4 and config.network.crop == (None if latent else [40, 44, 40])
        assert config.preset.global_batch == config.hardware.micro_batch == 4
        assert sum(steps.values()) == 300
        if name != "unet_l1":
            assert config.preset.penalty_gamma == pytest.approx(6.25e-6 * 64)
