"""Figures of synthetic against measured PET, their summary, and the tables."""

import csv

import numpy as np
import pytest

from RelAPETLib.evaluation.figures import REGIONS, Row, figures_of, release_figures
from RelAPETLib.evaluation.summary import as_csv, by_method, summarize
from RelAPETLib.evaluation.tables import markdown
from RelAPETLib.grid import MNI_GRID


def rows_of(method, ssims, seconds=2.0, tracer="TAU"):
    return [
        Row(method, case, case, tracer, region, 20.0 + number, value, 0.1 * number, seconds + number)
        for number, (case, value) in enumerate(ssims.items())
        for region in ("whole_grid", "brain")
    ]


def test_tables_have_means_sds_significance_and_seconds():
    ours = {f"s{i}": 0.90 + 0.01 * i for i in range(5)}
    worse = {f"s{i}": 0.70 + 0.012 * i for i in range(5)}
    noisy = {f"s{i}": 0.90 + 0.01 * i + 0.01 * (-1) ** i for i in range(5)}
    methods = ["worse", "noisy", "ours"]
    rows = rows_of("worse", worse) + rows_of("noisy", noisy) + rows_of("ours", ours)
    summary = summarize(rows, methods)
    (line,) = [s for s in summary if s["method"] == "ours" and s["region"] == "brain"]
    assert line["volumes"] == 5 and line["ssim_mean"] == pytest.approx(0.92)
    assert line["ssim_sd"] == pytest.approx(np.std(list(ours.values()), ddof=1))
    assert line["psnr_mean"] == 22 and line["seconds_per_volume"] == pytest.approx(4.5)  # the first is warm-up
    text = markdown(rows, summary, methods, ["a note"])
    table = [x.split("|")[1:-1] for x in text.split("Layout of Table I:")[1].splitlines() if x.startswith("|")]
    header, _, first, second, third = [[cell.strip() for cell in line] for line in table[:5]]
    assert header == ["Method", "TAU-PET PSNR ↑", "TAU-PET SSIM ↑", "TAU-PET MAE ↓", "Sig."]
    assert (first[0], first[-1]) == ("worse", "*") and second[-1] == "" and third[-1] == ""
    assert third[2] == f"{0.92:.3f} ± {line['ssim_sd']:.3f}" and second[2].startswith("**0.922")
    assert "Inference time" in text.split("Layout of Table IV:")[1] and "4.500" in text
    assert all(f"Layout of Table {number}" in text for number in ("I", "III", "IV"))


def test_missing_tracers_leave_empty_cells():
    rows = rows_of("a", {"s": 0.9}) + rows_of("b", {"s": 0.8}, tracer="PIB")
    summary = summarize(rows, ["a", "b"])
    lines = [x for x in markdown(rows, summary, ["a", "b"], []).splitlines() if x.startswith("| b |")]
    assert lines[0] == "| b |  |  |  |  | 20.000 | 0.800 | 0.000 |  |"


def test_figures_of_the_published_implementation():
    """Numbers of torchmetrics 1.2.0, which the release uses, of the same volumes without a data range."""
    x, y, z = np.ogrid[-1:1:6j, -1:1:20j, -1:1:18j]
    measured = np.sin(2 * x + 3 * y) * np.cos(2 * z + x)
    measured = (measured - measured.min()) / np.ptp(measured) * 2 - 1
    made = 0.6 * measured + 0.2 * np.cos(3 * z - y + x)
    figures = release_figures(made, measured)
    assert (figures["psnr"], figures["ssim"]) == pytest.approx((18.401535, 0.524136), abs=2e-5)
    figures = release_figures(made, 0.3 * measured)  # the measured volume's range is the smaller one
    assert (figures["psnr"], figures["ssim"]) == pytest.approx((9.406416, 0.417162), abs=2e-5)
    same = release_figures(measured, measured)
    assert same["psnr"] is None and same["ssim"] == pytest.approx(1) and same["mae"] == 0


@pytest.mark.parametrize("window", [None, (0.0, 4.0)])
def test_release_metrics_leave_the_synthetic_volume_as_it_is(window):
    """A relative model whose volume reaches from .2 to .6 is not stretched; the measured one is, as in training."""
    suvr = np.linspace(0, 3, 12 * 14 * 12, dtype=np.float32).reshape(12, 14, 12)
    inside = np.ones(suvr.shape, bool)

    def figures(made: np.ndarray, relative: bool) -> tuple[float, float]:
        found = figures_of(made, suvr, inside, window, REGIONS["release"], relative=relative)["release"]
        return found["psnr"], found["mae"]

    share = suvr / 3 if window is None else suvr / 4
    off = share * 0.4 + 0.2
    made = off if window is None else off * 4
    error = 2 * np.abs(off - share)
    reach = 2.0 if window is None else 1.5
    psnr, mae = figures(made, window is None)
    assert mae == pytest.approx(error.mean(), abs=1e-5)
    assert psnr == pytest.approx(20 * np.log10(reach) - 10 * np.log10((error**2).mean()), abs=1e-4)
    assert figures(suvr * (1 if window else 0.5), False)[1] == pytest.approx(0, abs=1e-6)


def test_figures_over_the_grid_and_inside_the_brain():
    """An error outside the brain alone counts over the whole grid only; identical volumes have no PSNR."""
    inside = np.zeros(MNI_GRID.shape, bool)
    inside[40:120, 40:140, 40:120] = True
    measured = inside * np.linspace(0.5, 2.5, MNI_GRID.shape[0], dtype=np.float32)[:, None, None]
    made = measured.copy()
    made[:20] = 0.3
    found = figures_of(made, measured, inside, (0.0, 3.0), REGIONS["both"])
    assert list(found) == ["whole_grid", "brain"]
    assert found["whole_grid"]["mae"] == pytest.approx(0.1 * 20 / MNI_GRID.shape[0], rel=1e-4)
    assert found["whole_grid"]["psnr"] == pytest.approx(-10 * np.log10(0.01 * 20 / MNI_GRID.shape[0]), abs=1e-3)
    assert found["brain"]["mae"] == pytest.approx(0, abs=1e-7) and np.isnan(found["brain"]["psnr"])


def test_a_summary_nested_and_as_csv():
    rows = rows_of("a", {"s": 0.123456789, "u": 0.9})
    summary = summarize(rows, ["a"])
    nested = by_method(summary)
    assert nested["a"]["TAU"]["brain"]["ssim_mean"] == round((0.123456789 + 0.9) / 2, 5)
    lines = list(csv.DictReader(as_csv(summarize(rows[:2], ["a"])).decode().splitlines()))
    assert lines[0]["ssim_mean"] == "0.123457" and lines[0]["ssim_sd"] == "", "the SD of one volume is unknown"
