"""The panel's choice to register down to 1 mm."""

import json
from dataclasses import replace

from slicer_cases import add_patient, arguments, finish, reopened, write_results
from slicer_module import FakeProcess, load_part


def test_it_is_asked_for_where_it_is_ticked_and_comes_back_with_the_scene(widget, slicer, harness, scans, tmp_path):
    assert "--registration" not in arguments(widget).arguments
    widget.ui.fineCheckBox.checked = True
    assert widget.parameters.fineRegistration and arguments(widget).option("--registration") == "fine"
    reopened(slicer, harness, tmp_path)
    assert widget.ui.fineCheckBox.checked and arguments(widget).option("--registration") == "fine"


def test_a_result_and_the_time_of_a_run_tell_of_it(widget, slicer, harness, scans, tmp_path):
    slicer.app.userSettings().remove("RelAPET/LastRuns")
    try:
        widget.ui.fineCheckBox.checked = True
        widget.ui.synthesizeButton.click()
        process = FakeProcess.made[-1]
        widget.ui.fineCheckBox.checked = False  # what is chosen meanwhile is of the next run
        finish(process, write_results(tmp_path / "results"))
        assert load_part("expected").of(widget.request())["registration"] == "fine"
        assert "(1 tracer, registered down to 1 mm)" in widget.ui.expectedLabel.text
        assert "1 mm" not in widget.ui.historyLabel.text
        usual = {"seconds": 9, "memory": 2e9, "tracers": 1}
        slicer.app.userSettings().setValue("RelAPET/LastRuns", json.dumps({"demo on auto": usual}))
        words, request = load_part("expected").words, widget.request()
        line, scarce = words(request, free=3e9)
        assert "1 mm" not in line and not scarce
        line, scarce = words(replace(request, registration="fine"), free=3e9)
        assert "(1 tracer), now registered down to 1 mm; " in line and scarce
        pet = widget.results.found.pet
        record = json.loads(pet.GetAttribute("RelAPET.Provenance")) | {"preprocessing": {"method": "fine"}}
        pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
        reopened(slicer, harness, tmp_path)
        assert "Made with model toy 1 (registered down to 1 mm)." in widget.ui.historyLabel.text
    finally:
        slicer.app.userSettings().remove("RelAPET/LastRuns")


def test_many_patients_are_registered_likewise(widget, harness, tmp_path):
    widget.batch.makeProcess = FakeProcess
    widget.ui.batchFolderEdit.text = str(tmp_path / "results")
    add_patient("Doe^John", ["20240102"])
    widget.ui.fineCheckBox.checked = True
    widget.ui.findPairsButton.click()
    widget.ui.batchStartButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments[0] == "bids" and process.option("--registration") == "fine"
    process.end("cancelled", "x")
    harness.process_events()
