"""The figure of regional values, and SSIM inside regions."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from skimage.metrics import structural_similarity

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import regional_figure
from RelAPETLib.evaluation.regional_figure import SSIM_COLUMNS, draw_regions, regional_ssim_rows

KEYS = {"participant_id": "sub-1", "session": "n/a", "tracer": "TAU", "model": "a"}


def rows_of(models=("a", "b"), regions=("frontal", "mesial_temporal"), people=20):
    rng = np.random.default_rng(0)
    return [
        {**KEYS, "participant_id": f"sub-{n}", "model": model, "atlas": "own", "region": region,
         "measured": (level := rng.normal(1.3, 0.2)), "synthetic": level + rng.normal(0, 0.05 * (1 + number))}
        for number, model in enumerate(models) for region in regions for n in range(people)
    ]  # fmt: skip


def test_ssim_in_a_region_is_that_of_an_oracle():
    rng = np.random.default_rng(0)
    measured = rng.uniform(0.5, 2.5, (24, 26, 22)).astype(np.float32)
    made = measured + rng.normal(0, 0.3, measured.shape).astype(np.float32)
    made[:12] = measured[:12]
    inner = np.zeros(measured.shape, bool)
    inner[18:, 8:18, 8:14] = True
    same = np.zeros_like(inner)
    same[:5] = True
    rows = regional_ssim_rows(KEYS, "own", made, measured, {"right": inner, "left": same, "none": same & inner})
    unit = [np.clip(v / 3, 0, 1) for v in (made, measured)]
    padded = [np.pad(v, 5) for v in unit]
    _, oracle = structural_similarity(
        *padded, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    oracle = oracle[5:-5, 5:-5, 5:-5]
    assert rows[0]["ssim"] == pytest.approx(oracle[inner].mean(), abs=2e-3)
    assert rows[1]["ssim"] == pytest.approx(1) and np.isnan(rows[2]["ssim"])
    assert list(rows[0]) == list(SSIM_COLUMNS)


def test_the_figure(tmp_path):
    rows = rows_of()
    ssim = [{**row, "ssim": 0.9 - 0.2 * (row["model"] == "b")} for row in rows]
    draw_regions(rows, "TAU", tmp_path / "a.png")
    draw_regions(rows, "TAU", tmp_path / "b.png", ssim)
    plain, whole = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    assert whole.shape[0] > plain.shape[0] and (plain[..., :3].min(-1) < 0.5).any()


def test_names_are_no_formulas(tmp_path):
    """Matplotlib takes what stands between dollars for TeX, and fails where it is none."""
    odd = r"$\frac$"
    rows = [row | {"region": odd, "model": odd} for row in rows_of(regions=["frontal"]) if row["model"] == "a"]
    draw_regions(rows, "TAU", tmp_path / "a.png", [{**row, "ssim": 0.9} for row in rows])
    assert imread(tmp_path / "a.png").size


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "nothing to draw"),
        (rows_of() + [{**row, "atlas": "other"} for row in rows_of()], "one atlas"),
        (rows_of(regions=[f"r{n}" for n in range(13)], people=2), "more than a page"),
    ],
)
def test_what_cannot_be_drawn(rows, told, tmp_path):
    with pytest.raises(InputError, match=told):
        draw_regions(rows, "TAU", tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_words_hide_no_scan():
    """A scan far above the line of identity lies where the words once lay."""
    figure = Figure()
    axes, canvas = figure.subplots(), FigureCanvasAgg(figure)
    regional_figure._scatter(axes, [{"measured": m, "synthetic": s} for m, s in ((1, 2), (2, 2), (1, 1))], (0.9, 2.1))
    canvas.draw()
    (words,) = axes.texts
    assert "n 3" in words.get_text() and words.get_window_extent().y0 >= axes.bbox.y1
