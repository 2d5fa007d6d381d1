"""The panel's choice of quality in place of sampler and steps."""

import json

from slicer_cases import AT_ONCE, FLOW, add_patient, add_scan, arguments, finish, reopened, write_derived, write_results
from slicer_drawing import DAMAGED, ONE, OTHER, QUALITY, STEPS, ask, cutoffs, field, synthesized, told
from slicer_module import FakeProcess, load_part

from RelAPETLib.diffusion.names import QUALITIES


def choices(selector):
    return {selector.itemData(index): selector.itemText(index) for index in range(selector.count)}


def test_the_demo_models_qualities_are_offered_with_their_steps(widget, scans):
    ui = widget.ui
    known = next(entry for entry in widget.models.entries if entry["name"] == "demo")["draw"]["quality"]
    assert choices(ui.qualitySelector) == {
        "": "the model's own", **{name: f"{name}: {known[name]} steps" for name in QUALITIES}
    }  # fmt: skip
    assert (
        ui.qualitySelector.enabled and "as few steps as this model was measured to need" in ui.qualitySelector.toolTip
    )
    assert f"fast: {known['fast']} steps; balanced" in ui.modelFactsLabel.text
    assert "--quality" not in arguments(widget).arguments


def test_it_replaces_sampler_and_steps(widget, scans):
    ui = widget.ui
    widget.parameters.sampler, widget.parameters.steps, widget.parameters.samples = "ddim", 5, 3
    ui.qualitySelector.currentIndex = ui.qualitySelector.findData("balanced")
    assert widget.parameters.quality == "balanced"
    assert not (ui.samplerSelector.enabled or ui.stepsSpinBox.enabled) and ui.samplesSpinBox.enabled
    assert "The quality above chooses" in ui.stepsSpinBox.toolTip
    process = arguments(widget)
    assert process.option("--quality") == "balanced" and process.option("--samples") == "3"
    assert not {"--sampler", "--steps"} & set(process.arguments)
    ui.qualitySelector.currentIndex = 0
    process = arguments(widget)
    assert (process.option("--sampler"), process.option("--steps")) == ("ddim", "5"), "they were not forgotten"
    assert "--quality" not in process.arguments and ui.stepsSpinBox.enabled
    assert ui.stepsSpinBox.toolTip == "Sampling steps."


def test_a_model_without_says_why(widget, scans, put):
    ui = widget.ui
    put("flow", FLOW)
    assert not ui.qualitySelector.enabled and choices(ui.qualitySelector) == {"": "the model's own"}
    assert "was not measured" in ui.qualitySelector.toolTip and ui.samplerSelector.enabled
    put("measured", FLOW, quality=QUALITY)
    assert ui.qualitySelector.enabled and ui.qualitySelector.itemText(1) == "fast: 1 step"
    ui.qualitySelector.currentIndex = 3
    assert arguments(widget).option("--quality") == "reference"
    widget.parameters.model = "flow"
    assert not ui.synthesizeButton.enabled and "model 'flow' has no quality 'reference'" in ui.synthesizeButton.toolTip
    assert ui.qualitySelector.enabled and ui.qualitySelector.currentText == "reference (not here)"
    ui.qualitySelector.currentIndex = 0
    assert ui.synthesizeButton.enabled and "--quality" not in arguments(widget).arguments
    assert not ui.qualitySelector.enabled and choices(ui.qualitySelector) == {"": "the model's own"}


def test_a_method_that_draws_at_once_is_not_told(widget, scans, put):
    widget.parameters.quality = "fast"
    put("once", AT_ONCE)
    assert not widget.ui.qualitySelector.enabled and "draws at once" in widget.ui.qualitySelector.toolTip
    assert "--quality" not in arguments(widget).arguments


def test_it_comes_back_with_the_scene(widget, slicer, harness, scans, put, tmp_path):
    put("flow", FLOW)
    widget.parameters.model, widget.parameters.quality, widget.parameters.steps = "demo", "fast", 9
    reopened(slicer, harness, tmp_path)
    ui = widget.ui
    assert ui.qualitySelector.currentText.startswith("fast: ") and not ui.stepsSpinBox.enabled
    assert arguments(widget).option("--quality") == "fast"
    widget.parameters.model = "flow"
    reopened(slicer, harness, tmp_path)
    made = len(FakeProcess.made)
    assert "model 'flow' has no quality 'fast'; choose its own under Settings" in ui.synthesizeButton.toolTip
    ui.synthesizeButton.click()
    assert len(FakeProcess.made) == made, "no call"


def test_damaged_qualities_and_cut_offs_of_a_scene(widget, scans):
    button = widget.ui.synthesizeButton

    def bring(name, text):
        widget.parameters.parameterNode.SetParameter(name, text)
        widget.initializeParameterNode()  # as after a scene was read

    for damaged in DAMAGED:
        bring("cutoffs", damaged)
        assert widget.parameters.cutoffs == damaged
        assert cutoffs(arguments(widget)) == [] and field(widget, ONE).value == 0
        bring("quality", damaged)
        assert "has no quality" in button.toolTip and "<b>" not in button.toolTip and len(button.toolTip) < 200
        widget.ui.qualitySelector.currentIndex = 0
        assert button.enabled and "--quality" not in arguments(widget).arguments


def test_the_record_of_a_run_names_it(widget, slicer, harness, scans, tmp_path):
    slicer.app.userSettings().remove("RelAPET/LastRuns")
    try:
        widget.parameters.quality = "fast"
        widget.ui.synthesizeButton.click()
        process = FakeProcess.made[-1]
        widget.parameters.quality = "balanced"  # what is chosen meanwhile is of the next run
        finish(process, write_results(tmp_path / "results"))
        pet = widget.results.found.pet
        assert load_part("expected").of(widget.request())["quality"] == "fast"
        assert "(1 tracer, quality fast), now 32 steps in place of 16" in widget.ui.expectedLabel.text
        widget.parameters.quality = "fast"
        assert "(1 tracer, quality fast); " in widget.ui.expectedLabel.text
        assert "Made with model toy 1 (quality fast)." in widget.ui.historyLabel.text
        record = json.loads(pet.GetAttribute("RelAPET.Provenance")) | {"sampling": {"steps": 16}}
        pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
        reopened(slicer, harness, tmp_path)
        assert "Made with model toy 1 (quality fast, 16 steps)." in widget.ui.historyLabel.text
        widget.parameters.quality = ""
        assert "now 20 steps in place of 16" in widget.ui.expectedLabel.text
        for damaged in ([], {}, 7, "ultra"):
            kept = {"demo on auto": {"seconds": 3, "memory": 1, "quality": damaged, "steps": damaged}}
            slicer.app.userSettings().setValue("RelAPET/LastRuns", json.dumps(kept))
            widget.updatePanel()
            assert (
                "Last time here: 3 s" in widget.ui.expectedLabel.text and "in place" not in widget.ui.expectedLabel.text
            )
    finally:
        slicer.app.userSettings().remove("RelAPET/LastRuns")


def test_a_damaged_record_of_it_is_not_told(widget, scans, tmp_path):
    widget.ui.synthesizeButton.click()
    finish(FakeProcess.made[-1], write_results(tmp_path / "results"))
    pet, made_with = widget.results.found.pet, load_part("history").madeWith
    for damaged in DAMAGED:
        pet.SetAttribute("RelAPET.Quality", damaged)
        pet.SetAttribute("RelAPET.Provenance", json.dumps({"sampling": {"steps": 3}}))
        assert made_with(pet) == "Made with model toy 1."
        pet.SetAttribute("RelAPET.Quality", "fast")
        for record in ({"sampling": damaged, "summary": damaged}, {"sampling": {"steps": damaged}}):
            pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
            assert made_with(pet) == "Made with model toy 1 (quality fast)."
            widget.updatePanel()
            assert widget.ui.cutoffNoteLabel.isHidden()


def test_a_long_run_is_asked_about_and_stays_of_that_quality(widget, scans):
    widget.parameters.quality = "reference"
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", "too long; use --yes", problem="too long", acceptedBy="--yes")
    widget.ui.questionYesButton.click()
    process = FakeProcess.made[-1]
    assert process.option("--quality") == "reference" and "--yes" in process.arguments
    process.end("cancelled", "x")


def test_the_self_test_gives_both_back(widget, harness, monkeypatch, tmp_path):
    seen = []
    tutorial = load_part("tutorial").Tutorial
    person = tutorial._person

    def look(self):
        widget.parameters.quality, widget.parameters.cutoffs = "reference", f"{ONE}=9"
        monkeypatch.setattr(tutorial, "click", lambda self, button: seen.append(widget.parameters.quality))
        monkeypatch.setattr(tutorial, "waitForTasks", lambda self, words: seen.append(widget.parameters.cutoffs))
        person(self)

    monkeypatch.setattr(tutorial, "STEPS", (("person", "Step", ()),))
    monkeypatch.setattr(tutorial, "_person", look)
    monkeypatch.setattr(load_part("testreport"), "reportFolder", lambda: tmp_path / "reports")
    widget.parameters.quality, widget.parameters.cutoffs = "fast", f"{ONE}=1.5"
    widget.selfTest.run()
    assert seen == ["", ""], "the tutorial begins with the model's own"
    assert (widget.parameters.quality, widget.parameters.cutoffs) == ("fast", f"{ONE}=1.5")


def test_the_library_draws_at_the_chosen_quality(chosen, capsys):
    """As few steps as it says, of which its probability was not measured: that is said too."""
    chosen.parameters.quality = "balanced"
    ask(chosen, ONE)
    found = synthesized(chosen, capsys)
    record = json.loads(found.pet.GetAttribute("RelAPET.Provenance"))
    assert (record["sampling"]["sampler"], record["sampling"]["steps"]) == ("dpmpp", STEPS["balanced"])
    assert "(quality balanced, 2 steps)" in chosen.ui.historyLabel.text
    assert "another sampler or number of steps than the model's own" in told(chosen)


# Many patients, scripts


def test_many_patients_have_both(widget, harness, tmp_path):
    widget.batch.makeProcess = FakeProcess
    widget.ui.batchFolderEdit.text = str(tmp_path / "results")
    add_patient("Doe^John", ["20240102"])
    widget.parameters.quality, widget.parameters.steps = "fast", 9
    widget.parameters.cutoffs = f"{ONE}=1.5,{OTHER}=1.25"
    ask(widget, OTHER)
    widget.ui.findPairsButton.click()
    assert widget.ui.batchStartButton.enabled and not widget.ui.cutoffsRow.isHidden()
    widget.ui.batchStartButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments[0] == "bids" and process.option("--quality") == "fast"
    assert "--steps" not in process.arguments and cutoffs(process) == [f"{OTHER}=1.25"]
    assert not widget.ui.cutoffsRow.enabled
    process.end("cancelled", "x")
    harness.process_events()
    folder = widget.batch.folder()
    results = write_results(tmp_path / "made", tracer=OTHER)
    for options, said in (({"quality": "fast"}, "Made with model toy 1 (quality fast)."), ({"quality": [1]}, "toy 1.")):
        write_derived(folder.path, ("sub-001", "ses-1"), results, tracer=OTHER, options=options)
        widget.batch.show(0)
        assert said in widget.ui.historyLabel.text
    widget.parameters.quality = "ultra"
    assert "has no quality 'ultra'" in widget.ui.batchStartButton.toolTip and not widget.ui.batchStartButton.enabled


def test_scripts_give_them_too(harness):
    request = load_part("logic").Request(add_scan("T1w"), add_scan("F"), ONE, quality="fast", cutoffs={ONE: 1.5})
    words = request.arguments({"t1w": "a", "t2f": "b"}, "out")
    assert words[words.index("--quality") + 1] == "fast" and words[words.index("--cutoff") + 1] == f"{ONE}=1.5"
