"""report.html of one person: what stands in it, what does not, and every control of it clicked in a browser."""

import base64
import json
import math
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from browser import chromium, opened

from RelAPETLib import provenance
from RelAPETLib.cli import main
from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.report import below_pictures, packing, person, pictures, web, write_html_report
from RelAPETLib.report.notes import notes_of
from RelAPETLib.synthesis.result import report_kind
from RelAPETLib.synthesis.white_matter import t1w_white
from RelAPETLib.volumes import image_from_array

SHAPE = (40, 48, 36)
EVIL = "<script>window.pwned = 1</script></script><img src=x onerror='window.pwned = 2'>"
#: Where the hot ball is, in RAS mm, and the SUVR of it and around it.
BALL, HOT, COOL = (-32.0, 32.0, 24.0), 2.5, 1.1


def volumes(rotation=0.0):
    """T1w, FLAIR, PET and its companions of an ellipsoid with a hot ball at `BALL`, turned about z by radians."""
    turn = np.array([[np.cos(rotation), -np.sin(rotation), 0], [np.sin(rotation), np.cos(rotation), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (4.0, 4.0, 4.0)
    affine[:3, 3] = affine[:3, :3] @ (-np.array(SHAPE) / 2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    brain = (((index - [20, 24, 18]) / [14, 18, 13]) ** 2).sum(-1) < 1
    place = index @ affine[:3, :3].T + affine[:3, 3]
    ball = brain & (((place - BALL) ** 2).sum(-1) < 9**2)
    pet = np.where(ball, HOT, COOL) * brain
    slope = brain * (1 + index[..., 0] / 40)
    noise = 5 * np.random.default_rng(0).random(SHAPE)
    white = (((index - [20, 24, 18]) / [9, 12, 8]) ** 2).sum(-1) < 1
    maps = {"t1w": 100.0 * brain + 20 * slope + noise, "t2f": 80.0 * brain + 40 * ball, "pet": pet,
            "reference": 0.8 * pet, "difference": 0.1 * pet * slope, "uncertainty": 0.1 * slope,
            "departure": slope - 1.5 * brain, "reference_z": 2.0 * ball - brain,
            "template_white": slope > 1.4, "t1w_white": white}  # fmt: skip
    return {name: image_from_array(array.astype(np.float32), affine) for name, array in maps.items()}


def record(**changes):
    model = {
        "name": "m", "version": "1", "method": "rela", "weights_sha256": "0" * 64, "metadata_sha256": None,
        "source": {}, "licence": "Apache-2.0", "trained_on_simulated_data": True, "training_data": EVIL,
        "intended_use": "tests", "limitations": [EVIL],
    }  # fmt: skip
    tracer = {"name": "TAU", "radiopharmaceutical": "18F-AV1451 (flortaucipir)", "output": "suvr",
              "window": [0, 3], "reference_region": "cerebellar_grey"}  # fmt: skip
    made = provenance.build_provenance(
        model=model, tracer=tracer, inputs={"t1w": "1" * 64, "t2f": "2" * 64}, outputs={}, warnings=[EVIL],
        sampling={"sampler": "dpmpp", "steps": 3, "samples": 2, "seed": 0, "clip": None, "device": "cpu", "batch": 1},
        preprocessing={"method": "torch", "skull_stripped": False, "preprocessed": False, "quality": {"ncc": 0.9}},
    )  # fmt: skip
    return made | changes


ROWS = [{"label": 1, "region": "frontal", "title": EVIL, "tissue": "grey", "synthetic_pet": 1.25,
         "share_in_view": 1.0}]  # fmt: skip


def write(path, images=None, rows=ROWS, label=None, notes=("a note",), **changes):
    write_html_report(path, pictures=images or volumes(), record=record(**changes), regions=rows,
                      notes=notes, label=label)  # fmt: skip
    return path.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="volumes">(.*?)</script>', page).group(1))


def codes_of(data, name):
    voxels = zlib.decompress(base64.b64decode(data["layers"][name]["voxels"]))
    x, y, z = data["shape"]
    return np.frombuffer(voxels, np.uint8).reshape(z, y, x).transpose(2, 1, 0)


class Elements(HTMLParser):
    """Tags of a page, and their attributes by name."""

    def __init__(self, page):
        super().__init__()
        self.tags, self._attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._attributes += attrs

    @property
    def names(self):
        return {name for name, _ in self._attributes}

    def attributes(self, name):
        return [value for key, value in self._attributes if key == name]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("downloads")) as driver:
        yield driver


def test_the_page_is_closed_to_the_world_and_says_what_it_shows(tmp_path):
    page = write(tmp_path / "page.html")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    elements = Elements(page)
    assert elements.attributes("src") + elements.attributes("href") == [], "pictures are drawn from the data"
    assert elements.attributes("style") == [] and not [name for name in elements.names if name.startswith("on")]
    assert EVIL not in page and elements.tags.count("script") == 2, "the data and our own script, no others"
    assert str(tmp_path) not in page and 'id="label"' not in page
    assert "report.png" not in page, "no picture need lie beside the page"
    assert web.BANNER in page.replace("&#x27;", "'") and "Input check: not checked" in page
    for words in (provenance.STATEMENT, provenance.SIMULATED_STATEMENT, person.DISAGREE, "1" * 64, "No intervals"):
        assert web.text(words) in page


def test_a_label_verdict_and_intervals_are_shown_when_there_are_such(tmp_path):
    checks = {
        "features": {"level": "not checked", "says": [f"no features {EVIL}"]},
        "header": {"level": "ok", "says": []},
    }
    says = f"Input check: caution: far from training {EVIL} (not checked: features)"
    verdict = {"level": "caution", "reasons": [f"far from training {EVIL}"], "says": says, "checks": checks}
    rows = [{**ROWS[0], "low": 1.125, "high": 1.375, "spread": 0.0625, "novel": 7.0}]
    told = {"verdict": verdict, "warnings": [f"far from training {EVIL}", "a further one"]}
    page = write(tmp_path / "page.html", rows=rows, label=f"pilot {EVIL}", **told)
    heading, reasons = "Input check: caution (not checked: features)", "<li>far from training"
    assert heading in page and reasons in page, "the record's own words"
    assert page.count(reasons) == 1 and page.count("<li>a further one") == 1, "nothing is said twice"
    plain = record(**told)
    notes, warnings = below_pictures(plain)
    assert warnings == [says, "a further one"] and says in notes_of(plain) and notes == notes_of(record(verdict=None))
    noted = write(tmp_path / "noted.html", notes=[*notes, says], **told)
    assert noted[noted.index('id="notes"') :].split("</section>")[0].count("<li>") == len(notes)
    told["verdict"] = verdict | {"level": "ok", "reasons": [], "says": "Input check: ok"}
    notes, warnings = below_pictures(record(**told))
    assert warnings == told["warnings"] and "Input check: ok" in notes
    assert "not checked: no features" in page and "not checked: features" in page
    assert "pilot &lt;script&gt;" in page and EVIL not in page and "No intervals" not in page
    assert [page.count(f">{value}<") for value in ("1.125", "1.375", "0.062", "7.000", "novel")] == [1, 1, 1, 1, 1]


def test_withheld_intervals_have_no_columns_but_their_reason(tmp_path):
    says = "No intervals: the input check says refuse."
    rows = [{**ROWS[0], "low": math.nan, "high": math.nan}]
    page = write(tmp_path / "page.html", rows=rows, intervals={"withheld": "the input check says refuse", "says": says})
    table = page[page.index('id="regions"') :].split("</section>")[0]
    assert f"field of view. {says}" in table and "interval, low" not in table and ">n/a<" not in table
    rows = [{**ROWS[0], "low": -math.inf, "high": math.inf}]
    page = write(tmp_path / "open.html", rows=rows, intervals={"withheld": None, "says": "Intervals."})
    assert page.count(">no bound<") == 2
    rows = [{**ROWS[0], "low": "n/a", "high": "inf"}, {**ROWS[0], "low": "", "high": "1.5"}]  # a saved table's
    page = write(tmp_path / "saved.html", rows=rows, intervals={"withheld": None, "says": "Intervals."})
    assert page.count(">no bound<") == 1 and ">1.500<" in page


@pytest.mark.parametrize("order", ["RAS", "LPS", "PIR", "SAL", "IRA"])
@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_voxels_keep_their_places_in_the_world(order, rotation, tmp_path):
    """However the scans are stored, and oblique ones too: what is hot in the page lies where it lies in the head."""
    images = {name: sitk.DICOMOrient(image, order) for name, image in volumes(rotation).items()}
    data = data_of(write(tmp_path / "page.html", images))
    codes, layer = codes_of(data, "pet"), data["layers"]["pet"]
    hot = np.argwhere(layer["low"] + (codes - 1.0) / 254 * (layer["high"] - layer["low"]) > 2)
    world = np.array(data["affine"]) @ [*hot.mean(axis=0), 1]
    np.testing.assert_allclose(world[:3], BALL, atol=2.0)
    spread = codes_of(data, "uncertainty")
    x = np.argwhere(spread > 0)[:, 0]
    assert np.corrcoef(x, spread[spread > 0])[0, 1] > 0.99, "the slope rises towards the subject's left to right axis"


def test_coarser_voxels_keep_places_and_means(tmp_path):
    fine = pictures.prepare(volumes(0.3))
    coarse = packing.small_enough(fine, 9000)
    assert np.prod(coarse.brain.shape) <= 9000 and set(coarse.arrays) == set(fine.arrays)
    for one in (fine, coarse):
        hot = np.argwhere(one.arrays["pet"] > 1.8)
        np.testing.assert_allclose((one.affine @ [*hot.mean(axis=0), 1])[:3], BALL, atol=4.0)
    assert coarse.arrays["pet"][coarse.brain].min() == pytest.approx(COOL), "the brain's edge is not thinned out"
    np.testing.assert_allclose(np.linalg.norm(coarse.affine[:3, :3], axis=0), coarse.spacing)


def test_where_nothing_was_measured_nothing_is_shown(browser, tmp_path):
    """No uptake of 0, and no difference of 0, which would be agreement; coarse voxels are means of what is known."""
    images, partly = volumes(), ("reference", "difference", "reference_z", "departure")
    for name in partly:
        images[name][:, :, 20:] = 0.0  # not in the field of view
    data = data_of(write(tmp_path / "page.html", images))
    brain = codes_of(data, "pet") > 0
    for name in partly:
        seen = np.argwhere(codes_of(data, name) > 0)[:, 2]
        assert seen.max() < np.argwhere(brain)[:, 2].max() and data["layers"][name]["low"] != 0
    opened(browser, tmp_path / "page.html")
    put(browser, 'input[data-slice="axial"]', int(np.argwhere(brain)[:, 2].max()) - 3)
    words = find(browser, "#readout")[0].text
    assert words.count("not known here") == 4 and "(mean of 2): 1.10 SUVR" in words
    fine = pictures.prepare(images)
    coarse = packing.coarser(fine, (3, 3, 3)).arrays["reference"]
    assert coarse[coarse != 0].min() == pytest.approx(0.8 * COOL), "its edge is not thinned out"


def test_the_page_never_grows_beyond_ten_megabytes(tmp_path, monkeypatch):
    whole = len(write(tmp_path / "a.html"))
    monkeypatch.setattr(web, "MAX_BYTES", whole - 10_000)
    page = write(tmp_path / "b.html")
    assert len(page) <= whole - 10_000 and data_of(page)["spacing"] != [4.0, 4.0, 4.0]


def test_white_matter_is_the_brightest_of_three_classes_of_the_brain():
    bright = np.zeros(MNI_GRID.shape, np.float32)
    bright[40:120, 40:120, 40:120] = -0.5
    bright[50:110, 50:110, 50:110] = 0.0
    bright[60:100, 60:90, 60:80] = 0.6
    bright += np.random.default_rng(0).normal(0, 0.05, bright.shape).astype(np.float32)
    bright[:20] = 1.0  # fat outside of the brain
    mask = np.zeros(MNI_GRID.shape, np.uint8)
    mask[40:120, 40:120, 40:120] = 1
    found = image_to_array(t1w_white(array_to_image(bright), array_to_image(mask)))
    wanted = np.zeros(MNI_GRID.shape, bool)
    wanted[60:100, 60:90, 60:80] = True
    assert (found.astype(bool) != wanted).mean() < 1e-4
    assert t1w_white(array_to_image(bright * 0), array_to_image(mask)) is None


def test_synthesize_writes_the_page_of_a_run(tiny_latent, grid_case, tmp_path, capsys):
    words = ["synthesize", "--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "TAU",
             "--model", tiny_latent, "--steps", "1", "--samples", "2", "--device", "cpu", "--overwrite",
             "--report-label", "P-07"]  # fmt: skip
    assert main(list(map(str, [*words, "--out", tmp_path / "a", "--report", "html"]))) == 0
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "P-07" in page and len(page) < web.MAX_BYTES and str(tmp_path) not in page
    titles = [view["title"] for view in data_of(page)["views"]]
    assert titles[0] == "Synthetic PET (mean of 2)" and titles[-2:] == [
        "Check: template on T1w",
        "Check: T1w on T2-FLAIR",
    ]
    white = codes_of(data_of(page), "t1w_white").mean()
    assert 0.02 < white < 0.6
    outputs = json.loads((tmp_path / "a" / "synthetic_pet.json").read_text(encoding="utf-8"))["outputs"]
    assert {"report.html", "report.png"} <= set(outputs) and "P-07" not in json.dumps(outputs)
    assert main(list(map(str, [*words, "--out", tmp_path / "b", "--report", "png"]))) == 2
    assert "add --report html" in capsys.readouterr().err and not (tmp_path / "b").exists()
    assert main(list(map(str, [*words[:-2], "--out", tmp_path / "a", "--report", "none"]))) == 0
    assert not list((tmp_path / "a").glob("report.*")), "what this run does not write is removed"
    with pytest.raises(InputError, match="unknown report 'docx'"):
        report_kind("docx")


def pixels(browser, plane="axial"):
    script = f"return document.querySelector('canvas[data-plane=\"{plane}\"]').toDataURL()"
    return browser.execute_script(script)


def mean_colour(browser, plane="axial"):
    """Mean RGB of a picture."""
    script = """
        const canvas = document.querySelector(`canvas[data-plane="${arguments[0]}"]`);
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, sum = [0, 0, 0];
        for (let i = 0; i < all.length; i++) if (i % 4 < 3) sum[i % 4] += all[i];
        return sum.map((value) => value / (all.length / 4));"""
    return np.array(browser.execute_script(script, plane))


def put(browser, selector, value, event="input"):
    script = """const one = document.querySelector(arguments[0]);
        one.value = arguments[1];
        one.dispatchEvent(new Event(arguments[2]));"""
    browser.execute_script(script, selector, value, event)


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def click_at(browser, plane, share_x, share_y):
    """Press the mouse in a picture, at shares of its width and height from its left upper corner."""
    from selenium.webdriver import ActionChains

    (canvas,) = find(browser, f'canvas[data-plane="{plane}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    x, y = (share_x - 0.5) * canvas.size["width"], (share_y - 0.5) * canvas.size["height"]
    ActionChains(browser).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()


def test_every_control_changes_what_is_seen(browser, tmp_path):
    write(tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    assert browser.execute_script("return window.pwned") is None
    tabs = find(browser, '[role="tab"]')
    assert [tab.text for tab in tabs] == [
        "Synthetic PET (mean of 2)", "Measured PET", "Synthetic minus measured", "Spread of 2 samples (SD)",
        "Departure", "z-score of the measured PET", "Check: template on T1w", "Check: T1w on T2-FLAIR",
        "Check: T1w on measured PET",
    ]  # fmt: skip
    seen = {}
    for tab in tabs:
        tab.click()
        assert tab.get_attribute("aria-selected") == "true"
        assert len(find(browser, '[role="tab"][aria-selected="true"]')) == 1
        windows = find(browser, "#windows button")
        assert len(windows) == 3
        for button in windows:
            button.click()
            assert button.get_attribute("aria-pressed") == "true"
            seen[tab.text, button.text] = pixels(browser)
    alike = [(a, b) for a in seen for b in seen if a < b and seen[a] == seen[b]]
    assert len(seen) == 27 and alike == [], "each view differs in each of its windows"
    tabs[0].click()
    before = mean_colour(browser)
    put(browser, "#opacity", 0)
    clear = mean_colour(browser)
    assert np.ptp(clear) < np.ptp(before), "without the PET's colours it is nearly grey"
    put(browser, "#opacity", 100)
    full = mean_colour(browser)
    assert np.ptp(full) > np.ptp(before)
    put(browser, "#opacity", 50)
    put(browser, "#below", "t2f", "change")
    over_t2f = pixels(browser)
    put(browser, "#below", "", "change")
    assert over_t2f != pixels(browser) and mean_colour(browser).sum() < full.sum()
    crossed = pixels(browser)
    find(browser, "#cross")[0].click()
    assert crossed != pixels(browser)


def test_places_are_read_off_by_clicks_wheel_keys_and_sliders(browser, tmp_path):
    """An oblique head stored left to right: the ball is on the subject's left, in front, and reads hot."""
    images = {name: sitk.DICOMOrient(image, "LPS") for name, image in volumes(0.2).items()}
    data = data_of(write(tmp_path / "page.html", images))
    opened(browser, tmp_path / "page.html")
    voxel = np.linalg.solve(np.array(data["affine"]), [*BALL, 1])[:3]
    x, y, z = (voxel + 0.5) / data["shape"]
    assert x < 0.5 < y
    put(browser, 'input[data-slice="axial"]', int(round(voxel[2])))
    click_at(browser, "axial", 1 - x, 1 - y)
    words = find(browser, "#readout")[0].text
    place = [float(number) for number in re.search(r"R (\S+), A (\S+), S (\S+) mm", words).groups()]
    np.testing.assert_allclose(place, BALL, atol=5.0)
    assert f"Synthetic PET (mean of 2): {HOT:.2f} SUVR" in words and f"Measured PET: {0.8 * HOT:.2f} SUVR" in words
    click_at(browser, "sagittal", 0.5, 0.5)
    click_at(browser, "coronal", 1 - x, 1 - z)
    at = [int(n) for n in browser.execute_script("return document.getElementById('viewer').dataset.at").split()]
    assert abs(at[0] - voxel[0]) <= 1 and abs(at[2] - voxel[2]) <= 1
    canvas, before = find(browser, 'canvas[data-plane="axial"]')[0], pixels(browser)
    canvas.send_keys("\ue013")  # arrow up
    assert pixels(browser) != before
    assert int(find(browser, 'input[data-slice="axial"]')[0].get_attribute("value")) == at[2] + 1
    wheel = "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: 1, cancelable: true}))"
    browser.execute_script(wheel, canvas)
    assert pixels(browser) == before, "one up and one down again"
    click_at(browser, "axial", 0.03, 0.03)
    assert "outside the brain" in find(browser, "#readout")[0].text


def test_the_colour_bar_marks_values_beyond_its_ends(browser, tmp_path):
    """In every view and window, as the values are and not as they are shown."""
    images = volumes()
    data = data_of(write(tmp_path / "page.html", images))
    opened(browser, tmp_path / "page.html")
    brain = sitk.GetArrayFromImage(images["pet"]) > 0
    marks = set()
    for tab, view in zip(find(browser, '[role="tab"]'), data["views"], strict=True):
        tab.click()
        for button, window in zip(find(browser, "#windows button"), view["windows"], strict=True):
            button.click()
            ends = [find(browser, end)[0].text for end in ("#bar-low", "#bar-high")]
            if view["colours"] is None:  # edges
                continue
            assert view["top"] in images
            values = sitk.GetArrayFromImage(images[view["top"]])[brain]
            rounding = 0.005 * (window["high"] - window["low"])
            below, above = values.min() < window["low"] - rounding, values.max() > window["high"] + rounding
            assert [end[:2] in ("< ", "> ") for end in ends] == [below, above], (view["title"], window, ends)
            assert [float(end.strip("<> ")) for end in ends] == [window["low"], window["high"]]
            marks |= {below, above}
    assert marks == {True, False}


def test_every_picture_of_the_guess_says_so(browser, tmp_path):
    """The red banner is in the pixels of all three planes where the guess is shown, and not on measured images."""
    views = data_of(write(tmp_path / "page.html"))["views"]
    opened(browser, tmp_path / "page.html")
    script = """
        return Array.from(document.querySelectorAll("canvas[data-plane]")).map((canvas) => {
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let red = 0;
          for (let i = 0; i < all.length; i += 4) red += all[i] === 176 && all[i + 1] === 0 && all[i + 2] === 32;
          return red;
        });"""
    for tab, view in zip(find(browser, '[role="tab"]'), views, strict=True):
        tab.click()
        counts = browser.execute_script(script)
        assert all(count > 500 for count in counts) if view["synthetic"] else not any(counts), view["title"]
