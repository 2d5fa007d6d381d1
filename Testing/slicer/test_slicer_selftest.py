"""The entry "Test RelAPET on this computer": menu and button, its report, and what it must not hold.

The tutorial itself runs with the real child process in `test_slicer_real.py`.
"""

import json
import unittest
import zipfile
from pathlib import Path

import pytest
from slicer_module import MODULE, FakeProcess, load_part


@pytest.fixture
def reports(monkeypatch, tmp_path):
    folder = tmp_path / "reports"
    monkeypatch.setattr(load_part("testreport"), "reportFolder", lambda: folder)
    return folder


@pytest.fixture
def steps(monkeypatch):
    """Replaces the tutorial's steps by functions of the test's: [(name, what it needs, function of the tutorial)]."""
    tutorial = load_part("tutorial").Tutorial

    def put(*wanted):
        monkeypatch.setattr(tutorial, "STEPS", tuple((name, f"Step {name}", needs) for name, needs, _run in wanted))
        for name, _needs, run in wanted:
            monkeypatch.setattr(tutorial, f"_{name}", run, raising=False)

    return put


def read(folder):
    (file,) = folder.iterdir()
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(contents["report.json"]), contents


def fail(tutorial):
    raise ValueError(f"no such file: {Path.home()}/patients/x.nii")


def test_each_outcome_stands_in_the_report_and_nothing_of_the_user(widget, harness, reports, steps):
    def skip(tutorial):
        raise unittest.SkipTest("no such module here")

    steps(("person", (), lambda tutorial: None), ("b", (), fail), ("c", (), skip), ("d", ("b",), lambda tutorial: None))
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.log("before the test: Doe^Jane")
    widget.parameters.seed = 5
    widget.ui.selfTestButton.click()
    assert widget.parameters.seed == 5, "the user's choices come back"
    facts, contents = read(reports)
    assert [step["outcome"] for step in facts["steps"]] == ["passed", "failed", "skipped", "not run"]
    assert facts["steps"][1]["error"] == "no such file: HOME/patients/x.nii" and facts["steps"][3]["error"] == "needs b"
    assert "ValueError" in facts["steps"][1]["details"] and str(Path.home()) + "/" not in str(contents)
    text = contents["report.txt"].decode()
    assert "FAILED   Step b" in text and "1 passed, 1 failed, 1 skipped, 1 not run" in text
    assert "Doe" not in "".join(map(str, contents.values()))
    pictures = {each["name"]: each for each in facts["pictures"]}
    assert pictures["panel_begin_panel"]["file"] in contents, "the panel can be drawn"
    assert "ScreenCapture" in pictures["panel_begin_views"]["problem"], "slicer-core has no such module, and it is said"
    said = widget.ui.selfTestLabel.text
    assert "1 of 4 steps failed: Step b" in said and str(next(reports.iterdir())) in said
    assert widget.ui.selfTestButton.text == "Test RelAPET on this computer"
    widget.ui.selfTestLabel.linkActivated.emit("issues")
    widget.ui.selfTestLabel.linkActivated.emit("folder")
    issues, folder = harness.recorder.urls[-2:]
    assert issues == load_part("testreport").ISSUES and str(reports) in folder


def test_nothing_is_done_unless_the_scene_may_be_closed(widget, harness, slicer, reports):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    harness.popups.answer("confirmOkCancelDisplay", False, containing="closes the scene")
    widget.ui.selfTestButton.click()
    assert slicer.mrmlScene.IsNodePresent(node) and not reports.exists()
    widget.tasks.start("Download", ["models", "fetch", "x"], lambda ending: None)
    widget.ui.selfTestButton.click()
    assert "Wait until what runs is done" in widget.ui.selfTestLabel.text and slicer.mrmlScene.IsNodePresent(node)


def test_it_can_be_stopped_and_still_reports(widget, harness, reports, steps):
    import qt

    def endless(tutorial):
        qt.QTimer.singleShot(0, lambda: widget.ui.selfTestButton.click())
        assert widget.ui.selfTestButton.text == "Stop the test"
        tutorial.wait(lambda: False, "never")

    steps(("a", (), lambda tutorial: None), ("b", (), endless), ("c", (), lambda tutorial: None))
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.selfTestButton.click()
    facts, _contents = read(reports)
    assert [(step["name"], step["outcome"]) for step in facts["steps"]] == [("a", "passed"), ("b", "not run")]
    assert widget.ui.selfTestLabel.text.startswith("<b") and "Stopped." in widget.ui.selfTestLabel.text


def test_missing_packages_are_told_in_the_report(widget, harness, reports, monkeypatch):
    monkeypatch.setattr(load_part("install"), "missing", lambda: ["torch>=2.3"])
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.selfTestButton.click()
    facts, _contents = read(reports)
    outcomes = {step["name"]: step for step in facts["steps"]}
    assert "press Install in RelAPET's panel" in outcomes["install"]["error"]
    assert outcomes["synthesize"]["outcome"] == "not run" and not FakeProcess.made


def test_a_report_that_cannot_be_written_is_one_line(widget, harness, steps, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(load_part("testreport"), "reportFolder", lambda: tmp_path / "file")
    steps(("a", (), lambda tutorial: None))
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.selfTestButton.click()
    assert "The report was not written" in widget.ui.selfTestLabel.text
    assert widget.ui.selfTestButton.text == "Test RelAPET on this computer"


def test_the_module_may_go_while_it_is_tested(widget, harness, reports, steps):
    """Slicer's Reload button, in the midst of a step."""

    def go(tutorial):
        widget.cleanup()
        tutorial.wait(lambda: False, "never")

    steps(("a", (), go))
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.selfTestButton.click()
    assert not reports.exists()


def test_what_a_test_began_ends_with_it_in_reload_and_test_too(harness, monkeypatch):
    """Slicer's *Reload and Test* calls runTest, and nothing of unittest that would clean up after each test."""
    test, happened = load_part("selftest").RelAPETTest, []

    def fail(self):
        self.addCleanup(happened.append, "end")
        happened.append("begin")
        if happened.count("begin") == 2:
            raise AssertionError("not so")

    for name in [name for name in dir(test) if name.startswith("test_")]:
        monkeypatch.setattr(test, name, fail)
    with pytest.raises(AssertionError, match="not so"):
        test("test_cancel").runTest()
    assert happened == ["begin", "end"] * 2


def test_the_menu_entry(harness, slicer, monkeypatch, tmp_path):
    """In a stand-in of Slicer's main window, with a menu of that name; whether Slicer's has it a person must see."""
    import qt

    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    main, menu = qt.QMainWindow(), qt.QMenu("Help")
    menu.setParent(main)
    menu.setObjectName("HelpMenu")
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: main)
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    harness.startup_completed()
    load_part("selftestpanel").addMenuEntry()
    (action,) = menu.actions()
    assert action.text == "Test RelAPET on this computer"
    harness.popups.answer("confirmOkCancelDisplay", False)
    action.trigger()
    assert harness.recorder.selected_modules[-1] == "RelAPET"
    assert harness.popups.shown[-1][0] == "confirmOkCancelDisplay"
    harness.unload_module(widget)


def test_reports_go_where_the_repository_is():
    entry = json.loads((MODULE / "RelAPET.json").read_text(encoding="utf-8"))
    assert load_part("testreport").ISSUES == entry["scm_url"].removesuffix(".git") + "/issues"


def test_the_reports_folder_is_there(harness):
    assert load_part("testreport").reportFolder().is_absolute()


def test_names_are_taken_out_of_texts(monkeypatch):
    testreport = load_part("testreport")
    monkeypatch.setattr(testreport, "_user", lambda: "jdoe")
    monkeypatch.setattr(testreport.platform, "node", lambda: "pc-17")
    text = testreport.anonymous(f"{Path.home()}/x of JDOE on pc-17, not jdoes: {MODULE}")
    assert text == "HOME/x of USER on COMPUTER, not jdoes: RELAPET/RelAPET"


def test_every_step_of_the_readmes_tutorial_is_there():
    """The README's section numbers its steps; each has steps of the self-test."""
    readme = (
        (MODULE.parent / "README.md").read_text(encoding="utf-8").partition("## In 3D Slicer")[2].partition("\n## ")[0]
    )
    numbers = {line.partition(".")[0] for line in readme.splitlines() if line[:1].isdigit()}
    titles = [title for _name, title, _needs in load_part("tutorial").Tutorial.STEPS]
    assert numbers == {title.partition(".")[0] for title in titles}
    names = [name for name, _title, _needs in load_part("tutorial").Tutorial.STEPS]
    for name, _title, needs in load_part("tutorial").Tutorial.STEPS:
        assert all(names.index(each) < names.index(name) for each in needs)
        assert callable(getattr(load_part("tutorial").Tutorial, f"_{name}"))
