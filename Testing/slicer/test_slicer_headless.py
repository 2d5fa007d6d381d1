"""The module in a Slicer without main window (--no-main-window): no layout manager, no views, no panel to look at."""

import logging
import unittest

import pytest
from slicer_cases import add_scan, real_child, write_results
from slicer_module import MODULE, load_part


@pytest.fixture
def windowless(harness):
    with harness.no_main_window():
        yield


@pytest.fixture
def logic(harness, slicer, tmp_path):
    logic = load_part("logic").RelAPETLogic()
    logic.makeProcess = real_child(write_results(tmp_path / "results"))
    return logic


def test_show_is_skipped_with_a_warning_and_the_results_stay(windowless, slicer, logic, caplog):
    assert slicer.app.layoutManager() is None
    with caplog.at_level(logging.WARNING):
        found = logic.synthesize(add_scan("T1w"), add_scan("FLAIR"), "TAU", show=True)
    assert slicer.mrmlScene.IsNodePresent(found.pet) and found.pet.GetDisplayNode() is not None
    assert [record.message for record in caplog.records if "main window" in record.message]


def test_nothing_is_said_when_nothing_was_to_be_shown(windowless, logic, caplog):
    with caplog.at_level(logging.WARNING):
        logic.synthesize(add_scan("T1w"), add_scan("FLAIR"), "TAU")
    assert not caplog.records


def test_the_self_test_skips_what_needs_views_and_says_so(windowless, harness, slicer, logic, monkeypatch):
    selftest = load_part("selftest")
    case = selftest.RelAPETTest("test_synthesis")
    pet = logic.synthesize(add_scan("T1w"), add_scan("FLAIR"), "TAU").pet
    with pytest.raises(unittest.SkipTest, match="no main window.* not checked"):
        case.checkViews(pet, pet)
    ran = []
    monkeypatch.setattr(case, "setUp", lambda: None)
    monkeypatch.setattr(case, "test_synthesis", lambda: case.checkViews(pet, pet))
    for name in ("test_all_tracers", "test_cancel", "test_bad_input", "test_tutorial"):
        monkeypatch.setattr(case, name, lambda name=name: ran.append(name))
    monkeypatch.setattr(case, "messageDelay", 1000, raising=False)
    harness.popups.answer("delayDisplay", containing="Skipped, test_synthesis: there is no main window")
    case.runTest()
    assert ran == ["test_all_tracers", "test_bad_input", "test_cancel", "test_tutorial"]


def test_the_panel_without_views(windowless, harness, slicer, monkeypatch, tmp_path):
    """Its widget can be asked for there too, e.g. by a self-test."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    harness.load_module(str(MODULE / "RelAPET.py"), panel=False)
    harness.startup_completed()
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    widget.logic.makeProcess = real_child(write_results(tmp_path / "results"))
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    widget.ui.synthesizeButton.click()
    harness.process_events(lambda: not widget.logic.running, 60)
    assert "Done" in widget.ui.statusLabel.text
    for button in ("showDifferenceButton", "showMriButton", "regionsButton", "metricsButton"):
        getattr(widget.ui, button).click()
    widget.ui.opacitySlider.value = 0.3
    widget.exit()
    widget.enter()
    harness.clear_scene()
    harness.unload_module(widget)
