"""The bench: its statistics by hand, and a whole small one."""

import json

import numpy as np
import pytest

from RelAPETLib.evaluation.scores import auc, crps, energy_distance
from training.__main__ import main
from training.bench import settings, tables
from training.bench.people import pooled, regional
from training.methods import METHODS


def test_every_setting_is_a_method_and_its_words_are_a_configuration(tmp_path):
    from training.config import load_config

    known = {name for names in METHODS.values() for name in names}
    assert set(settings.SETTINGS) <= known
    for name, setting in settings.SETTINGS.items():
        config = load_config(settings.overrides(name, tmp_path, tmp_path / "split.json", tmp_path / name, 40, 3))
        group, _, key = (setting.before or ("",))[0].partition(".")
        before = getattr(getattr(config, group), key) if group else 0
        assert config.method.name == name and config.seed == 3 and config.run.steps + before == 40
        assert setting.calls <= settings.MOST_CALLS and 1 <= setting.samples <= settings.SAMPLES


def test_steps_follow_from_minutes_and_pace():
    assert settings.steps_of("unet_l2", 2) == round(2 * settings.SETTINGS["unet_l2"].pace)
    assert settings.steps_of("unet_l2", 1e-9) == 1


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


def test_figures_of_a_table_are_of_people_first():
    assert tables.cell(np.array([[1.0, 3.0]]), 1) == "2.0 ± 1.0"
    assert tables.cell(np.array([[1.0, 3.0], [3.0, 5.0]]), 1) == "3.0 ± 1.0 (1.4)"
    assert tables.cell(np.array([[1.0, np.nan]]), 1) == ""
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
        (["--cache", str(tmp_path / "none")], "none"),
    ):
        assert main(["bench", "--out", str(tmp_path / "out"), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
    assert not (tmp_path / "out").exists(), "nobody was rendered"


@pytest.mark.slow
def test_a_small_bench_from_nothing_to_its_tables_and_a_second_call_that_trains_nothing(tmp_path, capsys):
    words = ["bench", "--out", str(tmp_path), "--minutes", "0.01", "--seeds", "0", "--only", "unet_l2", "ddpm",
             "--train-people", "5", "--validation-people", "3", "--test-people", "3"]  # fmt: skip
    assert main(words) == 0
    text = (tmp_path / "methods.md").read_text(encoding="utf-8")
    for name in ("population mean", "ridge_head", "ideal", "unet_l2", "ddpm"):
        assert sum(line.startswith(f"| {name} |") for line in text.splitlines()) >= 2
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/figures.json")}
    assert len(kept) == 2
    for path in kept:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert not found["diverged"] and found["cost"]["cpu_s"] > 1 and len({row["case"] for row in found["rows"]}) == 3
    capsys.readouterr()
    assert main(words) == 0 and "step" not in capsys.readouterr().out.split("# Methods")[0]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert main([*words, "--train-people", "50"]) == 2 and "too few people" in capsys.readouterr().err
