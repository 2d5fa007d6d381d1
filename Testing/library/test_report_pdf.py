"""report.pdf: one page, text that is text, the same bytes again, and the pages of a result that was saved earlier."""

import json
import re
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from test_report_page import EVIL, record, volumes

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.regions import load_regions
from RelAPETLib.report import onepage, write_pdf_report
from RelAPETLib.report.pictures import prepare
from RelAPETLib.report.saved_result import read_result
from RelAPETLib.synthesis import synthesize

SAYS = "Temporal composite (mean of mesial temporal, lateral temporal): 1.23 SUVR. An uncalibrated model's guess."
ROWS = [
    {"region": region.name, "title": region.title, "synthetic_pet": 1.0 + region.label / 10, "reference": 1.5,
     "spread": 0.05, "low": 0.75, "high": 2.25, "share_in_view": 0.876 if region.label == 3 else 1.0}
    for region in load_regions()[1]
]  # fmt: skip


def facts(**changes):
    verdict = {"level": "caution", "says": "Input check: caution: odd header", "reasons": ["odd header"],
               "accepted": False, "checks": {}}  # fmt: skip
    intervals = {"level": 0.9, "says": "90 % intervals of a test."}
    made = {"created": "2026-01-02T03:04:05+00:00"}
    return record(**(made | {"verdict": verdict, "intervals": intervals, "summary": {"says": SAYS}} | changes))


def write(path, images=None, rows=ROWS, label=None, **changes):
    write_pdf_report(path, pictures=images or volumes(), record=facts(**changes), regions=rows, label=label)
    return path.read_bytes()


def texts(monkeypatch, images=None, rows=ROWS, label=None, **changes):
    """Texts of the page, as matplotlib has them before they are drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(onepage.WIDTH, onepage.HEIGHT))
    onepage.compose_page(figure, prepare(images or volumes()), facts(**changes), rows, label)
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return figure, [text.get_text() for text in figure.texts], inside


def test_it_is_one_a4_page_and_the_same_bytes_again(tmp_path):
    first, second = write(tmp_path / "a.pdf"), write(tmp_path / "b.pdf")
    assert first.startswith(b"%PDF-") and first.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b(?!s)", first)) == 1
    box = [float(value) for value in re.search(rb"/MediaBox \[([^\]]*)\]", first)[1].split()]
    assert box == pytest.approx([0, 0, 595.3, 841.7], abs=0.3)
    assert b"CreationDate" not in first and b"SYNTHETIC TAU PET" in first and len(first) < 1_000_000
    assert first == second and b"2026-01-02" not in first, "the record's date is on the page alone, in its stream"


def test_its_text_is_text(tmp_path):
    """The page's content draws letters by fonts in the file; the pictures alone are images."""
    content = write(tmp_path / "a.pdf")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    pages = [data for data in (_inflated(stream) for stream in streams) if b" Tf" in data and b"BT" in data]
    assert pages and sum(data.count(b"Tj") + data.count(b"TJ") for data in pages) > 60
    assert b"/FontDescriptor" in content and str(tmp_path).encode() not in content


def _inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def test_a_date_is_told_only_when_it_is_given(tmp_path):
    from datetime import datetime, timezone

    write_pdf_report(tmp_path / "a.pdf", pictures=volumes(), record=facts(), regions=ROWS,
                     created=datetime(2026, 1, 2, tzinfo=timezone.utc))  # fmt: skip
    assert b"/CreationDate (D:20260102" in (tmp_path / "a.pdf").read_bytes()


def test_what_stands_on_it(monkeypatch):
    _, page, inside = texts(monkeypatch, label="P-07")
    whole = " ".join(page)
    for words in ("SYNTHETIC, research only, not for diagnosis", "Synthetic TAU PET: 18F-AV1451 (flortaucipir)",
                  "model m 1", "Person: P-07", "Input check: caution: odd header", "90 % interval", "0.75 to 2.25",
                  "What it is not", "trained on simulated data only", "not the error", SAYS[:40], "0" * 12,
                  "in view", "87 %", "Warning: <script>"):  # fmt: skip
        assert words in whole, words
    assert page.count("1.30") == 1 and "cerebellar grey" in page and "measured of it" not in page
    _, page, _ = texts(monkeypatch, rows=ROWS, warnings=["odd header", "a further one"])
    assert [line for line in page if "Warning" in line] == ["Warning: a further one"], "a reason is no warning, too"
    assert sum("odd header" in line for line in page) == 1
    _, page, _ = texts(monkeypatch, rows=[row | {"share_measured": 0.637} for row in ROWS])
    assert "measured of it" in page and page.count("63 %") == len(ROWS)
    assert inside.count("SYNTHETIC, research only") == 3 and inside.count("SYNTHETIC") == 9, "on each synthetic map"
    maps = {"pet", "reference", "difference", "uncertainty", "departure", "reference_z"} & set(volumes())
    assert inside.count("R") == 2 * len(maps) and inside.count("A") == len(maps)
    _, page, inside = texts(monkeypatch, {name: volumes()[name] for name in ("t1w", "pet")}, rows=[], verdict=None)
    whole = " ".join(page)
    assert "not named on this page" in whole and "Input check: not checked" in whole and "P-07" not in whole
    assert inside.count("SYNTHETIC, research only") == 3 and inside.count("SYNTHETIC") == 0


def test_words_burned_into_a_picture_stay_in_it(monkeypatch):
    """Also in small ones, where each would hide a part of the next."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, _, _ = texts(monkeypatch)
    draw = FigureCanvasAgg(figure).get_renderer()
    burned = [(axes, text) for axes in figure.axes for text in axes.texts if text.get_text().startswith("SYNTHETIC")]
    assert len(burned) == 12
    for axes, text in burned:
        inside, words = axes.get_window_extent(draw), text.get_window_extent(draw)
        assert inside.x0 <= words.x0 and words.x1 <= inside.x1, text.get_text()


def test_no_number_of_the_table_reaches_another(monkeypatch):
    """With all columns that there can be, and a region of a long name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [row | {"share_measured": 0.637, "share_in_view": 0.5, "reference": 11.25} for row in ROWS]
    rows[3] |= {"region": "a_region_whose_name_takes_all_the_room_that_there_is"}
    for shown in (ROWS, rows):
        figure, _, _ = texts(monkeypatch, rows=shown)
        draw = FigureCanvasAgg(figure).get_renderer()
        size = next(text.get_fontsize() for text in figure.texts if text.get_text() == "cerebellar grey")
        cells = [text for text in figure.texts if text.get_fontsize() in (size, 0.85 * size) and text.get_text()]
        lines = {}
        for text in cells:
            lines.setdefault(round(text.get_position()[1], 5), []).append(text.get_window_extent(draw))
        assert max(len(line) for line in lines.values()) == len(shown[0]) - 2
        for line in lines.values():
            line.sort(key=lambda box: box.x0)
            assert all(one.x1 < other.x0 for one, other in zip(line, line[1:], strict=False))
            assert line[-1].x1 <= (onepage.WIDTH - onepage._LEFT + 0.01) * figure.dpi


def test_unending_words_leave_the_page_whole(tmp_path, monkeypatch):
    """A verdict, warnings and names of any length: nothing runs out of the page or over something else."""
    verdict = {"level": "refuse", "says": "Input check: refuse: " + "x" * 900, "accepted": True, "reasons": [],
               "checks": {}}  # fmt: skip
    figure, page, _ = texts(monkeypatch, label="Ω" * 200 + "\u6f22", verdict=verdict,
                            warnings=["words and words " * 40] * 9)  # fmt: skip
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    FigureCanvasPdf(figure).print_pdf(tmp_path / "a.pdf")
    assert sum("more in synthetic_pet.json" in line for line in page) == 4
    assert "... and 6 more warnings in synthetic_pet.json" in page and not any("\u6f22" in line for line in page)
    for text in figure.texts:
        if text.get_ha() == "left":
            wide = text.get_fontproperties().get_size_in_points()
            room = onepage.WIDTH * (1 - text.get_position()[0]) - 0.4
            assert len(onepage.wrapped(text.get_text(), wide, room, text.get_fontweight())) <= 1, text.get_text()
    boxes = sorted((axes.get_position() for axes in figure.axes), key=lambda box: -box.y1)
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    below = min(text.get_position()[1] for text in figure.texts if text.get_text().startswith("... and"))
    assert boxes[0].y1 < below, "the pictures begin below the words"
    above = max(text.get_position()[1] for text in figure.texts if text.get_text() == "What it is not")
    assert boxes[-1].y0 > above, "and end above the last ones"


def test_lines_are_as_wide_as_they_may_be():
    from matplotlib.textpath import text_to_path

    words = "a line of many words that is far too long for one line " * 5
    lines = onepage.wrapped(words, 8, 3.0)
    widths = [text_to_path.get_text_width_height_descent(line, _properties(8), False)[0] / 72 for line in lines]
    assert " ".join(lines) == words.strip() and max(widths) <= 3.0 and min(widths[:-1]) > 2.5
    assert onepage.wrapped("", 8, 3.0) == [] and "".join(onepage.wrapped("y" * 300, 8, 1.0)) == "y" * 300


def _properties(size):
    from matplotlib.font_manager import FontProperties

    return FontProperties(family="DejaVu Sans", size=size)


# Pages of a saved result


@pytest.fixture(scope="module")
def saved(tiny_latent, grid_case, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    synthesize(
        grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=grid_case["pet"], steps=1, samples=2,
        preprocessed=True, device="cpu", space="both",
    ).save(folder, report="pdf", label="P-07")  # fmt: skip
    return folder


def report(*words):
    return main(["report", *map(str, words)])


def test_synthesize_writes_it_beside_the_picture(saved):
    outputs = json.loads((saved / "synthetic_pet.json").read_text(encoding="utf-8"))["outputs"]
    assert {"report.png", "report.pdf"} <= set(outputs) and "report.html" not in outputs
    assert (saved / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_page_made_later_is_the_page_made_at_once(saved, grid_case, tmp_path, capsys):
    out = tmp_path / "later.pdf"
    assert report(saved, "--t1w", grid_case["t1w"], "--pdf", "--label", "P-07", "--out", out) == 0
    assert out.read_bytes() == (saved / "report.pdf").read_bytes()
    assert report(saved, "--t1w", grid_case["t1w"], "--pdf", "--out", out) == 2, "it is there"
    assert "use --overwrite" in capsys.readouterr().err
    assert report(saved, "--t1w", grid_case["t1w"], "--out", tmp_path / "later.html") == 0
    page = (tmp_path / "later.html").read_text(encoding="utf-8")
    assert 'data-view="3"' in page and "Temporal composite" in page and "P-07" not in page
    assert {path.name for path in tmp_path.iterdir()} == {"later.pdf", "later.html"}


def test_a_result_is_read_with_its_maps(saved, grid_case):
    with_maps = read_result(saved, grid_case["t1w"])
    assert {name for name, image in with_maps.pictures.items() if image is not None} == {
        "t1w", "pet", "reference", "difference", "uncertainty"
    }  # fmt: skip
    assert len(with_maps.regions) == 12
    in_mni = read_result(saved / "synthetic_pet_space-MNI.nii.gz")
    assert in_mni.pictures["t1w"].GetSize() == in_mni.pictures["pet"].GetSize(), "over the template"


def test_a_t1w_of_any_storage_order_will_do_and_another_file_is_named(saved, grid_case, tmp_path):
    t1w = sitk.ReadImage(str(grid_case["t1w"]))
    sitk.WriteImage(sitk.DICOMOrient(t1w, "LPI"), str(tmp_path / "turned.nii.gz"))
    with pytest.warns(RelAPETWarning, match="not made from this very T1w"):
        turned = read_result(saved, tmp_path / "turned.nii.gz")
    straight = read_result(saved, grid_case["t1w"])
    wanted, found = prepare(straight.pictures), prepare(turned.pictures)
    np.testing.assert_array_equal(wanted.arrays["t1w"], found.arrays["t1w"])
    np.testing.assert_array_equal(wanted.arrays["difference"], found.arrays["difference"])


@pytest.mark.parametrize("break_it, words", [
    ("no t1w", "give it as --t1w"),
    ("another grid", "not on the grid of synthetic_pet.nii.gz"),
    ("table", "another SHA-256"),
    ("pet", "another SHA-256"),
])  # fmt: skip
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(saved, grid_case, tmp_path, capsys, break_it, words):
    import shutil

    folder, t1w = tmp_path / "result", grid_case["t1w"]
    shutil.copytree(saved, folder)
    if break_it == "another grid":
        image = sitk.ReadImage(str(t1w))
        image.SetOrigin([value + 1 for value in image.GetOrigin()])
        sitk.WriteImage(image, str(t1w := tmp_path / "moved.nii.gz"))
    elif break_it == "table":
        (folder / "regions.tsv").write_text("region\tsynthetic_pet\nfrontal\n", encoding="utf-8")
    elif break_it == "pet":
        shutil.copy(saved / "reference.nii.gz", folder / "synthetic_pet.nii.gz")
    given = [] if break_it == "no t1w" else ["--t1w", t1w]
    assert report(folder, *given, "--pdf", "--out", tmp_path / "a.pdf") == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "a.pdf").exists()


def test_options_of_the_other_kind_are_refused(saved, tmp_path, capsys):
    assert report(saved, "--title", "x") == 2 and "leave --title out" in capsys.readouterr().err
    (tmp_path / "volumes.tsv").write_text("x\n", encoding="utf-8")
    assert report(tmp_path, "--pdf") == 2 and "no synthetic_pet.json" in capsys.readouterr().err


def test_without_regions_the_page_has_no_table(saved, grid_case, tmp_path):
    import shutil

    shutil.copytree(saved, tmp_path / "result")
    (tmp_path / "result" / "regions.tsv").unlink()
    assert read_result(tmp_path / "result", grid_case["t1w"]).regions == []
    assert report(tmp_path / "result", "--t1w", grid_case["t1w"], "--pdf", "--out", tmp_path / "a.pdf") == 0


def test_a_folder_without_a_pet_is_named(tmp_path):
    with pytest.raises(InputError, match="a folder without synthetic_pet.json; give a result's folder"):
        read_result(tmp_path)


def test_markup_stays_text(tmp_path):
    rows = [ROWS[0] | {"region": EVIL}]
    assert write(tmp_path / "a.pdf", rows=rows, label="$x_1$ \\frac").startswith(b"%PDF")
