"""The page of a cohort: figures against plain ones, the right people shown, marks clicked and exported."""

import csv
import json
import re
import shutil
import time

import numpy as np
import pytest
from browser import chromium, opened
from matplotlib.figure import Figure

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.evaluation.tsv import as_tsv
from RelAPETLib.report import cohort as cohort_page
from RelAPETLib.report import cohort_tables, scorecard, web, write_cohort_report
from RelAPETLib.report.cohort_results import ResultFiles, find_results
from RelAPETLib.report.cohort_tables import Group, Key, agreements, ranked, read_tables
from RelAPETLib.unnamed import without_names
from RelAPETLib.volumes import image_from_array, write_volume

EVIL = "sub-<script>window.pwned=1</script>"
HEADS = {
    "volumes": "participant_id session tracer model region psnr ssim mae nrmse",
    "regions": "participant_id session tracer model region atlas synthetic measured spread low high volume_ml in_field",
    "failures": "participant_id session tracer model reason",
}
GROUP = Group("TAU", "demo 3.1.0")
PSNR = {"sub-01": 24.0, "sub-02": 30.0, "sub-03": 27.0, EVIL: 21.0}
MEASURED = {"sub-01": 1.0, "sub-02": 1.2, "sub-03": 1.5, EVIL: 0.9}
BIAS = {"sub-01": 0.1, "sub-02": -0.05, "sub-03": 0.3, EVIL: 0.02}


def write_table(folder, name, rows):
    with open(folder / f"{name}.tsv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HEADS[name].split(), delimiter="\t", restval="n/a", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_result(folder, value, verdict=None):
    """A synthetic PET of one value, its difference from a measured one, and the record, as the product writes them."""
    folder.mkdir(parents=True)
    x, y, z = np.meshgrid(*[np.arange(n) for n in (20, 24, 18)], indexing="ij")
    brain = ((x - 10) / 7) ** 2 + ((y - 12) / 9) ** 2 + ((z - 9) / 6) ** 2 < 1
    for name, level in (("synthetic_pet", value), ("difference", 0.2)):
        image = image_from_array((level * brain).astype(np.float32), np.diag([8.0, 8, 8, 1]))
        write_volume(image, folder / f"{name}.nii.gz")
    model = {"name": "demo", "version": "3.1.0"}
    record = {"synthetic": True, "tracer": {"name": "TAU", "output": "suvr"}, "model": model}
    record |= {"verdict": verdict} if verdict else {}
    (folder / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Tables of four people, one of an evil name, a fifth that failed, and files of two results."""
    folder = tmp_path_factory.mktemp("cohort")
    keys = {name: {"participant_id": name, "tracer": "TAU", "model": "demo 3.1.0"} for name in PSNR}
    volumes = [{**keys[p], "region": region, "psnr": PSNR[p] + 5 * (region == "whole_grid"), "ssim": 0.9, "mae": 0.05}
               for p in PSNR for region in ("whole_grid", "brain")]  # fmt: skip
    regions = [{**keys[p], "region": region, "atlas": "relapet-approximate", "synthetic": MEASURED[p] + BIAS[p] * sign,
                "measured": MEASURED[p], "low": MEASURED[p] + BIAS[p] * sign - 0.15, "high": MEASURED[p] + 0.15}
               for p in PSNR for region, sign in (("frontal", 1), ("mesial_temporal", -1))]  # fmt: skip
    failures = [{**keys["sub-01"], "participant_id": "sub-05", "reason": "no T2-FLAIR & <b>no</b> hope"}]
    for name, rows in (("volumes", volumes), ("regions", regions), ("failures", failures)):
        write_table(folder, name, rows)
    write_result(folder / "sub-02" / "TAU", 1.1, {"level": "caution", "reasons": ["old"], "checks": {}})
    write_result(folder / "sub-03", 0.9)
    (folder / "sub-02" / "TAU" / "report.html").write_text("x", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(cohort):
    counts = write_cohort_report(cohort, cohort / "report.html")
    assert counts == {"results": 4, "people": 4, "failures": 1, "pictures": 2}
    return (cohort / "report.html").read_text(encoding="utf-8")


def test_agreement_against_plain_sums(cohort):
    frontal, mesial = agreements(read_tables(cohort), GROUP)
    gaps = np.array(list(BIAS.values()))
    assert (
        frontal.region == "frontal"
        and frontal.people == 4
        and sorted(frontal.differences) == pytest.approx(sorted(gaps))
    )
    assert frontal.bias == pytest.approx(gaps.mean()) and mesial.bias == pytest.approx(-gaps.mean())
    half = 1.96 * np.sqrt(((gaps - gaps.mean()) ** 2).sum() / 3)
    assert frontal.limits == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert (frontal.inside, frontal.judged) == (3, 4), "0.3 above is outside of the interval"
    oracle = pytest.importorskip("statsmodels.api", reason="the oracle of the limits is not installed")
    axes = Figure().add_subplot()
    oracle.graphics.mean_diff_plot(np.array(list(MEASURED.values())) + gaps, np.array(list(MEASURED.values())), ax=axes)
    drawn = sorted({round(float(line.get_ydata()[0]), 6) for line in axes.lines if len(set(line.get_ydata())) == 1})
    n = len(gaps)  # statsmodels takes the SD over n, not n - 1
    shrunk = half * np.sqrt((n - 1) / n)
    np.testing.assert_allclose([drawn[0], drawn[-1]], [gaps.mean() - shrunk, gaps.mean() + shrunk], atol=1e-5)


def test_a_measured_pet_is_not_made_up_where_it_was_not_seen(tmp_path, monkeypatch):
    """Of derivatives it is the synthetic one minus the difference, which is 0 outside its field of view."""
    from RelAPETLib.report import cohort_figures, still

    pet, difference = np.full((20, 20, 20), 1.5, np.float32), np.full((20, 20, 20), 0.25, np.float32)
    difference[:, :, :8] = 0
    for name, array in (("pet", pet), ("difference", difference)):
        write_volume(image_from_array(array, np.diag([4.0, 4, 4, 1])), tmp_path / f"{name}.nii.gz")
    drawn = []
    monkeypatch.setattr(still, "columns_of_maps", lambda arrays, *_: drawn.append(dict(arrays)) or [])
    monkeypatch.setattr(still, "compose", lambda *_, **__: Figure())
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("pet", "difference")}
    cohort_figures.result_pictures(files, "", "TAU", True)
    measured = drawn[0]["reference"]
    assert (measured[:, :, :8] == 0).all() and np.allclose(measured[:, :, 8:], 1.25)


def test_words_of_a_table_are_no_formulas():
    """Matplotlib takes what stands between dollars for TeX, and fails where it is none."""
    from RelAPETLib.report import cohort_figures

    rows = [{"key": Key(str(n), "n/a", *GROUP), "synthetic": 1.0 + n, "measured": 1.0, "low": None, "high": None}
            for n in range(3)]  # fmt: skip
    odd = r"$\frac$"
    agreement = cohort_tables._agreement(odd, rows)
    assert cohort_figures.bland_altman([agreement], odd) != cohort_figures.bland_altman([agreement], "SUVR")
    values = ([1.0, 2.0], [1.5])
    assert cohort_figures.regional({odd: values}, odd) != cohort_figures.regional({"frontal": values}, odd)


def test_too_few_have_no_limits():
    rows = [{"participant_id": p, "tracer": "TAU", "model": "m", "region": "r", "atlas": "a", "synthetic": s,
             "measured": 1.0} for p, s in (("a", 1.1), ("b", 1.3))]  # fmt: skip
    (one,) = agreements(read_tables({"regions": rows}), Group("TAU", "m"))
    assert one.limits is None and one.bias == pytest.approx(0.2) and one.sd == pytest.approx(np.sqrt(0.02))
    (one,) = agreements(read_tables({"regions": rows[:1]}), Group("TAU", "m"))
    assert one.limits is None and one.sd is None and one.bias == pytest.approx(0.1)


def test_regions_of_one_name_in_two_atlases_are_told_apart(monkeypatch):
    """Two atlases' hippocampi are two regions: in the figure of regional values, and in what varies over people."""
    rows = [{"participant_id": f"sub-{n}", "tracer": "TAU", "model": "demo 3.1.0", "region": "hippocampus", "atlas": a,
             "synthetic": level + n, "measured": level + 2 * n}
            for a, level in (("small", 1.0), ("wide", 9.0)) for n in range(4)]  # fmt: skip
    tables, drawn = read_tables({"regions": rows}), []
    monkeypatch.setattr(cohort_page, "regional", lambda rows, units: drawn.append(rows) or b"")
    cohort_page._regional(tables, GROUP, cohort_page._Room(10))
    names = ["hippocampus (small)", "hippocampus (wide)"]
    assert list(drawn[0]) == names and drawn[0][names[1]] == ([9, 10, 11, 12], [9, 11, 13, 15])
    assert scorecard._coverage(tables, GROUP).endswith(": 0.50 to 0.50 by region")


def test_relative_values_are_not_called_suvr(tmp_path, monkeypatch):
    """The unit is the table's, else the record's, else SUVR; a table of both keeps them apart."""
    drawn = []
    monkeypatch.setattr(cohort_page, "regional", lambda rows, units: drawn.append((list(rows), units)) or b"")
    monkeypatch.setattr(cohort_page, "bland_altman", lambda figures, units: drawn.append(units) or b"")
    row = {"tracer": "TAU", "model": "demo 3.1.0", "region": "frontal", "atlas": "a", "synthetic": 0.4, "measured": 0.5}
    relative = "relative (0 to 1)"

    def shown(*rows, results=None):
        drawn.clear()
        rows = [{**row, "participant_id": f"sub-{n}", **more} for n, more in enumerate(rows)]
        write_cohort_report({"regions": rows}, tmp_path / "page.html", results=results or {})
        assert f"regional values, {drawn[0][1]}" in (tmp_path / "page.html").read_text(encoding="utf-8")
        return drawn

    assert shown({"units": relative}) == [(["frontal"], relative), relative]
    assert shown({}, {"units": "n/a"}) == [(["frontal"], "SUVR"), "SUVR"]
    both = "SUVR or " + relative
    assert shown({"units": "n/a"}, {"units": "SUVR"})[0][0] == ["frontal"]
    assert shown({"units": "SUVR"}, {"units": relative}) == [(["frontal (SUVR)", f"frontal ({relative})"], both), both]
    key = Key("sub-0", "n/a", "TAU", "demo 3.1.0")
    results = {key: ResultFiles({}, {"pet": {"units": relative}})}
    assert shown({}, results=results) == [(["frontal"], relative), relative]


def test_the_page_of_a_single_result_without_a_measured_pet(tmp_path):
    rows = [{"participant_id": "a", "tracer": "TAU", "model": "m", "region": "r", "atlas": "a", "synthetic": 1.1}]
    assert write_cohort_report({"regions": rows}, tmp_path / "page.html")["results"] == 1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "agreement cannot be told" in page and "nan" not in page.lower().split("<script>")[0].split("</style>")[1]


def test_best_median_and_worst_are_the_right_people(cohort, page):
    assert web.text(cohort_page._OWN_LEVEL) in page, "an evaluation may have divided both PET"
    order, by = ranked(read_tables(cohort), GROUP)
    assert [key.participant_id for key in order] == ["sub-02", "sub-03", "sub-01", EVIL] and "PSNR" in by
    shown = re.findall(r"<h4>(.*?)</h4>", page)
    assert shown == ["best: sub-02, TAU", "median: sub-03, TAU", f"worst: {web.text(EVIL)}, TAU"]


def test_the_page_is_closed_escaped_and_names_no_place(cohort, page):
    assert EVIL not in page and "<b>no</b>" not in page and web.text("no T2-FLAIR & <b>no</b> hope") in page
    assert str(cohort) not in page and len(page) < web.MAX_BYTES
    assert re.findall(r'href="([^"]*)"', page) == ["sub-02/TAU/report.html"]
    assert all(src.startswith("data:image/png") for src in re.findall(r'src="([^"]{20})', page))
    assert "default-src 'none'" in page and "caution" in page and "not checked" in page
    for word in ("Congruence", "Coverage", "Constraint", "Completeness", "Compliance", "Comprehension", "Consistency"):
        assert f"<td>{word}</td>" in page
    assert "endorsed" in page and "arXiv 2406.11143" in page


def test_groups_of_people_that_an_evaluation_tells_of_are_on_the_page(cohort, page, tmp_path, capsys):
    assert "these tables do not tell of any" in page
    for name in HEADS:
        shutil.copy(cohort / f"{name}.tsv", tmp_path)
    fixed = {"tracer": "TAU", "model": "demo 3.1.0", "region": "brain"}
    groups = [("all", "all", 4, 25.5), ("sex", "F", 1, 24.0), ("sex", "M", 3, 26.0), ("site", "<b>A</b>", 4, None)]
    rows = [
        {**fixed, "covariate": covariate, "group": name, "people": people, "psnr_mean": psnr}
        for covariate, name, people, psnr in groups
    ] + [{**fixed, "region": "whole_grid", "covariate": "sex", "group": "F", "people": 1, "psnr_mean": 99.0}]
    (tmp_path / "images.tsv").write_bytes(as_tsv(rows, rows[0]))
    write_cohort_report(tmp_path, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "mean PSNR in the brain, dB, by sex: F 24.0 (n = 1), M 26.0 (n = 3)" in text
    assert "99.0" not in text and "<b>A</b>" not in text and "groups that these tables do not tell of" in text
    (tmp_path / "images.tsv").write_bytes(as_tsv([], rows[0]))  # as an evaluation without synthetic PET writes it
    write_cohort_report(tmp_path, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "these tables do not tell of any, those of relapet evaluate do where it is told of some" in text
    (tmp_path / "images.tsv").write_text("tracer\tmodel\nTAU\tdemo\n", encoding="utf-8")
    assert main(["report", str(tmp_path), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "images.tsv" in said and "'region'" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("cannot read /data/my study/sub-01/T1w.nii.gz: no such file", "cannot read a file: no such file"),
        (r"C:\Users\ann lee\t1.nii: damaged; get it again", "a file: damaged; get it again"),
        ("scans/Jane_Doe/Jane_Doe_T1w.nii.gz: not an image", "a file: not an image"),
        ("done: PET scans/Ann Lee/Ann Lee pet.nii: odd", "done: a file: odd"),
        ("T1w Jane_Doe.mgz: odd (Doe.json)", "T1w a file: odd (a file)"),
        ("record sub-01_trc-AV1451_record.json: damaged", "record sub-01_trc-AV1451_record.json: damaged"),
        ("raw/sub-01/pet/sub-01_trc-x_pet.nii: odd", "sub-01_trc-x_pet.nii: odd"),
        ("a T1w and/or a FLAIR of 1/2 mm, SUVR / ml", "a T1w and/or a FLAIR of 1/2 mm, SUVR / ml"),
    ],
)
def test_reasons_give_no_file_and_no_place_of_a_machine_away(told, shown):
    assert without_names(told) == shown


def test_results_are_found_as_folders_and_as_derivatives(cohort, tmp_path):
    found = find_results(cohort, read_tables(cohort).results())
    assert {key.participant_id for key in found} == {"sub-02", "sub-03"}
    assert set(found[Key("sub-02", "n/a", "TAU", "demo 3.1.0")].volumes) == {"pet", "difference"}
    pet = tmp_path / "sub-7" / "ses-b" / "pet"
    write_result(pet, 1.0)
    stem = "sub-7_ses-b_trc-AV1451"
    (pet / "synthetic_pet.json").rename(pet / f"{stem}_desc-synthetic_provenance.json")
    for name, desc in (("synthetic_pet", "synthetic"), ("difference", "difference")):
        (pet / f"{name}.nii.gz").rename(pet / f"{stem}_space-T1w_desc-{desc}_pet.nii.gz")
    keys = [Key("7", "b", "TAU", "demo"), Key("sub-7", "ses-a", "TAU", "demo"), Key("sub-7", "ses-b", "PIB", "demo")]
    found = find_results(tmp_path, keys)
    assert list(found) == keys[:1] and set(found[keys[0]].volumes) == {"pet", "difference"}
    write_result(tmp_path / "2" / "1", 1.0)  # a session that is called as another person is
    keys = [Key(person, session, "TAU", "demo") for person, session in (("1", "n/a"), ("2", "1"), ("2", "n/a"))]
    assert keys[0] not in find_results(tmp_path, keys) and keys[1] in find_results(tmp_path, keys)
    write_result(tmp_path / "another run" / "2" / "1", 2.0)
    with pytest.warns(RelAPETWarning, match="more than once, 2 of them, such as that of 2 1 TAU demo;"):
        found = find_results(tmp_path, keys)
    assert found[keys[1]].volumes["pet"] == tmp_path / "2" / "1" / "synthetic_pet.nii.gz", "the first by its place"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("volumes", lambda text: text.replace("24.0", "much"), "'much' is no number"),
        ("volumes", lambda text: text + text.splitlines()[1] + "\n", "stands there twice"),
        ("regions", lambda text: text.replace("region\t", "place\t", 1), "no column 'region'"),
        ("regions", lambda text: text.replace("sub-01", "n/a"), "no participant_id"),
        ("regions", lambda text: text.replace("frontal", '"frontal', 1), "cannot be read"),
    ],
)
def test_bad_tables_are_refused_in_one_line(cohort, tmp_path, capsys, name, change, words):
    text = (cohort / f"{name}.tsv").read_text(encoding="utf-8")
    (tmp_path / f"{name}.tsv").write_text(change(text), encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said and f"{name}.tsv" in said and said.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_the_page_and_keeps_what_is_there(cohort, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(cohort), "--out", str(out), "--title", "Pilot"]) == 0
    assert str(out) in capsys.readouterr().out and "<h1>Pilot</h1>" in out.read_text(encoding="utf-8")
    assert main(["report", str(cohort), "--out", str(out)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main(["report", str(cohort), "--out", str(out), "--overwrite", "--progress", "json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["command"] == "report" and last["results"] == 4 and last["file"] == str(out)
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown table"):
        read_tables({"people": []})


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    with chromium(downloads) as driver:
        yield driver


def downloaded(path):
    for _ in range(600):
        if path.is_file():
            return path.read_text(encoding="utf-8")
        time.sleep(0.1)
    raise AssertionError(f"{path.name} was never saved")


def test_the_scorecards_criteria_are_not_broken_within_a_word(browser, cohort, page):
    opened(browser, cohort / "report.html")
    script = """return [...document.querySelectorAll("#criteria td:first-child")].map((cell) => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return [cell.textContent, range.getClientRects().length];
    })"""
    found = browser.execute_script(script)
    assert len(found) == 7 and {lines for _, lines in found} == {1}, found


def test_marks_are_set_exported_and_taken_over_again(browser, downloads, cohort, page):
    opened(browser, cohort / "report.html")
    assert browser.execute_script("return window.pwned") is None
    found = browser.find_elements("css selector", "#results tbody tr")
    rows = {row.get_attribute("data-participant-id"): row for row in found}
    assert set(rows) == set(PSNR)

    def press(name, mark):
        button = rows[name].find_element("css selector", f'[data-set="{mark}"]')
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    counts = browser.find_element("id", "counts")
    assert counts.text == "0 accepted, 0 rejected, 4 without a mark."
    press("sub-01", "accept")
    press("sub-02", "accept")
    press("sub-02", "accept")  # pressed again, a mark is taken back
    press(EVIL, "reject")
    rows[EVIL].find_element("css selector", "input").send_keys("odd\tname")
    browser.find_element("id", "reviewer").send_keys("R2")
    assert counts.text == "1 accepted, 1 rejected, 2 without a mark."
    browser.find_element("id", "export-json").click()
    told = json.loads(downloaded(downloads / "marks.json"))
    assert told["reviewer"] == "R2" and told["results"] == 4 and re.fullmatch("[0-9a-f]{64}", told["tables_sha256"])
    marks = {one["participant_id"]: (one["mark"], one["tracer"], one["model"]) for one in told["marks"]}
    assert marks == {"sub-01": ("accept", "TAU", "demo 3.1.0"), EVIL: ("reject", "TAU", "demo 3.1.0")}
    browser.find_element("id", "export-tsv").click()
    lines = downloaded(downloads / "marks.tsv").splitlines()
    assert lines[0].split("\t") == ["participant_id", "session", "tracer", "model", "mark", "note"]
    assert all(line.count("\t") == 5 for line in lines) and len(lines) == 3
    browser.find_element("id", "filter").send_keys("sub-02")
    assert [name for name, row in rows.items() if row.is_displayed()] == ["sub-02"]
    opened(browser, cohort / "report.html")
    assert browser.find_element("id", "counts").text == "0 accepted, 0 rejected, 4 without a mark."
    browser.find_element("id", "import").send_keys(str(downloads / "marks.json"))
    for _ in range(100):
        if browser.find_element("id", "told").text:
            break
        time.sleep(0.1)
    assert browser.find_element("id", "told").text == "2 of 2 marks were taken over."
    assert browser.find_element("id", "counts").text == "1 accepted, 1 rejected, 2 without a mark."
    browser.find_element("id", "export-json").click()  # else the page would ask before it is closed


def test_a_volume_that_cannot_be_shown_is_said(tmp_path):
    write_table(tmp_path, "volumes", [{"participant_id": "sub-01", "tracer": "TAU", "model": "demo", "region": "brain",
                                       "psnr": 20}])  # fmt: skip
    write_result(tmp_path / "sub-01", 1.0)
    (tmp_path / "sub-01" / "synthetic_pet.nii.gz").write_bytes(b"broken")
    with pytest.warns(match="no picture of sub-01"):
        counts = write_cohort_report(tmp_path, tmp_path / "page.html")
    assert counts["pictures"] == 0 and "cannot be shown" in (tmp_path / "page.html").read_text(encoding="utf-8")
