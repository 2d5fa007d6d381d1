"""The benchmark of methods and ablations: its configurations, and its tables on made-up figures."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import ablations

from RelAPETLib import comparison
from RelAPETLib.grid import MNI_GRID, array_to_image
from training.config import flatten, load_config

WANTED = {
    "ddpm": {"method.name": "ddpm", "method.image_weight": 0.0, "method.adversarial": False},
    "ficd": {"method.name": "ficd", "method.adversarial": False},
    "wo_ra": {"ablation.name": "wo_ra", "ablation.relativistic": False},
    "wo_gp": {"ablation.name": "wo_gp", "ablation.penalty": False},
    "wo_t2f": {"ablation.name": "wo_t2f", "ablation.t2f": False},
    "wo_t1w": {"ablation.name": "wo_t1w", "ablation.t1w": False},
}


def config(name, steps=700, items=216):
    return load_config(ablations.overrides(ablations.RUNS[name], Path("cache"), Path("out"), steps, items))


def test_runs_differ_from_ours_as_they_are_named():
    ours = flatten(config("rela"))
    assert list(ablations.RUNS)[-1] == "rela" and WANTED.keys() == ablations.RUNS.keys() - {"rela"}
    for name, wanted in WANTED.items():
        run = config(name)
        assert {key: value for key, value in flatten(run).items() if value != ours[key]} == wanted


@pytest.mark.parametrize(("steps", "items", "epoch"), [(700, 216, 3), (1500, 216, 7), (10, 500, 1)])
def test_the_adversarial_part_begins_at_about_a_third(steps, items, epoch):
    assert config("rela", steps, items).preset.adversarial_start_epoch == epoch


def made_up(better=1.0):
    """Figures of twelve volumes: wo_ra is better than rela by one dB everywhere, ddpm differs by chance."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        tracer, level = ("TAU", "PIB", "PBR")[number % 3], rng.normal(25, 3)
        methods = {"rela": level, "wo_ra": level + better, "ddpm": level + rng.normal(0, 1)}
        for region in ablations.REGIONS:
            rows.append(
                ablations.Figure("measured PET, 5 mm", "", f"p{number}", tracer, region, 40.0, 0.9, 0.01, np.nan)
            )
            for draw in ablations.DRAWS:
                rows += [
                    ablations.Figure(name, draw, f"p{number}", tracer, region, value, value / 50, 0.1, 1.0)
                    for name, value in methods.items()
                ]
    return rows


def test_differences_are_paired():
    rows = made_up()
    mean, error, count = ablations.paired(rows, "wo_ra", "one", "brain", "psnr")
    assert (mean, count) == (pytest.approx(1), 12) and error < 1e-9
    mean, error, _ = ablations.paired(rows, "ddpm", "four", "brain", "psnr")
    assert abs(mean) < 3 * error and 0.15 < error < 0.5
    assert ablations.paired(rows, "ficd", "one", "brain", "psnr")[2] == 0


def test_the_report_holds_every_run_that_was_measured():
    text = ablations.report(made_up(), ["a setting"], {"rela": {"train": 90, "one": 1, "four": 4}})
    assert "# Methods" in text and "- a setting" in text and "| rela | 1.5 | 1.00 | 4.00 |" in text
    assert "held-out volumes: TAU 4, PBR 4, PIB 4" in text
    lines = [line for line in text.splitlines() if line.startswith("| wo_ra | +1.00 ± 0.00 *")]
    assert len(lines) == len(ablations.REGIONS)
    assert text.count("| measured PET, 5 mm | 40.00 ± 0.00 |") == 4 and "ficd" not in text


def test_figures_come_back_from_their_file(tmp_path):
    rows = made_up()
    (tmp_path / "f.csv").write_bytes(ablations.to_csv(rows))
    back = ablations.read_csv(tmp_path / "f.csv")
    assert len(back) == len(rows) and back[1].psnr == pytest.approx(rows[1].psnr, abs=1e-4)
    assert (back[1].method, back[1].region, back[1].case) == (rows[1].method, rows[1].region, rows[1].case)


def test_its_figures_are_those_of_the_library():
    rng = np.random.default_rng(1)
    inside = np.zeros(MNI_GRID.shape, bool)
    inside[40:120, 40:140, 40:120] = True
    measured = np.where(inside, rng.uniform(0, 3.5, MNI_GRID.shape), 0).astype(np.float32)
    made = np.where(inside, measured + rng.normal(0, 0.3, MNI_GRID.shape), 0).astype(np.float32)
    ours = ablations.figures(made, measured, inside, "TAU")
    images = [array_to_image(array) for array in (made, measured, inside.astype(np.uint8))]
    _, known = comparison.compare(*images, window=(0.0, 3.0))
    for region in ablations.REGIONS:
        assert ours[region] == pytest.approx(known[region], abs=2e-5)


def test_a_smooth_volume_survives_its_blocks():
    x = np.linspace(0, 3, 160, dtype=np.float32)[:, None, None]
    ramp = np.broadcast_to(x, MNI_GRID.shape).copy()
    through = ablations.through_blocks(ramp, np.ones(MNI_GRID.shape, bool))
    assert np.abs(through - ramp)[5:-5].max() < 1e-4


def test_clamped_and_unclamped_stand_side_by_side():
    import clean_estimate

    names = {choice: clean_estimate.name_of(choice, 0) for choice in clean_estimate.CHOICES}
    curves = {names["clamped"]: {10: 20.0, 20: 21.0}, names["unclamped"]: {10: 22.0, 20: 23.0}}
    rows = [
        ablations.Figure(
            name, "one", f"p{number}", "TAU", "brain", 20.0 + number + 2 * (choice == "unclamped"), 0.5, 0.1, 1
        )
        for choice, name in names.items()
        for number in range(6)
    ]
    text = clean_estimate.report(rows, curves, ["a setting"], [0])
    assert "| unclamped-0 | 22.00 | 23.00 |" in text
    assert "- seed 0: PSNR ↑ +2.00 ± 0.00, SSIM ↑ +0.0000 ± 0.0000" in text and "(6 volumes)" in text
